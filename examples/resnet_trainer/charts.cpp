// charts: the charts of the report, as SVG in HTML.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/charts.hpp"

#include "common/page.hpp"
#include "resnet_trainer/html.hpp"
#include "resnet_trainer/verdict.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

namespace trainer {

namespace {

using care::Interval;

using Line = std::map<int64_t, double>; // by epoch

struct Chart {
  std::string title;
  double EpochRow::*member;
};

std::string polyline(
    const Line& line,
    const Frame& frame,
    std::string_view css) {
  std::string points;
  for (const auto& [epoch, value] : line) {
    points += fmt::format(
        "{:.1f},{:.1f} ", frame.x(static_cast<double>(epoch)), frame.y(value));
  }
  return fmt::format("<polyline class=\"{}\" points=\"{}\"/>\n", css, points);
}

Line mean_of(const std::vector<Line>& lines) {
  std::map<int64_t, std::pair<double, double>> sums;
  for (const auto& line : lines) {
    for (const auto& [epoch, value] : line) {
      sums[epoch].first += value;
      sums[epoch].second += 1;
    }
  }
  Line mean;
  for (const auto& [epoch, sum] : sums) {
    mean[epoch] = sum.first / sum.second;
  }
  return mean;
}

std::string axes(const Frame& frame, int64_t stage_two) {
  auto svg = fmt::format(
      "<path class=\"axis\" d=\"M{0} {2}V{3}H{1}\"/>\n",
      frame.left,
      frame.right,
      frame.top,
      frame.bottom);
  svg += y_axis(frame);
  const double epochs = std::max(1.0, tick_step(frame.x1 - frame.x0));
  for (double i = std::ceil(frame.x0 / epochs - 1e-9); i * epochs <= frame.x1;
       ++i) {
    svg += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{:g}</text>\n",
        frame.x(i * epochs),
        frame.bottom + 15,
        i * epochs);
  }
  if (stage_two > 1) {
    const double x = frame.x(static_cast<double>(stage_two) - 0.5);
    svg += fmt::format(
        "<path class=\"zero\" d=\"M{0:.1f} {1}V{2}\"/><text x=\"{0:.1f}\" "
        "y=\"{3}\" text-anchor=\"middle\">stage 2</text>\n",
        x,
        frame.top,
        frame.bottom,
        frame.bottom + 29);
  }
  return svg +
      fmt::format(
             "<text x=\"{}\" y=\"{}\">epoch</text>\n",
             frame.left,
             frame.bottom + 29);
}

std::string chart_html(
    const std::vector<const Run*>& runs,
    const Chart& chart) {
  std::map<std::string, std::vector<Line>> lines;
  Frame frame;
  double low = INFINITY, high = -INFINITY;
  int64_t last = 2, stage_two = 0;
  for (const auto* run : runs) {
    Line line;
    for (const auto& row : run->epochs) {
      last = std::max(last, row.epoch);
      if (row.stage == 2 && (stage_two == 0 || row.epoch < stage_two)) {
        stage_two = row.epoch;
      }
      const double value = row.*chart.member;
      if (std::isfinite(value)) {
        line[row.epoch] = value;
        low = std::min(low, value);
        high = std::max(high, value);
      }
    }
    if (!line.empty()) {
      lines[run->arm].push_back(std::move(line));
    }
  }
  if (lines.empty()) {
    return "";
  }
  frame.x1 = static_cast<double>(last);
  frame.y0 = std::min(low, 0.0);
  frame.y1 = high > frame.y0 ? high : frame.y0 + 1;
  std::string drawn, said;
  for (const auto& [arm, all] : lines) {
    for (const auto& line : all) {
      drawn += polyline(line, frame, fmt::format("thin {}", arm_class(arm)));
    }
  }
  for (const auto& [arm, all] : lines) {
    const auto mean = mean_of(all);
    drawn += polyline(mean, frame, fmt::format("mean {}", arm_class(arm)));
    said += fmt::format(
        "; {} ends at {:.3f}", arm_title(arm), mean.rbegin()->second);
  }
  return fmt::format(
      "<figure><figcaption>{0}</figcaption>\n<svg viewBox=\"0 0 360 212\" "
      "role=\"img\" aria-label=\"{0} by epoch, mean over the runs{1}\">\n"
      "{2}{3}</svg></figure>\n",
      common::escaped(chart.title),
      common::escaped(said),
      axes(frame, stage_two),
      drawn);
}

} // namespace

std::string curves_html(const std::vector<Run>& runs) {
  std::vector<const Run*> networks; // not once for each test set
  std::set<std::tuple<std::string, int64_t, int64_t>> seen;
  for (const auto& run : runs) {
    if (!run.epochs.empty() &&
        seen.emplace(run.arm, run.fold, run.seed).second) {
      networks.push_back(&run);
    }
  }
  std::string html;
  for (const auto& chart :
       {Chart{"Training loss", &EpochRow::train_loss},
        Chart{"Validation MCA", &EpochRow::val_mca},
        Chart{
            "Share of attention inside the boxes", &EpochRow::inside_share}}) {
    html += chart_html(networks, chart);
  }
  if (html.empty()) {
    return "";
  }
  return "<h2>Epoch by epoch</h2>\n<p class=\"soft\">Thick: the mean over the "
         "runs. Thin: each run. <span class=\"plain\">Plain training is "
         "dashed</span>, <span class=\"care\">CARE is solid</span>. The two "
         "losses are not of one scale: CARE's has the attention term in "
         "it.</p>\n<div class=\"charts\">\n" +
      html + "</div>\n";
}

std::string forest_html(const Difference& difference) {
  const std::array<std::pair<const char*, const Interval*>, 4> rows{
      {{"rare recall", &difference.rare_recall},
       {"MCA", &difference.mca},
       {"accuracy", &difference.accuracy},
       {"EPG", &difference.epg}}};
  double low = -0.05, high = 0.05;
  for (const auto& [name, x] : rows) {
    if (!std::isnan(x->low)) {
      low = std::min(low, x->low);
      high = std::max(high, x->high);
    }
  }
  Frame frame;
  frame.left = 90;
  frame.right = 600;
  frame.x0 = low - 0.02;
  frame.x1 = high + 0.02;
  std::string body, said;
  double y = 16;
  for (const auto& [name, x] : rows) {
    if (std::isnan(x->low)) {
      continue;
    }
    body += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>"
        "<path d=\"M{:.1f} {:.1f}H{:.1f}\" stroke=\"currentColor\" "
        "stroke-width=\"2\"/><circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4.5\" "
        "fill=\"currentColor\"/>\n",
        frame.left - 10,
        y + 4,
        name,
        frame.x(x->low),
        y,
        frame.x(x->high),
        frame.x(x->value),
        y);
    said += fmt::format(
        "; {} {:+.3f} ({:+.3f} to {:+.3f})", name, x->value, x->low, x->high);
    y += 24;
  }
  if (said.empty()) {
    return "";
  }
  frame.top = 4;
  frame.bottom = y - 8;
  const auto ticks = x_axis(frame, [](double value) {
    return value == 0 ? std::string("0") : fmt::format("{:+.3g}", value);
  });
  return fmt::format(
      "<svg class=\"care\" style=\"max-width: 42rem; margin: .5rem 0 1rem\" "
      "viewBox=\"0 0 620 {:.0f}\" role=\"img\" aria-label=\"CARE minus plain "
      "training{}\">\n{}{}</svg>\n",
      y + 14,
      said,
      ticks,
      body);
}

} // namespace trainer
