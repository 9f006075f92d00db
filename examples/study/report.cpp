// The report: what the tables say in words, and a page that needs nothing else.
// SPDX-License-Identifier: Apache-2.0
#include "study/report.hpp"

#include "common/files.hpp"
#include "common/page.hpp"
#include "resnet_trainer/sheet.hpp"
#include "study/charts.hpp"
#include "study/claim.hpp"
#include "study/duplicates.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <algorithm>
#include <cmath>
#include <map>

namespace study {
namespace {

namespace fs = std::filesystem;
using common::escaped;

/// Test pictures down; across, the picture and where each network looks.
struct Pictures {
  std::vector<std::string> titles{"Picture and boxes"};
  std::vector<trainer::SheetRow> rows;
};

trainer::Tile tile_of(
    const Data& data,
    const Row& row,
    const Run& run,
    const Look& look) {
  const auto& said = *run.find(row.path);
  const auto& name = data.classes[static_cast<size_t>(said.predicted())];
  const auto cells = cv::Mat(look.map, /*copyData=*/true)
                         .reshape(1, static_cast<int>(look.height));
  return {
      cells,
      {"says " + name,
       said.epg ? fmt::format("{:.0f} % of attention inside", *said.epg * 100)
                : std::string("no positive attention")},
      name != row.label};
}

/// Of the first guided arm and its baseline, on the first split.
Pictures pictures_of(
    const Plan& plan,
    const Data& data,
    const std::vector<Runs::Finished>& finished,
    size_t most) {
  const auto guided =
      std::find_if(plan.arms.begin(), plan.arms.end(), [](const Arm& arm) {
        return arm.is_guided();
      });
  Pictures pictures;
  if (guided == plan.arms.end()) {
    return pictures;
  }
  for (const auto& name : {guided->baseline, guided->name}) {
    const auto one = std::find_if(
        finished.begin(), finished.end(), [&](const Runs::Finished& f) {
          return f.job.arm == plan.arm(name) && !f.run.looks.empty();
        });
    if (one == finished.end()) {
      return {};
    }
    pictures.titles.push_back(name);
    const auto& looks = one->run.looks;
    for (size_t i = 0; i < std::min(most, looks.size()); ++i) {
      const auto& row =
          *std::find_if(data.rows.begin(), data.rows.end(), [&](const Row& r) {
            return r.path == looks[i].id;
          });
      if (pictures.rows.size() == i) {
        pictures.rows.push_back(
            {trainer::read_picture(row.file),
             row.boxes,
             {{{}, {row.label, row.path}, false}}});
      }
      pictures.rows[i].tiles.push_back(tile_of(data, row, one->run, looks[i]));
    }
  }
  return pictures;
}

std::string html_of(const Pictures& pictures) {
  if (pictures.rows.empty()) {
    return "";
  }
  auto html = fmt::format(
      "<h2>Where the networks look</h2>\n<p class=\"soft\">Grad-CAM of the "
      "true class on the first test pictures of the rare classes: negative "
      "cells cut, divided by the map's maximum. Red is most, no colour is "
      "none. White: the boxes, which no network is given at test time.</p>\n"
      "<div class=\"pictures\" style=\"grid-template-columns: repeat({}, 1fr)"
      "\">\n",
      pictures.titles.size());
  for (const auto& title : pictures.titles) {
    html += fmt::format("<div>{}</div>\n", escaped(title));
  }
  for (const auto& row : pictures.rows) {
    for (const auto& tile : row.tiles) {
      const auto caption =
          escaped(tile.caption[0]) + "<br>" + escaped(tile.caption[1]);
      html += fmt::format(
          "<figure>{}<figcaption>{}</figcaption></figure>\n",
          common::image_html(
              trainer::draw_tile(row, tile),
              tile.caption[0] + ", " + tile.caption[1]),
          caption);
    }
  }
  return html + "</div>\n";
}

std::string arms_html(const Plan& plan, const Tables& tables, double share) {
  std::string html =
      "<div class=\"scroll\"><table><thead><tr><th>Arm</th><th>Networks</th>";
  for (const auto& title : tables.titles) {
    html += "<th>" + escaped(title) + "</th>";
  }
  html += "</tr></thead><tbody>\n";
  for (const auto& arm : tables.arms) {
    if (arm.train_share == share) {
      html += fmt::format(
          "<tr><th>{}</th><td>{}</td>",
          escaped(plan.arms[arm.arm].name),
          arm.runs);
      for (const auto& x : arm.figures) {
        html += "<td>" + text_of(x, false) + "</td>";
      }
      html += "</tr>\n";
    }
  }
  return html + "</tbody></table></div>\n";
}

std::string html_of(const Chart& chart) {
  return chart.svg.empty() ? std::string()
                           : fmt::format(
                                 "<figure><figcaption>{}</figcaption>\n{}"
                                 "</figure>\n",
                                 escaped(chart.caption),
                                 chart.svg);
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

/// Forest plots of MCA, rare recall, EPG and the worst subgroup, of one share.
std::vector<Chart> forests(
    const Plan& plan,
    const Data& data,
    const Tables& tables,
    double share) {
  std::vector<size_t> places{
      Measures::kMca, Measures::kRareRecall, Measures::kEpg};
  if (!data.subgroups.empty()) {
    places.push_back(tables.titles.size() - 1);
  }
  std::vector<Chart> charts;
  for (const auto place : places) {
    charts.push_back(forest_chart(plan, tables, share, place));
  }
  return charts;
}

std::string share_html(
    const Plan& plan,
    const Data& data,
    const Tables& tables,
    double share) {
  std::string html;
  for (const auto& arm : tables.arms) {
    if (arm.train_share == share && html.empty()) {
      html = fmt::format(
          "<h2>Test set {}: {}</h2>\n<p class=\"soft\">{:.0f} images to learn "
          "from, {:.0f} of the rare classes.</p>\n",
          escaped(tables.test_set),
          share_title(plan, share),
          arm.train_images,
          arm.rare_images);
    }
  }
  for (const auto& c : tables.best) {
    if (c.train_share == share) {
      html += fmt::format(
          "<p>The best arm with CARE ({}) less the best without guidance ({}), "
          "chosen on these {} splits: MCA {}.</p>\n",
          escaped(plan.arms[c.arm].name),
          escaped(plan.arms[c.baseline].name),
          c.units,
          text_of(c.difference[Measures::kMca], true));
    }
  }
  for (const auto& chart : forests(plan, data, tables, share)) {
    html += html_of(chart);
  }
  return html + arms_html(plan, tables, share);
}

/// What a person should know of the data.
std::vector<std::string> warnings_of(const Runs& runs) {
  auto warnings = straddling(runs.plan(), runs.data(), runs.folder());
  for (const auto& [key, split] : runs.data().splits) {
    if (!split.lacking.empty()) {
      warnings.push_back(fmt::format(
          "Split {} of {}: there are no pictures of {} on one side.",
          key.second,
          share_title(runs.plan(), key.first),
          fmt::join(split.lacking, ", ")));
    }
  }
  return warnings;
}

constexpr const char* kExplained =
    "<p class=\"soft\">Behind each name in the forest plots: how many splits "
    "(of folds: seeds) both arms have. Thick lines and brackets: 95 % "
    "intervals of a two-way bootstrap over images and splits. Thin lines: the "
    "corrected resampled t interval over splits (Nadeau and Bengio). MCA is "
    "the mean of the recalls; EPG the share of the true class's positive "
    "attention inside the boxes. Many differences are shown, so some will be "
    "large by chance. Blue: without guidance; orange: CARE; yellow: CARE with "
    "other boxes; grey: another guidance loss.</p>\n";

} // namespace

std::string write_reports(const Runs& runs, size_t most) {
  const auto& plan = runs.plan();
  const auto& data = runs.data();
  const auto& folder = runs.folder();
  Lock lock(folder / "report.lock"); // of two processes that end together
  lock.take(LOCK_EX);
  const auto finished = runs.finished();
  common::write_atomically(folder / "runs.csv", runs_csv(plan, data, finished));
  if (finished.empty()) {
    return "Nothing was finished.";
  }
  const auto all = make_tables(plan, data, finished);
  const auto said = verdict(plan, data, all);
  const auto pictures = pictures_of(plan, data, finished, most);
  auto body = fmt::format(
      "<p class=\"verdict\">{}</p>\n<p class=\"notice\">For research and "
      "education; not a medical device. {}</p>\n",
      escaped(said),
      escaped(data.sentence));
  for (const auto& warning : warnings_of(runs)) {
    body += fmt::format("<p class=\"notice\">{}</p>\n", escaped(warning));
  }
  std::vector<Chart> charts{
      learning_curve(plan, all[0], Measures::kMca),
      learning_curve(plan, all[0], Measures::kRareRecall)};
  body += html_of(charts[0]) + html_of(charts[1]) + html_of(pictures);
  for (const auto& tables : all) {
    for (const auto share : shares_of(tables)) {
      body += share_html(plan, data, tables, share);
    }
  }
  for (const auto share : shares_of(all[0])) {
    const auto more = forests(plan, data, all[0], share);
    charts.insert(charts.end(), more.begin(), more.end());
  }
  body += kExplained +
      fmt::format("<h2>Settings</h2>\n<pre>{}</pre>\n", escaped(plan.text));
  common::write_atomically(folder / "results.md", to_markdown(plan, all));
  common::write_atomically(
      folder / "report.html", common::page("Does it help?", body));
  for (auto& chart : charts) {
    if (!chart.svg.empty()) {
      std::replace(chart.name.begin(), chart.name.end(), ' ', '-');
      common::write_atomically(
          folder / "charts" / (chart.name + ".svg"), chart.svg);
    }
  }
  if (!pictures.rows.empty()) {
    auto first = pictures.rows;
    first.resize(std::min<size_t>(first.size(), 4));
    trainer::write_picture(
        folder / "attention.png",
        trainer::contact_sheet(pictures.titles, first));
  }
  return said;
}

} // namespace study
