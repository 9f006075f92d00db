// What pages that need nothing else are made of: style, text, pictures inside.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_PAGE_HPP
#define CARE_EXAMPLES_COMMON_PAGE_HPP

#include <fmt/format.h>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include <array>
#include <string>
#include <string_view>
#include <vector>

namespace common {

inline constexpr const char* kPageStyle = R"css(
:root { color-scheme: light dark; --ink: #1d2329; --soft: #5c6670;
  --paper: #fff; --line: #d9dee3; --panel: #f5f7f9; --plain: #3867a8;
  --care: #c2570c; --other: #b58a1c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #a0aab4;
  --paper: #14181c; --line: #343c44; --panel: #1c2228; --plain: #82b1f5;
  --care: #f5a25d; --other: #e0b64c; } }
body { margin: 0 auto; padding: 2rem 1.5rem; max-width: 62rem;
  background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", sans-serif; }
p, pre { max-width: 46rem; }
.verdict { font-size: 1.15rem; }
.soft, figcaption { color: var(--soft); font-size: .88rem; }
.notice { border-left: 4px solid var(--other); padding: .3rem .9rem; }
pre { background: var(--panel); padding: .7rem .9rem; white-space: pre-wrap;
  font: .85rem ui-monospace, monospace; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .75rem .28rem 0; text-align: left;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
figure { margin: 1rem 0; }
svg { display: block; max-width: 100%; height: auto; }
.pictures { display: grid; gap: .3rem 1rem; max-width: 50rem; }
.pictures img { display: block; width: 100%; }
)css";

/// The text with the letters that HTML gives a meaning written out.
inline std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool special = std::string_view("&<>\"'").find(c) != text.npos;
    out += special ? fmt::format("&#{};", int{c}) : std::string(1, c);
  }
  return out;
}

inline std::string base64(const std::vector<uchar>& bytes) {
  constexpr const char* kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  unsigned bits = 0, left = 0; // that are not written yet, and how many
  for (const auto byte : bytes) {
    bits = bits << 8U | byte;
    for (left += 8; left >= 6; left -= 6) {
      out += kLetters[bits >> (left - 6) & 63U];
    }
  }
  if (left > 0) {
    out += kLetters[bits << (6 - left) & 63U];
  }
  return out.append((4 - out.size() % 4) % 4, '=');
}

/// 8-bit RGB that holds its own PNG, with two lines of text below it.
inline std::string figure_html(
    const cv::Mat& rgb,
    const std::array<std::string, 2>& caption) {
  cv::Mat bgr;
  cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
  std::vector<uchar> bytes;
  cv::imencode(".png", bgr, bytes);
  return fmt::format(
      "<figure><img alt=\"{0}, {1}\" src=\"data:image/png;base64,{2}\">"
      "<figcaption>{0}<br>{1}</figcaption></figure>\n",
      escaped(caption[0]),
      escaped(caption[1]),
      base64(bytes));
}

/// The whole page: `body` is HTML.
inline std::string page(std::string_view title, std::string_view body) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
      "\n<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n<h1>{0}</h1>"
      "\n{2}</body>\n</html>\n",
      escaped(title),
      kPageStyle,
      body);
}

} // namespace common

#endif // CARE_EXAMPLES_COMMON_PAGE_HPP
