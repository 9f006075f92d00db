// The energy loss: one less the share of positive attention inside.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_LOSS_ENERGY_HPP
#define CARE_LOSS_ENERGY_HPP

#include <care/loss/detail/regions.hpp>
#include <care/normalise.hpp>
#include <care/region_weights.hpp>

#include <torch/types.h>

namespace care {

/// The energy loss, image by image, for `Guide`: maps [N, h, w] -> [N].
///
///   L = 1 - <A+, inside> / (<A+, inside> + <A+, outside>),  A+ = max(A, 0)
///
/// Shapes: maps raw, any floating dtype; regions of the same shape on the same
/// device -> float32 (float64 for double maps), 0 to 1, times regions.weight.
/// With `rasterize`'s flat weights (its defaults: a margin of 0, a start of 1)
/// it is one less the energy pointing game at the image's size: nothing is lost
/// by the map's few cells. Any positive factor of the map cancels. Gradient:
/// reaches the maps' positive cells; at most 1 / flat_range with flat weights,
/// 10^6 times that with any. Throws c10::ValueError for wrong shapes or
/// devices. 0 with gradient 0: an image without a region, a map without a
/// positive cell or that is not finite, and one whose positive cells lie under
/// (nearly) no weight.
/// Source: Rao et al. 2023 (Model Guidance), whose code gives 1, and almost no
/// gradient, for a map without a positive cell.
///
///   care::Guide<care::GradCam, care::EnergyLoss> guide;
struct EnergyLoss {
  torch::Tensor operator()(
      const torch::Tensor& maps,
      const RegionWeights& regions) const {
    detail::check_guidance("care::EnergyLoss", maps, regions);
    auto positive = normalise(maps, Normalisation::kSum);
    const auto dtype = positive.maps.scalar_type();
    auto inside = regions.inside.to(dtype), outside = regions.outside.to(dtype);
    // Weights of at most 1: the sum below then tells nothing from little.
    auto most = detail::divisor((inside + outside).amax({1, 2}));
    auto in = (positive.maps * inside).sum({1, 2}) / most;
    auto all = in + (positive.maps * outside).sum({1, 2}) / most;
    auto unseen = positive.flat | (all.detach() <= 1e-6);
    auto share = in / torch::where(unseen, torch::ones_like(all), all);
    return detail::weigh(1 - share, unseen, regions);
  }
};

} // namespace care

#endif // CARE_LOSS_ENERGY_HPP
