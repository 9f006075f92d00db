// Where boxes go when their image is moved, cut or warped.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_BOXES_DETAIL_MOVES_HPP
#define CARE_BOXES_DETAIL_MOVES_HPP

#include <care/boxes/detail/batch.hpp>
#include <care/size.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace care::detail {

/// Left, top, right, bottom as they are stored: `[M, 4]`.
inline torch::Tensor stacked(const std::array<torch::Tensor, 4>& side) {
  return torch::stack({side[0], side[1], side[2], side[3]}, 1);
}

inline torch::Tensor scaled_boxes(
    const torch::Tensor& xyxy,
    Size from,
    Size to) {
  const auto x =
      static_cast<double>(to.width) / static_cast<double>(from.width);
  const auto y =
      static_cast<double>(to.height) / static_cast<double>(from.height);
  auto side = xyxy.unbind(1);
  return stacked({side[0] * x, side[1] * y, side[2] * x, side[3] * y});
}

inline torch::Tensor mirrored_boxes(
    const torch::Tensor& xyxy,
    Size size,
    bool horizontally) {
  auto side = xyxy.unbind(1);
  const auto w = size.width, h = size.height;
  return horizontally ? stacked({w - side[2], side[1], w - side[0], side[3]})
                      : stacked({side[0], h - side[3], side[2], h - side[1]});
}

/// A quarter turn counter-clockwise of an image of this width.
inline torch::Tensor turned_boxes(const torch::Tensor& xyxy, int64_t width) {
  auto side = xyxy.unbind(1);
  return stacked({side[1], width - side[2], side[3], width - side[0]});
}

/// The boxes around the moved corners.
inline torch::Tensor warped_boxes(
    const torch::Tensor& xyxy,
    const std::array<double, 6>& matrix) {
  auto side = xyxy.unbind(1);
  auto x = torch::stack({side[0], side[2], side[0], side[2]}, 1);
  auto y = torch::stack({side[1], side[1], side[3], side[3]}, 1);
  auto u = x * matrix[0] + y * matrix[1] + matrix[2];
  auto v = x * matrix[3] + y * matrix[4] + matrix[5];
  return stacked({u.amin(1), v.amin(1), u.amax(1), v.amax(1)});
}

inline torch::Tensor dilated_boxes(const torch::Tensor& xyxy, double factor) {
  auto side = xyxy.unbind(1);
  auto x = side[0] / 2 + side[2] / 2, dx = (side[2] - side[0]) * (factor / 2);
  auto y = side[1] / 2 + side[3] / 2, dy = (side[3] - side[1]) * (factor / 2);
  return stacked({x - dx, y - dy, x + dx, y + dy});
}

inline torch::Tensor padded_boxes(const torch::Tensor& xyxy, double pixels) {
  auto side = xyxy.unbind(1);
  return stacked(
      {side[0] - pixels, side[1] - pixels, side[2] + pixels, side[3] + pixels});
}

inline void check_cut(const char* where, Size size, double min_visible) {
  check_size(where, size);
  TORCH_CHECK_VALUE(
      min_visible >= 0 && min_visible <= 1,
      where,
      ": expected min_visible in [0, 1], but got ",
      min_visible);
}

/// The boxes on a cut-out of `size` whose left, top corner is `corner`; without
/// those of which nothing is left, or less than the share `min_visible`.
inline BoxBatch cut_boxes(
    const BoxBatch& batch,
    std::array<int64_t, 2> corner,
    Size size,
    double min_visible) {
  auto side = batch.xyxy.unbind(1);
  for (size_t i = 0; i < side.size(); ++i) {
    side[i] = side[i] - corner[i % 2];
  }
  auto x0 = side[0].clamp(0, size.width), x1 = side[2].clamp(0, size.width);
  auto y0 = side[1].clamp(0, size.height), y1 = side[3].clamp(0, size.height);
  auto keep = (x1 > x0) & (y1 > y0);
  if (min_visible > 0) { // else an area of infinity would make it NaN
    // Of the moved sides, which round as what is left of them does.
    auto whole = (side[2] - side[0]) * (side[3] - side[1]);
    keep = keep & ((x1 - x0) * (y1 - y0) >= min_visible * whole);
  }
  return filter_boxes(batch.at(stacked({x0, y0, x1, y1}), size), keep.detach());
}

} // namespace care::detail

#endif // CARE_BOXES_DETAIL_MOVES_HPP
