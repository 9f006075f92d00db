// The study's report: report.html, one page that needs nothing else.
// SPDX-License-Identifier: Apache-2.0
#include "study/report.hpp"

#include "common/files.hpp"
#include "common/page.hpp"
#include "resnet_trainer/data.hpp"
#include "resnet_trainer/html.hpp"
#include "resnet_trainer/verdict.hpp"
#include "study/charts.hpp"
#include "study/duplicates.hpp"

#include <fmt/format.h>
#include <torch/serialize.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>

namespace study {
namespace {

namespace fs = std::filesystem;
using care::Interval;
using common::escaped;

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
  const bool sure = with_sign && trainer::excludes_zero(x);
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

std::vector<const ArmTable*> arms_of(const Tables& tables, double share) {
  std::vector<const ArmTable*> arms;
  for (const auto& arm : tables.arms) {
    if (arm.train_share == share) {
      arms.push_back(&arm);
    }
  }
  return arms;
}

std::vector<Comparison> of_share(
    const std::vector<Comparison>& all,
    double share) {
  std::vector<Comparison> rows;
  std::copy_if(
      all.begin(), all.end(), std::back_inserter(rows), [&](const auto& c) {
        return c.train_share == share;
      });
  return rows;
}

std::vector<Chart> learning_curves(const Plan& plan, const Tables& tables) {
  std::vector<Chart> charts{
      learning_curve_chart(
          plan,
          tables,
          "MCA against the rare images to learn from",
          &Figures::mca),
      learning_curve_chart(
          plan,
          tables,
          "Rare recall against the rare images to learn from",
          &Figures::rare_recall)};
  charts[0].name = "learning-curve-mca";
  charts[1].name = "learning-curve-rare-recall";
  return charts;
}

std::vector<Chart> difference_charts(
    const Plan& plan,
    const Tables& tables,
    double share) {
  const auto rows = of_share(tables.comparisons, share);
  std::vector<Chart> charts{
      forest_chart(plan, rows, "MCA, less the baseline's", &Figures::mca),
      forest_chart(
          plan,
          rows,
          "Rare recall, less the baseline's",
          &Figures::rare_recall),
      forest_chart(plan, rows, "EPG, less the baseline's", &Figures::epg),
      scatter_chart(plan, arms_of(tables, share))};
  const std::array<const char*, 4> names{
      "mca", "rare-recall", "epg", "epg-against-mca"};
  for (size_t i = 0; i < charts.size(); ++i) {
    charts[i].name = fmt::format("{}-{}", names[i], share_name(share));
  }
  return charts;
}

std::vector<Chart> recall_charts(
    const Plan& plan,
    const Tables& tables,
    double share) {
  std::vector<Chart> charts;
  for (size_t c = 0; c < tables.classes.size(); ++c) {
    charts.push_back(recall_chart(plan, tables, arms_of(tables, share), c));
    charts.back().name = fmt::format("recall-{}-{}", c, share_name(share));
  }
  return charts;
}

std::string to_html(const std::vector<Chart>& charts) {
  std::string html;
  for (const auto& chart : charts) {
    html += to_html(chart);
  }
  return html;
}

std::string share_html(const Plan& plan, const Tables& tables, double share) {
  const auto arms = arms_of(tables, share);
  auto html = fmt::format(
      "<h2>{}</h2>\n<p class=\"soft\">{:.0f} images to learn from, {:.0f} of "
      "the rare classes.</p>\n",
      escaped(share_title(share)),
      arms.front()->train_images,
      arms.front()->rare_images);
  for (const auto& c : of_share(tables.best, share)) {
    html += fmt::format(
        "<p>The best arm with CARE ({}) less the best without guidance ({}), "
        "chosen on these {} splits: MCA {}.</p>\n",
        escaped(plan.arms[c.arm].name),
        escaped(plan.arms[c.baseline].name),
        c.units,
        points(c.difference.mca, c.corrected.mca));
  }
  html += to_html(difference_charts(plan, tables, share));
  html += arms_table(plan, arms);
  return html + "<div class=\"charts\">\n" +
      to_html(recall_charts(plan, tables, share)) + "</div>\n";
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

trainer::AttentionPictures attention_pictures(
    const Runs& runs,
    int64_t wanted) {
  trainer::AttentionPictures pictures;
  const auto& plan = runs.plan();
  const auto guided =
      std::find_if(plan.arms.begin(), plan.arms.end(), [](const Arm& arm) {
        return arm.is_guided();
      });
  if (guided == plan.arms.end() || wanted == 0) {
    return pictures;
  }
  Job job;
  job.train_share = plan.split_sets[0].train_share;
  job.split = plan.split_sets[0].splits[0];
  job.seed = plan.seeds[0];
  const auto samples =
      trainer::picture_samples(runs.split(job).second, runs.rare(), wanted);
  for (const auto& name : {guided->baseline, guided->name}) {
    job.arm = plan.arm(name);
    if (samples.empty() || !fs::exists(runs.weights(job))) {
      return {};
    }
    auto net = load_net(runs, plan.arms[job.arm], job);
    trainer::add_network(
        pictures, name, plan.recipe, net, samples, runs.data().classes);
  }
  return pictures;
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
      chart_style(),
      escaped(verdict(plan, tables)),
      escaped(runs.data().sentence));
  for (const auto& warning : report.warnings) {
    html += fmt::format("<p class=\"notice\">{}</p>\n", escaped(warning));
  }
  html += to_html(learning_curves(plan, tables));
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
  html += trainer::attention_html(report.pictures);
  return html +
      fmt::format(
             "<h2>Settings</h2>\n<pre><code>{}</code></pre>\n</body>\n</html>"
             "\n",
             escaped(plan.text.dump(2)));
}

std::vector<Chart> charts_of(const Plan& plan, const Tables& tables) {
  auto charts = learning_curves(plan, tables);
  const auto add = [&](const std::vector<Chart>& more) {
    charts.insert(charts.end(), more.begin(), more.end());
  };
  for (const auto share : shares_of(tables)) {
    add(difference_charts(plan, tables, share));
    add(recall_charts(plan, tables, share));
  }
  return charts;
}

void write_reports(const Runs& runs, int64_t pictures) {
  const auto finished = runs.finished();
  const auto& folder = runs.folder();
  common::write_atomically(folder / "runs.csv", runs_csv(runs, finished));
  if (finished.empty()) {
    return;
  }
  Report report;
  report.tables = make_tables(runs, finished);
  report.warnings = straddling(runs);
  report.pictures = attention_pictures(runs, pictures);
  common::write_atomically(
      folder / "results.md", to_markdown(runs.plan(), report.tables));
  common::write_atomically(folder / "report.html", report_html(runs, report));
  fs::create_directories(folder / "charts");
  for (const auto& chart : charts_of(runs.plan(), report.tables)) {
    if (!chart.body.empty()) {
      common::write_atomically(
          folder / "charts" / (chart.name + ".svg"), to_svg(chart));
    }
  }
  if (!report.pictures.rows.empty()) {
    common::write_picture(
        folder / "attention.png", trainer::attention_sheet(report.pictures));
  }
}

} // namespace study
