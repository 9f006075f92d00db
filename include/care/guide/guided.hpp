// Which images of a batch are guided, and for which class.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_GUIDED_HPP
#define CARE_GUIDE_GUIDED_HPP

#include <care/guide/batch.hpp>
#include <care/guide/regions.hpp>

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

/// The guided images: those whose class is listed (or any, without a list) and
/// that have a region which speaks for it. In one round each row of logits
/// stands for one class: what else its images are guided for, in multi-label
/// data, is in further rounds. `target` is that of the rows, `rows` the row
/// each image leads to (see `Seen`); with `classes` their values and the labels
/// of boxes are checked against it.
inline std::vector<Guided> guided_images(
    const char* where,
    const torch::Tensor& target,
    const Regions& regions,
    const torch::Tensor& rows,
    const torch::optional<std::vector<int64_t>>& listed,
    const torch::optional<int64_t>& classes) {
  std::vector<Guided> rounds;
  if (are_none(regions)) {
    return rounds;
  }
  if (classes) {
    check_box_labels(where, regions, *classes);
  }
  const auto images = num_images(where, regions);
  const auto speak = speaking(where, regions);
  const auto host = host_target(where, target, classes);
  const auto row_of = host_rows(where, rows, images, host.size(0));
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
  if (!is_multi_label(host)) {
    const auto speaks = speak(host.index_select(0, row_of));
    for (int64_t i = 0; i < images; ++i) {
      const auto label = labels[row[i]];
      if (speaks.data_ptr<bool>()[i] && is_listed(label)) {
        add(i, label);
      }
    }
    return rounds;
  }
  const auto all = host.size(1);
  std::vector<torch::Tensor> of_class(static_cast<size_t>(all));
  for (int64_t i = 0; i < images; ++i) {
    for (int64_t k = 0; k < all; ++k) {
      if (labels[row[i] * all + k] == 0 || !is_listed(k)) {
        continue;
      }
      auto& speaks = of_class[static_cast<size_t>(k)];
      if (!speaks.defined()) {
        speaks = speak(torch::full({images}, k, torch::kLong));
      }
      if (speaks.data_ptr<bool>()[i]) {
        add(i, k);
      }
    }
  }
  return rounds;
}

} // namespace care::detail

#endif // CARE_GUIDE_GUIDED_HPP
