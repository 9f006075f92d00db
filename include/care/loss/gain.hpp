// The external supervision of GAIN: mean square of map less mask.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_LOSS_GAIN_HPP
#define CARE_LOSS_GAIN_HPP

#include <care/loss/detail/regions.hpp>
#include <care/normalise.hpp>
#include <care/region_weights.hpp>

#include <torch/types.h>

namespace care {

/// GAIN's external supervision, image by image, for `Guide`: maps [N, h, w] ->
/// [N].
///
///   L = mean over the pixels of (A^ - M)^2,  A^ = max(A, 0) / max(A)
///
/// M is 1 inside and 0 outside. Taken at the map's cells: a cell cut by the
/// border counts (1 - A^)^2 for its share inside and A^^2 for that outside.
///
/// Shapes: maps raw, any floating dtype; regions of the same shape on the same
/// device -> float32 (float64 for double maps), 0 to 1, times regions.weight.
/// Gradient: reaches the positive cells, at most 4 / flat_range. Throws
/// c10::ValueError for wrong shapes or devices. 0 with gradient 0: an image
/// without a region, a map without a positive cell or that is not finite.
/// Source: Li et al. 2018, section 3.3 (their L_e); they leave the scale of the
/// map open, the division by its maximum is ours.
struct GainLoss {
  torch::Tensor operator()(
      const torch::Tensor& maps,
      const RegionWeights& regions) const {
    detail::check_guidance("care::GainLoss", maps, regions);
    auto scaled = normalise(maps, Normalisation::kMax);
    auto error = detail::mean_over(
        regions, (1 - scaled.maps).square(), scaled.maps.square());
    return detail::weigh(error, scaled.flat, regions);
  }
};

} // namespace care

#endif // CARE_LOSS_GAIN_HPP
