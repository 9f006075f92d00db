// Attention pictures: where networks look, side by side, as a page and a sheet.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/attention_pictures.hpp"

#include "common/page.hpp"
#include "resnet_trainer/html.hpp"
#include "resnet_trainer/train.hpp"

#include <fmt/format.h>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace trainer {
namespace {

constexpr int kTileWidth = 240;
constexpr const char* kFirstColumn = "Image and boxes";

void check_picture(const AttentionPicture& picture) {
  if (picture.image.type() != CV_8UC3 || picture.image.empty()) {
    throw std::invalid_argument(fmt::format(
        "report: expected an RGB image of 8 bits for '{}'", picture.id));
  }
  const auto size = picture.boxes.image_size();
  if (picture.boxes.num_boxes() > 0 &&
      (size.height != picture.image.rows || size.width != picture.image.cols)) {
    throw std::invalid_argument(fmt::format(
        "report: expected boxes in the pixels of image '{}' ({}x{}), but got "
        "boxes on {}x{}",
        picture.id,
        picture.image.cols,
        picture.image.rows,
        size.width,
        size.height));
  }
}

/// The image, or its overlay where `map` is defined, with its boxes.
cv::Mat tile_of(const AttentionPicture& picture, const torch::Tensor& map) {
  auto tile = common::scaled_to(picture.image, kTileWidth);
  if (map.defined()) {
    tile = overlay(tile, map);
  }
  if (picture.boxes.num_boxes() > 0) {
    common::draw_boxes(tile, picture.boxes);
  }
  return tile;
}

/// What stands under a look: {"says nevus (wrong)", "12 % of attention
/// inside"}.
std::array<std::string, 2> caption(
    const AttentionPicture& picture,
    const Look& look) {
  const bool right = look.prediction == picture.label;
  std::string share;
  if (!std::isnan(look.epg)) {
    share = fmt::format("{:.0f} % of attention inside", look.epg * 100);
  } else if (picture.boxes.num_boxes() > 0) {
    share = "no positive attention";
  }
  return {"says " + look.prediction + (right ? " (right)" : " (wrong)"), share};
}

std::string figure_html(
    const cv::Mat& tile,
    const std::string& alt,
    const std::array<std::string, 2>& lines) {
  return fmt::format(
      "<figure>{}<figcaption>{}<br><span class=\"soft\">{}</span></figcaption>"
      "</figure>\n",
      common::image_html(tile, alt),
      common::escaped(lines[0]),
      common::escaped(lines[1]));
}

} // namespace

void add_network(
    AttentionPictures& pictures,
    const std::string& title,
    const Settings& settings,
    ResNet& net,
    const std::vector<common::Sample>& samples,
    const std::vector<std::string>& classes) {
  if (pictures.rows.empty()) {
    for (const auto& sample : samples) {
      pictures.rows.push_back(
          {sample.id,
           classes[static_cast<size_t>(sample.target)],
           sample.image,
           sample.boxes,
           {}});
    }
  }
  const auto maps = attention_maps(settings, net, samples);
  const auto said = predict(settings, net, samples);
  for (size_t i = 0; i < samples.size(); ++i) {
    pictures.rows[i].looks.push_back(
        {maps[static_cast<int64_t>(i)],
         classes[static_cast<size_t>(said[i].predicted())],
         said[i].epg});
  }
  pictures.networks.push_back(title);
}

cv::Mat attention_sheet(const AttentionPictures& pictures, int64_t rows) {
  const auto count = std::min(
      pictures.rows.size(), static_cast<size_t>(std::max<int64_t>(rows, 0)));
  if (count == 0) {
    throw std::invalid_argument("attention_sheet: expected a picture");
  }
  constexpr int kGap = 14, kHead = 38, kCaption = 48;
  const auto columns = 1 + static_cast<int>(pictures.networks.size());
  std::vector<cv::Mat> images;
  int height = kHead;
  for (size_t r = 0; r < count; ++r) {
    check_picture(pictures.rows[r]);
    images.push_back(tile_of(pictures.rows[r], {}));
    height += images.back().rows + kCaption;
  }
  const cv::Scalar ink(35, 35, 35), soft(95, 100, 105);
  const cv::Scalar right(20, 110, 60), wrong(175, 45, 25);
  cv::Mat sheet(
      height,
      kGap + columns * (kTileWidth + kGap),
      CV_8UC3,
      cv::Scalar(255, 255, 255));
  const auto put_tile = [&](const cv::Mat& tile,
                            cv::Point corner,
                            const std::array<std::string, 2>& lines,
                            const cv::Scalar& colour) {
    tile.copyTo(sheet(cv::Rect(corner, tile.size())));
    const auto below = corner + cv::Point(0, tile.rows);
    common::put_text(
        sheet, lines[0], below + cv::Point(0, 17), kTileWidth, 0.45, colour);
    common::put_text(
        sheet, lines[1], below + cv::Point(0, 34), kTileWidth, 0.4, soft);
  };
  for (int c = 0; c < columns; ++c) {
    const int x = kGap + c * (kTileWidth + kGap);
    const auto network = static_cast<size_t>(c - 1);
    const auto& title = c == 0 ? kFirstColumn : pictures.networks[network];
    common::put_text(sheet, title, {x, 25}, kTileWidth, 0.6, ink);
    int y = kHead;
    for (size_t r = 0; r < count; ++r) {
      const auto& picture = pictures.rows[r];
      if (c == 0) {
        put_tile(images[r], {x, y}, {picture.label, picture.id}, ink);
      } else if (const auto& look = picture.looks[network];
                 look.map.defined()) {
        put_tile(
            tile_of(picture, look.map),
            {x, y},
            caption(picture, look),
            look.prediction == picture.label ? right : wrong);
      }
      y += images[r].rows + kCaption;
    }
  }
  return sheet;
}

std::string attention_html(const AttentionPictures& pictures) {
  if (pictures.rows.empty()) {
    return "";
  }
  auto html = fmt::format(
      "<h2>Where the networks look</h2>\n<p class=\"soft\">Grad-CAM of the "
      "true class on test images: negative cells cut, divided by the map's "
      "maximum, brought up bilinearly. Red is most, no colour is none; a map "
      "without a positive cell leaves the image grey. White: the boxes, which "
      "no network is given at test time.</p>\n"
      "<div class=\"pictures\" style=\"grid-template-columns: repeat({}, "
      "minmax(0, 1fr))\">\n<div class=\"head\">{}</div>\n",
      1 + pictures.networks.size(),
      kFirstColumn);
  for (const auto& network : pictures.networks) {
    html +=
        fmt::format("<div class=\"head\">{}</div>\n", common::escaped(network));
  }
  for (const auto& picture : pictures.rows) {
    check_picture(picture);
    html += figure_html(
        tile_of(picture, {}),
        fmt::format("{}, true class {}", picture.id, picture.label),
        {picture.label, picture.id});
    for (size_t i = 0; i < pictures.networks.size(); ++i) {
      const auto& look = picture.looks[i];
      if (!look.map.defined()) {
        html += "<div></div>\n";
        continue;
      }
      const auto lines = caption(picture, look);
      html += figure_html(
          tile_of(picture, look.map),
          fmt::format(
              "{}: attention with {}; {}; {}",
              picture.id,
              pictures.networks[i],
              lines[0],
              lines[1]),
          lines);
    }
  }
  return html + "</div>\n";
}

} // namespace trainer
