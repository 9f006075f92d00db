// Where training takes its boxes from, and faults to try it with.
// SPDX-License-Identifier: Apache-2.0
#include "study/faults.hpp"

#include "common/random.hpp"
#include "resnet_trainer/picture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <stdexcept>
#include <utility>

namespace study {
namespace {

namespace fs = std::filesystem;

void erase_box(Row& row, size_t i) {
  const auto at = static_cast<std::ptrdiff_t>(i);
  row.boxes.erase(row.boxes.begin() + at);
  row.confidence.erase(row.confidence.begin() + at);
  row.box_where.erase(row.box_where.begin() + at);
}

void take_boxes(Row& to, const Row& from) {
  to.boxes = from.boxes;
  to.confidence = from.confidence;
  to.has_confidence = from.has_confidence;
  to.box_where = from.box_where;
}

/// The places of the rows that have boxes.
std::vector<size_t> boxed(const std::vector<Row>& rows) {
  std::vector<size_t> places;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!rows[i].boxes.empty()) {
      places.push_back(i);
    }
  }
  return places;
}

/// Width and height of the stored picture.
std::array<double, 2> stored_size(const Row& row) {
  const auto picture = trainer::read_picture(row.file);
  return {static_cast<double>(picture.cols), static_cast<double>(picture.rows)};
}

/// All in one circle of random order: each gives its boxes to the next, where
/// they lie as they lay on their own picture.
void shuffle_boxes(std::vector<Row>& rows, common::Random& random) {
  auto circle = boxed(rows);
  if (circle.size() < 2) {
    throw std::invalid_argument(fmt::format(
        "shuffled boxes: expected at least 2 pictures with boxes to learn "
        "from, but got {}",
        circle.size()));
  }
  random.shuffle(circle);
  std::vector<std::array<double, 2>> sizes;
  for (const auto place : circle) {
    sizes.push_back(stored_size(rows[place]));
  }
  const auto given = rows;
  for (size_t i = 0; i < circle.size(); ++i) {
    const auto next = (i + 1) % circle.size();
    auto& to = rows[circle[next]];
    take_boxes(to, given[circle[i]]);
    for (auto& box : to.boxes) {
      for (size_t side = 0; side < 4; ++side) {
        box[side] *= sizes[next][side % 2] / sizes[i][side % 2];
      }
    }
  }
}

/// Takes away that share of all boxes, chosen at random.
void drop_boxes(std::vector<Row>& rows, double share, common::Random& random) {
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
    erase_box(rows[i], m);
  }
}

void shift_boxes(Row& row, double share, common::Random& random) {
  const auto border = stored_size(row);
  for (auto& box : row.boxes) {
    const double angle = random.uniform(0, 6.283185307179586);
    const std::array<double, 2> direction{std::cos(angle), std::sin(angle)};
    for (size_t axis = 0; axis < 2; ++axis) {
      auto& low = box[axis];
      auto& high = box[axis + 2];
      const double step = std::clamp(
          share * (high - low) * direction[axis],
          std::min(-low, 0.0),
          std::max(border[axis] - high, 0.0));
      low += step;
      high += step;
    }
  }
}

void dilate_boxes(Row& row, double factor) {
  for (auto& box : row.boxes) {
    for (size_t axis = 0; axis < 2; ++axis) {
      const double grown = (factor - 1) / 2 * (box[axis + 2] - box[axis]);
      box[axis] -= grown;
      box[axis + 2] += grown;
    }
  }
}

} // namespace

std::vector<Row> with_boxes_of(
    const fs::path& manifest,
    std::vector<Row> rows) {
  std::map<fs::path, Row> others;
  for (auto& other : trainer::read_manifest(manifest)) {
    others[fs::weakly_canonical(other.file)] = std::move(other);
  }
  for (auto& row : rows) {
    const auto found = others.find(fs::weakly_canonical(row.file));
    if (found == others.end()) {
      throw std::runtime_error(fmt::format(
          "{}: expected a row for each picture of the data, but got none for "
          "{}",
          manifest.string(),
          row.file.string()));
    }
    take_boxes(row, found->second);
  }
  return rows;
}

std::vector<Row> with_faults(
    std::vector<Row> rows,
    const Arm& arm,
    uint64_t seed) {
  for (auto& row : rows) {
    for (size_t i = row.boxes.size(); i-- > 0;) {
      if (!arm.weigh_boxes && row.confidence[i] <= 0) {
        erase_box(row, i);
      }
    }
  }
  common::Random random{seed, 0xb0e5};
  if (arm.boxes == "shuffled") {
    shuffle_boxes(rows, random);
  }
  if (arm.box_missing > 0) {
    drop_boxes(rows, arm.box_missing, random);
  }
  for (auto& row : rows) {
    if (arm.box_shift > 0 && !row.boxes.empty()) {
      shift_boxes(row, arm.box_shift, random);
    }
    if (arm.dilate != 1) {
      dilate_boxes(row, arm.dilate);
    }
  }
  return rows;
}

} // namespace study
