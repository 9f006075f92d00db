// Flips and quarter turns in plain loops: one copy, in any memory order.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_DETAIL_ORIENT_ON_HOST_HPP
#define CARE_AUGMENT_DETAIL_ORIENT_ON_HOST_HPP

#include <care/augment/affine_map.hpp>

#include <torch/types.h>

#include <cmath>
#include <cstdint>

namespace care::detail {

/// Images [N, C, H, W], whose elements are as large as `Element`, each moved by
/// its orientation into `moved` of the same shape; on the host, `moved`
/// contiguous.
template <typename Element>
void orient_on_host(
    const torch::Tensor& moved,
    const torch::Tensor& images,
    const Orientation* orientations) {
  const auto height = images.size(2), width = images.size(3);
  const auto line = images.stride(2), column = images.stride(3);
  auto* to = static_cast<Element*>(moved.data_ptr());
  for (int64_t n = 0; n < images.size(0); ++n) {
    // Where a pixel comes from, in whole numbers.
    const auto [a, b, c, d, e, f] =
        inverse(orientation_map(orientations[n], {height, width}));
    const auto place = [&](double x, double y) {
      return std::lround(x) * column + std::lround(y) * line;
    };
    const auto first = place((a + b - 1) / 2 + c, (d + e - 1) / 2 + f);
    const auto right = place(a, d), down = place(b, e);
    for (int64_t plane = 0; plane < images.size(1); ++plane) {
      const auto* from = static_cast<const Element*>(images.data_ptr()) +
          n * images.stride(0) + plane * images.stride(1) + first;
      for (int64_t y = 0; y < height; ++y) {
        for (int64_t x = 0; x < width; ++x) {
          *to++ = from[y * down + x * right];
        }
      }
    }
  }
}

} // namespace care::detail

#endif // CARE_AUGMENT_DETAIL_ORIENT_ON_HOST_HPP
