// Which images of a batch are guided, and for which class.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_GUIDED_HPP
#define CARE_GUIDE_GUIDED_HPP

#include <care/boxes.hpp>
#include <care/guide/batch.hpp>
#include <care/rasterize/detail/host_cells.hpp>

#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace care::detail {

/// Images of a batch, each at most once, and the class each is guided for.
struct Guided {
  std::vector<int64_t> images, classes;
  std::vector<int64_t> row_class; // of each row of logits; -1 for none

  explicit Guided(int64_t rows) : row_class(static_cast<size_t>(rows), -1) {}

  /// Adds the image, unless it is here already or its row stands for another
  /// class. Images come in order.
  bool add(int64_t image, int64_t row, int64_t label) {
    auto& asked = row_class[static_cast<size_t>(row)];
    if ((!images.empty() && images.back() == image) ||
        (asked >= 0 && asked != label)) {
      return false;
    }
    asked = label;
    images.push_back(image);
    classes.push_back(label);
    return true;
  }
};

/// How many boxes of a weight above 0 speak for the class of each image, [G]
/// on the host.
inline torch::Tensor speaking_boxes(
    const Boxes& boxes,
    const torch::Tensor& classes) {
  return boxes.for_classes(classes).counting().boxes_per_image().to(
      torch::kCPU);
}

/// The guided images: those whose class is listed (or any, without a list) and
/// that have a box which speaks for it. In one round each row of logits stands
/// for one class: what else its images are guided for, in multi-label data, is
/// in further rounds. `target` is that of the rows, `rows` the row each image
/// leads to (see `Seen`); with `classes` their values are checked against it.
inline std::vector<Guided> guided_images(
    const char* where,
    const torch::Tensor& target,
    const Boxes& boxes,
    const torch::Tensor& rows,
    const torch::optional<std::vector<int64_t>>& listed,
    const torch::optional<int64_t>& classes) {
  std::vector<Guided> rounds;
  if (boxes.num_boxes() == 0) {
    return rounds;
  }
  const auto host = host_target(where, target, classes);
  const auto row_of = host_rows(where, rows, boxes.num_images(), host.size(0));
  const auto* row = row_of.data_ptr<int64_t>();
  const auto add = [&](int64_t image, int64_t label) {
    for (auto& round : rounds) {
      if (round.add(image, row[image], label)) {
        return;
      }
    }
    rounds.emplace_back(host.size(0)).add(image, row[image], label);
  };
  const auto is_listed = [&](int64_t label) {
    return !listed ||
        std::find(listed->begin(), listed->end(), label) != listed->end();
  };
  const auto* labels = host.data_ptr<int64_t>();
  const auto images = boxes.num_images();
  if (!is_multi_label(host)) {
    const auto counts = speaking_boxes(boxes, host.index_select(0, row_of));
    for (int64_t i = 0; i < images; ++i) {
      const auto label = labels[row[i]];
      if (counts.data_ptr<int64_t>()[i] > 0 && is_listed(label)) {
        add(i, label);
      }
    }
    return rounds;
  }
  const auto all = host.size(1);
  std::vector<torch::Tensor> counts(static_cast<size_t>(all));
  for (int64_t i = 0; i < images; ++i) {
    for (int64_t k = 0; k < all; ++k) {
      if (labels[row[i] * all + k] == 0 || !is_listed(k)) {
        continue;
      }
      auto& speaking = counts[static_cast<size_t>(k)];
      if (!speaking.defined()) {
        speaking =
            speaking_boxes(boxes, torch::full({images}, k, torch::kLong));
      }
      if (speaking.data_ptr<int64_t>()[i] > 0) {
        add(i, k);
      }
    }
  }
  return rounds;
}

/// The boxes that speak for the guided images, on those images in their order.
/// Throws, by their numbers in the batch, for boxes on the host that lie wholly
/// outside their image.
inline Boxes guided_boxes(
    const char* where,
    const Boxes& boxes,
    const Guided& guided) {
  const bool all =
      static_cast<int64_t>(guided.images.size()) == boxes.num_images();
  if (all && !boxes.has_labels()) {
    return boxes; // whose numbers the rasterizer knows
  }
  std::vector<int64_t> class_of(static_cast<size_t>(boxes.num_images()), -1);
  for (size_t i = 0; i < guided.images.size(); ++i) {
    class_of[static_cast<size_t>(guided.images[i])] = guided.classes[i];
  }
  const auto wanted = torch::tensor(class_of, torch::kLong)
                          .to(boxes.device())
                          .index_select(0, boxes.image_index());
  auto speaks = wanted >= 0;
  if (boxes.has_labels()) {
    const auto labels = boxes.labels();
    speaks = speaks & ((labels == wanted) | (labels < 0));
  }
  if (boxes.device().is_cpu()) {
    check_on_image(where, boxes, speaks);
  }
  const auto kept = boxes.filter(speaks);
  return all
      ? kept
      : kept.select(
            torch::tensor(guided.images, torch::kLong).to(boxes.device()));
}

} // namespace care::detail

#endif // CARE_GUIDE_GUIDED_HPP
