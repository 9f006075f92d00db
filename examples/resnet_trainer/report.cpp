// report: report.html, one page that needs nothing else, and attention.png.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/report.hpp"

#include "common/files.hpp"
#include "common/page.hpp"
#include "resnet_trainer/html.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <stdexcept>
#include <string_view>
#include <tuple>
#include <utility>

namespace trainer {

namespace {

using care::Interval;

constexpr const char* kPlain = "plain";
constexpr const char* kCare = "care";

size_t at(int64_t i) {
  return static_cast<size_t>(i);
}

/// The colour of an arm; names from outside never become CSS classes.
const char* arm_class(const std::string& arm) {
  return arm == kCare ? kCare : kPlain;
}

std::string number(double x, bool with_sign = false) {
  if (std::isnan(x)) {
    return "&ndash;";
  }
  const double shown = std::round(x * 1000) / 1000 + 0.0; // no -0
  return with_sign ? fmt::format("{:+.3f}", shown)
                   : fmt::format("{:.3f}", shown);
}

std::string counted(int64_t n, const char* what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

std::string percent(double x) {
  return std::isnan(x) ? std::string("none") : fmt::format("{:.1f} %", x * 100);
}

// ---------------------------------------------------------------- verdict

bool excludes_zero(const Interval& x) {
  return x.low > 0 || x.high < 0;
}

/// "from 50.0 % to 57.0 %: +7.0 points (95 % interval +1.0 to +12.0)".
std::string change(
    const Interval& plain,
    const Interval& care,
    const Interval& difference,
    double level) {
  auto text =
      fmt::format("from {} to {}", percent(plain.value), percent(care.value));
  if (std::isnan(difference.value)) {
    return text;
  }
  return text +
      fmt::format(
             ": {:+.1f} points ({:g} % interval {:+.1f} to {:+.1f}{})",
             difference.value * 100,
             level * 100,
             difference.low * 100,
             difference.high * 100,
             excludes_zero(difference) ? "" : ", which includes zero");
}

std::string rare_names(const Summary& summary) {
  std::string names;
  for (const auto c : summary.rare) {
    names += (names.empty() ? "" : ", ") + summary.classes[at(c)];
  }
  return names;
}

/// What the trap of the generated set costs each arm, where there is one.
std::string trap_sentence(const Summary& summary) {
  const auto* trap = summary.test("trap");
  const auto* free = summary.test("as_trained");
  if (trap == nullptr || free == nullptr) {
    return "";
  }
  const auto lost = [&](const char* arm) {
    const auto* with = trap->arm(arm);
    const auto* without = free->arm(arm);
    return with == nullptr || without == nullptr
        ? kNaN
        : without->rare_recall.value - with->rare_recall.value;
  };
  const double plain = lost(kPlain), care = lost(kCare);
  if (std::isnan(plain)) {
    return "";
  }
  auto text = fmt::format(
      " Against the test set without the trap, plain training loses {:.1f} "
      "points of rare recall",
      plain * 100);
  if (!std::isnan(care)) {
    text += fmt::format(", CARE {:.1f}", care * 100);
  }
  return text + ".";
}

struct Verdict {
  std::string sentence;
  std::string detail;
};

Verdict verdict_parts(const Summary& summary) {
  if (summary.tests.empty() || summary.tests[0].arms.empty()) {
    return {"Nothing was tested.", ""};
  }
  const auto& test = summary.tests[0];
  const auto level = summary.options.level;
  const auto* plain = test.arm(kPlain);
  const auto* care = test.arm(kCare);
  if (plain == nullptr || care == nullptr || !test.difference) {
    const auto& arm = test.arms[0];
    return {
        fmt::format(
            "{} alone: MCA {} ({:g} % interval {} to {}).",
            arm_title(arm.arm),
            percent(arm.mca.value),
            level * 100,
            percent(arm.mca.low),
            percent(arm.mca.high)),
        "One arm was trained; nothing is said on the effect of CARE." +
            trap_sentence(summary)};
  }
  const auto& difference = *test.difference;
  const bool rare = !std::isnan(difference.rare_recall.value);
  const auto& main = rare ? difference.rare_recall : difference.mca;
  const std::string subject = rare
      ? (summary.rare.size() == 1 ? "recall of the rare class ("
                                  : "recall of the rare classes (") +
          rare_names(summary) + ")"
      : "mean class accuracy";
  const auto numbers = change(
      rare ? plain->rare_recall : plain->mca,
      rare ? care->rare_recall : care->mca,
      main,
      level);
  Verdict out;
  if (excludes_zero(main)) {
    out.sentence = fmt::format(
        "With CARE the {} {}, {}.",
        subject,
        main.value > 0 ? "rose" : "fell",
        numbers);
  } else {
    out.sentence = fmt::format(
        "These runs do not show that CARE changes the {}: it went {}.",
        subject,
        numbers);
  }
  if (rare) {
    out.detail = fmt::format(
        "Mean class accuracy went {}. ",
        change(plain->mca, care->mca, difference.mca, level));
  }
  if (!std::isnan(plain->epg.value) || !std::isnan(care->epg.value)) {
    out.detail += fmt::format(
        "The share of attention inside the boxes went {}.",
        change(plain->epg, care->epg, difference.epg, level));
  }
  out.detail += trap_sentence(summary);
  const auto seeds = std::min(plain->seeds.size(), care->seeds.size());
  if (seeds < 2) {
    out.detail +=
        " There is one seed, so the intervals speak of the test images alone.";
  }
  return out;
}

// ----------------------------------------------------------------- tables

std::string interval_html(const Interval& x, bool with_sign) {
  if (std::isnan(x.value)) {
    return number(x.value);
  }
  const auto value = number(x.value, with_sign);
  const auto marked =
      with_sign && excludes_zero(x) ? "<strong>" + value + "</strong>" : value;
  return fmt::format(
      "{} <span class=\"ci\">{} to {}</span>",
      marked,
      number(x.low, with_sign),
      number(x.high, with_sign));
}

std::string figures_html(const Summary& summary, const TestSummary& test) {
  std::string html =
      "<div class=\"scroll\"><table class=\"figures\">\n<thead><tr><th></th>";
  for (const auto& arm : test.arms) {
    html += fmt::format(
        "<th scope=\"col\" class=\"{}\">{}</th>",
        arm_class(arm.arm),
        common::escaped(arm_title(arm.arm)));
  }
  html += test.difference ? "<th scope=\"col\">CARE &minus; plain</th>" : "";
  html += "</tr></thead>\n<tbody>\n";
  const auto span = test.arms.size() + (test.difference ? 2 : 1);
  auto rows = comparison_table(summary, test);
  // The figures of the whole first.
  std::stable_partition(rows.begin(), rows.end(), [](const TableRow& row) {
    return row.group.empty();
  });
  std::string group;
  for (const auto& row : rows) {
    if (row.group != group) {
      group = row.group;
      html += fmt::format(
          "<tr class=\"group\"><th colspan=\"{}\">{}</th></tr>\n",
          span,
          common::escaped(group));
    }
    html += fmt::format(
        "<tr{}><th scope=\"row\">{}{}</th>",
        row.group.empty() ? " class=\"main\"" : "",
        common::escaped(row.name),
        row.rare ? "<span class=\"tag\">rare</span>" : "");
    for (const auto& x : row.arms) {
      html += "<td>" + interval_html(x, false) + "</td>";
    }
    if (row.difference) {
      html += "<td>" + interval_html(*row.difference, true) + "</td>";
    }
    html += "</tr>\n";
  }
  html += "<tr><th scope=\"row\">all-zero maps</th>";
  for (const auto& arm : test.arms) {
    html += fmt::format("<td>{} of {}</td>", arm.undefined_maps, arm.maps);
  }
  html += test.difference ? "<td></td>" : "";
  return html + "</tr>\n</tbody></table></div>\n";
}

std::string matrix_html(
    const ArmSummary& arm,
    const std::vector<std::string>& classes) {
  auto html = fmt::format(
      "<div class=\"scroll\"><h3 class=\"{}\">{}</h3>\n"
      "<table class=\"matrix\"><thead><tr><th>true \\ predicted</th>",
      arm_class(arm.arm),
      common::escaped(arm_title(arm.arm)));
  for (const auto& name : classes) {
    html += fmt::format("<th scope=\"col\">{}</th>", common::escaped(name));
  }
  html += "</tr></thead><tbody>\n";
  for (size_t i = 0; i < classes.size(); ++i) {
    html += fmt::format(
        "<tr><th scope=\"row\">{}</th>", common::escaped(classes[i]));
    int64_t total = 0;
    for (const auto n : arm.confusion[i]) {
      total += n;
    }
    for (const auto n : arm.confusion[i]) {
      const double share =
          total > 0 ? static_cast<double>(n) / static_cast<double>(total) : 0;
      html += fmt::format(
          "<td{} style=\"background: rgba(56, 103, 168, {:.2f})\" "
          "title=\"{:.1f} % of the row\">{}</td>",
          share > 0.5 ? " class=\"deep\"" : "",
          share,
          share * 100,
          n);
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

// ----------------------------------------------------------------- curves

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

/// The differences as points with whiskers.
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

/// A setting as people write it: lists without brackets and quotes.
std::string setting(const nlohmann::ordered_json& value) {
  using Json = nlohmann::ordered_json;
  if (value.is_string()) {
    return value.get<std::string>();
  }
  if (!value.is_array()) {
    return value.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  std::string text;
  for (const auto& item : value) {
    text += (text.empty() ? "" : ", ") + setting(item);
  }
  return text;
}

std::string settings_html(const nlohmann::ordered_json& settings) {
  if (!settings.is_object() || settings.empty()) {
    return "";
  }
  std::string html = "<dl class=\"settings\">\n";
  for (const auto& [name, value] : settings.items()) {
    html += fmt::format(
        "<div><dt>{}</dt><dd>{}</dd></div>\n",
        common::escaped(name),
        common::escaped(setting(value)));
  }
  return html + "</dl>\n";
}

std::string test_html(const Summary& summary, const TestSummary& test) {
  std::string html;
  if (summary.tests.size() > 1) {
    html +=
        fmt::format("<h3>Test set: {}</h3>\n", common::escaped(test.test_set));
  }
  const auto& arm = test.arms.front();
  html += fmt::format(
      "<p class=\"soft\">{}, {}, {}.</p>\n",
      counted(arm.images, "test image"),
      counted(static_cast<int64_t>(arm.folds.size()), "fold"),
      counted(static_cast<int64_t>(arm.seeds.size()), "seed"));
  if (test.difference) {
    html += forest_html(*test.difference);
  }
  return html + figures_html(summary, test);
}

} // namespace

std::string arm_title(const std::string& arm) {
  return arm == kPlain ? "Plain training" : arm == kCare ? "CARE" : arm;
}

std::string verdict(const Summary& summary) {
  const auto [sentence, detail] = verdict_parts(summary);
  return detail.empty() ? sentence : sentence + " " + detail;
}

std::string report_html(const Report& report) {
  const auto& summary = report.summary;
  const auto [sentence, detail] = verdict_parts(summary);
  auto html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, "
      "initial-scale=1\">\n<title>{0}</title>\n<style>{1}</style>\n</head>\n"
      "<body>\n<h1>{0}</h1>\n<p class=\"verdict\">{2}</p>\n<p>{3}</p>\n"
      "<p class=\"notice\">For research and education; not a medical "
      "device.{4}</p>\n",
      common::escaped(report.title),
      page_style(),
      common::escaped(sentence),
      common::escaped(detail),
      report.data.empty() ? std::string() : " " + common::escaped(report.data));
  html += attention_html(report.pictures);
  html += "<h2>Results</h2>\n";
  for (const auto& test : summary.tests) {
    html += test_html(summary, test);
  }
  html += fmt::format(
      "<p class=\"soft\">Small: {:g} % intervals from a bootstrap over test "
      "images and seeds ({} repeats). Bold differences have an interval "
      "without "
      "zero; many are shown, so some will by chance. MCA is the mean of the "
      "recalls of the classes, rare recall that of the rare ones ({}). EPG is "
      "the share of the true class's attention inside the boxes, over the "
      "images with a box; all-zero maps have none and are counted apart.</p>\n",
      summary.options.level * 100,
      summary.options.repeats,
      summary.rare.empty() ? std::string("none")
                           : common::escaped(rare_names(summary)));
  html += curves_html(report.runs);
  html +=
      "<h2>Confusion matrices</h2>\n<p class=\"soft\">Counts over all folds "
      "and seeds; the shade is the share of the row.</p>\n";
  for (const auto& test : summary.tests) {
    if (summary.tests.size() > 1) {
      html += fmt::format(
          "<h3>Test set: {}</h3>\n", common::escaped(test.test_set));
    }
    html += "<div class=\"matrices\">\n";
    for (const auto& arm : test.arms) {
      html += matrix_html(arm, summary.classes);
    }
    html += "</div>\n";
  }
  const auto settings = settings_html(report.settings);
  if (!report.command.empty() || !settings.empty()) {
    html += "<h2>Settings</h2>\n";
    if (!report.command.empty()) {
      html += fmt::format(
          "<pre><code>{}</code></pre>\n", common::escaped(report.command));
    }
    html += settings;
  }
  return html + "</body>\n</html>\n";
}

void write_report(const std::filesystem::path& folder, const Report& report) {
  common::write_atomically(folder / "report.html", report_html(report));
  if (!report.pictures.rows.empty()) {
    common::write_picture(
        folder / "attention.png", attention_sheet(report.pictures));
  }
}

} // namespace trainer
