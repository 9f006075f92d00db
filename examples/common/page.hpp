// What pages that need nothing else are made of: style, text, pictures inside.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_PAGE_HPP
#define CARE_EXAMPLES_COMMON_PAGE_HPP

#include <opencv2/core.hpp>

#include <string>
#include <string_view>

namespace common {

/// The text with the letters that HTML gives a meaning written out.
std::string escaped(std::string_view text);

/// 8-bit RGB as an <img> that holds its own PNG.
std::string image_html(const cv::Mat& rgb, std::string_view alt);

/// The whole page: `body` is HTML.
std::string page(std::string_view title, std::string_view body);

} // namespace common

#endif // CARE_EXAMPLES_COMMON_PAGE_HPP
