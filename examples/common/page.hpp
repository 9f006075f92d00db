// What pages that need nothing else are made of: text and pictures inside.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_PAGE_HPP
#define CARE_EXAMPLES_COMMON_PAGE_HPP

#include <care/boxes.hpp>

#include <opencv2/core.hpp>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace common {

/// The text with the letters that HTML gives a meaning written out.
std::string escaped(std::string_view text);

/// 8-bit RGB as a file in memory; `extension` is ".png" or ".jpg".
std::vector<uchar> encoded(const cv::Mat& rgb, const std::string& extension);

/// Writes 8-bit RGB as a file of the path's extension, never half of it.
void write_picture(const std::filesystem::path& path, const cv::Mat& rgb);

std::string base64(const std::vector<uchar>& bytes);

/// 8-bit RGB as an <img> that holds its own PNG.
std::string image_html(const cv::Mat& rgb, std::string_view alt);

/// The picture that wide, its height in proportion.
cv::Mat scaled_to(const cv::Mat& image, int width);

/// Outlines of the boxes of one image, on a dark line, on a tile that shows
/// that image at any size.
void draw_boxes(
    cv::Mat& tile,
    const care::Boxes& boxes,
    const cv::Scalar& colour = {255, 255, 255});

/// Writes text at `corner`, cut where it is wider than `width` pixels. OpenCV's
/// letters are ASCII: others become question marks.
void put_text(
    cv::Mat& sheet,
    std::string text,
    cv::Point corner,
    int width,
    double scale,
    const cv::Scalar& colour);

} // namespace common

#endif // CARE_EXAMPLES_COMMON_PAGE_HPP
