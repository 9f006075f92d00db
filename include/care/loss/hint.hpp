// A HINT-like loss: mean square of what the inside lacks.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_LOSS_HINT_HPP
#define CARE_LOSS_HINT_HPP

#include <care/loss/detail/regions.hpp>
#include <care/region_weights.hpp>

#include <torch/types.h>

namespace care {

/// The mean square of what the inside lacks, image by image, for `Guide`: maps
/// [N, h, w] -> [N].
///
///   L = mean over the inside of (1 - A^)^2,  A^ = max(A, 0) / max|A|
///
/// It rewards attention inside and, like HINT, asks nothing of the outside.
///
/// Shapes: maps raw, any floating dtype; regions of the same shape on the same
/// device -> float32 (float64 for double maps), 0 to 1, times regions.weight.
/// Gradient: reaches the positive cells and the largest absolute value, at most
/// 4 / flat_range. Throws c10::ValueError for wrong shapes or devices. 0 with
/// gradient 0: an image without a region, a map without a positive cell, one
/// that is flat or not finite.
/// Source: the idea is Selvaraju et al. 2019 (HINT), whose loss ranks image
/// regions; the mean square in its place follows Friedrich et al. 2023.
struct HintLoss {
  torch::Tensor operator()(
      const torch::Tensor& maps,
      const RegionWeights& regions) const {
    detail::check_guidance("care::HintLoss", maps, regions);
    auto scaled = detail::positive_over_largest(maps);
    auto lack =
        detail::weighted_mean((1 - scaled.maps).square(), regions.inside);
    return detail::weigh(lack, scaled.flat, regions);
  }
};

} // namespace care

#endif // CARE_LOSS_HINT_HPP
