// The per-pixel cross-entropy loss: attention all over the inside.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_LOSS_PPCE_HPP
#define CARE_LOSS_PPCE_HPP

#include <care/loss/detail/regions.hpp>
#include <care/region_weights.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/types.h>

namespace care {

/// Options of `PpceLoss`.
struct PpceLossOptions {
  /// What a scaled map counts for at least, in (0, 1): bounds the loss by
  /// -log(floor) and its gradient by 1 / floor. Default: 1e-4.
  TORCH_ARG(double, floor) = 1e-4;
};

/// Per-pixel cross-entropy inside, image by image, for `Guide`: maps [N, h, w]
/// -> [N].
///
///   L = mean over the inside of -log max(A^, floor),  A^ = max(A, 0) / max|A|
///
/// It asks nothing of the outside. Taken at the map's cells: the logarithm of
/// an up-sampled map is not the up-sampled logarithm, so the value at the
/// image's resolution differs a little.
///
/// Shapes: maps raw, any floating dtype; regions of the same shape on the same
/// device -> float32 (float64 for double maps), 0 to -log(floor), times
/// regions.weight. Gradient: reaches the cells above floor max|A|, and the
/// largest absolute value. Throws c10::ValueError for wrong shapes, devices or
/// floor. 0 with gradient 0: an image without a region, a map without a
/// positive cell, one that is flat or not finite. Source: Shen et al. 2021
/// (HAICS), as in Rao et al. 2023 (Model Guidance); the floor is ours (their
/// logarithm ends at -100, its gradient nowhere).
struct PpceLoss {
  PpceLossOptions options = {};

  torch::Tensor operator()(
      const torch::Tensor& maps,
      const RegionWeights& regions) const {
    const char* where = "care::PpceLoss";
    TORCH_CHECK_VALUE(
        options.floor() > 0 && options.floor() < 1,
        where,
        ": expected a floor in (0, 1), but got ",
        options.floor());
    detail::check_guidance(where, maps, regions);
    auto scaled = detail::positive_over_largest(maps);
    auto surprise = -scaled.maps.clamp_min(options.floor()).log();
    return detail::weigh(
        detail::weighted_mean(surprise, regions.inside), scaled.flat, regions);
  }
};

} // namespace care

#endif // CARE_LOSS_PPCE_HPP
