// The right-for-the-right-reasons loss: squared attention outside.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_LOSS_RRR_HPP
#define CARE_LOSS_RRR_HPP

#include <care/loss/detail/regions.hpp>
#include <care/region_weights.hpp>

#include <torch/types.h>

namespace care {

/// Squared attention outside, image by image, for `Guide`: maps [N, h, w] ->
/// [N].
///
///   L = sum over the cells of (share outside) A^^2,  A^ = A / max|A|
///
/// Signed: evidence against the class outside counts like evidence for it. The
/// sum is in cells, h w times the mean over the pixels, so that it does not
/// depend on the image's size; it asks nothing of the inside.
///
/// Shapes: maps raw, any floating dtype; regions of the same shape on the same
/// device -> float32 (float64 for double maps), 0 to h w, times regions.weight.
/// Gradient: reaches the maps, at most 4 h w / flat_range. Throws
/// c10::ValueError for wrong shapes or devices. 0 with gradient 0: an image
/// without a region or without an outside, a map that is flat at 0 or not
/// finite.
/// Source: RRR* of Rao et al. 2023 (Model Guidance), after Ross et al. 2017,
/// who take the input's gradient in place of the map.
struct RrrLoss {
  torch::Tensor operator()(
      const torch::Tensor& maps,
      const RegionWeights& regions) const {
    detail::check_guidance("care::RrrLoss", maps, regions);
    auto scaled = detail::over_largest(maps);
    auto mean = detail::mean_over(
        regions, torch::zeros_like(scaled.maps), scaled.maps.square());
    const auto cells = static_cast<double>(maps.size(1) * maps.size(2));
    return detail::weigh(cells * mean, scaled.flat, regions);
  }
};

} // namespace care

#endif // CARE_LOSS_RRR_HPP
