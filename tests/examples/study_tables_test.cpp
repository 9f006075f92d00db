// Tests of a study's figures, tables, verdict and charts, by hand.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"

#include "study/charts.hpp"
#include "study/grids.hpp"
#include "study/report.hpp"
#include "study/tables.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

namespace {

using care_test::contains;
using care_test::Folder;
using Json = nlohmann::json;
using study::Measures;

/// A study of two arms and seeds on four pictures of each of two classes, which
/// are divided between two places.
struct Small {
  Json more = Json::object(); ///< settings
  Folder folder = {};
  study::Plan plan = study::parse_plan(settings());
  study::Data data{plan, folder.path};

  Json settings() const {
    Json json = {
        {"data", manifest()},
        {"rare", {"dog"}},
        {"subgroup", "place"},
        {"seeds", {0, 1}},
        {"shuffled_control", false},
        {"arms", {{{"name", "CE"}}, {{"name", "CARE"}, {"guidance", "care"}}}}};
    json.update(more);
    return json;
  }

  std::string manifest() const {
    std::string csv = "path,label,xmin,ymin,xmax,ymax,split,place\n";
    for (const std::string label : {"cat", "dog"}) {
      csv += "train-" + label + "," + label + ",,,,,train,land\n";
      for (int i = 0; i < 4; ++i) {
        csv += label + std::to_string(i) + "," + label + ",0,0,2,2,test," +
            (i < 2 ? "land" : "sea") + "\n";
      }
    }
    return care_test::write_text(folder.path / "m.csv", csv).string();
  }

  /// A network that is right on the pictures listed.
  study::Finished finished(
      size_t arm,
      int64_t seed,
      const std::vector<std::string>& right,
      double epg) const {
    study::Finished one;
    one.job = {arm, 0, 0, seed};
    one.run.seconds = 1.5;
    for (const auto& row : data.rows) {
      if (row.split == "test") {
        const bool hit = std::count(right.begin(), right.end(), row.path) > 0;
        const bool is_dog = row.label == "dog";
        study::Prediction p{row.path, {0.9, 0.1}, true, epg};
        if (hit == is_dog) {
          std::swap(p.probability[0], p.probability[1]);
        }
        one.run.predictions.push_back(p);
      }
    }
    return one;
  }

  std::vector<study::Tables> tables(
      const std::vector<study::Finished>& finished) const {
    return study::make_tables(data, study::tested_sets(data, finished));
  }
  std::string csv(const std::vector<study::Finished>& finished) const {
    return study::runs_csv(data, study::tested_sets(data, finished));
  }
};

const std::vector<std::string> kCats{"cat0", "cat1", "cat2", "cat3"};

/// All cats, and these.
std::vector<std::string> and_dogs(const std::vector<std::string>& dogs) {
  auto all = kCats;
  all.insert(all.end(), dogs.begin(), dogs.end());
  return all;
}

} // namespace

TEST_CASE("study: tables of a worked example", "[study]") {
  const Small small;
  // The baseline misses all dogs but one on land, CARE two of them, on the sea.
  std::vector<study::Finished> finished;
  for (const int64_t seed : {0, 1}) {
    finished.push_back(small.finished(0, seed, and_dogs({"dog0"}), 0.1));
    finished.push_back(
        small.finished(1, seed, and_dogs({"dog0", "dog1"}), 0.3));
  }
  finished[0].run.predictions[0].epg = std::nullopt; // left out of both
  const auto all = small.tables(finished);
  REQUIRE(all.size() == 1);
  const auto& tables = all[0];
  CHECK(
      tables.titles ==
      std::vector<std::string>{
          "MCA",
          "accuracy",
          "rare recall",
          "EPG",
          "recall cat",
          "recall dog",
          "EPG rare",
          "accuracy cat, land",
          "accuracy cat, sea",
          "accuracy dog, land",
          "accuracy dog, sea",
          "worst subgroup"});
  REQUIRE(tables.arms.size() == 2);
  const auto value = [](const study::Figures& figures) {
    std::vector<double> values;
    for (const auto& x : figures) {
      values.push_back(std::round(1e9 * x.value) / 1e9);
    }
    return values;
  };
  CHECK(
      value(tables.arms[0].figures) ==
      std::vector<double>{
          0.625, 0.625, 0.25, 0.1, 1, 0.25, 0.1, 1, 1, 0.5, 0, 0});
  CHECK(
      value(tables.arms[1].figures) ==
      std::vector<double>{0.75, 0.75, 0.5, 0.3, 1, 0.5, 0.3, 1, 1, 1, 0, 0});
  CHECK(tables.arms[0].runs == 2);
  CHECK(tables.arms[0].train_images == 2);
  CHECK(tables.arms[0].rare_images == 1);

  REQUIRE(tables.comparisons.size() == 1);
  const auto& c = tables.comparisons[0];
  CHECK(c.units == 2);
  CHECK(
      value(c.difference) ==
      std::vector<double>{
          0.125, 0.125, 0.25, 0.2, 0, 0.25, 0.2, 0, 0, 0.5, 0, 0});
  const auto& mca = c.difference[Measures::kMca];
  CHECK(mca.low >= 0);
  CHECK(mca.high > 0.125);
  CHECK(mca.high <= 0.5);
  // Both seeds give the same difference: no variance between them.
  CHECK(c.over_splits[Measures::kMca].low == Approx(0.125));
  CHECK(c.over_splits[Measures::kMca].high == Approx(0.125));
  CHECK(c.of_arm[Measures::kEpg] == Approx(0.3));
  CHECK(tables.best.empty()); // there is no choice

  std::string text, html;
  for (const auto& grid : study::grids_of(small.plan, tables)) {
    text += study::to_markdown(grid);
    html += study::to_html(grid);
  }
  CHECK(contains(text, "| CE | 2 | 2, 1 rare | 0.625 ["));
  CHECK(contains(text, "| arm | compared with | seeds |"));
  CHECK(contains(text, "| CARE | CE | 2 | +0.125 ["));
  CHECK(contains(html, "<td>CARE</td><td>CE</td><td>2</td><td>+0.125 ["));
  CHECK(contains(text, "; [+0.125, +0.125] |"));
  CHECK(
      study::to_markdown({"Arms", {{"arm", "MCA"}, {"a|b", "1"}}}) ==
      "\n### Arms\n\n| arm | MCA |\n|---|---|\n| a\\|b | 1 |\n");
  const auto said = study::verdict(small.data, all);
  CHECK(contains(said, "the recall of the rare class (dog)"));
  CHECK(contains(said, "from 25.0 % to 50.0 %: +25.0 points"));
  CHECK(contains(said, "inside the region of rare pictures went from 10.0 %"));

  const auto forest =
      study::forest_chart(small.plan, tables, 0, Measures::kMca);
  CHECK(contains(forest.svg, "CARE (2)</text>"));
  CHECK(contains(forest.svg, "CARE (2) +0.125"));
  CHECK_FALSE(contains(forest.svg, "nan"));
  CHECK(study::learning_curve(small.plan, tables, Measures::kMca).svg.empty());
}

TEST_CASE("study: the seeds of a split are one difference", "[study]") {
  // Of eight pictures tested and two learnt from: CARE gains .125 of MCA, but
  // .375 with the second seed of the last split.
  const Json splits = {{{"train_share", 0.5}, {"numbers", {0, 1}}}};
  for (const bool own : {false, true}) {
    CAPTURE(own);
    const Small small{own ? Json::object() : Json{{"splits", splits}}};
    std::vector<study::Finished> finished;
    const auto add = [&](int64_t split, int64_t seed, const auto& dogs) {
      finished.push_back(small.finished(0, seed, and_dogs({"dog0"}), 0.1));
      finished.push_back(small.finished(1, seed, and_dogs(dogs), 0.1));
      for (size_t i = finished.size() - 2; i < finished.size(); ++i) {
        finished[i].job.split = split;
        finished[i].job.train_share = own ? 0 : 0.5;
      }
    };
    const std::vector<std::string> two{"dog0", "dog1"};
    const std::vector<std::string> four{"dog0", "dog1", "dog2", "dog3"};
    add(0, 0, two);
    if (!own) {
      add(0, 1, two);
      const auto one = small.tables(finished)[0].comparisons.at(0);
      CHECK(one.splits == 1);
      CHECK(std::isnan(one.over_splits[Measures::kMca].low));
      add(1, 0, two);
    }
    add(own ? 0 : 1, 1, four);
    const auto all = small.tables(finished);
    const auto& c = all[0].comparisons.at(0);
    CHECK(c.units == (own ? 2 : 4));
    CHECK(c.splits == 2);
    // t(1) sqrt((1/2 + 8/2) var(.125, .25)), or of seeds alone
    // t(1) sqrt(var(.125, .375) / 2).
    const auto& t = c.over_splits[Measures::kMca];
    const double reach = 12.7062 * (own ? 0.125 : 0.1875);
    CHECK(t.value == Approx(own ? 0.25 : 0.1875));
    CHECK(t.high - t.value == Approx(reach).epsilon(1e-4));
    const auto grid = study::grids_of(small.plan, all[0])[1];
    CHECK(grid.rows[0][2] == (own ? "seeds" : "splits"));
    CHECK(grid.rows[1][2] == "2");
    CHECK(contains(
        study::verdict(small.data, all),
        own ? "; t over seeds " : "; corrected t "));
  }
}

TEST_CASE(
    "study: a part of the test is shared by splits as all of it",
    "[study]") {
  const Small small{
      {{"splits", {{{"train_share", 0.5}, {"numbers", {0, 1}}}}},
       {"test_sets", "place"}}};
  std::vector<study::Finished> finished;
  const auto add = [&](size_t arm, int64_t split, const auto& dogs) {
    finished.push_back(small.finished(arm, 0, and_dogs(dogs), 0.1));
    finished.back().job.split = split;
    finished.back().job.train_share = 0.5;
  };
  const std::vector<std::string> one{"dog0"}, two{"dog0", "dog1"};
  add(0, 0, one);
  add(1, 0, two);
  add(0, 1, one);
  add(1, 1, one);
  // On land .25 and 0, of four of the eight pictures tested: t(1) sqrt((1/2 +
  // 8/2) var(.25, 0)).
  const auto all = small.tables(finished);
  const auto& land = all[0].comparisons.at(0);
  const auto& t = land.over_splits[Measures::kMca];
  CHECK(t.value == Approx(0.125));
  CHECK(t.high - t.value == Approx(12.7062 * 0.375).epsilon(1e-4));
}

TEST_CASE("study: all of a difference is of the same images", "[study]") {
  const Small small;
  std::vector<study::Finished> finished;
  for (const int64_t seed : {0, 1}) {
    finished.push_back(small.finished(0, seed, kCats, 0.1));
    finished.back().run.predictions[0].epg = 0.9;
    finished.push_back(small.finished(1, seed, kCats, 0.3));
    finished.back().run.predictions[0].epg = std::nullopt;
  }
  const auto all = small.tables(finished);
  const auto& c = all[0].comparisons.at(0);
  constexpr auto kEpg = Measures::kEpg;
  CHECK(all[0].arms[0].figures[kEpg].value == Approx(0.2));
  CHECK(c.of_baseline[kEpg] == Approx(0.1));
  CHECK(c.of_arm[kEpg] == Approx(0.3));
  CHECK(c.difference[kEpg].value == Approx(0.2));
  CHECK(c.over_splits[kEpg].value == Approx(0.2));
}

TEST_CASE("study: the verdict is silent where nothing is rare", "[study]") {
  const Small small{Json{{"test_sets", "place"}}};
  auto plain = small.finished(0, 0, and_dogs({"dog0", "dog2"}), 0.1);
  auto care = small.finished(1, 0, and_dogs({"dog0", "dog1", "dog2"}), 0.3);
  CHECK(contains(
      study::verdict(small.data, small.tables({plain, care})),
      "Against the test set \"sea\", \"CE\" loses 0.0 points of rare recall "
      "on \"land\", \"CARE\" -50.0."));
  for (auto* one : {&plain, &care}) {
    auto& said = one->run.predictions;
    said.resize(6); // without dog2 and dog3, all that are on the sea
  }
  const auto said = study::verdict(small.data, small.tables({plain, care}));
  CHECK_FALSE(contains(said, "Against"));
  CHECK_FALSE(contains(said, "nan"));
}

TEST_CASE("study: old runs may spell paths as the manifest did", "[study]") {
  const Folder folder;
  const auto file = care_test::write_text(
      folder.path / "run.json",
      R"({"seconds": 1, "predictions": [{"id": "a/./b.png"}],
          "looks": [{"id": "./c.png", "height": 1, "map": [1]}]})");
  const auto run = study::load_run(file);
  CHECK(run.predictions.at(0).id == "a/b.png");
  CHECK(run.looks.at(0).id == "c.png");
}

TEST_CASE("study: the worst subgroup is the least of each network", "[study]") {
  // Two networks, each bad at another subgroup: the mean of the minima.
  const Small small;
  const std::vector<study::Finished> finished{
      small.finished(0, 0, {"cat0", "cat1", "cat2", "dog0", "dog1", "dog2"}, 0),
      small.finished(0, 1, {"cat0", "cat2", "cat3", "dog2", "dog3"}, 0)};
  const auto tables = small.tables(finished)[0];
  CHECK(tables.arms[0].figures.back().value == Approx((0.5 + 0) / 2));
  CHECK(tables.arms[0].figures.back().low == 0);
}

TEST_CASE("study: where nothing was tested there are no figures", "[study]") {
  // A split may leave a test set without a picture.
  for (const int64_t subgroups : {0, 3}) {
    const study::Measures of{2, subgroups, {1}};
    const auto figures = study::figures_of({study::Answers()}, of);
    CHECK(figures.size() == (subgroups == 0 ? 7 : 11));
    for (const auto figure : figures) {
      CHECK(std::isnan(figure));
    }
  }
}

TEST_CASE("study: each view of the test pictures has tables", "[study]") {
  const Small small{Json{{"occlusion", true}}};
  auto plain = small.finished(0, 0, and_dogs({"dog0"}), 0.1);
  auto care = small.finished(1, 0, and_dogs({"dog0", "dog1"}), 0.3);
  // Without the dog one still knows a dog, the other none.
  const auto grey = small.finished(0, 0, and_dogs({"dog3"}), 0);
  for (auto p : grey.run.predictions) {
    p.view = study::View::kLesionGrey;
    p.epg = std::nullopt;
    plain.run.predictions.push_back(p);
    p.probability = {0.9, 0.1};
    care.run.predictions.push_back(p);
  }
  const auto all = small.tables({plain, care});
  REQUIRE(all.size() == 3);
  CHECK(all[1].test_set == "test, lesion alone");
  CHECK(all[2].test_set == "test, lesion grey");
  constexpr auto kMca = Measures::kMca;
  CHECK(all[0].arms[0].figures[kMca].value == Approx(0.625));
  CHECK(std::isnan(all[1].arms[0].figures[kMca].value)); // none was asked
  CHECK(all[2].arms[0].figures[kMca].value == Approx(0.625));
  CHECK(all[2].arms[1].figures[kMca].value == Approx(0.5));
  CHECK(std::isnan(all[2].arms[0].figures[Measures::kEpg].value));
  const auto said = study::verdict(small.data, all);
  CHECK_FALSE(contains(said, "lesion alone"));
  CHECK(contains(
      said,
      "On \"test, lesion grey\" mean class accuracy went from 62.5 % to "
      "50.0 %"));
  CHECK(contains(small.csv({plain, care}), "\"test, lesion grey\"\n"));
}

TEST_CASE("study: only what both arms have is compared", "[study]") {
  const Small small;
  std::vector<study::Finished> finished{
      small.finished(0, 0, kCats, 0.1), small.finished(1, 1, kCats, 0.1)};
  auto all = small.tables(finished);
  CHECK(all[0].comparisons.empty());
  CHECK(contains(study::verdict(small.data, all), "No two arms"));
  finished.push_back(small.finished(1, 0, kCats, 0.1));
  all = small.tables(finished);
  REQUIRE(all[0].comparisons.size() == 1);
  CHECK(all[0].comparisons[0].units == 1);
  const auto said = study::verdict(small.data, all);
  CHECK(contains(said, "These runs do not show"));
  CHECK(contains(said, "which includes zero"));
  CHECK(contains(said, "There is one seed"));
}

TEST_CASE("study: the rows are those of the published files", "[study]") {
  const Small small;
  const std::vector<study::Finished> finished{
      small.finished(1, 1, and_dogs({"dog3"}), 0.25)};
  const auto csv = small.csv(finished);
  CHECK(
      csv ==
      "arm,train_share,split,seed,test_images,mca,accuracy,rare_recall,epg,"
      "undefined_maps,seconds,\"recall cat\",\"recall dog\",\"EPG "
      "rare\",\"accuracy cat, "
      "land\",\"accuracy cat, sea\",\"accuracy dog, land\",\"accuracy dog, "
      "sea\",\"worst subgroup\",train_images,split_test_images,test_set\n"
      "\"CARE\",0,0,1,8,0.625,0.625,0.25,0.25,0,1.5,1,0.25,0.25,1,1,0,0.5,0,2,"
      "8,\"test\"\n");
  for (const auto& entry :
       std::filesystem::directory_iterator(CARE_DOCS "/rows")) {
    std::ifstream file(entry.path());
    std::string header;
    std::getline(file, header);
    INFO(entry.path());
    CHECK(header.rfind(csv.substr(0, csv.find("\"recall")), 0) == 0);
  }
}

TEST_CASE("study: the learning curve has a line for each arm", "[study]") {
  const Small small;
  study::Tables tables;
  tables.titles = {"MCA"};
  for (const double share : {0.2, 0.5}) {
    for (const size_t arm : {size_t{0}, size_t{1}}) {
      study::ArmTable table;
      table.arm = arm;
      table.train_share = share;
      table.rare_images = 20 * share;
      const double mca = 0.4 + share / 2 + 0.01 * static_cast<double>(arm);
      table.figures = {{mca, mca - 0.05, mca + 0.05}};
      tables.arms.push_back(table);
    }
  }
  const auto chart = study::learning_curve(small.plan, tables, Measures::kMca);
  const auto count = [&](const std::string& part) {
    size_t found = 0, at = 0;
    while ((at = chart.svg.find(part, at)) != std::string::npos) {
      ++found;
      at += part.size();
    }
    return found;
  };
  CHECK(count("<polyline") == 2);
  CHECK(count("class=\"thin\"") == 4);
  CHECK(contains(chart.svg, "CARE with 10 rare images 0.660"));
  tables.arms.resize(2); // one share alone
  CHECK(study::learning_curve(small.plan, tables, Measures::kMca).svg.empty());
}
