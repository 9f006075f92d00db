// The study's charts: scalable pictures of its tables.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_CHARTS_HPP
#define CARE_EXAMPLES_STUDY_CHARTS_HPP

#include "common/page.hpp"
#include "study/grids.hpp"
#include "study/tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace study {

/// One chart, to stand in a page and in a file of its own.
struct Chart {
  std::string name; ///< of its file, without extension
  std::string caption;
  std::string svg; ///< empty: nothing to show
};

namespace detail {

/// Its colours are those of the page, or of a file of its own.
inline constexpr const char* kStyle =
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
inline const char* colour_of(const Arm& arm) {
  return !arm.is_guided()               ? "none"
      : arm.guidance != Guidance::kCare ? "peer"
      : arm.boxes != "manual"           ? "other"
                                        : "care";
}

/// A share of the axis, and where it lies in the picture.
struct Axis {
  double from = 0, to = 0; // pixels
  double low = INFINITY, high = -INFINITY; // values

  /// Of an interval; what is NaN is left out.
  void include(const Interval& x) {
    low = std::fmin(low, std::fmin(x.value, x.low));
    high = std::fmax(high, std::fmax(x.value, x.high));
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

inline std::string text(
    double x,
    double y,
    const char* anchor,
    const std::string& words) {
  constexpr const char* kText =
      "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n";
  return fmt::format(kText, x, y, anchor, common::escaped(words));
}

inline std::string line(
    const char* kind,
    double x0,
    double y0,
    double x1,
    double y1) {
  constexpr const char* kLine =
      "<path class=\"{}\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}\"/>\n";
  return fmt::format(kLine, kind, x0, y0, x1, y1);
}

inline std::string x_ticks(const Axis& x, double top, double bottom) {
  std::string svg;
  for (const auto tick : x.ticks()) {
    const double at = x.at(tick);
    svg += line(tick == 0 ? "zero" : "axis", at, top, at, bottom);
    svg += text(at, bottom + 14, "middle", fmt::format("{:g}", tick));
  }
  return svg;
}

inline std::string svg_of(
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
      common::escaped(said),
      kStyle,
      body);
}

/// Room for a name in the charts' letters.
inline double room_for(const std::string& name) {
  return 14 + 6.0 * static_cast<double>(name.size());
}

} // namespace detail

/// The differences of the figure at `place` as points, arm by arm; thick:
/// bootstrap; thin below: t over splits.
inline Chart forest_chart(
    const Plan& plan,
    const Tables& tables,
    double share,
    size_t place) {
  const auto& title = tables.titles[place];
  Chart chart{
      title + (share > 0 ? fmt::format("-share-{:g}", share) : "-all"),
      title + " less the baseline's, " + plan.title(share),
      ""};
  detail::Axis x;
  x.include({0, -0.03, 0.03});
  std::vector<std::pair<std::string, const Comparison*>> rows;
  for (const auto& c : tables.comparisons) {
    if (c.train_share == share && !std::isnan(c.difference[place].low)) {
      rows.emplace_back(
          fmt::format("{} ({})", plan.arms[c.arm].name, c.splits), &c);
      x.from = std::max(x.from, detail::room_for(rows.back().first));
      x.include(c.difference[place]);
      x.include(c.over_splits[place]);
    }
  }
  if (rows.empty()) {
    return chart;
  }
  x.to = x.from + 400;
  std::string body, said = chart.caption;
  double y = 16;
  for (const auto& [name, c] : rows) {
    const auto &d = c->difference[place], &t = c->over_splits[place];
    body += detail::text(x.from - 10, y + 4, "end", name);
    body +=
        fmt::format("<g class=\"{}\">", detail::colour_of(plan.arms[c->arm]));
    body += detail::line("thick", x.at(d.low), y, x.at(d.high), y);
    body += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4.5\" fill=\"currentColor\"/>",
        x.at(d.value),
        y);
    if (!std::isnan(t.low)) {
      body += detail::line("thin", x.at(t.low), y + 7, x.at(t.high), y + 7);
    }
    body += "</g>\n";
    said += fmt::format("; {} {}", name, text_of(d, true));
    y += 24;
  }
  chart.svg = detail::svg_of(
      said, x.to + 20, y + 16, detail::x_ticks(x, 4, y - 8) + body);
  return chart;
}

/// The figure at `place` against the number of rare images to learn from: a
/// line for each arm that has at least two shares.
inline Chart learning_curve(
    const Plan& plan,
    const Tables& tables,
    size_t place) {
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
  detail::Axis x{46, 520}, y{300, 10};
  std::string body, said = chart.caption;
  for (const auto& [arm, points] : lines) {
    for (const auto* point : points) {
      if (points.size() > 1) {
        x.include({point->rare_images, kNaN, kNaN});
        y.include(point->figures[place]);
      }
    }
  }
  if (!(x.low < x.high) || !(y.low < y.high)) {
    return chart;
  }
  for (const auto tick : y.ticks()) {
    body += detail::line("axis", x.from, y.at(tick), x.to, y.at(tick));
    body += detail::text(
        x.from - 5, y.at(tick) + 4, "end", fmt::format("{:g}", tick));
  }
  std::vector<std::pair<double, std::string>> names; // where a line ends
  for (const auto& [arm, points] : lines) {
    if (points.size() < 2) {
      continue;
    }
    const auto& name = plan.arms[arm].name;
    std::string at, whiskers;
    for (const auto* point : points) {
      const auto& f = point->figures[place];
      const double px = x.at(point->rare_images);
      at += fmt::format("{:.1f},{:.1f} ", px, y.at(f.value));
      if (!std::isnan(f.low)) {
        whiskers += detail::line("thin", px, y.at(f.low), px, y.at(f.high));
      }
      said += fmt::format(
          "; {} with {:.0f} rare images {:.3f}",
          name,
          point->rare_images,
          f.value);
    }
    body += fmt::format(
        "<g class=\"{}\"><polyline points=\"{}\"/>{}</g>\n",
        detail::colour_of(plan.arms[arm]),
        at,
        whiskers);
    names.emplace_back(y.at(points.back()->figures[place].value), name);
  }
  // Downwards, each at least a line's height below the one before.
  std::sort(names.begin(), names.end());
  double last = -INFINITY, right = x.to;
  for (const auto& [wanted, name] : names) {
    last = std::max(wanted, last + 13);
    body += detail::text(x.to + 8, last + 4, "start", name);
    right = std::max(right, x.to + detail::room_for(name));
  }
  body = detail::x_ticks(x, y.to, y.from) + body;
  chart.svg = detail::svg_of(said, right, std::max(y.from, last) + 24, body);
  return chart;
}

} // namespace study

#endif // CARE_EXAMPLES_STUDY_CHARTS_HPP
