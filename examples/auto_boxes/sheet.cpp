// The contact sheet: found boxes to look through, as a page and as a picture.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/sheet.hpp"

#include "auto_boxes/score.hpp"
#include "common/files.hpp"
#include "common/page.hpp"
#include "common/parallel.hpp"
#include "common/pictures.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace auto_boxes {
namespace {

using common::Record;

constexpr int kTileWidth = 220;
constexpr int kColumns = 6; // of sheet.png
constexpr size_t kRows = 8;

constexpr const char* kStyle = R"css(
:root { color-scheme: light dark; }
body { margin: 0; padding: 1.5rem; font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0 0 .5rem; }
pre { white-space: pre-wrap; }
main { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); }
figure { margin: 0; }
img { width: 100%; display: block; }
figcaption { font-size: .8rem; overflow-wrap: anywhere; }
)css";

double certainty(const Found& found) {
  return found.boxes.empty() ? -1 : found.boxes.front().confidence;
}

/// What is said below a picture: two lines.
std::array<std::string, 2> caption(const Record& record, const Found& found) {
  std::string line = "no box";
  if (!found.boxes.empty()) {
    const auto& first = found.boxes.front();
    line = fmt::format("{} {:.2f}", first.method, first.confidence);
    if (found.boxes.size() > 1) {
      line += fmt::format(", {} boxes", found.boxes.size());
    }
  }
  if (!record.boxes.empty()) {
    line += fmt::format(", IoU {:.2f}", fit_of(record, found).iou);
  }
  return {record.path, line};
}

cv::Mat tile_of(const Record& record, const Found& found) {
  auto tile = common::scaled_to(common::read_picture(record), kTileWidth);
  common::draw_boxes(
      tile, common::boxes_on(record, found.size), {90, 170, 255});
  std::vector<std::array<double, 4>> boxes;
  for (const auto& box : found.boxes) {
    boxes.push_back(box.xyxy);
  }
  common::draw_boxes(tile, care::Boxes::from_lists({boxes}, found.size));
  return tile;
}

void write_grid(
    const std::filesystem::path& path,
    const std::vector<cv::Mat>& tiles,
    const std::vector<std::array<std::string, 2>>& captions) {
  const auto count = std::min(tiles.size(), kRows * kColumns);
  constexpr int kGap = 8, kText = 36;
  int tallest = 0;
  for (size_t i = 0; i < count; ++i) {
    tallest = std::max(tallest, tiles[i].rows);
  }
  const int cell = tallest + kText + kGap;
  const auto rows = static_cast<int>((count + kColumns - 1) / kColumns);
  cv::Mat sheet(
      kGap + rows * cell,
      kGap + kColumns * (kTileWidth + kGap),
      CV_8UC3,
      cv::Scalar(255, 255, 255));
  for (size_t i = 0; i < count; ++i) {
    const auto place = static_cast<int>(i);
    const cv::Point corner(
        kGap + place % kColumns * (kTileWidth + kGap),
        kGap + place / kColumns * cell);
    tiles[i].copyTo(sheet(cv::Rect(corner, tiles[i].size())));
    for (int line = 0; line < 2; ++line) {
      common::put_text(
          sheet,
          captions[i][static_cast<size_t>(line)],
          corner + cv::Point(0, tiles[i].rows + 14 + 15 * line),
          kTileWidth,
          0.38,
          {40, 40, 40});
    }
  }
  common::write_picture(path, sheet);
}

} // namespace

std::vector<size_t> to_look_through(
    const std::vector<Found>& found,
    int64_t limit) {
  std::vector<size_t> order;
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i].error.empty()) {
      order.push_back(i);
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return certainty(found[a]) < certainty(found[b]);
  });
  order.resize(std::min(order.size(), static_cast<size_t>(limit)));
  return order;
}

void write_sheet(
    const std::filesystem::path& folder,
    const std::vector<Record>& records,
    const std::vector<Found>& found,
    int64_t limit,
    int threads,
    const std::string& summary) {
  const auto order = to_look_through(found, limit);
  std::vector<cv::Mat> tiles(order.size());
  std::vector<std::array<std::string, 2>> captions(order.size());
  common::parallel_for(order.size(), threads, [&](size_t k) {
    const auto i = order[k];
    tiles[k] = tile_of(records[i], found[i]);
    captions[k] = caption(records[i], found[i]);
  });
  auto html = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta "
      "charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\">\n<title>Boxes without "
      "an annotator</title>\n<style>{}</style>\n</head>\n<body>\n<h1>Boxes "
      "without an annotator</h1>\n<p>{} of {} pictures: first those without a "
      "box, then the least certain. White: found. Blue: manual.</p>\n"
      "<pre>{}</pre>\n<main>\n",
      kStyle,
      order.size(),
      found.size(),
      common::escaped(summary));
  for (size_t k = 0; k < order.size(); ++k) {
    html += fmt::format(
        "<figure><img alt=\"\" src=\"data:image/jpeg;base64,{}\"><figcaption>{}"
        "<br>{}</figcaption></figure>\n",
        common::base64(common::encoded(tiles[k], ".jpg")),
        common::escaped(captions[k][0]),
        common::escaped(captions[k][1]));
  }
  html += "</main>\n</body>\n</html>\n";
  common::write_atomically(folder / "sheet.html", html);
  if (!tiles.empty()) {
    write_grid(folder / "sheet.png", tiles, captions);
  }
}

} // namespace auto_boxes
