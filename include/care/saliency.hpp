// Saliency maps without a network: where an image differs from itself.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_SALIENCY_HPP
#define CARE_SALIENCY_HPP

#include <care/saliency/frequency_tuned.hpp>
#include <care/saliency/lesion_contrast.hpp>
#include <care/saliency/object_contrast.hpp>
#include <care/saliency/robust_background.hpp>
#include <care/saliency/spectral_residual.hpp>

#endif // CARE_SALIENCY_HPP
