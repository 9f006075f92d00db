// Checks that the parts of the augmentation share.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_DETAIL_CHECKS_HPP
#define CARE_AUGMENT_DETAIL_CHECKS_HPP

#include <care/augment/affine_map.hpp>
#include <care/boxes.hpp>
#include <care/detail/check.hpp>
#include <care/size.hpp>

#include <torch/types.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace care::detail {

/// Floating images [N, C, H, W] with at least one pixel.
inline void check_images(
    const char* where,
    const torch::Tensor& images,
    bool bytes_too = false) {
  TORCH_CHECK_VALUE(
      images.defined() && images.dim() == 4 && images.size(1) > 0 &&
          images.size(2) > 0 && images.size(3) > 0,
      where,
      ": expected images of shape [N, C, H, W], but got ",
      sizes_of(images));
  if (!bytes_too || images.scalar_type() != torch::kByte) {
    check_floating(where, "images", images);
  }
}

/// `[N]` integers as numbers on the host.
inline std::vector<int64_t> host_numbers(
    const char* where,
    const char* name,
    const torch::Tensor& tensor,
    int64_t images) {
  check_integral(where, name, tensor);
  check_shape(where, name, tensor, {images});
  const auto host = tensor.to(torch::kCPU, torch::kLong).contiguous();
  const auto* first = host.data_ptr<int64_t>();
  return {first, first + images};
}

/// Boxes, and masks where there are any, on the images of a batch.
inline void check_batch(
    const char* where,
    const torch::Tensor& images,
    const Boxes& boxes,
    const torch::Tensor& masks) {
  const Size size{images.size(2), images.size(3)};
  TORCH_CHECK_VALUE(
      boxes.num_images() == images.size(0) && boxes.image_size() == size,
      where,
      ": expected boxes on ",
      images.size(0),
      " images of ",
      size,
      ", but got boxes on ",
      boxes.num_images(),
      " images of ",
      boxes.image_size());
  if (masks.defined()) {
    check_shape(
        where, "masks", masks, {images.size(0), size.height, size.width});
  }
}

/// One of something for each image.
inline void check_one_each(
    const char* where,
    const char* name,
    size_t count,
    int64_t images) {
  TORCH_CHECK_VALUE(
      static_cast<int64_t>(count) == images,
      where,
      ": expected ",
      name,
      " for ",
      images,
      " images, but got ",
      count);
}

inline void check_maps(
    const char* where,
    const std::vector<AffineMap>& maps,
    int64_t images) {
  check_one_each(where, "maps", maps.size(), images);
  for (size_t n = 0; n < maps.size(); ++n) {
    TORCH_CHECK_VALUE(
        can_be_turned_back(maps[n]),
        where,
        ": expected finite maps that can be turned back, but maps[",
        n,
        "] is ",
        torch::ArrayRef<double>(maps[n].data(), maps[n].size()));
  }
}

inline void check_orientations(
    const char* where,
    const std::vector<Orientation>& orientations,
    int64_t images,
    Size size) {
  check_one_each(where, "orientations", orientations.size(), images);
  for (size_t n = 0; n < orientations.size(); ++n) {
    TORCH_CHECK_VALUE(
        size.height == size.width || orientations[n].turns % 2 == 0,
        where,
        ": expected half turns of images of ",
        size,
        ", but orientations[",
        n,
        "] has ",
        orientations[n].turns,
        " quarter turns");
  }
}

/// Values in [0, 1], of images on the host: on a device it would have to be
/// waited for.
inline void check_unit_range(const char* where, const torch::Tensor& images) {
  if (!images.device().is_cpu() || images.numel() == 0) {
    return;
  }
  const auto [low, high] = torch::aminmax(images.to(torch::kFloat));
  const auto least = low.item<double>(), most = high.item<double>();
  TORCH_CHECK_VALUE(
      least >= -kUnitRounding && most <= 1 + kUnitRounding, // so not NaN
      where,
      ": expected images in [0, 1] (before any mean and deviation are taken "
      "off), but got values from ",
      least,
      " to ",
      most);
}

inline void check_in_range(
    const char* where,
    const char* name,
    double value,
    double least,
    double most) {
  TORCH_CHECK_VALUE(
      value >= least && value <= most,
      where,
      ": expected ",
      name,
      " in [",
      least,
      ", ",
      most,
      "], but got ",
      value);
}

} // namespace care::detail

#endif // CARE_AUGMENT_DETAIL_CHECKS_HPP
