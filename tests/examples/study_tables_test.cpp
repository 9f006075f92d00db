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
  bool occlusion = false;
  Folder folder = {};
  study::Plan plan = study::parse_plan(
      {{"data", manifest()},
       {"rare", {"dog"}},
       {"subgroup", "place"},
       {"occlusion", occlusion},
       {"seeds", {0, 1}},
       {"shuffled_control", false},
       {"arms", {{{"name", "CE"}}, {{"name", "CARE"}, {"guidance", "care"}}}}});
  study::Data data{plan, folder.path};

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
  const auto all = study::make_tables(small.data, finished);
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
  CHECK(c.corrected[Measures::kMca].low == Approx(0.125));
  CHECK(c.corrected[Measures::kMca].high == Approx(0.125));
  CHECK(value(c.of_arm)[Measures::kEpg] == Approx(0.3));
  CHECK(tables.best.empty()); // there is no choice

  std::string text, html;
  for (const auto& grid : study::grids_of(small.plan, tables)) {
    text += study::to_markdown(grid);
    html += study::to_html(grid);
  }
  CHECK(contains(text, "| CE | 2 | 2, 1 rare | 0.625 ["));
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

TEST_CASE("study: the worst subgroup is the least of each network", "[study]") {
  // Two networks, each bad at another subgroup: the mean of the minima.
  const Small small;
  const std::vector<study::Finished> finished{
      small.finished(0, 0, {"cat0", "cat1", "cat2", "dog0", "dog1", "dog2"}, 0),
      small.finished(0, 1, {"cat0", "cat2", "cat3", "dog2", "dog3"}, 0)};
  const auto tables = study::make_tables(small.data, finished)[0];
  CHECK(tables.arms[0].figures.back().value == Approx((0.5 + 0) / 2));
  CHECK(tables.arms[0].figures.back().low == 0);
}

TEST_CASE("study: where nothing was tested there are no figures", "[study]") {
  // A split may leave a test set without a picture.
  for (const int64_t subgroups : {0, 3}) {
    const study::Measures of{2, subgroups, {1}};
    const auto figures = study::figures_of({}, of);
    CHECK(figures.size() == (subgroups == 0 ? 7 : 11));
    for (const auto figure : figures) {
      CHECK(std::isnan(figure));
    }
  }
}

TEST_CASE("study: each view of the test pictures has tables", "[study]") {
  const Small small{true};
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
  const auto all = study::make_tables(small.data, {plain, care});
  REQUIRE(all.size() == 3);
  CHECK(all[1].test_set == "test, lesion alone");
  CHECK(all[2].test_set == "test, lesion grey");
  constexpr auto kMca = Measures::kMca;
  CHECK(all[0].arms[0].figures[kMca].value == Approx(0.625));
  CHECK(std::isnan(all[1].arms[0].figures[kMca].value)); // none was asked
  CHECK(all[2].arms[0].figures[kMca].value == Approx(0.625));
  CHECK(all[2].arms[1].figures[kMca].value == Approx(0.5));
  CHECK(std::isnan(all[2].arms[0].figures[Measures::kEpg].value));
  CHECK(contains(
      study::verdict(small.data, all),
      "On \"test, lesion grey\" mean class accuracy went from 62.5 % to "
      "50.0 %"));
  CHECK(contains(
      study::runs_csv(small.data, {plain, care}), "\"test, lesion grey\"\n"));
}

TEST_CASE("study: only what both arms have is compared", "[study]") {
  const Small small;
  std::vector<study::Finished> finished{
      small.finished(0, 0, kCats, 0.1), small.finished(1, 1, kCats, 0.1)};
  auto all = study::make_tables(small.data, finished);
  CHECK(all[0].comparisons.empty());
  CHECK(contains(study::verdict(small.data, all), "No two arms"));
  finished.push_back(small.finished(1, 0, kCats, 0.1));
  all = study::make_tables(small.data, finished);
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
  const auto csv = study::runs_csv(small.data, finished);
  CHECK(
      csv ==
      "arm,train_share,split,seed,test_images,mca,accuracy,rare_recall,epg,"
      "undefined_maps,seconds,\"recall cat\",\"recall dog\",\"EPG "
      "rare\",\"accuracy cat, "
      "land\",\"accuracy cat, sea\",\"accuracy dog, land\",\"accuracy dog, "
      "sea\",\"worst subgroup\",test_set\n"
      "\"CARE\",0,0,1,8,0.625,0.625,0.25,0.25,0,1.5,1,0.25,0.25,1,1,0,0.5,0,"
      "\"test\"\n");
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
