// The L1 loss: distance of the scaled map from the mask.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_LOSS_L1_HPP
#define CARE_LOSS_L1_HPP

#include <care/loss/detail/regions.hpp>
#include <care/region_weights.hpp>

#include <torch/types.h>

namespace care {

/// The mean distance of the map from the mask, image by image, for `Guide`:
/// maps [N, h, w] -> [N].
///
///   L = mean over the pixels of |A^ - M|,  A^ = max(A, 0) / max|A|
///
/// M is 1 inside and 0 outside, so that a pixel's distance is 1 - A^ inside and
/// A^ outside: linear in A^. The weights therefore give the mean at the image's
/// resolution exactly (*ours*; see `rasterize`).
///
/// Shapes: maps raw, any floating dtype; regions of the same shape on the same
/// device -> float32 (float64 for double maps), 0 to 1, times regions.weight.
/// Gradient: reaches the positive cells and the largest absolute value, at most
/// 2 / flat_range. Throws c10::ValueError for wrong shapes or devices. 0 with
/// gradient 0: an image without a region, a map without a positive cell, one
/// that is flat or not finite.
/// Source: Gao et al. 2022 (GRADIA), as in Rao et al. 2023 (Model Guidance).
struct L1GuidanceLoss {
  torch::Tensor operator()(
      const torch::Tensor& maps,
      const RegionWeights& regions) const {
    detail::check_guidance("care::L1GuidanceLoss", maps, regions);
    auto scaled = detail::positive_over_largest(maps);
    auto distance = detail::mean_over(regions, 1 - scaled.maps, scaled.maps);
    return detail::weigh(distance, scaled.flat, regions);
  }
};

} // namespace care

#endif // CARE_LOSS_L1_HPP
