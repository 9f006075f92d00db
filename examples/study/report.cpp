// The report: what the tables say in words, and a page that needs nothing else.
// SPDX-License-Identifier: Apache-2.0
#include "study/report.hpp"

#include "common/page.hpp"
#include "resnet_trainer/files.hpp"
#include "resnet_trainer/lock.hpp"
#include "resnet_trainer/picture.hpp"
#include "resnet_trainer/sheet.hpp"
#include "study/charts.hpp"
#include "study/duplicates.hpp"
#include "study/grids.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <algorithm>
#include <set>

namespace study {
namespace {

using common::escaped;

trainer::Tile tile_of(
    const Data& data,
    const Row& row,
    const Run& run,
    const Look& look) {
  const auto said = std::find_if(
      run.predictions.begin(), run.predictions.end(), [&](const auto& p) {
        return p.id == look.id;
      });
  const auto& name = data.classes[static_cast<size_t>(said->predicted())];
  cv::Mat cells;
  cv::Mat(look.map)
      .reshape(1, static_cast<int>(look.height))
      .convertTo(cells, CV_32F);
  return {
      cells,
      {"says " + name,
       said->epg ? fmt::format("{:.0f} % of attention inside", *said->epg * 100)
                 : std::string("no positive attention")},
      name != row.label};
}

/// Test pictures down; across, the picture and where each network looks.
struct Pictures {
  std::vector<std::string> titles{"Picture and lesion"};
  std::vector<trainer::SheetRow> rows;
};

/// Of the first guided arm and its baseline, on the first split.
Pictures pictures_of(
    const Data& data,
    const std::vector<Finished>& finished,
    size_t most) {
  const auto& plan = data.plan;
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
    const auto one =
        std::find_if(finished.begin(), finished.end(), [&](const Finished& f) {
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
        auto& shown = pictures.rows.emplace_back(
            trainer::with_region(row, plan.recipe.masks()));
        shown.tiles = {{{}, {row.label, row.path}, false}};
      }
      pictures.rows[i].tiles.push_back(tile_of(data, row, one->run, looks[i]));
    }
  }
  return pictures;
}

std::string html_of(const Pictures& pictures) {
  auto html = fmt::format(
      "<h2>Where the networks look</h2>\n<p class=\"soft\">Grad-CAM of the "
      "true class on the first test pictures of the rare classes: negative "
      "cells cut, divided by the map's maximum. Red is most, no colour is "
      "none. White: the lesion's boxes or mask, which no network is given at "
      "test time.</p>\n"
      "<div class=\"pictures\" style=\"grid-template-columns: repeat({}, 1fr)"
      "\">\n",
      pictures.titles.size());
  for (const auto& title : pictures.titles) {
    html += "<div>" + escaped(title) + "</div>\n";
  }
  for (const auto& row : pictures.rows) {
    for (const auto& tile : row.tiles) {
      html += common::figure_html(trainer::draw_tile(row, tile), tile.caption);
    }
  }
  return html + "</div>\n";
}

/// Learning curves, and forest plots of MCA, rare recall, EPG and the worst
/// subgroup, share by share: those with something to show.
std::vector<Chart> charts_of(const Data& data, const Tables& tables) {
  std::vector<Chart> charts{
      learning_curve(data.plan, tables, Measures::kMca),
      learning_curve(data.plan, tables, Measures::kRareRecall)};
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
      charts.push_back(forest_chart(data.plan, tables, share, place));
    }
  }
  const auto empty = [](const Chart& chart) { return chart.svg.empty(); };
  charts.erase(
      std::remove_if(charts.begin(), charts.end(), empty), charts.end());
  return charts;
}

/// What a person should know of the data.
std::vector<std::string> warnings_of(const Runs& runs) {
  auto warnings = straddling(runs.data(), runs.near_duplicates());
  for (const auto& [key, split] : runs.data().splits) {
    if (!split.lacking.empty()) {
      warnings.push_back(fmt::format(
          "Split {} of {}: there are no pictures of {} on one side.",
          key.second,
          runs.data().plan.title(key.first),
          fmt::join(split.lacking, ", ")));
    }
  }
  return warnings;
}

constexpr const char* kExplained =
    "In brackets: 95 % intervals, a two-way bootstrap over images and splits "
    "with their seeds (of folds and of the manifest's own split: seeds), in "
    "the plots the thick lines; after the semicolon, and thin, the corrected "
    "resampled t interval over splits (Nadeau and Bengio), the seeds of each "
    "averaged, and of the manifest's own split a plain t interval over its "
    "seeds. MCA is the mean of the recalls, EPG the share of the true class's "
    "positive attention inside the region. Of many differences some are large "
    "by chance.";

} // namespace

std::string write_reports(const Runs& runs, size_t most) {
  const auto& data = runs.data();
  const auto& folder = runs.folder();
  trainer::Lock lock(folder / "report.lock");
  lock.take(LOCK_EX); // of two processes that end together
  const auto finished = runs.finished();
  const auto sets = tested_sets(data, finished);
  trainer::write_atomically(folder / "runs.csv", runs_csv(data, sets));
  if (finished.empty()) {
    return "Nothing was finished.";
  }
  const auto all = make_tables(data, sets);
  const auto said = verdict(data, all);
  auto body = fmt::format(
      "<p class=\"verdict\">{}</p>\n<p class=\"notice\">For research and "
      "education; not a medical device. {}</p>\n",
      escaped(said),
      escaped(data.sentence));
  for (const auto& warning : warnings_of(runs)) {
    body += "<p class=\"notice\">" + escaped(warning) + "</p>\n";
  }
  for (auto& [name, caption, svg] : charts_of(data, all[0])) {
    body += fmt::format(
        "<figure><figcaption>{}</figcaption>\n{}</figure>\n",
        escaped(caption),
        svg);
    std::replace(name.begin(), name.end(), ' ', '-');
    trainer::write_atomically(folder / "charts" / (name + ".svg"), svg);
  }
  auto [titles, pictures] = pictures_of(data, finished, most);
  if (!pictures.empty()) {
    body += html_of({titles, pictures});
    pictures.resize(std::min<size_t>(pictures.size(), 4));
    trainer::write_picture(
        folder / "attention.png", trainer::contact_sheet(titles, pictures));
  }
  std::string markdown;
  for (const auto& tables : all) {
    for (const auto& grid : grids_of(data.plan, tables)) {
      body += to_html(grid);
      markdown += to_markdown(grid);
    }
  }
  body += fmt::format(
      "<p class=\"soft\">{}</p>\n<h2>Settings</h2>\n<pre>{}</pre>\n",
      kExplained,
      escaped(data.plan.text));
  trainer::write_atomically(
      folder / "results.md", markdown + "\n" + kExplained + "\n");
  trainer::write_atomically(
      folder / "report.html", common::page("Does it help?", body));
  return said;
}

} // namespace study
