// What pages that need nothing else are made of: text and pictures inside.
// SPDX-License-Identifier: Apache-2.0
#include "common/page.hpp"

#include "common/files.hpp"

#include <fmt/format.h>
#include <torch/types.h>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace common {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::vector<uchar> encoded(const cv::Mat& rgb, const std::string& extension) {
  cv::Mat bgr;
  cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
  std::vector<uchar> bytes;
  cv::imencode(extension, bgr, bytes);
  return bytes;
}

void write_picture(const std::filesystem::path& path, const cv::Mat& rgb) {
  const auto bytes = encoded(rgb, path.extension().string());
  write_atomically(
      path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::string base64(const std::vector<uchar>& bytes) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t left = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < left ? bytes[i + j] : 0u);
    }
    for (size_t j = 0; j < 4; ++j) {
      out += j <= left ? kLetters[group >> (18 - 6 * j) & 63] : '=';
    }
  }
  return out;
}

std::string image_html(const cv::Mat& rgb, std::string_view alt) {
  return fmt::format(
      "<img alt=\"{}\" src=\"data:image/png;base64,{}\">",
      escaped(alt),
      base64(encoded(rgb, ".png")));
}

cv::Mat scaled_to(const cv::Mat& image, int width) {
  const auto height = std::max(
      1, static_cast<int>(std::lround(1.0 * image.rows * width / image.cols)));
  cv::Mat out;
  cv::resize(
      image,
      out,
      {width, height},
      0,
      0,
      width < image.cols ? cv::INTER_AREA : cv::INTER_CUBIC);
  return out;
}

void draw_boxes(
    cv::Mat& tile,
    const care::Boxes& boxes,
    const cv::Scalar& colour) {
  const auto sides = boxes.resize({tile.rows, tile.cols})
                         .xyxy()
                         .detach()
                         .to(torch::kCPU, torch::kDouble)
                         .contiguous();
  const auto* side = sides.data_ptr<double>();
  for (int64_t i = 0; i < sides.size(0); ++i, side += 4) {
    const auto x0 = static_cast<int>(std::lround(side[0]));
    const auto y0 = static_cast<int>(std::lround(side[1]));
    const auto x1 = static_cast<int>(std::lround(side[2])) - 1;
    const auto y1 = static_cast<int>(std::lround(side[3])) - 1;
    // Light on dark: seen on any skin, leaf or map.
    cv::rectangle(tile, {x0, y0}, {x1, y1}, {20, 20, 20}, 3);
    cv::rectangle(tile, {x0, y0}, {x1, y1}, colour, 1);
  }
}

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

} // namespace common
