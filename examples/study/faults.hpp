// Where training takes its boxes from, and faults to try it with.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_FAULTS_HPP
#define CARE_EXAMPLES_STUDY_FAULTS_HPP

#include "common/random.hpp"
#include "resnet_trainer/manifest.hpp"
#include "resnet_trainer/picture.hpp"
#include "study/plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace study {

using trainer::Row;

namespace detail {

inline void take_boxes(Row& to, const Row& from) {
  to.boxes = from.boxes;
  to.has_confidence = from.has_confidence;
  to.mask = from.mask;
}

/// Width and height of the stored picture.
inline std::array<double, 2> stored_size(const Row& row) {
  const auto size = trainer::read_picture(row.file).size();
  return {static_cast<double>(size.width), static_cast<double>(size.height)};
}

/// All in one circle of random order: each gives its boxes, or its mask, to the
/// next, where they lie as they lay on their own picture.
inline void shuffle_boxes(
    std::vector<Row>& rows,
    bool masks,
    common::Random& random) {
  std::vector<Row*> circle;
  for (auto& row : rows) {
    if (row.has_region(masks)) {
      circle.push_back(&row);
    }
  }
  if (circle.size() < 2) {
    throw std::invalid_argument(fmt::format(
        "shuffled boxes: expected at least 2 pictures with {} to learn from, "
        "but got {}",
        masks ? "masks" : "boxes",
        circle.size()));
  }
  random.shuffle(circle);
  auto from = *circle.back();
  auto old_size = stored_size(from);
  for (auto* to : circle) {
    const auto size = stored_size(*to);
    const auto own = *to;
    take_boxes(*to, from);
    for (auto& box : to->boxes) {
      for (size_t side = 0; side < 4; ++side) {
        box.xyxy[side] *= size[side % 2] / old_size[side % 2];
      }
    }
    from = own;
    old_size = size;
  }
}

/// Takes away that share of all boxes, chosen at random.
inline void drop_boxes(
    std::vector<Row>& rows,
    double share,
    common::Random& random) {
  std::vector<std::pair<size_t, size_t>> all;
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t m = 0; m < rows[i].boxes.size(); ++m) {
      all.emplace_back(i, m);
    }
  }
  random.shuffle(all);
  all.resize(static_cast<size_t>(
      std::llround(share * static_cast<double>(all.size()))));
  std::sort(all.rbegin(), all.rend()); // a row's last box first
  for (const auto& [i, m] : all) {
    auto& boxes = rows[i].boxes;
    boxes.erase(boxes.begin() + static_cast<std::ptrdiff_t>(m));
  }
}

inline void shift_boxes(Row& row, double share, common::Random& random) {
  const auto border = stored_size(row);
  for (auto& box : row.boxes) {
    const double angle = random.uniform(0, 6.283185307179586);
    const std::array<double, 2> direction{std::cos(angle), std::sin(angle)};
    for (size_t axis = 0; axis < 2; ++axis) {
      auto &low = box.xyxy[axis], &high = box.xyxy[axis + 2];
      const double step = std::clamp(
          share * (high - low) * direction[axis],
          std::min(-low, 0.0),
          std::max(border[axis] - high, 0.0));
      low += step;
      high += step;
    }
  }
}

inline void dilate_boxes(Row& row, double factor) {
  for (auto& [box, where, label, confidence] : row.boxes) {
    for (size_t axis = 0; axis < 2; ++axis) {
      const double grown = (factor - 1) / 2 * (box[axis + 2] - box[axis]);
      box[axis] -= grown;
      box[axis + 2] += grown;
    }
  }
}

} // namespace detail

/// The rows with the boxes that another manifest has for their pictures, say
/// one of auto_boxes. Two rows mean the same picture when their paths lead to
/// the same file. Throws std::runtime_error for a picture that `manifest` does
/// not list (one without a box has a row without one).
inline std::vector<Row> with_boxes_of(
    const std::filesystem::path& manifest,
    std::vector<Row> rows) {
  std::map<std::filesystem::path, Row> others;
  for (auto& other : trainer::read_manifest(manifest)) {
    others[std::filesystem::weakly_canonical(other.file)] = std::move(other);
  }
  for (auto& row : rows) {
    const auto found = others.find(std::filesystem::weakly_canonical(row.file));
    if (found == others.end()) {
      throw std::runtime_error(fmt::format(
          "{}: expected a row for each picture of the data, but got none for "
          "{}",
          manifest.string(),
          row.file.string()));
    }
    detail::take_boxes(row, found->second);
  }
  return rows;
}

/// The rows with the boxes that training shall see, those of the arm's manifest
/// if it names one. Then, in this order:
///
///   shuffled      each picture with boxes (with `masks`: a mask) gets those of
///                 another one
///   box_missing   this share of all boxes is taken away
///   box_shift     each box is moved by this share of its width and height in a
///                 random direction, but not beyond the border
///   dilate        each box is scaled about its centre, and cut at the border
///
/// The same seed gives the same. A box of confidence 0 is none, unless boxes
/// are weighed. Throws std::invalid_argument when there are no two pictures
/// with boxes to shuffle them between.
inline std::vector<Row> with_faults(
    std::vector<Row> rows,
    const Arm& arm,
    uint64_t seed,
    bool masks = false) {
  if (!arm.box_manifest().empty()) {
    rows = with_boxes_of(arm.box_manifest(), std::move(rows));
  }
  for (auto& row : rows) {
    const auto is_none = [&](const trainer::LesionBox& box) {
      return !arm.weigh_boxes && box.confidence <= 0;
    };
    auto& boxes = row.boxes;
    boxes.erase(
        std::remove_if(boxes.begin(), boxes.end(), is_none), boxes.end());
  }
  common::Random random{seed, 0xb0e5};
  if (arm.boxes == "shuffled") {
    detail::shuffle_boxes(rows, masks, random);
  }
  if (arm.box_missing > 0) {
    detail::drop_boxes(rows, arm.box_missing, random);
  }
  for (auto& row : rows) {
    if (arm.box_shift > 0 && !row.boxes.empty()) {
      detail::shift_boxes(row, arm.box_shift, random);
    }
    if (arm.dilate != 1) {
      detail::dilate_boxes(row, arm.dilate);
    }
  }
  return rows;
}

} // namespace study

#endif // CARE_EXAMPLES_STUDY_FAULTS_HPP
