// html: what the reports are made of: style, attention maps, scales of charts.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/html.hpp"

#include <fmt/format.h>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace trainer {
namespace {

constexpr const char* kStyle = R"css(
:root { color-scheme: light dark; --ink: #1d2329; --soft: #5c6670;
  --paper: #ffffff; --line: #d9dee3; --panel: #f5f7f9; --plain: #3867a8;
  --care: #c2570c; --warn: #fff6e0; --warnline: #e0b64c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #a0aab4;
  --paper: #14181c; --line: #343c44; --panel: #1c2228; --plain: #82b1f5;
  --care: #f5a25d; --warn: #2d2715; --warnline: #7d6626; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 60rem;
  background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .75rem; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; }
.verdict { font-size: 1.15rem; }
.soft { color: var(--soft); font-size: .9rem; }
.notice { background: var(--warn); border-left: 4px solid var(--warnline);
  padding: .5rem .9rem; margin: 1.25rem 0; max-width: 46rem; }
code { font: .85rem ui-monospace, "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere; }
pre { background: var(--panel); padding: .7rem .9rem; white-space: pre-wrap;
  border-radius: 4px; margin: .75rem 0; }
.settings { columns: 15rem; column-gap: 2rem; margin: 0; font-size: .85rem; }
.settings div { display: flex; justify-content: space-between; gap: 1rem;
  border-bottom: 1px solid var(--line); padding: .15rem 0;
  break-inside: avoid; }
.settings dt { color: var(--soft); }
.settings dd { margin: 0; text-align: right; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
table.figures { width: 100%; max-width: 52rem; }
th, td { padding: .28rem .75rem .28rem 0; text-align: left;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { border-bottom: 2px solid var(--soft); }
tr.group th { padding-top: .9rem; color: var(--soft); font-size: .8rem;
  font-weight: 600; text-transform: uppercase; letter-spacing: .05em; }
tbody th { font-weight: 400; }
tr.main th { font-weight: 600; }
.ci { color: var(--soft); font-size: .82rem; font-weight: 400; }
.tag { color: var(--care); font-size: .75rem; border: 1px solid currentColor;
  border-radius: 3px; padding: 0 .3rem; margin-left: .4rem; }
.plain { color: var(--plain); } .care { color: var(--care); }
.charts { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); }
.charts figure { margin: 0; }
.charts figcaption { font-weight: 600; font-size: .9rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); }
svg .axis { stroke: var(--line); fill: none; }
svg .zero { stroke: var(--soft); stroke-dasharray: 3 3; }
svg polyline { fill: none; stroke: currentColor; stroke-linejoin: round; }
svg .thin { stroke-width: 1; opacity: .28; }
svg .mean { stroke-width: 2.4; }
svg .mean.plain { stroke-dasharray: 6 3; }
.matrices { display: flex; flex-wrap: wrap; gap: 1rem 2rem; }
.matrix { font-size: .85rem; }
.matrix td, .matrix thead th { text-align: right; padding: .3rem .5rem; }
.matrix thead th { font-weight: 400; }
.matrix td.deep { color: #fff; }
.pictures { display: grid; gap: .3rem 1rem; max-width: 50rem; }
.pictures .head { font-weight: 600; }
.pictures figure { margin: 0 0 .9rem; break-inside: avoid; }
.pictures img { display: block; width: 100%; border-radius: 3px; }
.pictures figcaption { font-size: .85rem; padding-top: .25rem;
  overflow-wrap: anywhere; }
@media print { body { padding: 0; max-width: none; font-size: 11pt; }
  h2 { break-after: avoid; } figure, table { break-inside: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
)css";

} // namespace

const char* page_style() {
  return kStyle;
}

const char* arm_class(const std::string& arm) {
  return arm == "care" ? "care" : "plain";
}

double tick_step(double range) {
  const double power = std::pow(10, std::floor(std::log10(range / 5)));
  for (const double factor : {1, 2, 5}) {
    if (factor * power * 5 >= range) {
      return factor * power;
    }
  }
  return 10 * power;
}

std::string x_axis(
    const Frame& frame,
    const std::function<std::string(double)>& label) {
  const double step = tick_step(frame.x1 - frame.x0);
  std::string svg;
  for (double i = std::ceil(frame.x0 / step - 1e-9);
       i * step <= frame.x1 + step * 1e-9;
       ++i) {
    const double value = std::round(i * step * 1e9) / 1e9 + 0.0; // no -0
    svg += fmt::format(
        "<path class=\"{}\" d=\"M{:.1f} {:.1f}V{:.1f}\"/><text x=\"{:.1f}\" "
        "y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
        i == 0 ? "zero" : "axis",
        frame.x(value),
        frame.top,
        frame.bottom,
        frame.x(value),
        frame.bottom + 15,
        label(value));
  }
  return svg;
}

std::string y_axis(const Frame& frame) {
  const double step = tick_step(frame.y1 - frame.y0);
  std::string svg;
  for (double i = std::ceil(frame.y0 / step - 1e-9);
       i * step <= frame.y1 + step * 1e-9;
       ++i) {
    svg += fmt::format(
        "<path class=\"axis\" d=\"M{:.1f} {:.1f}H{:.1f}\"/><text x=\"{:.1f}\" "
        "y=\"{:.1f}\" text-anchor=\"end\">{:g}</text>\n",
        frame.left,
        frame.y(i * step),
        frame.right,
        frame.left - 5,
        frame.y(i * step) + 4,
        std::round(i * step * 1e9) / 1e9 + 0.0);
  }
  return svg;
}

cv::Mat overlay(const cv::Mat& image, const torch::Tensor& map) {
  if (!map.defined() || map.dim() != 2 || map.numel() == 0) {
    throw std::invalid_argument("overlay: expected a map of shape [h, w]");
  }
  const auto raw = map.detach()
                       .to(torch::kCPU, torch::kFloat)
                       .nan_to_num(0, 0, 0)
                       .clamp_min(0);
  const float top = raw.max().item<float>();
  cv::Mat grey, base;
  cv::cvtColor(image, grey, cv::COLOR_RGB2GRAY);
  cv::cvtColor(grey, base, cv::COLOR_GRAY2RGB);
  if (!(top > 0)) {
    return base;
  }
  const auto scaled = (raw / top).contiguous();
  const cv::Mat cells(
      static_cast<int>(scaled.size(0)),
      static_cast<int>(scaled.size(1)),
      CV_32F,
      scaled.data_ptr<float>());
  cv::Mat heat, levels, colours;
  cv::resize(cells, heat, image.size(), 0, 0, cv::INTER_LINEAR);
  heat.convertTo(levels, CV_8U, 255);
  cv::applyColorMap(levels, colours, cv::COLORMAP_TURBO);
  cv::cvtColor(colours, colours, cv::COLOR_BGR2RGB);
  cv::Mat out(image.size(), CV_8UC3);
  for (int y = 0; y < out.rows; ++y) {
    for (int x = 0; x < out.cols; ++x) {
      // Little attention leaves the image to be seen.
      const float share = 0.8f * std::pow(heat.at<float>(y, x), 0.75f);
      const auto& a = base.at<cv::Vec3b>(y, x);
      const auto& b = colours.at<cv::Vec3b>(y, x);
      for (int c = 0; c < 3; ++c) {
        out.at<cv::Vec3b>(y, x)[c] = cv::saturate_cast<uchar>(
            static_cast<float>(a[c]) * (1 - share) +
            static_cast<float>(b[c]) * share);
      }
    }
  }
  return out;
}

} // namespace trainer
