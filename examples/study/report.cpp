// The report: what the tables say in words, and a page that needs nothing else.
// SPDX-License-Identifier: Apache-2.0
#include "study/report.hpp"

#include "common/files.hpp"
#include "common/page.hpp"
#include "resnet_trainer/sheet.hpp"
#include "study/charts.hpp"
#include "study/claim.hpp"
#include "study/duplicates.hpp"
#include "study/grids.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <algorithm>
#include <cmath>
#include <set>

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
  cv::Mat cells;
  cv::Mat(look.map)
      .reshape(1, static_cast<int>(look.height))
      .convertTo(cells, CV_32F);
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
    const Job job{
        plan.arm(name),
        plan.splits[0].train_share,
        plan.splits[0].all()[0],
        plan.seeds[0]};
    const auto one = std::find_if(
        finished.begin(), finished.end(), [&](const Runs::Finished& f) {
          return plan.name(f.job) == plan.name(job);
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

std::string html_of(const Chart& chart) {
  return chart.svg.empty() ? std::string()
                           : fmt::format(
                                 "<figure><figcaption>{}</figcaption>\n{}"
                                 "</figure>\n",
                                 escaped(chart.caption),
                                 chart.svg);
}

/// Learning curves, and forest plots of MCA, rare recall, EPG and the worst
/// subgroup, share by share.
std::vector<Chart> charts_of(
    const Plan& plan,
    const Data& data,
    const Tables& tables) {
  std::vector<Chart> charts{
      learning_curve(plan, tables, Measures::kMca),
      learning_curve(plan, tables, Measures::kRareRecall)};
  std::vector<size_t> places{
      Measures::kMca, Measures::kRareRecall, Measures::kEpg};
  if (!data.subgroups.empty()) {
    places.push_back(tables.titles.size() - 1);
  }
  std::set<double> shares;
  for (const auto& arm : tables.arms) {
    shares.insert(arm.train_share);
  }
  for (const auto share : shares) {
    for (const auto place : places) {
      charts.push_back(forest_chart(plan, tables, share, place));
    }
  }
  return charts;
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
    "In brackets: 95 % intervals, a two-way bootstrap over images and splits "
    "(of folds: seeds), in the plots the thick lines; after the semicolon, and "
    "thin, the corrected resampled t interval over splits (Nadeau and Bengio). "
    "MCA is the mean of the recalls, EPG the share of the true class's "
    "positive "
    "attention inside the boxes. Of many differences some are large by chance.";

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
  auto charts = charts_of(plan, data, all[0]);
  for (const auto& chart : charts) {
    body += html_of(chart);
  }
  body += html_of(pictures);
  std::string markdown;
  for (const auto& tables : all) {
    for (const auto& grid : grids_of(plan, tables)) {
      body += to_html(grid);
      markdown += to_markdown(grid);
    }
  }
  body += fmt::format(
      "<p class=\"soft\">{}</p>\n<h2>Settings</h2>\n<pre>{}</pre>\n",
      kExplained,
      escaped(plan.text));
  common::write_atomically(
      folder / "results.md", fmt::format("{}\n{}\n", markdown, kExplained));
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
