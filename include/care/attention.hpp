// Class attention maps from features and scores, raw and batched.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_ATTENTION_HPP
#define CARE_ATTENTION_HPP

#include <care/attention/class_attention_map.hpp>
#include <care/attention/element_wise.hpp>
#include <care/attention/fusion.hpp>
#include <care/attention/grad_cam.hpp>
#include <care/attention/grad_cam_plus_plus.hpp>
#include <care/attention/hires_cam.hpp>
#include <care/attention/layer_cam.hpp>
#include <care/attention/scores.hpp>
#include <care/attention/xgrad_cam.hpp>

#endif // CARE_ATTENTION_HPP
