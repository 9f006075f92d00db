// The contact sheet: pictures, their lesions, and where networks look.
// SPDX-License-Identifier: Apache-2.0
#include "sheet.hpp"

#include "picture.hpp"

#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace trainer {
namespace {

const cv::Scalar kInk(35, 35, 35), kSoft(95, 100, 105), kWrong(175, 45, 25);

/// Writes at `corner`, cut where it is wider than `width`. OpenCV's letters are
/// ASCII: others become question marks.
void put_text(
    cv::Mat& sheet,
    std::string text,
    cv::Point corner,
    int width,
    double scale,
    const cv::Scalar& colour) {
  for (auto& c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) {
      c = '?';
    }
  }
  constexpr int kFont = cv::FONT_HERSHEY_DUPLEX;
  int baseline = 0;
  while (text.size() > 3 &&
         cv::getTextSize(text, kFont, scale, 1, &baseline).width > width) {
    text.resize(text.size() - (text.back() == '.' ? 4 : 1));
    text += text.size() > 3 && text.back() != '.' ? "..." : "";
  }
  cv::putText(sheet, text, corner, kFont, scale, colour, 1, cv::LINE_AA);
}

// Outlines, light on dark: seen on any skin, leaf or map.
const cv::Scalar kDark(20, 20, 20), kLight(255, 255, 255);

void draw_boxes(
    cv::Mat& tile,
    const std::vector<std::array<double, 4>>& boxes,
    cv::Size stored) {
  const double x = 1.0 * tile.cols / stored.width;
  const double y = 1.0 * tile.rows / stored.height;
  const auto pixel = [](double at) {
    return static_cast<int>(std::lround(std::clamp(at, -1e6, 1e6)));
  };
  for (const auto& [x0, y0, x1, y1] : boxes) {
    const cv::Point from(pixel(x0 * x), pixel(y0 * y));
    const cv::Point to(pixel(x1 * x) - 1, pixel(y1 * y) - 1);
    cv::rectangle(tile, from, to, kDark, 3);
    cv::rectangle(tile, from, to, kLight, 1);
  }
}

void draw_mask(cv::Mat& tile, const cv::Mat& mask) {
  cv::Mat scaled;
  std::vector<std::vector<cv::Point>> outlines;
  cv::resize(mask, scaled, tile.size(), 0, 0, cv::INTER_NEAREST);
  cv::findContours(scaled, outlines, cv::RETR_LIST, cv::CHAIN_APPROX_NONE);
  cv::drawContours(tile, outlines, -1, kDark, 3);
  cv::drawContours(tile, outlines, -1, kLight, 1);
}

} // namespace

SheetRow with_region(const Row& row, bool masks) {
  SheetRow result{read_picture(row.file), {}, {}};
  if (!masks) {
    result.boxes = row.corners();
  } else if (!row.mask.empty()) {
    result.mask = read_mask(row.mask, result.picture.size());
  }
  constexpr int kMostWidth = 480; // a sheet holds many, and shows them smaller
  const auto stored = result.picture.size();
  if (stored.width <= kMostWidth) {
    return result;
  }
  const double scale = 1.0 * kMostWidth / stored.width;
  const int height = std::max(1, cvRound(scale * stored.height));
  const cv::Size small(kMostWidth, height);
  result.picture = resized(result.picture, small);
  if (!result.mask.empty()) {
    cv::resize(result.mask, result.mask, small, 0, 0, cv::INTER_NEAREST);
  }
  for (auto& box : result.boxes) {
    for (size_t i = 0; i < 4; ++i) {
      box[i] *= i % 2 == 0 ? scale : 1.0 * height / stored.height;
    }
  }
  return result;
}

cv::Mat overlay(const cv::Mat& picture, const cv::Mat& map) {
  cv::Mat grey, base, positive = cv::max(map, 0);
  cv::cvtColor(picture, grey, cv::COLOR_RGB2GRAY);
  cv::cvtColor(grey, base, cv::COLOR_GRAY2RGB);
  double top = 0;
  cv::minMaxLoc(positive, nullptr, &top);
  if (!(top > 0) || !std::isfinite(top)) {
    return base;
  }
  cv::Mat heat, levels, colours, share;
  cv::resize(positive / top, heat, picture.size(), 0, 0, cv::INTER_LINEAR);
  heat.convertTo(levels, CV_8U, 255);
  cv::applyColorMap(levels, colours, cv::COLORMAP_TURBO);
  cv::cvtColor(colours, colours, cv::COLOR_BGR2RGB);
  cv::pow(heat, 0.75, share); // little attention leaves the picture to be seen
  cv::blendLinear(colours, base, 0.8 * share, 1 - 0.8 * share, base);
  return base;
}

cv::Mat draw_tile(const SheetRow& row, const Tile& tile, int width) {
  const auto stored = row.picture.size();
  const double height = 1.0 * stored.height * width / stored.width;
  const auto rows = std::lround(std::clamp(height, 1.0, 4.0 * width));
  auto image = resized(row.picture, {width, static_cast<int>(rows)});
  if (!tile.map.empty()) {
    image = overlay(image, tile.map);
  }
  draw_boxes(image, row.boxes, stored);
  if (!row.mask.empty()) {
    draw_mask(image, row.mask);
  }
  return image;
}

cv::Mat contact_sheet(
    const std::vector<std::string>& titles,
    const std::vector<SheetRow>& rows) {
  if (rows.empty()) {
    throw std::invalid_argument("contact_sheet: expected a row, but got none");
  }
  constexpr int kWidth = 240, kGap = 14, kHead = 38, kCaption = 48;
  const auto columns = static_cast<int>(titles.size());
  cv::Mat sheet(
      kHead, kGap + columns * (kWidth + kGap), CV_8UC3, {255, 255, 255});
  const auto left_of = [&](size_t column) {
    return kGap + static_cast<int>(column) * (kWidth + kGap);
  };
  for (size_t c = 0; c < titles.size(); ++c) {
    put_text(sheet, titles[c], {left_of(c), 25}, kWidth, 0.6, kInk);
  }
  for (const auto& row : rows) {
    cv::Mat strip;
    for (size_t c = 0; c < row.tiles.size(); ++c) {
      const auto& tile = row.tiles[c];
      const auto image = draw_tile(row, tile, kWidth);
      if (strip.empty()) {
        strip = cv::Mat(
            image.rows + kCaption, sheet.cols, CV_8UC3, {255, 255, 255});
      }
      const int x = left_of(c);
      image.copyTo(strip(cv::Rect({x, 0}, image.size())));
      const auto& [first, second] = tile.caption;
      put_text(
          strip,
          first,
          {x, image.rows + 17},
          kWidth,
          0.45,
          tile.wrong ? kWrong : kInk);
      put_text(strip, second, {x, image.rows + 34}, kWidth, 0.4, kSoft);
    }
    cv::vconcat(sheet, strip, sheet);
  }
  return sheet;
}

} // namespace trainer
