// Tests of the study: its settings, arms, tables, and the program as a whole.
// SPDX-License-Identifier: Apache-2.0
#include "support/program.hpp"
#include "support/support.hpp"

#include "common/files.hpp"
#include "study/charts.hpp"
#include "study/duplicates.hpp"
#include "study/method.hpp"
#include "study/plan.hpp"
#include "study/report.hpp"
#include "study/runs.hpp"
#include "study/tables.hpp"

#include <fmt/format.h>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace fs = std::filesystem;
using care_test::Folder;
using study::Json;
using Outcome = care_test::ProgramOutcome;

namespace {

/// A study of seconds on the generated set: 2 seeds, 3 arms with the controls.
Json tiny() {
  return {
      {"counts", {8, 6, 6, 6}},
      {"test_count", 4},
      {"recipe",
       {{"size", "32"}, {"width", 0.125}, {"epochs", 3}, {"batch", 8}}},
      {"seeds", {0, 1}},
      {"arms",
       {{{"name", "weights"}, {"imbalance", "class_weights"}},
        {{"name", "weights + CARE"},
         {"imbalance", "class_weights"},
         {"guidance", "care"}}}}};
}

fs::path write_settings(const Folder& folder, const Json& json) {
  const auto path = folder.path / "settings.json";
  common::write_atomically(path, json.dump());
  return path;
}

Outcome run(const fs::path& settings, const fs::path& out) {
  return care_test::run_program(
      CARE_STUDY, settings.string() + " --pictures 2 --out " + out.string());
}

/// Every finished run without its times, by file.
std::map<std::string, Json> runs_in(const fs::path& out) {
  std::map<std::string, Json> all;
  for (const auto& entry : fs::recursive_directory_iterator(out / "runs")) {
    if (entry.path().extension() == ".json") {
      auto json = Json::parse(common::read_file(entry.path()));
      json.erase("seconds");
      for (auto& epoch : json["epochs"]) {
        epoch.erase("seconds");
      }
      all[fs::relative(entry.path(), out).string()] = json;
    }
  }
  return all;
}

/// The jobs of a plan, in their order.
std::vector<std::string> job_names(const study::Plan& plan) {
  std::vector<std::string> names;
  for (const auto& job : plan.jobs()) {
    names.push_back(job.name(plan.arms[job.arm].name));
  }
  return names;
}

void check_refused(const Json& json, const std::string& part) {
  INFO(json.dump());
  CARE_REQUIRE_THROWS_AS(study::parse_plan(json), std::invalid_argument, part);
}

} // namespace

TEST_CASE("study: the controls are added", "[study]") {
  const auto plan = study::parse_plan(tiny());
  // The unguided arm is the control already; the shuffled boxes are added.
  REQUIRE(plan.arms.size() == 3);
  CHECK(plan.arms[1].baseline == "weights");
  CHECK(plan.arms[2].boxes == "shuffled");
  CHECK(plan.arms[2].baseline == "weights");

  auto json = tiny();
  json["arms"].erase(0); // the control is missing now
  const auto alone = study::parse_plan(json);
  REQUIRE(alone.arms.size() == 3);
  CHECK(alone.arms[0].baseline == "class_weights, not guided");
  const auto& control = alone.arms[alone.arm(alone.arms[0].baseline)];
  CHECK_FALSE(control.is_guided());
  CHECK(control.imbalance == "class_weights");

  // Another alpha means another factor of Lc: another control.
  json["arms"][0]["alpha"] = 0.2;
  const auto weaker = study::parse_plan(json);
  const auto& other = weaker.arms[weaker.arm(weaker.arms[0].baseline)];
  CHECK(other.alpha == 0.2);
  json["arms"][0]["weight"] = 2;
  const auto added = study::parse_plan(json);
  const auto& third = added.arms[added.arm(added.arms[0].baseline)];
  REQUIRE(third.weight);
  CHECK(*third.weight == 0);
}

TEST_CASE("study: jobs come wave by wave, split by split", "[study]") {
  auto json = tiny();
  json["data"] = "somewhere.csv";
  json["seeds"] = {3, 5};
  json["splits"] = {
      {{"train_share", 0.5}, {"numbers", {{"first", 7}, {"count", 2}}}}};
  json["arms"][1]["wave"] = 1;
  json["arms"][1]["splits"] = 1;
  json["arms"].push_back({{"name", "CE"}});
  const auto plan = study::parse_plan(json);
  CHECK(
      job_names(plan) ==
      std::vector<std::string>{
          "share-0.5/weights/split7-seed3",
          "share-0.5/CE/split7-seed3",
          "share-0.5/weights/split7-seed5",
          "share-0.5/CE/split7-seed5",
          "share-0.5/weights/split8-seed3",
          "share-0.5/CE/split8-seed3",
          "share-0.5/weights/split8-seed5",
          "share-0.5/CE/split8-seed5",
          "share-0.5/weights + CARE/split7-seed3",
          "share-0.5/weights + CARE, shuffled boxes/split7-seed3",
          "share-0.5/weights + CARE/split7-seed5",
          "share-0.5/weights + CARE, shuffled boxes/split7-seed5"});
}

TEST_CASE(
    "study: some splits train some arms, and their baselines",
    "[study]") {
  auto json = tiny();
  json["data"] = "somewhere.csv";
  json["seeds"] = {0};
  json["arms"].push_back({{"name", "CE"}});
  json["splits"] = {
      {{"train_share", 0.2}, {"numbers", {7}}, {"arms", {"weights + CARE"}}},
      {{"train_share", 0.5}, {"numbers", {7}}}};
  const auto plan = study::parse_plan(json);
  CHECK(
      job_names(plan) ==
      std::vector<std::string>{
          "share-0.2/weights/split7-seed0",
          "share-0.2/weights + CARE/split7-seed0",
          "share-0.5/weights/split7-seed0",
          "share-0.5/weights + CARE/split7-seed0",
          "share-0.5/CE/split7-seed0",
          "share-0.5/weights + CARE, shuffled boxes/split7-seed0"});
  // A job that two sets of splits name is one job.
  json["splits"].push_back(json["splits"][1]);
  CHECK(job_names(study::parse_plan(json)) == job_names(plan));
  json["splits"][0]["arms"] = {"nobody"};
  check_refused(json, "nobody");
  json.erase("data"); // generated data have test sets of their own
  json["splits"] = {{{"train_share", 0.5}, {"numbers", {7}}}};
  check_refused(json, "generated");
}

TEST_CASE("study: bad settings name the key", "[study]") {
  auto json = tiny();
  json["arm"] = 1;
  check_refused(json, "arm");
  json = tiny();
  json["arms"][1]["guidance"] = "magic";
  check_refused(json, "arms[1].guidance");
  json = tiny();
  json["arms"][1]["alhpa"] = 0.3;
  check_refused(json, "alhpa");
  json = tiny();
  json["arms"][1]["alpha"] = 1.5;
  check_refused(json, "arms[1].alpha");
  json = tiny();
  json["arms"][1]["name"] = "weights";
  check_refused(json, "arms[1].name");
  json = tiny();
  json["arms"][1]["baseline"] = "nobody";
  check_refused(json, "nobody");
  json = tiny();
  json["recipe"]["epochs"] = 0;
  check_refused(json, "recipe.epochs");
  json = tiny();
  json["splits"] = {{{"train_share", 0.5}}};
  check_refused(json, "splits[0]");
  json = tiny();
  json["arms"] = Json::array();
  check_refused(json, "arms");
}

TEST_CASE("study: every method gives a finite loss and gradient", "[study]") {
  const auto logits =
      torch::tensor({{0.5, -0.2, 0.1}, {-0.3, 0.4, 0.2}}, torch::kFloat);
  const auto target = torch::tensor({0, 2}, torch::kLong);
  std::map<std::string, double> values;
  for (const auto& name : study::imbalance_methods()) {
    INFO(name);
    study::Arm arm;
    arm.imbalance = name;
    const auto method =
        study::method_of(arm, {2}, {20, 10, 5}, 10, {64, 64}, torch::kCPU);
    auto x = logits.clone().requires_grad_();
    const auto loss = method.criterion(x, target, 0);
    loss.backward();
    CHECK(x.grad().isfinite().all().item<bool>());
    values[name] = loss.item<double>();
    CHECK(method.cosine_head == (name == "ldam_drw"));
  }
  const auto ce =
      torch::nn::functional::cross_entropy(logits, target).item<double>();
  CHECK(values["ce"] == Approx(ce));
  CHECK(values["class_balanced_sampling"] == Approx(ce));
  CHECK(values["class_weights"] != Approx(ce));
  CHECK(values["balanced_softmax"] != Approx(ce));

  // LDAM's weights come in the last fifth of the epochs.
  study::Arm arm;
  arm.imbalance = "ldam_drw";
  const auto method =
      study::method_of(arm, {2}, {20, 10, 5}, 10, {64, 64}, torch::kCPU);
  const auto at = [&](int64_t epoch) {
    return method.criterion(logits, target, epoch).item<double>();
  };
  CHECK(at(0) == at(7));
  CHECK(at(7) != Approx(at(8)));

  const auto maps = torch::rand({1, 4, 4});
  const auto boxes = care::Boxes::from_lists({{{8, 8, 40, 40}}}, {64, 64});
  const auto regions = care::rasterize(boxes, {4, 4});
  for (const auto& name : study::guidance_losses()) {
    INFO(name);
    study::Arm guided;
    guided.guidance = name;
    const auto made =
        study::method_of(guided, {2}, {20, 10, 5}, 10, {64, 64}, torch::kCPU);
    CHECK(made.guide.schedule().strength() == (name == "none" ? 0 : 1));
  }
  for (const auto& name : study::attention_maps()) {
    study::Arm guided;
    guided.map = name;
    CHECK_NOTHROW(
        study::method_of(guided, {2}, {20, 10, 5}, 10, {64, 64}, torch::kCPU));
  }
}

TEST_CASE("study: nearly equal pictures are found", "[study]") {
  cv::Mat noise(64, 64, CV_8UC3), other(64, 64, CV_8UC3);
  cv::theRNG().state = 7;
  cv::randu(noise, 0, 255);
  cv::randu(other, 0, 255);
  cv::GaussianBlur(noise, noise, {}, 4);
  cv::GaussianBlur(other, other, {}, 4);
  cv::Mat brighter, smaller;
  noise.convertTo(brighter, -1, 1.1, 5);
  cv::resize(noise, smaller, {48, 48}, 0, 0, cv::INTER_AREA);
  CHECK(
      study::distance(
          study::difference_hash(noise), study::difference_hash(noise)) == 0);
  CHECK(
      study::distance(
          study::difference_hash(noise), study::difference_hash(other)) > 60);
  std::vector<common::Sample> samples(4);
  samples[0].image = noise;
  samples[1].image = other;
  samples[2].image = brighter;
  samples[3].image = smaller;
  CHECK(
      study::near_duplicates(samples, 16) ==
      std::vector<std::pair<size_t, size_t>>{{0, 2}, {0, 3}, {2, 3}});
}

TEST_CASE("study: tables of a worked example", "[study]") {
  const Folder folder;
  auto json = tiny();
  json["rare"] = {"dermatofibroma"}; // class 3
  const study::Runs runs(study::parse_plan(json), folder.path);
  const auto& test = runs.data().tests.front().second;
  // The baseline is wrong on all of class 3, CARE on half of it; else right.
  std::vector<study::Finished> finished;
  for (const int64_t seed : {0, 1}) {
    for (const size_t arm : {size_t{0}, size_t{1}}) {
      study::Finished one;
      one.job = {arm, 0, 0, seed};
      one.run.arm = runs.plan().arms[arm].name;
      one.run.seed = seed;
      int64_t of_class_3 = 0;
      for (const auto& sample : test) {
        trainer::Prediction p;
        p.id = sample.id;
        p.target = sample.target;
        p.boxed = true;
        p.epg = arm == 0 ? 0.1 : 0.3;
        p.probability.assign(4, 0);
        const bool right =
            sample.target != 3 || (arm == 1 && of_class_3++ % 2 == 0);
        p.probability[static_cast<size_t>(right ? sample.target : 0)] = 1;
        one.run.predictions.push_back(p);
      }
      finished.push_back(one);
    }
  }
  const auto tables =
      study::make_tables(runs, finished, care::BootstrapOptions().repeats(200));
  REQUIRE(tables.arms.size() == 2);
  CHECK(tables.arms[0].figures.mca.value == Approx(0.75));
  CHECK(tables.arms[1].figures.mca.value == Approx(0.875));
  CHECK(tables.arms[0].figures.recall[3].value == 0);
  CHECK(tables.arms[0].train_images == 26);
  REQUIRE(tables.comparisons.size() == 1);
  const auto& c = tables.comparisons[0];
  CHECK(c.units == 2);
  CHECK(c.difference.mca.value == Approx(0.125));
  CHECK(c.difference.mca.low >= 0);
  CHECK(c.difference.mca.high > 0.125);
  CHECK(c.difference.mca.high <= 0.25);
  CHECK(c.difference.rare_recall.value == Approx(0.5));
  CHECK(c.difference.accuracy.value == Approx(0.125));
  CHECK(c.difference.epg.value == Approx(0.2));
  CHECK(c.epg_ratio == Approx(3));
  // Both seeds give the same difference: no variance between them.
  CHECK(c.corrected.mca.value == Approx(0.125));
  CHECK(c.corrected.mca.high == Approx(0.125));
  // Of folds, only seeds with the same folds are compared.
  auto apart = finished;
  apart[1].job.split = 1;
  const auto less = study::make_tables(runs, apart, {});
  REQUIRE(less.comparisons.size() == 1);
  CHECK(less.comparisons[0].units == 1);

  REQUIRE(tables.best.size() == 1);
  CHECK(tables.best[0].arm == 1);
  CHECK(tables.best[0].baseline == 0);

  const auto text = study::to_markdown(runs.plan(), tables);
  CHECK(text.find("+0.125") != std::string::npos);
  CHECK(text.find("x 3.0") != std::string::npos);
  study::Report report;
  report.tables = tables;
  report.warnings = {"a < b"};
  const auto html = study::report_html(runs, report);
  CHECK(html.find("+12.5 points") != std::string::npos);
  CHECK(html.find("a &lt; b") != std::string::npos);
  CHECK(html.find("not a medical device") != std::string::npos);
  CHECK(html.find("<script") == std::string::npos);
  CHECK(html.find("http") == std::string::npos);

  // The charts as files: one for each class, no curve with one share alone.
  std::map<std::string, study::Chart> charts;
  for (const auto& chart : study::charts_of(runs.plan(), tables)) {
    charts[chart.name] = chart;
  }
  CHECK(charts.at("learning-curve-mca").body.empty());
  CHECK(study::to_html(charts.at("learning-curve-mca")).empty());
  CHECK(charts.count("recall-3-folds") == 1);
  const auto& forest = charts.at("mca-folds");
  CHECK(forest.said.find("weights + CARE (2) +0.125") != std::string::npos);
  const auto svg = study::to_svg(forest);
  CHECK(svg.rfind("<svg xmlns=", 0) == 0);
  CHECK(svg.find("weights + CARE (2)</text>") != std::string::npos);
  CHECK(svg.find("nan") == std::string::npos);
}

TEST_CASE("study: the learning curve has a line for each arm", "[study]") {
  auto json = tiny();
  json["data"] = "somewhere.csv";
  json["splits"] = {{{"train_share", 0.5}, {"numbers", {0}}}};
  const auto plan = study::parse_plan(json);
  study::Tables tables;
  for (const double share : {0.2, 0.5}) {
    for (const size_t arm : {size_t{0}, size_t{1}}) {
      study::ArmTable table;
      table.arm = arm;
      table.train_share = share;
      table.rare_images = 20 * share;
      const double mca = 0.4 + share / 2 + 0.01 * static_cast<double>(arm);
      table.figures.mca = {mca, mca - 0.05, mca + 0.05};
      tables.arms.push_back(table);
    }
  }
  const auto chart =
      study::learning_curve_chart(plan, tables, "MCA", &study::Figures::mca);
  const auto count = [&](const std::string& part) {
    size_t found = 0, at = 0;
    while ((at = chart.body.find(part, at)) != std::string::npos) {
      ++found;
      at += part.size();
    }
    return found;
  };
  CHECK(count("<polyline") == 2);
  CHECK(count("class=\"thint\"") == 4);
  CHECK(
      chart.said.find("weights + CARE with 10 rare images 0.660") !=
      std::string::npos);
  tables.arms.resize(2); // one share alone
  CHECK(study::learning_curve_chart(plan, tables, "MCA", &study::Figures::mca)
            .body.empty());
}

TEST_CASE("study: a whole one, started again and killed", "[study]") {
  const Folder whole, broken;
  auto json = tiny();
  json["arms"].push_back(
      {{"name", "LDAM + automatic"},
       {"imbalance", "ldam_drw"},
       {"guidance", "care"},
       {"balance", 1.0}});
  json["arms"].push_back(
      {{"name", "Energy"},
       {"imbalance", "square_root_sampling"},
       {"guidance", "energy"},
       {"map", "layer_cam"},
       {"map_stride", 8}});
  const auto settings = write_settings(whole, json);
  const auto first = run(settings, whole.path / "out");
  INFO(first.text);
  REQUIRE(first.status == 0);
  const auto out = whole.path / "out";
  const auto finished = runs_in(out);
  // 4 arms, 2 more controls, the shuffled boxes; 2 seeds each.
  CHECK(finished.size() == 14);
  const auto csv = common::read_file(out / "runs.csv");
  CHECK(std::count(csv.begin(), csv.end(), '\n') == 15);
  CHECK(
      common::read_file(out / "report.html").find("Where the networks look") !=
      std::string::npos);
  CHECK(fs::exists(out / "results.md"));
  CHECK(fs::exists(out / "charts" / "mca-folds.svg"));
  CHECK(fs::exists(out / "attention.png"));

  // Again: nothing is trained.
  const auto again = run(settings, out);
  CHECK(again.status == 0);
  CHECK(again.text.find("trained 0 networks") != std::string::npos);

  // Two processes side by side, killed now and then, give the same.
  const auto arguments = settings.string() + " --pictures 0 --out " +
      (broken.path / "out").string();
  for (int round = 0; round < 3; ++round) {
    care_test::Child one(CARE_STUDY, arguments), two(CARE_STUDY, arguments);
    std::this_thread::sleep_for(std::chrono::milliseconds(1500 + 700 * round));
    one.kill();
    two.kill();
  }
  {
    care_test::Child one(CARE_STUDY, arguments), two(CARE_STUDY, arguments);
    CHECK(one.wait() == 0);
    CHECK(two.wait() == 0);
  }
  CHECK(runs_in(broken.path / "out") == finished);
  for (const auto& entry :
       fs::recursive_directory_iterator(broken.path / "out/checkpoints")) {
    INFO(entry.path());
    CHECK((entry.is_directory() || entry.path().extension() == ".claim"));
  }
  CHECK(
      common::read_file(broken.path / "out" / "results.md") ==
      common::read_file(out / "results.md"));

  // Another recipe, or another arm of an old name, is refused.
  json["recipe"]["epochs"] = 4;
  auto other = run(write_settings(broken, json), out);
  CHECK(other.status == 1);
  CHECK(other.text.find("epochs") != std::string::npos);
  json["recipe"]["epochs"] = 3;
  json["arms"][1]["tau"] = 0.7;
  other = run(write_settings(broken, json), out);
  CHECK(other.status == 1);
  CHECK(other.text.find("tau") != std::string::npos);
}
