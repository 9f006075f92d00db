// Distances of pixels to the nearest box or mask, and mask dilation.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_RASTERIZE_DETAIL_DISTANCE_HPP
#define CARE_RASTERIZE_DETAIL_DISTANCE_HPP

#include <torch/types.h>

#include <cstdint>
#include <limits>
#include <tuple>

namespace care::detail {

/// [N, H, W]: pixels from each pixel to the nearest of the image's boxes
/// (`boxes` [N, K, 4], `used` [N, K]); 0 inside and in an image without one.
inline torch::Tensor distance_to_boxes(
    const torch::Tensor& boxes,
    const torch::Tensor& used,
    int64_t height,
    int64_t width,
    bool euclidean) {
  auto along = [&](int64_t side, int64_t length) {
    auto at = torch::arange(length, boxes.options());
    auto low = boxes.select(2, side).unsqueeze(2);
    auto high = boxes.select(2, side + 2).unsqueeze(2);
    return torch::maximum(low - at, at + 1 - high).clamp_min(0); // [N, K, L]
  };
  auto dx = along(0, width), dy = along(1, height);
  auto nearest = torch::full(
      {boxes.size(0), height, width},
      std::numeric_limits<float>::infinity(),
      boxes.options());
  for (int64_t k = 0; k < boxes.size(1); ++k) {
    auto x = dx.select(1, k).unsqueeze(1), y = dy.select(1, k).unsqueeze(2);
    auto distance = euclidean ? (x * x + y * y).sqrt() : x + y;
    nearest = torch::where(
        used.select(1, k).view({-1, 1, 1}),
        torch::minimum(nearest, distance),
        nearest);
  }
  return torch::where(
      torch::isfinite(nearest), nearest, torch::zeros_like(nearest));
}

/// [N, H, W]: city-block distance to the nearest true pixel of `mask`; 0 in an
/// image without one. Two passes along each axis.
inline torch::Tensor cityblock_to_mask(const torch::Tensor& mask) {
  const float far = static_cast<float>(mask.size(1) + mask.size(2));
  auto distance = torch::where(
      mask,
      torch::zeros({}, mask.options().dtype(torch::kFloat)),
      torch::full({}, far, mask.options().dtype(torch::kFloat)));
  for (int64_t axis : {2, 1}) {
    auto at = torch::arange(mask.size(axis), distance.options());
    at = axis == 1 ? at.view({1, -1, 1}) : at.view({1, 1, -1});
    auto ahead = std::get<0>(torch::cummin(distance - at, axis)) + at;
    auto behind = std::get<0>(torch::cummin((distance + at).flip(axis), axis))
                      .flip(axis) -
        at;
    distance = torch::minimum(ahead, behind);
  }
  return torch::where(distance < far, distance, torch::zeros_like(distance));
}

/// `mask` [N, H, W] grown by `pixels` on every side, one axis after the other.
inline torch::Tensor dilate_mask(const torch::Tensor& mask, int64_t pixels) {
  if (pixels == 0) {
    return mask;
  }
  const auto k = 2 * pixels + 1;
  const auto planes = mask.unsqueeze(1);
  const auto rows = torch::max_pool2d(planes, {1, k}, {1, 1}, {0, pixels});
  return torch::max_pool2d(rows, {k, 1}, {1, 1}, {pixels, 0}).squeeze(1);
}

} // namespace care::detail

#endif // CARE_RASTERIZE_DETAIL_DISTANCE_HPP
