// Boxes for every picture, once: kept in a file, and gone on with from there.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_FIND_HPP
#define CARE_EXAMPLES_AUTO_BOXES_FIND_HPP

#include "auto_boxes/methods.hpp"
#include "common/manifest.hpp"

#include <care/boxes.hpp>

#include <opencv2/core.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

namespace auto_boxes {

struct FoundBox {
  std::array<double, 4> xyxy{}; ///< in pixels of the stored picture
  std::string method; ///< which made it
  double confidence = 0; ///< 0 to 1
};

/// What was found on one picture.
struct Found {
  std::vector<FoundBox> boxes; ///< the most certain first
  care::Size size; ///< of the stored picture
  /// Of one processor, for map and boxes, without reading the picture.
  double seconds = 0;
  /// The best IoU that any cut through the map has with the manual boxes of the
  /// record; NaN where there are none or the map is flat.
  double best_iou = std::numeric_limits<double>::quiet_NaN();
  std::string error; ///< why the picture was skipped; empty: it was not
};

/// Boxes of one picture (8-bit RGB) by the first method that finds any.
///
/// The work is done on the picture shrunk to a longer side of `side` pixels (0:
/// as it is). `manual` are the boxes to compare the map with, in the picture's
/// pixels; they have no part in what is found.
Found find_on(
    const cv::Mat& picture,
    const std::vector<Method>& methods,
    int64_t side,
    const care::Boxes& manual);

struct FindSettings {
  int64_t side = 512;
  int threads = 1;
  /// What the results depend on besides the pictures, as text. A file of
  /// results with another identity is refused.
  std::string identity;
  std::filesystem::path cache; ///< the file of results
  bool fresh = false; ///< forget what is in it
};

/// `find_on` for every record, in their order, on several threads.
///
/// Results are kept in `cache` every few seconds and at the end, so that a call
/// after an interruption goes on where it was, and one with nothing new reads
/// no picture. A picture is done again when its file has changed. One that is
/// missing or damaged is named on the standard error stream and skipped: its
/// `error` says why, and the next call tries it again.
std::vector<Found> find_all(
    const std::vector<common::Record>& records,
    const std::vector<Method>& methods,
    const FindSettings& settings);

/// Writes a manifest of the pictures that were not skipped: the columns of the
/// input and `method` and `confidence`; paths from the manifest's folder.
void write_manifest(
    const std::filesystem::path& path,
    const std::vector<common::Record>& records,
    const std::vector<Found>& found);

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_FIND_HPP
