// Boxes for every picture, once: kept in a file, and gone on with from there.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_FIND_HPP
#define CARE_EXAMPLES_AUTO_BOXES_FIND_HPP

#include "resnet_trainer/manifest.hpp"

#include <opencv2/core.hpp>

#include <array>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace auto_boxes {

struct FoundBox {
  std::array<double, 4> xyxy{}; ///< in pixels of the stored picture
  std::string method; ///< which made it
  double confidence = 0; ///< 0 to 1
};

/// What was found on the picture of a row. Figures of fit are to the row's own
/// boxes, the manual ones, and 0 where there are none.
struct Found {
  trainer::Row row;
  std::vector<FoundBox> boxes; ///< the most certain first
  double seconds = 0; ///< of one processor, without reading the picture
  double iou = 0; ///< of the first box and the manual one it fits best
  double area_iou = 0; ///< of all found boxes together and all manual ones
  double best_iou = 0; ///< of any cut through the map and all manual ones
};

/// Finds boxes on the picture (8-bit RGB, as stored) of a row. Called from
/// several threads.
using Finder =
    std::function<Found(const cv::Mat& picture, const trainer::Row& row)>;

struct FindSettings {
  int threads = 1;
  /// What the results depend on besides the pictures, as text. A file of
  /// results with another identity is refused.
  std::string identity;
  std::filesystem::path cache; ///< the file of results
  bool fresh = false; ///< forget what is in it
};

/// Finds boxes for every row, on several threads; returns them in their order.
///
/// Results are kept in `cache` every few seconds and at the end, so that a call
/// after an interruption goes on where it was, and one with nothing new reads
/// no picture. A picture is done again when its file or its manual boxes have
/// changed. One that is missing, damaged or too large for the memory, or for
/// which the finder throws anything but std::logic_error, is named on the
/// standard error stream and left out; the next call tries it again. Throws
/// std::runtime_error where that is all of them.
std::vector<Found> find_all(
    const std::vector<trainer::Row>& rows,
    const Finder& finder,
    const FindSettings& settings);

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_FIND_HPP
