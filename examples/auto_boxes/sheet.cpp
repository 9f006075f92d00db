// The contact sheet: found boxes to look through, as a page and as a picture.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/sheet.hpp"

#include "common/page.hpp"
#include "resnet_trainer/picture.hpp"
#include "resnet_trainer/sheet.hpp"

#include <fmt/format.h>
#include <opencv2/imgproc.hpp>

#include <algorithm>

namespace auto_boxes {
namespace {

using trainer::SheetRow;

/// The first places to look at.
std::vector<size_t> order_of(const std::vector<Found>& found, size_t limit) {
  std::vector<size_t> order;
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i].error.empty()) {
      order.push_back(i);
    }
  }
  const auto certainty = [&](size_t i) {
    return found[i].boxes.empty() ? -1 : found[i].boxes.front().confidence;
  };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return certainty(a) < certainty(b);
  });
  order.resize(std::min(order.size(), limit));
  return order;
}

/// The picture as small as its tile, with the manual boxes below the found
/// ones, and what is said of it.
SheetRow shown(const trainer::Row& row, const Found& found) {
  SheetRow result;
  auto picture = trainer::read_picture(row.file);
  for (const auto& [x0, y0, x1, y1] : row.boxes) {
    const auto at = [&](double x, double y) {
      return cv::Point2d(
          std::clamp(x, 0.0, 1.0 * picture.cols),
          std::clamp(y, 0.0, 1.0 * picture.rows));
    };
    const int thickness = 1 + picture.cols / 120; // seen in the small, too
    cv::rectangle(picture, at(x0, y0), at(x1, y1), {90, 170, 255}, thickness);
  }
  result.picture = picture;
  std::string line = "no box";
  if (!found.boxes.empty()) {
    const auto& first = found.boxes.front();
    line = fmt::format("{} {:.2f}", first.method, first.confidence);
  }
  if (found.boxes.size() > 1) {
    line += fmt::format(", {} boxes", found.boxes.size());
  }
  if (!row.boxes.empty()) {
    line += fmt::format(", IoU {:.2f}", found.iou);
  }
  result.tiles.push_back({{}, {row.path, line}, false});
  for (const auto& box : found.boxes) {
    result.boxes.push_back(box.xyxy);
  }
  result.picture = trainer::draw_tile(result, result.tiles[0]);
  result.boxes.clear(); // they are drawn
  return result;
}

/// Columns of eight pictures, up to six, side by side.
cv::Mat side_by_side(const std::vector<SheetRow>& pictures) {
  std::vector<cv::Mat> columns;
  int height = 0;
  for (size_t from = 0; from < pictures.size() && from < 48; from += 8) {
    const auto first = pictures.begin() + static_cast<std::ptrdiff_t>(from);
    const auto count = std::min<std::ptrdiff_t>(8, pictures.end() - first);
    columns.push_back(trainer::contact_sheet(
        {fmt::format("from {}", from + 1)}, {first, first + count}));
    height = std::max(height, columns.back().rows);
  }
  const cv::Scalar white(255, 255, 255);
  for (auto& c : columns) {
    cv::copyMakeBorder(
        c, c, 0, height - c.rows, 0, 0, cv::BORDER_CONSTANT, white);
  }
  cv::Mat sheet;
  cv::hconcat(columns, sheet);
  return sheet;
}

} // namespace

void write_sheet(
    const std::filesystem::path& folder,
    const std::vector<trainer::Row>& rows,
    const std::vector<Found>& found,
    size_t limit,
    const std::string& summary) {
  const auto order = order_of(found, limit);
  std::vector<SheetRow> pictures(order.size());
  const auto count = static_cast<int>(order.size());
  cv::parallel_for_({0, count}, [&](const cv::Range& range) {
    for (auto k = range.start; k < range.end; ++k) {
      const auto place = static_cast<size_t>(k);
      pictures[place] = shown(rows[order[place]], found[order[place]]);
    }
  });
  auto body = fmt::format(
      "<p>{} of {} pictures: first those without a box, then the least "
      "certain. White: found. Blue: manual.</p>\n<pre>{}</pre>\n<div "
      "class=\"pictures\" style=\"max-width: none; grid-template-columns: "
      "repeat(auto-fill, minmax(220px, 1fr))\">\n",
      count,
      found.size(),
      common::escaped(summary));
  for (const auto& picture : pictures) {
    const auto& [name, line] = picture.tiles[0].caption;
    body += fmt::format(
        "<figure>{}<figcaption>{}<br>{}</figcaption></figure>\n",
        common::image_html(picture.picture, name),
        common::escaped(name),
        common::escaped(line));
  }
  body += "</div>\n";
  trainer::write_atomically(
      folder / "sheet.html", common::page("Boxes without an annotator", body));
  if (count > 0) {
    trainer::write_picture(folder / "sheet.png", side_by_side(pictures));
  }
}

} // namespace auto_boxes
