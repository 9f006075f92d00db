// report: report.html, one page that needs nothing else, and attention.png.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/report.hpp"

#include "common/files.hpp"
#include "common/page.hpp"
#include "resnet_trainer/charts.hpp"
#include "resnet_trainer/html.hpp"
#include "resnet_trainer/results.hpp"
#include "resnet_trainer/verdict.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace trainer {

namespace {

using care::Interval;

std::string number(double x, bool with_sign = false) {
  if (std::isnan(x)) {
    return "&ndash;";
  }
  const double shown = std::round(x * 1000) / 1000 + 0.0; // no -0
  return with_sign ? fmt::format("{:+.3f}", shown)
                   : fmt::format("{:.3f}", shown);
}

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
