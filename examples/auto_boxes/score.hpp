// How well found boxes fit the manual ones, as a table.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_SCORE_HPP
#define CARE_EXAMPLES_AUTO_BOXES_SCORE_HPP

#include "auto_boxes/find.hpp"

#include <string>
#include <vector>

namespace auto_boxes {

/// A table in Markdown, with a line for each label that has manual boxes, and
/// one for all: the share of pictures with `Found::iou` of at least 1/2, the
/// means of the three figures of fit, the share with a box, milliseconds. In
/// brackets: 95 % bootstrap intervals over the pictures.
std::string score_table(const std::vector<Found>& found);

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_SCORE_HPP
