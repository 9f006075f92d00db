// Warping by grid_sample: any device, one pass over all images.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_DETAIL_WARP_BY_GRID_HPP
#define CARE_AUGMENT_DETAIL_WARP_BY_GRID_HPP

#include <care/augment/affine_map.hpp>
#include <care/detail/to_device.hpp>
#include <care/size.hpp>

#include <torch/types.h>

#include <cstddef>
#include <vector>

namespace care::detail {

/// The values of `GridSampleFuncOptions::mode` as the operator takes them.
enum class Interpolation : int64_t { kBilinear = 0, kNearest = 1 };

/// Planes [N, C, H, W] of float or double, warped by `maps` to the size `to`;
/// from beyond the border comes `fill`.
inline torch::Tensor warp_by_grid(
    const torch::Tensor& planes,
    const AffineMap* maps,
    Size to,
    double fill,
    Interpolation interpolation) {
  // Per image, for x and for y: how far a step right and a step down lead, and
  // where the first pixel's centre lies; the image reaches from -1 to 1.
  std::vector<double> numbers;
  for (int64_t n = 0; n < planes.size(0); ++n) {
    const auto back = inverse(maps[n]);
    for (const size_t row : {size_t{0}, size_t{3}}) {
      const auto length =
          static_cast<double>(row == 0 ? planes.size(3) : planes.size(2));
      const double right = back[row] * 2 / length;
      const double down = back[row + 1] * 2 / length;
      numbers.push_back(right);
      numbers.push_back(down);
      numbers.push_back((right + down) / 2 + back[row + 2] * 2 / length - 1);
    }
  }
  const auto steps = to_device(
                         torch::tensor(numbers, torch::kDouble)
                             .to(planes.scalar_type())
                             .view({planes.size(0), 1, 1, 2, 3}),
                         planes.device())
                         .unbind(4);
  const auto options = planes.options().requires_grad(false);
  const auto x = torch::arange(to.width, options).view({1, 1, -1, 1});
  const auto y = torch::arange(to.height, options).view({1, -1, 1, 1});
  const auto grid = steps[0] * x + (steps[1] * y + steps[2]); // [N, h, w, 2]
  constexpr int64_t kZeros = 0; // beyond the border: let that be `fill`
  auto warped = torch::grid_sampler(
      fill == 0 ? planes : planes - fill,
      grid,
      static_cast<int64_t>(interpolation),
      kZeros,
      /*align_corners=*/false);
  return fill == 0 ? warped : warped.add_(fill);
}

} // namespace care::detail

#endif // CARE_AUGMENT_DETAIL_WARP_BY_GRID_HPP
