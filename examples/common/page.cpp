// What pages that need nothing else are made of: style, text, pictures inside.
// SPDX-License-Identifier: Apache-2.0
#include "common/page.hpp"

#include <fmt/format.h>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <vector>

namespace common {
namespace {

constexpr const char* kStyle = R"css(
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
th, td { padding: .28rem .75rem .28rem 0; text-align: left; font-weight: 400;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { font-weight: 600; }
figure { margin: 1rem 0; }
svg { display: block; max-width: 100%; height: auto; }
.pictures { display: grid; gap: .3rem 1rem; max-width: 50rem; }
.pictures img { display: block; width: 100%; }
)css";

std::string base64(const std::vector<uchar>& bytes) {
  constexpr const char* kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t left = std::min<size_t>(3, bytes.size() - i);
    unsigned group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8U | (j < left ? bytes[i + j] : 0U);
    }
    for (size_t j = 0; j < 4; ++j) {
      out += j <= left ? kLetters[group >> (18 - 6 * j) & 63U] : '=';
    }
  }
  return out;
}

} // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool special = std::string_view("&<>\"'").find(c) != text.npos;
    out += special ? fmt::format("&#{};", int{c}) : std::string(1, c);
  }
  return out;
}

std::string image_html(const cv::Mat& rgb, std::string_view alt) {
  cv::Mat bgr;
  cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
  std::vector<uchar> bytes;
  cv::imencode(".png", bgr, bytes);
  return fmt::format(
      "<img alt=\"{}\" src=\"data:image/png;base64,{}\">",
      escaped(alt),
      base64(bytes));
}

std::string page(std::string_view title, std::string_view body) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
      "\n<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n<h1>{0}</h1>"
      "\n{2}</body>\n</html>\n",
      escaped(title),
      kStyle,
      body);
}

} // namespace common
