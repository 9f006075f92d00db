// What every guidance loss needs: checked regions, scaled maps, their means.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_LOSS_DETAIL_REGIONS_HPP
#define CARE_LOSS_DETAIL_REGIONS_HPP

#include <care/detail/at_least_float.hpp>
#include <care/detail/check.hpp>
#include <care/normalise.hpp>
#include <care/region_weights.hpp>

#include <torch/types.h>

namespace care::detail {

/// `total`, or 1 where it is 0: to divide by.
inline torch::Tensor divisor(const torch::Tensor& total) {
  return torch::where(total > 0, total, torch::ones_like(total));
}

/// sum(weights * maps) / sum(weights) for each image; 0 where no weight is.
inline torch::Tensor weighted_mean(
    const torch::Tensor& maps,
    const torch::Tensor& weights) {
  auto wide = weights.to(maps.scalar_type());
  auto total = wide.sum({1, 2});
  return (wide * maps).sum({1, 2}) / divisor(total);
}

/// The mean over the pixels of both regions: of `at_inside` for those inside,
/// of `at_outside` for those outside, `[N, h, w]` each; 0 without a region.
inline torch::Tensor mean_over(
    const RegionWeights& regions,
    const torch::Tensor& at_inside,
    const torch::Tensor& at_outside) {
  auto inside = regions.inside.to(at_inside.scalar_type());
  auto outside = regions.outside.to(at_inside.scalar_type());
  return (inside * at_inside + outside * at_outside).sum({1, 2}) /
      divisor((inside + outside).sum({1, 2}));
}

/// A / max|A|, in [-1, 1]. Flat where max|A| is at most `flat_range` of its
/// dtype or the map holds a NaN or an infinity: then 0 with gradient 0.
/// Elsewhere the gradient is bounded by 2 / flat_range; equal extremes share
/// it. The peers' normalisation (Rao et al. 2023).
inline NormalisedMaps over_largest(const torch::Tensor& maps) {
  const auto dtype = maps.scalar_type();
  auto wide = at_least_float(maps);
  auto per_image = [](const torch::Tensor& x) { return x.view({-1, 1, 1}); };
  auto zero = torch::zeros({}, wide.options());
  auto broken = torch::isfinite(wide).flatten(1).all(1).logical_not();
  wide = torch::where(per_image(broken), zero, wide);
  auto scale = wide.detach().abs().amax({1, 2});
  auto flat = broken | (scale <= flat_range(dtype));
  wide = wide / per_image(divisor(scale)); // nothing overflows from here on
  auto largest = wide.abs().amax({1, 2}); // 1, but it carries the gradient
  largest = torch::where(flat, torch::ones_like(largest), largest);
  wide = torch::where(per_image(flat), zero, wide / per_image(largest));
  return {wide, flat};
}

/// max(A, 0) / max|A|, in [0, 1]; flat also where no cell is positive.
inline NormalisedMaps positive_over_largest(const torch::Tensor& maps) {
  auto scaled = over_largest(maps);
  auto positive = scaled.maps.relu();
  auto flat = scaled.flat | (positive.detach().amax({1, 2}) <= 0);
  return {positive, flat};
}

/// Each image's value times its weight; 0 for a flat map.
inline torch::Tensor weigh(
    const torch::Tensor& per_image,
    const torch::Tensor& flat,
    const RegionWeights& regions) {
  auto zero = torch::zeros({}, per_image.options());
  return torch::where(flat, zero, per_image) *
      regions.weight.to(per_image.scalar_type());
}

/// What a guidance loss is called with: `maps` [N, h, w] floating, one cell or
/// more, and regions that fit.
inline void check_guidance(
    const char* where,
    const torch::Tensor& maps,
    const RegionWeights& regions) {
  check_planes(where, "maps of shape [N, h, w]", maps);
  check_floating(where, "maps", maps);
  check_shape(where, "regions.inside", regions.inside, maps.sizes());
  check_shape(where, "regions.outside", regions.outside, maps.sizes());
  check_shape(where, "regions.weight", regions.weight, {maps.size(0)});
  for (const auto* part :
       {&regions.inside, &regions.outside, &regions.weight}) {
    check_same_device(where, "maps and regions", maps, *part);
  }
}

} // namespace care::detail

#endif // CARE_LOSS_DETAIL_REGIONS_HPP
