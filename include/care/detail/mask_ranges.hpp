// Whether masks hold what masks hold.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_MASK_RANGES_HPP
#define CARE_DETAIL_MASK_RANGES_HPP

#include <care/detail/check.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

namespace care::detail {

/// The least and the largest value of each mask [N, H, W]: [2, N] on the masks'
/// device.
inline torch::Tensor mask_ranges(
    const char* where,
    const torch::Tensor& masks) {
  check_planes(where, "masks of shape [N, H, W]", masks);
  const auto pixels = masks.detach().flatten(1);
  return torch::stack({pixels.amin(1), pixels.amax(1)});
}

/// Throws c10::ValueError, by its number, for a mask of which the range (on the
/// host) is not within [0, 1] but for rounding, or NaN.
inline void check_mask_ranges(const char* where, const torch::Tensor& ranges) {
  const auto bad = first_false(
      (ranges[0] >= -kUnitRounding) & (ranges[1] <= 1 + kUnitRounding));
  TORCH_CHECK_VALUE(
      bad < 0,
      where,
      ": expected masks in [0, 1], but got values from ",
      ranges[0][bad].item<double>(),
      " to ",
      ranges[1][bad].item<double>(),
      " in masks[",
      bad,
      "]");
}

/// Masks that were checked, as doubles in [0, 1].
inline torch::Tensor unit_masks(const torch::Tensor& masks) {
  return masks.detach().to(torch::kDouble).clamp(0, 1);
}

} // namespace care::detail

#endif // CARE_DETAIL_MASK_RANGES_HPP
