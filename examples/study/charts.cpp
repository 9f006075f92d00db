// The study's charts: scalable pictures of its tables.
// SPDX-License-Identifier: Apache-2.0
#include "study/charts.hpp"

#include "common/page.hpp"
#include "resnet_trainer/html.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace study {
namespace {

using common::escaped;
using trainer::Frame;

constexpr const char* kStyle = R"css(
svg .none { color: var(--plain); } svg .guided { color: var(--care); }
svg .peer { color: var(--soft); } svg .other { color: var(--warnline); }
svg .bar { fill: currentColor; opacity: .8; }
svg .thint { stroke: currentColor; stroke-width: 1; opacity: .6; }
svg .name { fill: var(--ink); } svg .ink { color: var(--ink); }
)css";

/// For a file of its own: the same in colours that every program knows.
constexpr const char* kFileStyle = R"css(
text { font: 11px sans-serif; fill: #5c6670; } .name { fill: #1d2329; }
.title { font-weight: 600; }
.axis { stroke: #d9dee3; fill: none; }
.zero { stroke: #5c6670; stroke-dasharray: 3 3; }
polyline { fill: none; stroke: currentColor; stroke-width: 2.4;
  stroke-linejoin: round; }
.bar { fill: currentColor; opacity: .8; }
.thint { stroke: currentColor; stroke-width: 1; opacity: .6; }
.none { color: #3867a8; } .guided { color: #c2570c; } .peer { color: #5c6670; }
.other { color: #e0b64c; } .ink { color: #1d2329; }
)css";

/// Which of four colours an arm has: without guidance, CARE, a control of it, a
/// peer.
const char* colour_of(const Arm& arm) {
  return !arm.is_guided()      ? "none"
      : arm.guidance != "care" ? "peer"
      : arm.boxes != "manual"  ? "other"
                               : "guided";
}

/// Room for the longest of `names` in the charts' letters.
double width_of(const std::vector<std::string>& names) {
  size_t longest = 0;
  for (const auto& name : names) {
    longest = std::max(longest, name.size());
  }
  return 12 + 5.9 * static_cast<double>(longest);
}

std::string plain_number(double value) {
  return fmt::format("{:g}", value);
}

} // namespace

const char* chart_style() {
  return kStyle;
}

Chart forest_chart(
    const Plan& plan,
    const std::vector<Comparison>& rows,
    const std::string& caption,
    Member member) {
  Chart chart;
  chart.caption = caption;
  Frame frame;
  std::vector<std::string> names;
  double low = -0.02, high = 0.02;
  for (const auto& c : rows) {
    names.push_back(fmt::format("{} ({})", plan.arms[c.arm].name, c.units));
    for (const auto* x : {&(c.difference.*member), &(c.corrected.*member)}) {
      if (!std::isnan(x->low)) {
        low = std::min(low, x->low);
        high = std::max(high, x->high);
      }
    }
  }
  frame.left = width_of(names);
  frame.right = frame.left + 400;
  frame.x0 = low - 0.02;
  frame.x1 = high + 0.02;
  double y = frame.top + 14;
  std::string body;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto& x = rows[i].difference.*member;
    if (std::isnan(x.low)) {
      continue;
    }
    const auto& t = rows[i].corrected.*member;
    body += fmt::format(
        "<g class=\"{0}\"><text class=\"name\" x=\"{1:.1f}\" y=\"{2:.1f}\" "
        "text-anchor=\"end\">{3}</text><path d=\"M{4:.1f} {5:.1f}H{6:.1f}\" "
        "stroke=\"currentColor\" stroke-width=\"2.5\"/><circle cx=\"{7:.1f}\" "
        "cy=\"{5:.1f}\" r=\"4.5\" fill=\"currentColor\"/>",
        colour_of(plan.arms[rows[i].arm]),
        frame.left - 10,
        y + 4,
        escaped(names[i]),
        frame.x(x.low),
        y,
        frame.x(x.high),
        frame.x(x.value));
    if (!std::isnan(t.low)) {
      body += fmt::format(
          "<path class=\"thint\" d=\"M{:.1f} {:.1f}H{:.1f}\"/>",
          frame.x(t.low),
          y + 7,
          frame.x(t.high));
    }
    body += "</g>\n";
    chart.said += fmt::format(
        "; {} {:+.3f} ({:+.3f} to {:+.3f})", names[i], x.value, x.low, x.high);
    y += 24;
  }
  if (body.empty()) {
    return chart;
  }
  frame.bottom = y - 8;
  chart.width = frame.right + 20;
  chart.height = frame.bottom + 24;
  const auto ticks = trainer::x_axis(frame, [](double value) {
    return value == 0 ? std::string("0") : fmt::format("{:+g}", value);
  });
  chart.body = ticks + body;
  return chart;
}

Chart recall_chart(
    const Plan& plan,
    const Tables& tables,
    const std::vector<const ArmTable*>& arms,
    size_t c) {
  const bool rare =
      std::count(
          tables.rare.begin(), tables.rare.end(), static_cast<int64_t>(c)) > 0;
  Chart chart;
  chart.caption = "Recall, " + tables.classes[c] + (rare ? " (rare)" : "");
  std::vector<std::string> names;
  for (const auto* arm : arms) {
    names.push_back(plan.arms[arm->arm].name);
  }
  Frame frame;
  frame.left = width_of(names);
  frame.right = frame.left + 330;
  frame.x0 = 0;
  frame.x1 = 1;
  std::string body;
  double y = frame.top + 4;
  for (size_t i = 0; i < arms.size(); ++i) {
    const auto& x = arms[i]->figures.recall[c];
    if (std::isnan(x.value)) {
      continue;
    }
    body += fmt::format(
        "<g class=\"{}\"><text class=\"name\" x=\"{:.1f}\" y=\"{:.1f}\" "
        "text-anchor=\"end\">{}</text><rect class=\"bar\" x=\"{:.1f}\" "
        "y=\"{:.1f}\" width=\"{:.1f}\" height=\"11\"/></g><path "
        "d=\"M{:.1f} {:.1f}H{:.1f}\" class=\"thint ink\"/>\n",
        colour_of(plan.arms[arms[i]->arm]),
        frame.left - 8,
        y + 10,
        escaped(names[i]),
        frame.x(0),
        y,
        frame.x(x.value) - frame.x(0),
        frame.x(x.low),
        y + 5.5,
        frame.x(x.high));
    chart.said += fmt::format("; {} {:.3f}", names[i], x.value);
    y += 16;
  }
  if (body.empty()) {
    return chart;
  }
  frame.bottom = y + 2;
  chart.width = frame.right + 20;
  chart.height = frame.bottom + 22;
  chart.body = trainer::x_axis(frame, plain_number) + body;
  return chart;
}

Chart scatter_chart(
    const Plan& plan,
    const std::vector<const ArmTable*>& arms) {
  Chart chart;
  chart.caption = "Attention on the lesion (EPG, across) and MCA (up)";
  Frame frame;
  frame.left = 50;
  frame.right = 600;
  frame.bottom = 320;
  frame.x0 = frame.y0 = INFINITY;
  frame.x1 = frame.y1 = -INFINITY;
  std::vector<const ArmTable*> known;
  for (const auto* arm : arms) {
    const double epg = arm->figures.epg.value, mca = arm->figures.mca.value;
    if (!std::isnan(epg) && !std::isnan(mca)) {
      known.push_back(arm);
      frame.x0 = std::min(frame.x0, epg - 0.02);
      frame.x1 = std::max(frame.x1, epg + 0.06);
      frame.y0 = std::min(frame.y0, mca - 0.02);
      frame.y1 = std::max(frame.y1, mca + 0.02);
    }
  }
  if (known.empty()) {
    return chart;
  }
  chart.body = trainer::x_axis(frame, plain_number) + trainer::y_axis(frame);
  for (const auto* arm : known) {
    const auto& name = plan.arms[arm->arm].name;
    const double epg = arm->figures.epg.value, mca = arm->figures.mca.value;
    chart.body += fmt::format(
        "<g class=\"{}\"><circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\" "
        "fill=\"currentColor\"/></g><text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>"
        "\n",
        colour_of(plan.arms[arm->arm]),
        frame.x(epg),
        frame.y(mca),
        frame.x(epg) + 8,
        frame.y(mca) + 4,
        escaped(name));
    chart.said += fmt::format("; {} EPG {:.3f}, MCA {:.3f}", name, epg, mca);
  }
  chart.width = 760;
  chart.height = 345;
  return chart;
}

Chart learning_curve_chart(
    const Plan& plan,
    const Tables& tables,
    const std::string& caption,
    Member member) {
  Chart chart;
  chart.caption = caption;
  std::map<size_t, std::vector<const ArmTable*>> lines;
  for (const auto& arm : tables.arms) {
    if (arm.train_share > 0) {
      lines[arm.arm].push_back(&arm);
    }
  }
  Frame frame;
  frame.left = 50;
  frame.right = 520;
  frame.bottom = 300;
  frame.x0 = frame.y0 = INFINITY;
  frame.x1 = frame.y1 = -INFINITY;
  std::vector<std::string> names;
  for (auto line = lines.begin(); line != lines.end();) {
    if (line->second.size() < 2) {
      line = lines.erase(line);
      continue;
    }
    names.push_back(plan.arms[line->first].name);
    for (const auto* arm : line->second) {
      const auto& x = arm->figures.*member;
      frame.x0 = std::min(frame.x0, arm->rare_images);
      frame.x1 = std::max(frame.x1, arm->rare_images);
      frame.y0 = std::min(frame.y0, std::isnan(x.low) ? x.value : x.low);
      frame.y1 = std::max(frame.y1, std::isnan(x.high) ? x.value : x.high);
    }
    ++line;
  }
  if (lines.empty() || frame.x1 <= frame.x0 || frame.y1 <= frame.y0) {
    return chart;
  }
  chart.width = frame.right + width_of(names);
  chart.height = frame.bottom + 25;
  chart.body = trainer::x_axis(frame, plain_number) + trainer::y_axis(frame);
  std::vector<std::pair<double, std::string>> labels; // where a line ends
  for (const auto& line : lines) {
    const auto& arm = plan.arms[line.first];
    std::string at, whiskers;
    for (const auto* point : line.second) {
      const auto& x = point->figures.*member;
      at += fmt::format(
          "{:.1f},{:.1f} ", frame.x(point->rare_images), frame.y(x.value));
      whiskers += fmt::format(
          "<path class=\"thint\" d=\"M{:.1f} {:.1f}V{:.1f}\"/>",
          frame.x(point->rare_images),
          frame.y(x.low),
          frame.y(x.high));
      chart.said += fmt::format(
          "; {} with {:.0f} rare images {:.3f}",
          arm.name,
          point->rare_images,
          x.value);
    }
    chart.body += fmt::format(
        "<g class=\"{}\"><polyline class=\"mean\" points=\"{}\"/>{}</g>\n",
        colour_of(arm),
        at,
        whiskers);
    labels.emplace_back(
        frame.y((line.second.back()->figures.*member).value), arm.name);
  }
  // Downwards, each at least a line's height below the one before.
  std::sort(labels.begin(), labels.end());
  double last = -INFINITY;
  for (const auto& label : labels) {
    last = std::max(label.first, last + 13);
    chart.body += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
        frame.right + 8,
        last + 4,
        escaped(label.second));
  }
  return chart;
}

std::string to_html(const Chart& chart) {
  if (chart.body.empty()) {
    return "";
  }
  return fmt::format(
      "<figure><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {:.0f} "
      "{:.0f}\" role=\"img\" aria-label=\"{}\">\n{}</svg></figure>\n",
      escaped(chart.caption),
      chart.width,
      chart.height,
      escaped(chart.caption + chart.said),
      chart.body);
}

std::string to_svg(const Chart& chart) {
  constexpr double kTitle = 26;
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" "
      "height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} {1:.0f}\" role=\"img\" "
      "aria-label=\"{2}\">\n<style>{3}</style>\n<rect width=\"100%\" "
      "height=\"100%\" fill=\"#fff\"/>\n<text class=\"name title\" x=\"8\" "
      "y=\"18\">{4}</text>\n<g transform=\"translate(0 {5:.0f})\">\n{6}</g>\n"
      "</svg>\n",
      chart.width,
      chart.height + kTitle,
      escaped(chart.caption + chart.said),
      kFileStyle,
      escaped(chart.caption),
      kTitle,
      chart.body);
}

} // namespace study
