// A batch of boxes as tensors: checked, joined, and taken apart.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_BOXES_DETAIL_BATCH_HPP
#define CARE_BOXES_DETAIL_BATCH_HPP

#include <care/boxes/format.hpp>
#include <care/detail/check.hpp>
#include <care/size.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace care::detail {

/// What `Boxes` holds.
struct BoxBatch {
  torch::Tensor xyxy = torch::empty({0, 4}); // [M, 4] pixels
  torch::Tensor image = torch::empty({0}, torch::kLong); // [M] int64
  int64_t images = 0;
  Size size;
  torch::Tensor weight; // [M] or undefined
  torch::Tensor label; // [M] int64 or undefined

  /// The same boxes at other places of images of `new_size`.
  BoxBatch at(torch::Tensor new_xyxy, Size new_size) const {
    auto result = *this;
    result.xyxy = std::move(new_xyxy);
    result.size = new_size;
    return result;
  }
};

inline void check_size(const char* where, Size size) {
  TORCH_CHECK_VALUE(
      size.height > 0 && size.width > 0,
      where,
      ": expected a size of at least 1x1, but got ",
      size);
}

inline void check_shapes(const char* where, const BoxBatch& batch) {
  TORCH_CHECK_VALUE(
      batch.xyxy.defined() && batch.xyxy.dim() == 2 && batch.xyxy.size(1) == 4,
      where,
      ": expected coordinates of shape [M, 4], but got ",
      sizes_of(batch.xyxy));
  check_shape(where, "image", batch.image, {batch.xyxy.size(0)});
  check_integral(where, "image", batch.image);
  check_same_device(where, "coordinates and image", batch.xyxy, batch.image);
  TORCH_CHECK_VALUE(
      batch.images >= 0,
      where,
      ": expected images >= 0, but got ",
      batch.images);
  check_size(where, batch.size);
}

/// How many of `images` images' boxes `image` names: [images] int64. Unlike
/// bincount it does not wait for a device.
inline torch::Tensor counts_of(const torch::Tensor& image, int64_t images) {
  return torch::zeros({images}, image.options())
      .scatter_add_(0, image, torch::ones_like(image));
}

/// That numbers whose unit nobody named are not fractions: see `Boxes`.
inline void check_not_fractions(
    const char* where,
    const char* what,
    const torch::Tensor& numbers,
    Size size) {
  if (numbers.size(0) == 0 || size.height <= 16 || size.width <= 16) {
    return;
  }
  const auto host = numbers.detach().to(torch::kCPU, torch::kDouble);
  TORCH_CHECK_VALUE(
      host.min().item<double>() < -1e-3 || // fractions may be rounded
          !(host.max().item<double>() <= 1 + 1e-3),
      where,
      ": expected pixels, but all ",
      numbers.size(0),
      " ",
      what,
      " lie within [0, 1], on images of ",
      size,
      "; say BoxUnit::kFractions if they are fractions of the image, "
      "BoxUnit::kPixels if they are not");
}

/// That numbers called fractions are not pixels. Those of a box that hangs over
/// the image's border may be beyond [0, 1], but hardly beyond [-2, 2].
inline void check_fractions(
    const char* where,
    const char* what,
    const torch::Tensor& numbers) {
  const auto host = numbers.detach().to(torch::kCPU);
  check_all(
      (host.abs() <= 2).all(1),
      c10::str(
          where,
          ": expected ",
          what,
          " as fractions of the image, in [0, 1], but got ")
          .c_str(),
      host);
}

/// That every box is one, and lies on an image that there is.
inline void check_values(const char* where, const BoxBatch& batch) {
  const auto box = batch.xyxy.detach().to(torch::kCPU);
  const auto image = batch.image.to(torch::kCPU);
  check_all(
      torch::isfinite(box).all(1),
      c10::str(where, ": expected finite coordinates, but got ").c_str(),
      box,
      image);
  check_all(
      (box.select(1, 2) > box.select(1, 0)) &
          (box.select(1, 3) > box.select(1, 1)),
      c10::str(where, ": expected x0 < x1 and y0 < y1, but got ").c_str(),
      box,
      image);
  check_in_range(where, "image indices", "image", image, 0, batch.images);
}

inline torch::Tensor weights_of(const BoxBatch& batch) {
  return batch.weight.defined()
      ? batch.weight
      : torch::ones(
            {batch.xyxy.size(0)}, batch.xyxy.options().requires_grad(false));
}

inline torch::Tensor labels_of(const BoxBatch& batch) {
  return batch.label.defined()
      ? batch.label
      : torch::full({batch.xyxy.size(0)}, -1, batch.image.options());
}

/// The boxes for which `keep` ([M] bool) is true; all images stay.
inline BoxBatch filter_boxes(const BoxBatch& batch, const torch::Tensor& keep) {
  const auto rows = keep.nonzero().view(-1);
  const auto kept = [&](const torch::Tensor& x) {
    return x.defined() ? x.index_select(0, rows) : x;
  };
  auto result = batch;
  result.xyxy = kept(batch.xyxy);
  result.image = kept(batch.image);
  result.weight = kept(batch.weight);
  result.label = kept(batch.label);
  return result;
}

/// The listed images, renumbered in that order, with their boxes.
inline BoxBatch select_images(
    const char* where,
    const BoxBatch& batch,
    const torch::Tensor& images) {
  check_integral(where, "images", images);
  check_shape(where, "images", images, {images.numel()});
  const auto rows = images.to(torch::kCPU, torch::kLong);
  check_in_range(where, "images", "images", rows, 0, batch.images);
  auto position = torch::full({batch.images}, -1, torch::kLong);
  const auto order = torch::arange(rows.size(0), torch::kLong);
  position.index_copy_(0, rows, order);
  // Of equal ones the last one counts.
  const auto bad = first_false(position.index_select(0, rows) == order);
  TORCH_CHECK_VALUE(
      bad < 0,
      where,
      ": expected each image at most once, but images[",
      bad,
      "] is ",
      rows[bad].item<int64_t>(),
      ", and so is a later one");
  auto moved = batch;
  moved.image = position.to(batch.image.options()).index_select(0, batch.image);
  auto result = filter_boxes(moved, moved.image >= 0);
  result.images = rows.size(0);
  return result;
}

/// Batches joined into one, image after image; those without an image or a
/// size, as `Boxes()`, take no part.
inline BoxBatch join_boxes(
    const char* where,
    const std::vector<BoxBatch>& parts) {
  const auto is_nothing = [](const BoxBatch& part) {
    return part.images == 0 && part.size == Size{};
  };
  const auto first = std::find_if_not(parts.begin(), parts.end(), is_nothing);
  BoxBatch result;
  bool weighted = false, labelled = false;
  for (const auto& part : parts) {
    weighted = weighted || part.weight.defined();
    labelled = labelled || part.label.defined();
  }
  std::vector<torch::Tensor> xyxy, image, weight, label;
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto& part = parts[i];
    if (is_nothing(part)) {
      continue;
    }
    TORCH_CHECK_VALUE(
        part.size == first->size,
        where,
        ": expected images of ",
        first->size,
        ", but batch ",
        i,
        " has ",
        part.size);
    check_same_device(where, "all batches", first->xyxy, part.xyxy);
    xyxy.push_back(part.xyxy);
    image.push_back(part.image + result.images);
    if (weighted) {
      weight.push_back(weights_of(part));
    }
    if (labelled) {
      label.push_back(labels_of(part));
    }
    result.images += part.images;
  }
  if (first == parts.end()) {
    return result;
  }
  result.xyxy = torch::cat(xyxy);
  result.image = torch::cat(image);
  result.size = first->size;
  result.weight = weighted ? torch::cat(weight) : torch::Tensor();
  result.label = labelled ? torch::cat(label) : torch::Tensor();
  return result;
}

} // namespace care::detail

#endif // CARE_BOXES_DETAIL_BATCH_HPP
