// The whole library: class attention to regions of lesion.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CARE_HPP
#define CARE_CARE_HPP

#include <care/amp.hpp>
#include <care/attention.hpp>
#include <care/augment.hpp>
#include <care/auto_boxes.hpp>
#include <care/boxes.hpp>
#include <care/capture.hpp>
#include <care/find_boxes.hpp>
#include <care/grad_scaler.hpp>
#include <care/guide.hpp>
#include <care/imbalance.hpp>
#include <care/loss.hpp>
#include <care/map_layout.hpp>
#include <care/masks.hpp>
#include <care/metrics.hpp>
#include <care/normalise.hpp>
#include <care/rasterize.hpp>
#include <care/region_weights.hpp>
#include <care/saliency.hpp>
#include <care/schedule.hpp>
#include <care/seen.hpp>
#include <care/segmentation.hpp>
#include <care/size.hpp>
#include <care/version.hpp>

#endif // CARE_CARE_HPP
