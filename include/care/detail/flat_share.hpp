// How much of a map's largest value its range must be to be more than noise.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_FLAT_SHARE_HPP
#define CARE_DETAIL_FLAT_SHARE_HPP

#include <torch/types.h>

namespace care::detail {

/// The distance from 1 to the next number of this dtype.
inline double rounding_of(torch::Dtype dtype) {
  return dtype == torch::kDouble  ? 0x1p-52
      : dtype == torch::kHalf     ? 0x1p-10
      : dtype == torch::kBFloat16 ? 0x1p-7
                                  : 0x1p-23;
}

/// The share of its largest absolute value at and below which the range of a
/// map of this dtype counts as noise: what rounding leaves of features that are
/// the same everywhere. A cell is a sum over thousands of channels of either
/// sign, taken in another order from cell to cell, so this is more than the
/// rounding of the cell itself: in float32 1e-5 is common, more where the
/// channels cancel out almost wholly, which no share can bound.
inline double flat_share(torch::Dtype dtype) {
  return dtype == torch::kDouble ? 0x1p-40
      : dtype == torch::kFloat   ? 0x1p-13
                                 : 2 * rounding_of(dtype);
}

} // namespace care::detail

#endif // CARE_DETAIL_FLAT_SHARE_HPP
