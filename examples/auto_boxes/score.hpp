// How well found boxes fit the manual ones.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_SCORE_HPP
#define CARE_EXAMPLES_AUTO_BOXES_SCORE_HPP

#include "auto_boxes/find.hpp"
#include "common/manifest.hpp"

#include <care/metrics/bootstrap.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace auto_boxes {

/// Intersection over union of two boxes x0, y0, x1, y1.
double box_iou(const std::array<double, 4>& a, const std::array<double, 4>& b);

/// How well one picture's boxes fit.
struct Fit {
  double iou = 0; ///< of the most certain box and the manual one it fits best
  double area_iou = 0; ///< of all found boxes together and all manual ones
  bool found = false; ///< a box was found at all
};

/// Throws std::invalid_argument for a record without a box.
Fit fit_of(const common::Record& record, const Found& found);

/// The figures of a group of pictures; means over those with a manual box.
struct Score {
  std::string group; ///< a label, or "all"
  int64_t images = 0; ///< with a manual box
  care::Interval half; ///< share with an IoU of at least 1/2
  care::Interval iou; ///< mean IoU; 0 counts where nothing was found
  double area_iou = 0; ///< mean IoU of the areas
  double best_iou = 0; ///< mean of the best cut through the map
  double found = 0; ///< share of pictures on which a box was found
  double milliseconds = 0; ///< mean time of one processor for a picture
};

/// One score for each label that has boxes, in order, and one for all. Skipped
/// pictures have no part. The intervals are a bootstrap over the pictures.
std::vector<Score> score(
    const std::vector<common::Record>& records,
    const std::vector<Found>& found);

/// The scores as a table in Markdown.
std::string score_table(const std::vector<Score>& scores);

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_SCORE_HPP
