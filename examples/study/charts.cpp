// The study's charts: scalable pictures of its tables.
// SPDX-License-Identifier: Apache-2.0
#include "study/charts.hpp"

#include "common/page.hpp"
#include "study/grids.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace study {
namespace {

using common::escaped;

/// Its colours are those of the page, or of a file of its own.
constexpr const char* kStyle =
    "text { font: 11px sans-serif; fill: var(--soft, #5c6670); } "
    ".axis { stroke: var(--line, #d9dee3); } "
    ".zero { stroke: var(--soft, #5c6670); stroke-dasharray: 3 3; } "
    "path, polyline { fill: none; stroke: currentColor; stroke-width: 2.4; } "
    ".axis, .zero, .thin { stroke-width: 1; } "
    ".none { color: var(--plain, #3867a8); } "
    ".care { color: var(--care, #c2570c); } "
    ".other { color: var(--other, #b58a1c); } "
    ".peer { color: var(--soft, #5c6670); }";

/// Without guidance, CARE, CARE with other boxes, or another loss.
const char* colour_of(const Arm& arm) {
  return !arm.is_guided()               ? "none"
      : arm.guidance != Guidance::kCare ? "peer"
      : arm.boxes != "manual"           ? "other"
                                        : "care";
}

/// A share of the axis, and where it lies in the picture.
struct Axis {
  double low = INFINITY, high = -INFINITY; // values
  double from = 0, to = 0; // pixels

  void include(double value) {
    low = std::fmin(low, value);
    high = std::fmax(high, value);
  }
  double at(double value) const {
    return from + (value - low) / (high - low) * (to - from);
  }
  /// Round values, about six of them.
  std::vector<double> ticks() const {
    const double rough = (high - low) / 6;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    const double step = power *
        (rough > 5 * power       ? 10
             : rough > 2 * power ? 5
             : rough > power     ? 2
                                 : 1);
    std::vector<double> all;
    for (double i = std::ceil(low / step); i * step <= high; ++i) {
      all.push_back(std::round(i * step * 1e9) / 1e9 + 0.0); // no -0
    }
    return all;
  }
};

std::string text(
    double x,
    double y,
    const char* anchor,
    const std::string& words) {
  return fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n",
      x,
      y,
      anchor,
      escaped(words));
}

std::string x_ticks(const Axis& x, double top, double bottom) {
  std::string svg;
  for (const auto tick : x.ticks()) {
    svg += fmt::format(
        "<path class=\"{}\" d=\"M{:.1f} {:.1f}V{:.1f}\"/>",
        tick == 0 ? "zero" : "axis",
        x.at(tick),
        top,
        bottom);
    svg += text(x.at(tick), bottom + 14, "middle", fmt::format("{:g}", tick));
  }
  return svg;
}

std::string svg_of(
    const std::string& said,
    double width,
    double height,
    const std::string& body) {
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" "
      "height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" role=\"img\" "
      "aria-label=\"{2}\">\n<style>{3}</style>\n{4}</svg>\n",
      width,
      height,
      escaped(said),
      kStyle,
      body);
}

/// Room for the longest of the names in the charts' letters.
double room_for(size_t letters) {
  return 14 + 6.0 * static_cast<double>(letters);
}

} // namespace

Chart forest_chart(
    const Plan& plan,
    const Tables& tables,
    double share,
    size_t place) {
  const auto& title = tables.titles[place];
  Chart chart{
      fmt::format(
          "{}-{}", title, share > 0 ? fmt::format("share-{:g}", share) : "all"),
      fmt::format(
          "{} less the baseline's, {}", title, share_title(plan, share)),
      ""};
  Axis x;
  x.include(-0.03);
  x.include(0.03);
  size_t letters = 0;
  std::vector<const Comparison*> rows;
  for (const auto& c : tables.comparisons) {
    if (c.train_share == share && !std::isnan(c.difference[place].low)) {
      rows.push_back(&c);
      letters = std::max(letters, plan.arms[c.arm].name.size() + 5);
      for (const auto* figures : {&c.difference, &c.corrected}) {
        x.include((*figures)[place].low);
        x.include((*figures)[place].high);
      }
    }
  }
  if (rows.empty()) {
    return chart;
  }
  x.from = room_for(letters);
  x.to = x.from + 400;
  std::string body, said = chart.caption;
  double y = 16;
  for (const auto* c : rows) {
    const auto& arm = plan.arms[c->arm];
    const auto& d = c->difference[place];
    const auto& t = c->corrected[place];
    const auto name = fmt::format("{} ({})", arm.name, c->units);
    body += text(x.from - 10, y + 4, "end", name);
    body += fmt::format(
        "<g class=\"{0}\"><path d=\"M{1:.1f} {2:.1f}H{3:.1f}\"/><circle "
        "cx=\"{4:.1f}\" cy=\"{2:.1f}\" r=\"4.5\" fill=\"currentColor\"/>",
        colour_of(arm),
        x.at(d.low),
        y,
        x.at(d.high),
        x.at(d.value));
    if (!std::isnan(t.low)) {
      body += fmt::format(
          "<path class=\"thin\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>",
          x.at(t.low),
          y + 7,
          x.at(t.high));
    }
    body += "</g>\n";
    said += fmt::format("; {} {}", name, text_of(d, true));
    y += 24;
  }
  chart.svg = svg_of(said, x.to + 20, y + 16, x_ticks(x, 4, y - 8) + body);
  return chart;
}

Chart learning_curve(const Plan& plan, const Tables& tables, size_t place) {
  const auto& title = tables.titles[place];
  Chart chart{
      "learning-curve-" + title,
      title + " against the rare images to learn from",
      ""};
  std::map<size_t, std::vector<const ArmTable*>> lines;
  for (const auto& arm : tables.arms) {
    if (arm.train_share > 0 && !std::isnan(arm.figures[place].value)) {
      lines[arm.arm].push_back(&arm);
    }
  }
  Axis x, y;
  size_t letters = 0;
  for (auto line = lines.begin(); line != lines.end();) {
    if (line->second.size() < 2) {
      line = lines.erase(line);
      continue;
    }
    letters = std::max(letters, plan.arms[line->first].name.size());
    for (const auto* arm : line->second) {
      const auto& f = arm->figures[place];
      x.include(arm->rare_images);
      y.include(std::fmin(f.value, f.low));
      y.include(std::fmax(f.value, f.high));
    }
    ++line;
  }
  if (lines.empty() || !(x.low < x.high) || !(y.low < y.high)) {
    return chart;
  }
  x.from = 46;
  x.to = 520;
  y.from = 300;
  y.to = 10;
  auto body = x_ticks(x, y.to, y.from);
  for (const auto tick : y.ticks()) {
    body += fmt::format(
        "<path class=\"axis\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>",
        x.from,
        y.at(tick),
        x.to);
    body += text(x.from - 5, y.at(tick) + 4, "end", fmt::format("{:g}", tick));
  }
  std::string said = chart.caption;
  std::vector<std::pair<double, std::string>> names; // where a line ends
  for (const auto& [arm, points] : lines) {
    std::string at, whiskers;
    for (const auto* point : points) {
      const auto& f = point->figures[place];
      const double px = x.at(point->rare_images);
      at += fmt::format("{:.1f},{:.1f} ", px, y.at(f.value));
      if (!std::isnan(f.low)) {
        whiskers += fmt::format(
            "<path class=\"thin\" d=\"M{:.1f} {:.1f}V{:.1f}\"/>",
            px,
            y.at(f.low),
            y.at(f.high));
      }
      said += fmt::format(
          "; {} with {:.0f} rare images {:.3f}",
          plan.arms[arm].name,
          point->rare_images,
          f.value);
    }
    body += fmt::format(
        "<g class=\"{}\"><polyline points=\"{}\"/>{}</g>\n",
        colour_of(plan.arms[arm]),
        at,
        whiskers);
    names.emplace_back(
        y.at(points.back()->figures[place].value), plan.arms[arm].name);
  }
  // Downwards, each at least a line's height below the one before.
  std::sort(names.begin(), names.end());
  double last = -INFINITY;
  for (const auto& [wanted, name] : names) {
    last = std::max(wanted, last + 13);
    body += text(x.to + 8, last + 4, "start", name);
  }
  chart.svg =
      svg_of(said, x.to + room_for(letters), std::max(y.from, last) + 24, body);
  return chart;
}

} // namespace study
