// The study's report: report.html, one page that needs nothing else.
// SPDX-License-Identifier: Apache-2.0
#include "study/report.hpp"

#include "common/files.hpp"
#include "common/page.hpp"
#include "resnet_trainer/html.hpp"
#include "study/duplicates.hpp"

#include <fmt/format.h>
#include <torch/serialize.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <utility>

namespace study {
namespace {

namespace fs = std::filesystem;
using care::Interval;
using common::escaped;
using trainer::Frame;

constexpr const char* kStyle = R"css(
svg .none { color: var(--plain); } svg .guided { color: var(--care); }
svg .peer { color: var(--soft); } svg .other { color: var(--warnline); }
svg .bar { fill: currentColor; opacity: .8; }
svg .thint { stroke: currentColor; stroke-width: 1; opacity: .6; }
svg .name { fill: var(--ink); }
)css";

/// Which of four colours an arm has: without guidance, CARE, a control of it, a
/// peer.
const char* colour_of(const Arm& arm) {
  return !arm.is_guided()      ? "none"
      : arm.guidance != "care" ? "peer"
      : arm.boxes != "manual"  ? "other"
                               : "guided";
}

std::string share_title(double share) {
  return share > 0 ? fmt::format("{:g} % to learn from", share * 100)
                   : std::string("folds, put together");
}

std::vector<double> shares_of(const Tables& tables) {
  std::vector<double> shares;
  for (const auto& arm : tables.arms) {
    if (shares.empty() || shares.back() != arm.train_share) {
      shares.push_back(arm.train_share);
    }
  }
  return shares;
}

/// "+8.1 points (+3.0 to +12.9; corrected t +1.2 to +15.0)".
std::string points(const Interval& boot, const Interval& t) {
  auto text = fmt::format(
      "{:+.1f} points ({:+.1f} to {:+.1f}",
      boot.value * 100,
      boot.low * 100,
      boot.high * 100);
  if (!std::isnan(t.low)) {
    text += fmt::format(
        "; corrected t {:+.1f} to {:+.1f}", t.low * 100, t.high * 100);
  }
  return text + ")";
}

std::string verdict(const Plan& plan, const Tables& tables) {
  if (tables.comparisons.empty()) {
    return "No two arms have a split in common yet.";
  }
  // The first guided arm of the settings, where it has the most splits.
  const Comparison* first = nullptr;
  for (const auto& c : tables.comparisons) {
    if (first == nullptr || c.arm < first->arm ||
        (c.arm == first->arm && c.units > first->units)) {
      first = &c;
    }
  }
  const auto& d = first->difference;
  return fmt::format(
      "{} against {}, {} splits: MCA {}, rare recall {}.",
      plan.arms[first->arm].name,
      plan.arms[first->baseline].name,
      first->units,
      points(d.mca, first->corrected.mca),
      points(d.rare_recall, first->corrected.rare_recall));
}

// ----------------------------------------------------------------- charts

std::string figure(
    const std::string& caption,
    double width,
    double height,
    const std::string& said,
    const std::string& body) {
  return fmt::format(
      "<figure><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {:.0f} "
      "{:.0f}\" "
      "role=\"img\" aria-label=\"{}\">\n{}</svg></figure>\n",
      escaped(caption),
      width,
      height,
      escaped(caption + said),
      body);
}

using Member = Interval Figures::*;

/// The differences of one figure as points; thick: bootstrap, thin below: t.
std::string forest(
    const Plan& plan,
    const std::vector<Comparison>& rows,
    const std::string& caption,
    Member member) {
  Frame frame;
  frame.left = 300;
  frame.right = 700;
  double low = -0.02, high = 0.02;
  for (const auto& c : rows) {
    for (const auto* x : {&(c.difference.*member), &(c.corrected.*member)}) {
      if (!std::isnan(x->low)) {
        low = std::min(low, x->low);
        high = std::max(high, x->high);
      }
    }
  }
  frame.x0 = low - 0.02;
  frame.x1 = high + 0.02;
  std::string body, said;
  double y = frame.top + 14;
  for (const auto& c : rows) {
    const auto& x = c.difference.*member;
    if (std::isnan(x.low)) {
      continue;
    }
    const auto& t = c.corrected.*member;
    const auto name = fmt::format("{} ({})", plan.arms[c.arm].name, c.units);
    body += fmt::format(
        "<g class=\"{0}\"><text class=\"name\" x=\"{1:.1f}\" y=\"{2:.1f}\" "
        "text-anchor=\"end\">{3}</text><path d=\"M{4:.1f} {5:.1f}H{6:.1f}\" "
        "stroke=\"currentColor\" stroke-width=\"2.5\"/><circle cx=\"{7:.1f}\" "
        "cy=\"{5:.1f}\" r=\"4.5\" fill=\"currentColor\"/>",
        colour_of(plan.arms[c.arm]),
        frame.left - 10,
        y + 4,
        escaped(name),
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
    said += fmt::format(
        "; {} {:+.3f} ({:+.3f} to {:+.3f})", name, x.value, x.low, x.high);
    y += 24;
  }
  if (said.empty()) {
    return "";
  }
  frame.bottom = y - 8;
  const auto ticks = trainer::x_axis(frame, [](double value) {
    return value == 0 ? std::string("0") : fmt::format("{:+g}", value);
  });
  return figure(caption, 720, frame.bottom + 24, said, ticks + body);
}

/// The recalls of each class, a bar for each arm.
std::string recall_bars(
    const Plan& plan,
    const Tables& tables,
    const std::vector<const ArmTable*>& arms) {
  std::string html;
  for (size_t c = 0; c < tables.classes.size(); ++c) {
    Frame frame;
    frame.left = 230;
    frame.right = 560;
    frame.x0 = 0;
    frame.x1 = 1;
    std::string body, said;
    double y = frame.top + 4;
    for (const auto* arm : arms) {
      const auto& x = arm->figures.recall[c];
      if (std::isnan(x.value)) {
        continue;
      }
      body += fmt::format(
          "<g class=\"{}\"><text class=\"name\" x=\"{:.1f}\" y=\"{:.1f}\" "
          "text-anchor=\"end\">{}</text><rect class=\"bar\" x=\"{:.1f}\" "
          "y=\"{:.1f}\" width=\"{:.1f}\" height=\"11\"/></g><path "
          "d=\"M{:.1f} {:.1f}H{:.1f}\" class=\"thint\" "
          "style=\"color: var(--ink)\"/>\n",
          colour_of(plan.arms[arm->arm]),
          frame.left - 8,
          y + 10,
          escaped(plan.arms[arm->arm].name),
          frame.x(0),
          y,
          frame.x(x.value) - frame.x(0),
          frame.x(x.low),
          y + 5.5,
          frame.x(x.high));
      said += fmt::format("; {} {:.3f}", plan.arms[arm->arm].name, x.value);
      y += 16;
    }
    if (said.empty()) {
      continue;
    }
    frame.bottom = y + 2;
    const bool rare =
        std::count(
            tables.rare.begin(), tables.rare.end(), static_cast<int64_t>(c)) >
        0;
    html += figure(
        "Recall, " + tables.classes[c] + (rare ? " (rare)" : ""),
        580,
        frame.bottom + 22,
        said,
        trainer::x_axis(frame, [](double v) {
          return fmt::format("{:g}", v);
        }) + body);
  }
  return html;
}

/// EPG across, MCA up: one point for each arm.
std::string scatter(
    const Plan& plan,
    const std::vector<const ArmTable*>& arms) {
  Frame frame;
  frame.left = 50;
  frame.right = 600;
  frame.bottom = 320;
  frame.x0 = frame.y0 = INFINITY;
  frame.x1 = frame.y1 = -INFINITY;
  std::string body, said;
  for (const auto* arm : arms) {
    const auto& f = arm->figures;
    if (std::isnan(f.epg.value) || std::isnan(f.mca.value)) {
      continue;
    }
    frame.x0 = std::min(frame.x0, f.epg.value - 0.02);
    frame.x1 = std::max(frame.x1, f.epg.value + 0.06);
    frame.y0 = std::min(frame.y0, f.mca.value - 0.02);
    frame.y1 = std::max(frame.y1, f.mca.value + 0.02);
  }
  for (const auto* arm : arms) {
    const auto& f = arm->figures;
    if (std::isnan(f.epg.value) || std::isnan(f.mca.value)) {
      continue;
    }
    body += fmt::format(
        "<g class=\"{}\"><circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\" "
        "fill=\"currentColor\"/></g><text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>"
        "\n",
        colour_of(plan.arms[arm->arm]),
        frame.x(f.epg.value),
        frame.y(f.mca.value),
        frame.x(f.epg.value) + 8,
        frame.y(f.mca.value) + 4,
        escaped(plan.arms[arm->arm].name));
    said += fmt::format(
        "; {} EPG {:.3f}, MCA {:.3f}",
        plan.arms[arm->arm].name,
        f.epg.value,
        f.mca.value);
  }
  if (said.empty()) {
    return "";
  }
  return figure(
      "Attention on the lesion (EPG, across) and MCA (up)",
      760,
      345,
      said,
      trainer::x_axis(frame, [](double v) { return fmt::format("{:g}", v); }) +
          trainer::y_axis(frame) + body);
}

/// One figure against the number of rare images to learn from, a line an arm.
std::string learning_curve(
    const Plan& plan,
    const Tables& tables,
    const std::string& caption,
    Member member) {
  std::map<size_t, std::vector<const ArmTable*>> lines;
  for (const auto& arm : tables.arms) {
    if (arm.train_share > 0) {
      lines[arm.arm].push_back(&arm);
    }
  }
  Frame frame;
  frame.left = 50;
  frame.right = 520;
  frame.bottom = 260;
  frame.x0 = frame.y0 = INFINITY;
  frame.x1 = frame.y1 = -INFINITY;
  bool any = false;
  for (const auto& line : lines) {
    if (line.second.size() < 2) {
      continue;
    }
    any = true;
    for (const auto* arm : line.second) {
      const auto& x = arm->figures.*member;
      frame.x0 = std::min(frame.x0, arm->rare_images);
      frame.x1 = std::max(frame.x1, arm->rare_images);
      frame.y0 = std::min(frame.y0, std::isnan(x.low) ? x.value : x.low);
      frame.y1 = std::max(frame.y1, std::isnan(x.high) ? x.value : x.high);
    }
  }
  if (!any || frame.x1 <= frame.x0 || frame.y1 <= frame.y0) {
    return "";
  }
  std::string body, said;
  for (const auto& line : lines) {
    if (line.second.size() < 2) {
      continue;
    }
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
      said += fmt::format(
          "; {} with {:.0f} rare images {:.3f}",
          arm.name,
          point->rare_images,
          x.value);
    }
    const auto* last = line.second.back();
    body += fmt::format(
        "<g class=\"{}\"><polyline class=\"mean\" points=\"{}\"/>{}</g>"
        "<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n",
        colour_of(arm),
        at,
        whiskers,
        frame.x(last->rare_images) + 8,
        frame.y((last->figures.*member).value) + 4,
        escaped(arm.name));
  }
  return figure(
      caption,
      720,
      285,
      said,
      trainer::x_axis(frame, [](double v) { return fmt::format("{:g}", v); }) +
          trainer::y_axis(frame) + body);
}

// ----------------------------------------------------------------- tables

std::string cell(const Interval& x, bool with_sign) {
  if (std::isnan(x.value)) {
    return "<td>&ndash;</td>";
  }
  const auto number = [with_sign](double v) {
    const double shown = std::round(v * 1000) / 1000 + 0.0; // no -0
    return with_sign ? fmt::format("{:+.3f}", shown)
                     : fmt::format("{:.3f}", shown);
  };
  const bool sure = with_sign && (x.low > 0 || x.high < 0);
  return fmt::format(
      "<td>{}{}{} <span class=\"ci\">{} to {}</span></td>",
      sure ? "<strong>" : "",
      number(x.value),
      sure ? "</strong>" : "",
      number(x.low),
      number(x.high));
}

std::string arms_table(
    const Plan& plan,
    const std::vector<const ArmTable*>& arms) {
  std::string html =
      "<div class=\"scroll\"><table class=\"figures\"><thead><tr><th>arm</th>"
      "<th>networks</th><th>MCA</th><th>rare recall</th><th>accuracy</th>"
      "<th>EPG</th></tr></thead><tbody>\n";
  for (const auto* arm : arms) {
    const auto& f = arm->figures;
    html += fmt::format(
        "<tr><th scope=\"row\">{}</th><td>{}</td>{}{}{}{}</tr>\n",
        escaped(plan.arms[arm->arm].name),
        arm->runs,
        cell(f.mca, false),
        cell(f.rare_recall, false),
        cell(f.accuracy, false),
        cell(f.epg, false));
  }
  return html + "</tbody></table></div>\n";
}

std::string share_html(const Plan& plan, const Tables& tables, double share) {
  std::vector<const ArmTable*> arms;
  for (const auto& arm : tables.arms) {
    if (arm.train_share == share) {
      arms.push_back(&arm);
    }
  }
  const auto of_share = [&](const std::vector<Comparison>& all) {
    std::vector<Comparison> rows;
    std::copy_if(
        all.begin(), all.end(), std::back_inserter(rows), [&](const auto& c) {
          return c.train_share == share;
        });
    return rows;
  };
  const auto rows = of_share(tables.comparisons);
  auto html = fmt::format(
      "<h2>{}</h2>\n<p class=\"soft\">{:.0f} images to learn from, {:.0f} of "
      "the rare classes.</p>\n",
      escaped(share_title(share)),
      arms.front()->train_images,
      arms.front()->rare_images);
  html += forest(plan, rows, "MCA, less the baseline's", &Figures::mca);
  html += forest(
      plan, rows, "Rare recall, less the baseline's", &Figures::rare_recall);
  html += forest(plan, rows, "EPG, less the baseline's", &Figures::epg);
  for (const auto& c : of_share(tables.best)) {
    html += fmt::format(
        "<p>The best arm with CARE ({}) less the best without guidance ({}), "
        "chosen on these {} splits: MCA {}.</p>\n",
        escaped(plan.arms[c.arm].name),
        escaped(plan.arms[c.baseline].name),
        c.units,
        points(c.difference.mca, c.corrected.mca));
  }
  html += arms_table(plan, arms);
  html += scatter(plan, arms);
  return html + "<div class=\"charts\">\n" + recall_bars(plan, tables, arms) +
      "</div>\n";
}

trainer::ResNet load_net(const Runs& runs, const Arm& arm, const Job& job) {
  auto net = trainer::make_net(
      runs.plan().recipe,
      static_cast<int64_t>(runs.data().classes.size()),
      arm.imbalance == "ldam_drw");
  torch::load(net, runs.weights(job).string());
  return net;
}

} // namespace

std::string attention_html(const Runs& runs, int64_t pictures) {
  const auto& plan = runs.plan();
  const auto guided =
      std::find_if(plan.arms.begin(), plan.arms.end(), [](const Arm& arm) {
        return arm.is_guided();
      });
  if (guided == plan.arms.end() || pictures == 0) {
    return "";
  }
  Job job;
  job.train_share = plan.split_sets[0].train_share;
  job.split = plan.split_sets[0].splits[0];
  job.seed = plan.seeds[0];
  const auto samples =
      trainer::picture_samples(runs.split(job).second, runs.rare(), pictures);
  std::string html = fmt::format(
      "<h2>Where the networks look</h2>\n<p class=\"soft\">Grad-CAM of the "
      "true class on the first test images of the rare classes, first split; "
      "nothing is picked by hand. White: the boxes, which no network is given "
      "at test time.</p>\n<div class=\"pictures\" style=\"grid-template-"
      "columns: repeat(2, minmax(0, 1fr))\">\n");
  std::vector<std::vector<std::string>> columns;
  for (const auto& name : {guided->baseline, guided->name}) {
    job.arm = plan.arm(name);
    if (samples.empty() || !fs::exists(runs.weights(job))) {
      return "";
    }
    auto net = load_net(runs, plan.arms[job.arm], job);
    const auto maps = trainer::attention_maps(plan.recipe, net, samples);
    const auto said = trainer::predict(plan.recipe, net, samples);
    std::vector<std::string> column{
        fmt::format("<div class=\"head\">{}</div>\n", escaped(name))};
    for (size_t i = 0; i < samples.size(); ++i) {
      auto tile = trainer::overlay(
          common::scaled_to(samples[i].image, 360),
          maps[static_cast<int64_t>(i)]);
      common::draw_boxes(tile, samples[i].boxes);
      const auto& classes = runs.data().classes;
      const auto& label = classes[static_cast<size_t>(said[i].predicted())];
      const bool right = said[i].predicted() == samples[i].target;
      const auto caption = fmt::format(
          "{}: says {} ({}), {}",
          samples[i].id,
          label,
          right ? "right" : "wrong",
          std::isnan(said[i].epg)
              ? std::string("no positive attention")
              : fmt::format("{:.0f} % of attention inside", said[i].epg * 100));
      column.push_back(fmt::format(
          "<figure>{}<figcaption>{}</figcaption></figure>\n",
          common::image_html(tile, name + ", " + caption),
          escaped(caption)));
    }
    columns.push_back(std::move(column));
  }
  for (size_t row = 0; row < columns[0].size(); ++row) {
    html += columns[0][row] + columns[1][row];
  }
  return html + "</div>\n";
}

std::string report_html(const Runs& runs, const Report& report) {
  const auto& plan = runs.plan();
  const auto& tables = report.tables;
  auto html = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, "
      "initial-scale=1\">\n<title>Does it help?</title>\n<style>{}{}</style>\n"
      "</head>\n<body>\n<h1>Does it help?</h1>\n<p class=\"verdict\">{}</p>\n"
      "<p class=\"notice\">For research and education; not a medical device. "
      "{}</p>\n",
      trainer::page_style(),
      kStyle,
      escaped(verdict(plan, tables)),
      escaped(runs.data().sentence));
  for (const auto& warning : report.warnings) {
    html += fmt::format("<p class=\"notice\">{}</p>\n", escaped(warning));
  }
  html += learning_curve(
      plan, tables, "MCA against the rare images to learn from", &Figures::mca);
  html += learning_curve(
      plan,
      tables,
      "Rare recall against the rare images to learn from",
      &Figures::rare_recall);
  for (const auto share : shares_of(tables)) {
    html += share_html(plan, tables, share);
  }
  html +=
      "<p class=\"soft\">Behind each name in the forest plots: how many "
      "splits (of folds: seeds) both arms have. Thick lines and small print: "
      "95 % intervals of a two-way bootstrap over images and splits. Thin "
      "lines: the corrected resampled t interval over splits (Nadeau and "
      "Bengio). MCA is the mean of the recalls; EPG the share of the true "
      "class's positive attention inside the boxes. Many differences are "
      "shown, so some will be large by chance. Blue: without guidance; orange: "
      "CARE; yellow: CARE with other boxes; grey: another guidance loss.</p>\n";
  html += report.pictures;
  return html +
      fmt::format(
             "<h2>Settings</h2>\n<pre><code>{}</code></pre>\n</body>\n</html>"
             "\n",
             escaped(plan.text.dump(2)));
}

void write_reports(const Runs& runs, int64_t pictures) {
  const auto finished = runs.finished();
  common::write_atomically(
      runs.folder() / "runs.csv", runs_csv(runs, finished));
  if (finished.empty()) {
    return;
  }
  Report report;
  report.tables = make_tables(runs, finished);
  report.warnings = straddling(runs);
  report.pictures = attention_html(runs, pictures);
  common::write_atomically(
      runs.folder() / "results.md", to_markdown(runs.plan(), report.tables));
  common::write_atomically(
      runs.folder() / "report.html", report_html(runs, report));
}

} // namespace study
