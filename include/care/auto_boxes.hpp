// Boxes without an annotator: one method, else the next, else none.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUTO_BOXES_HPP
#define CARE_AUTO_BOXES_HPP

#include <care/boxes.hpp>
#include <care/detail/check.hpp>
#include <care/find_boxes.hpp>

#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <tuple>
#include <vector>

namespace care {

/// One way to boxes: a name for the records, and images [N, C, H, W] -> boxes
/// on images of that size.
struct BoxMethod {
  std::string name;
  std::function<FoundBoxes(const torch::Tensor&)> find;
};

/// What `auto_boxes` found.
struct AutoBoxes {
  Boxes boxes; ///< image after image, weighted by their confidence
  torch::Tensor confidence; ///< [M] float32 in [0, 1]
  torch::Tensor method; ///< [M] int64, which of `names` made the box
  std::vector<std::string> names; ///< of the methods, in their order
};

/// Boxes by the first method that finds any, image by image.
///
/// Each method is given the images on which those before it found nothing, so
/// that "segmentation, else saliency, else none" is a list of two. An image on
/// which none finds a box has none.
/// Throws c10::ValueError without a method or for one without a function, when
/// images is not [N, C, H, W], and when a method answers for another number or
/// size of images.
///
///   auto found = care::auto_boxes(images, {
///       {"unet", [&](const torch::Tensor& x) {
///          return care::segmentation_boxes(x, unet); }},
///       {"background", [](const torch::Tensor& x) {
///          return care::find_boxes(care::robust_background(x)); }}});
inline AutoBoxes auto_boxes(
    const torch::Tensor& images,
    const std::vector<BoxMethod>& methods) {
  const char* where = "care::auto_boxes";
  TORCH_CHECK_VALUE(
      images.defined() && images.dim() == 4,
      where,
      ": expected images of shape [N, C, H, W], but got ",
      detail::sizes_of(images));
  TORCH_CHECK_VALUE(
      !methods.empty(), where, ": expected at least 1 method, but got 0");
  const auto n = images.size(0);
  const Size size{images.size(2), images.size(3)};
  AutoBoxes result;
  auto left = torch::arange(n, torch::kLong); // images without a box so far
  std::vector<torch::Tensor> xyxy, image, confidence, made_by;
  for (size_t i = 0; i < methods.size(); ++i) {
    const auto& method = methods[i];
    result.names.push_back(method.name);
    TORCH_CHECK_VALUE(
        method.find != nullptr,
        where,
        ": expected a function for each method, but \"",
        method.name,
        "\" has none");
    if (left.size(0) == 0) {
      continue;
    }
    const auto found =
        method.find(images.index_select(0, left.to(images.device())));
    TORCH_CHECK_VALUE(
        found.boxes.num_images() == left.size(0) &&
            found.boxes.image_size() == size,
        where,
        ": expected boxes for ",
        left.size(0),
        " images of ",
        size,
        " from \"",
        method.name,
        "\", but got boxes for ",
        found.boxes.num_images(),
        " of ",
        found.boxes.image_size());
    TORCH_CHECK_VALUE(
        !found.boxes.has_labels(),
        where,
        ": expected boxes without labels, as these speak of the image's class, "
        "but \"",
        method.name,
        "\" gave some");
    const auto boxes = found.boxes.to(torch::kCPU);
    xyxy.push_back(boxes.xyxy().to(torch::kFloat));
    image.push_back(left.index_select(0, boxes.image_index()));
    confidence.push_back(boxes.weights().to(torch::kFloat));
    made_by.push_back(torch::full(
        {boxes.num_boxes()}, static_cast<int64_t>(i), torch::kLong));
    left = left.masked_select(boxes.boxes_per_image() == 0);
  }
  result.boxes = Boxes::none(n, size).with_weights(torch::empty({0}));
  result.confidence = torch::empty({0});
  result.method = torch::empty({0}, torch::kLong);
  if (xyxy.empty()) {
    return result;
  }
  // Image after image; within one, as its method gave them.
  const auto all = torch::cat(image);
  const auto order = std::get<1>(torch::sort(all, /*stable=*/true, 0, false));
  result.confidence = torch::cat(confidence).index_select(0, order);
  result.method = torch::cat(made_by).index_select(0, order);
  result.boxes = Boxes(
                     torch::cat(xyxy).index_select(0, order),
                     all.index_select(0, order),
                     n,
                     size,
                     BoxFormat::kXYXY,
                     BoxUnit::kPixels)
                     .with_weights(result.confidence);
  return result;
}

} // namespace care

#endif // CARE_AUTO_BOXES_HPP
