// How the numbers of a box are meant, and their way to pixels and back.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_BOXES_FORMAT_HPP
#define CARE_BOXES_FORMAT_HPP

#include <care/size.hpp>

#include <torch/types.h>

namespace care {

/// How the four numbers of a box are meant.
enum class BoxFormat {
  kXYXY, ///< left, top, right, bottom
  kXYWH, ///< left, top, width, height (COCO)
  kCXCYWH, ///< centre x, centre y, width, height (YOLO)
};

/// What the four numbers of a box are measured in.
enum class BoxUnit {
  kPixels,
  kFractions, ///< of the image's width (x) and height (y), 0 to 1
};

namespace detail {

/// Width, height, width, height of an image, for `[M, 4]` like `box`.
inline torch::Tensor unit_scale(const torch::Tensor& box, Size size) {
  const auto w = static_cast<double>(size.width);
  const auto h = static_cast<double>(size.height);
  return torch::tensor({w, h, w, h}, torch::kDouble)
      .to(box.options().requires_grad(false));
}

/// `[M, 4]` in any format and unit to left, top, right, bottom in pixels;
/// integers and half precision to float32.
inline torch::Tensor to_xyxy(
    torch::Tensor box,
    BoxFormat format,
    BoxUnit unit,
    Size size) {
  if (box.scalar_type() != torch::kDouble) {
    box = box.to(torch::kFloat);
  }
  if (unit == BoxUnit::kFractions) {
    box = box * unit_scale(box, size);
  }
  auto a = box.slice(1, 0, 2), b = box.slice(1, 2, 4);
  switch (format) {
    case BoxFormat::kXYWH:
      return torch::cat({a, a + b}, 1);
    case BoxFormat::kCXCYWH:
      return torch::cat({a - b / 2, a + b / 2}, 1);
    case BoxFormat::kXYXY:
      break;
  }
  return box;
}

/// The way back.
inline torch::Tensor from_xyxy(
    const torch::Tensor& xyxy,
    BoxFormat format,
    BoxUnit unit,
    Size size) {
  auto side = xyxy.unbind(1);
  auto w = side[2] - side[0], h = side[3] - side[1];
  auto box = xyxy;
  if (format == BoxFormat::kXYWH) {
    box = torch::stack({side[0], side[1], w, h}, 1);
  } else if (format == BoxFormat::kCXCYWH) {
    box = torch::stack({side[0] + w / 2, side[1] + h / 2, w, h}, 1);
  }
  return unit == BoxUnit::kPixels ? box : box / unit_scale(box, size);
}

} // namespace detail

} // namespace care

#endif // CARE_BOXES_FORMAT_HPP
