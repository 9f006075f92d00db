// The contact sheet: found boxes to look through, as a page.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_SHEET_HPP
#define CARE_EXAMPLES_AUTO_BOXES_SHEET_HPP

#include "auto_boxes/find.hpp"
#include "common/page.hpp"
#include "resnet_trainer/files.hpp"
#include "resnet_trainer/picture.hpp"
#include "resnet_trainer/sheet.hpp"

#include <fmt/format.h>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace auto_boxes {
namespace detail {

inline double certainty(const Found& found) {
  return found.boxes.empty() ? -1 : found.boxes.front().confidence;
}

/// The picture as small as its tile, with the manual boxes below the found
/// ones, and what is said of it.
inline trainer::SheetRow shown(const Found& found) {
  const auto& row = found.row;
  const auto& boxes = found.boxes;
  trainer::SheetRow result;
  result.picture = trainer::read_picture(row.file);
  const double width = result.picture.cols, height = result.picture.rows;
  for (const auto& [x0, y0, x1, y1] : row.corners()) {
    cv::rectangle(
        result.picture,
        cv::Point2d(std::clamp(x0, 0.0, width), std::clamp(y0, 0.0, height)),
        cv::Point2d(std::clamp(x1, 0.0, width), std::clamp(y1, 0.0, height)),
        {90, 170, 255},
        1 + result.picture.cols / 120); // seen in the small, too
  }
  std::string line = "no box";
  if (!boxes.empty()) {
    line = fmt::format("{} {:.2f}", boxes[0].method, boxes[0].confidence);
  }
  if (boxes.size() > 1) {
    line += fmt::format(", {} boxes", boxes.size());
  }
  if (!row.boxes.empty()) {
    line += fmt::format(", IoU {:.2f}", found.iou);
  }
  result.tiles = {{{}, {row.path, line}, false}};
  for (const auto& box : boxes) {
    result.boxes.push_back(box.xyxy);
  }
  result.picture = trainer::draw_tile(result, result.tiles[0]);
  result.boxes.clear(); // they are drawn
  return result;
}

} // namespace detail

/// Writes sheet.html, which needs nothing else, with up to `limit` pictures:
/// those without a box come first, then the least certain (by their most
/// certain box), equals in their order. Found boxes are white, manual ones
/// blue. `summary` stands at the head of the page. Throws std::runtime_error
/// for a picture that can no longer be read.
inline void write_sheet(
    const std::filesystem::path& folder,
    std::vector<Found> found,
    size_t limit,
    const std::string& summary) {
  const auto total = found.size(), count = std::min(total, limit);
  std::stable_sort(found.begin(), found.end(), [](auto& a, auto& b) {
    return detail::certainty(a) < detail::certainty(b);
  });
  std::vector<trainer::SheetRow> pictures(count);
  const cv::Range all(0, static_cast<int>(count));
  cv::parallel_for_(all, [&](const cv::Range& range) {
    for (auto k = range.start; k < range.end; ++k) {
      pictures[static_cast<size_t>(k)] =
          detail::shown(found[static_cast<size_t>(k)]);
    }
  });
  auto body = fmt::format(
      "<p>{} of {} pictures: first those without a box, then the least "
      "certain. White: found. Blue: manual.</p>\n<pre>{}</pre>\n<div "
      "class=\"pictures\" style=\"max-width: none; grid-template-columns: "
      "repeat(auto-fill, minmax(220px, 1fr))\">\n",
      count,
      total,
      common::escaped(summary));
  for (const auto& picture : pictures) {
    body += common::figure_html(picture.picture, picture.tiles[0].caption);
  }
  trainer::write_atomically(
      folder / "sheet.html",
      common::page("Boxes without an annotator", body + "</div>\n"));
}

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_SHEET_HPP
