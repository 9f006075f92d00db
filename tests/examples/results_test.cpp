// The results: run files, pooled figures, their intervals, JSON, CSV, table.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/results.hpp"

#include "common/files.hpp"
#include "support/support.hpp"

#include <unistd.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>

namespace fs = std::filesystem;
using trainer::kNaN;
using trainer::Prediction;
using trainer::Run;

namespace {

Prediction says(
    const std::string& id,
    int64_t target,
    int64_t predicted,
    double epg = kNaN,
    bool boxed = false,
    int64_t classes = 2) {
  Prediction p;
  p.id = id;
  p.target = target;
  p.probability.assign(static_cast<size_t>(classes), 0.1);
  p.probability[static_cast<size_t>(predicted)] = 0.9;
  p.boxed = boxed;
  p.epg = epg;
  return p;
}

Run run_of(
    const std::string& arm,
    int64_t fold,
    int64_t seed,
    std::vector<Prediction> predictions) {
  Run run;
  run.arm = arm;
  run.fold = fold;
  run.seed = seed;
  run.predictions = std::move(predictions);
  return run;
}

/// Four images of class 0, two of class 1, in two folds.
std::vector<Run> small_set() {
  return {
      run_of(
          "care",
          0,
          7,
          {says("a", 0, 0), says("b", 0, 0), says("e", 1, 1, 0.8, true)}),
      run_of(
          "care",
          1,
          7,
          {says("c", 0, 0), says("d", 0, 1), says("f", 1, 1, 0.4, true)}),
      run_of(
          "plain",
          0,
          7,
          {says("a", 0, 0), says("b", 0, 0), says("e", 1, 0, 0.2, true)}),
      run_of(
          "plain",
          1,
          7,
          {says("c", 0, 0), says("d", 0, 0), says("f", 1, 1, kNaN, true)})};
}

struct Folder {
  fs::path path = fs::temp_directory_path() /
      ("care_results_test_" + std::to_string(::getpid()));
  Folder() {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~Folder() {
    fs::remove_all(path);
  }
};

} // namespace

TEST_CASE("results: a run comes back from its file to the last bit") {
  const Folder folder;
  auto run = run_of(
      "care",
      2,
      5,
      {says("ä/b\".png", 1, 1, 0.1 + 0.2, true), says("x", 0, 1)});
  run.test_set = "trap";
  run.seconds = 1.0 / 3;
  run.predictions[0].probability = {5e-324, 1 - 1e-16};
  trainer::EpochRow row;
  row.epoch = 1;
  row.stage = 2;
  row.train_loss = M_PI;
  row.guided = 12;
  run.epochs = {row};
  const auto path = folder.path / "run.json";
  trainer::save_run(path, run);
  const auto back = trainer::load_run(path);
  CHECK(back.arm == "care");
  CHECK(back.fold == 2);
  CHECK(back.seed == 5);
  CHECK(back.test_set == "trap");
  CHECK(back.seconds == run.seconds);
  REQUIRE(back.predictions.size() == 2);
  CHECK(back.predictions[0].id == "ä/b\".png");
  CHECK(back.predictions[0].probability == run.predictions[0].probability);
  CHECK(back.predictions[0].epg == run.predictions[0].epg);
  CHECK(back.predictions[0].boxed);
  CHECK(std::isnan(back.predictions[1].epg));
  REQUIRE(back.epochs.size() == 1);
  CHECK(back.epochs[0].stage == 2);
  CHECK(back.epochs[0].guided == 12);
  CHECK(back.epochs[0].train_loss == M_PI);
  CHECK(std::isnan(back.epochs[0].val_mca));
}

TEST_CASE("results: a damaged run file is named") {
  const Folder folder;
  const auto path = folder.path / "run.json";
  common::write_atomically(path, "{\"format\": ");
  CARE_REQUIRE_THROWS_AS(
      trainer::load_run(path), std::runtime_error, "run.json': expected a run");
  common::write_atomically(path, "{\"format\": \"other\"}");
  CARE_REQUIRE_THROWS_AS(
      trainer::load_run(path), std::runtime_error, "but got \"other\"");
  CARE_REQUIRE_THROWS_AS(
      trainer::load_run(folder.path / "none.json"),
      std::runtime_error,
      "none.json");
}

TEST_CASE("results: folds are put together, and figures follow by hand") {
  const auto summary = trainer::summarize(small_set(), {"mole", "rare"}, {1});
  REQUIRE(summary.tests.size() == 1);
  const auto& test = summary.tests[0];
  REQUIRE(test.arms.size() == 2);
  CHECK(test.arms[0].arm == "plain"); // whatever the runs' order
  const auto& plain = *test.arm("plain");
  const auto& care = *test.arm("care");
  CHECK(test.arm("other") == nullptr);

  CHECK(plain.accuracy.value == Approx(5.0 / 6));
  CHECK(plain.mca.value == Approx(0.75));
  CHECK(plain.rare_recall.value == Approx(0.5));
  CHECK(plain.recall[0].value == Approx(1.0));
  CHECK(plain.precision[0].value == Approx(0.8));
  CHECK(plain.f1[1].value == Approx(2.0 / 3));
  CHECK(plain.epg.value == Approx(0.2)); // the all-zero map stands apart
  CHECK(plain.maps == 2);
  CHECK(plain.undefined_maps == 1);
  CHECK(plain.images == 6);
  CHECK(plain.folds == std::vector<int64_t>{0, 1});
  CHECK(plain.confusion == std::vector<std::vector<int64_t>>{{4, 0}, {1, 1}});

  CHECK(care.mca.value == Approx((0.75 + 1) / 2));
  CHECK(care.epg.value == Approx(0.6));
  CHECK(std::isnan(care.epg_by_class[0].value));
  CHECK(care.epg_by_class[1].value == Approx(0.6));
  REQUIRE(care.runs.size() == 2);
  CHECK(care.runs[0].mca == Approx(1.0));
  CHECK(care.runs[1].recall[0] == Approx(0.5));

  REQUIRE(test.difference);
  CHECK(test.difference->mca.value == Approx(0.125));
  CHECK(test.difference->rare_recall.value == Approx(0.5));
  CHECK(test.difference->accuracy.value == Approx(0).margin(1e-12));
  CHECK(test.difference->epg.value == Approx(0.4));
}

TEST_CASE("results: the figure is taken per seed, then the mean over seeds") {
  // Seed 1: class 1 is found once of once; seed 2: never.
  const std::vector<Run> runs{
      run_of("plain", 0, 1, {says("a", 0, 0), says("b", 1, 1)}),
      run_of("plain", 0, 2, {says("a", 0, 0), says("b", 1, 0)})};
  const auto summary = trainer::summarize(runs, {"x", "y"}, {1});
  const auto& arm = summary.tests[0].arms[0];
  CHECK(arm.recall[1].value == Approx(0.5));
  CHECK(arm.mca.value == Approx(0.75));
  // Never predicted in seed 2: the precision is seed 1's.
  CHECK(arm.precision[1].value == Approx(1.0));
  CHECK(arm.images == 2);
  CHECK_FALSE(summary.tests[0].difference);
}

TEST_CASE("results: one run's figures are the library's, on random runs") {
  std::mt19937 generator(3);
  for (int repeat = 0; repeat < 20; ++repeat) {
    constexpr int64_t kClasses = 4;
    care::ConfusionMatrix matrix(kClasses);
    std::vector<Prediction> predictions;
    for (int i = 0; i < 30; ++i) {
      const int64_t target = generator() % kClasses;
      const int64_t predicted = generator() % (kClasses - 1);
      predictions.push_back(
          says(std::to_string(i), target, predicted, kNaN, false, kClasses));
      matrix.update(torch::tensor({target}), torch::tensor({predicted}));
    }
    trainer::SummaryOptions options;
    options.repeats = 2;
    const auto summary = trainer::summarize(
        {run_of("plain", 0, 0, predictions)},
        {"a", "b", "c", "d"},
        {3},
        options);
    const auto& run = summary.tests[0].arms[0].runs[0];
    CHECK(run.mca == Approx(matrix.mca()));
    CHECK(run.accuracy == Approx(matrix.accuracy()));
    CHECK(care_test::allclose(torch::tensor(run.f1), matrix.f1()));
    CHECK(
        care_test::allclose(torch::tensor(run.precision), matrix.precision()));
    CHECK(care_test::allclose(torch::tensor(run.recall), matrix.recall()));
  }
}

TEST_CASE("results: the difference is paired, and its interval tells") {
  std::mt19937 generator(5);
  std::vector<Run> runs;
  for (const int64_t seed : {1, 2, 3}) {
    std::vector<Prediction> plain, care;
    for (int i = 0; i < 60; ++i) {
      const auto id = std::to_string(i);
      const int64_t target = i % 2;
      const int64_t guess = generator() % 3 == 0 ? 1 - target : target;
      plain.push_back(says(id, target, guess, 0.2, true));
      care.push_back(says(id, target, guess, 0.3, true));
    }
    runs.push_back(run_of("plain", 0, seed, plain));
    runs.push_back(run_of("care", 0, seed, care));
  }
  const auto summary = trainer::summarize(runs, {"x", "y"}, {1});
  const auto& test = summary.tests[0];
  // Each arm is unsure, the difference of equal arms is not.
  CHECK(test.arms[0].mca.low < test.arms[0].mca.value);
  CHECK(test.arms[0].mca.high > test.arms[0].mca.value);
  CHECK(test.difference->mca.low == 0);
  CHECK(test.difference->mca.high == 0);
  CHECK(test.difference->epg.low == Approx(0.1));
  CHECK(test.difference->epg.high == Approx(0.1));
  // The same seed gives the same interval.
  const auto again = trainer::summarize(runs, {"x", "y"}, {1});
  CHECK(again.tests[0].arms[0].mca.low == test.arms[0].mca.low);
}

TEST_CASE("results: what one arm lacks does not count in the difference") {
  auto runs = small_set();
  runs.push_back(run_of("care", 0, 8, {says("a", 0, 1)})); // no such plain run
  const auto summary = trainer::summarize(runs, {"mole", "rare"}, {1});
  CHECK(summary.tests[0].difference->mca.value == Approx(0.125));
  CHECK(summary.tests[0].arm("care")->seeds == std::vector<int64_t>{7, 8});
}

TEST_CASE("results: results.json holds every arm, run by run and pooled") {
  const Folder folder;
  auto runs = small_set();
  for (auto run : small_set()) {
    run.test_set = "second";
    runs.push_back(run);
  }
  const auto summary = trainer::summarize(runs, {"mole", "rare"}, {1});
  trainer::write_results(
      folder.path, summary, runs, {{"lambda", 0.7}, {"net", "resnet18"}});
  const auto json = nlohmann::ordered_json::parse(
      common::read_file(folder.path / "results.json"));
  CHECK(json["settings"]["lambda"] == 0.7);
  CHECK(json["classes"] == nlohmann::ordered_json({"mole", "rare"}));
  CHECK(json["rare"] == nlohmann::ordered_json::array({"rare"}));
  CHECK(json["test_set"] == "test");
  const auto& plain = json["arms"]["plain"];
  REQUIRE(plain["runs"].size() == 2);
  CHECK(plain["runs"][1]["fold"] == 1);
  CHECK(plain["runs"][1]["seed"] == 7);
  CHECK(plain["runs"][1]["undefined_maps"] == 1);
  CHECK(plain["runs"][1]["epg"].is_null());
  CHECK(plain["runs"][1]["recall"]["rare"] == 1.0);
  const auto& pooled = plain["pooled"];
  for (const auto* name : {"mca", "accuracy", "epg", "rare_recall"}) {
    CHECK(pooled[name]["low"] <= pooled[name]["value"]);
    CHECK(pooled[name]["high"] >= pooled[name]["value"]);
  }
  CHECK(pooled["recall"]["rare"]["value"] == 0.5);
  CHECK(pooled["confusion"][1][0] == 1);
  CHECK(json["difference"]["mca"]["value"] == Approx(0.125));
  CHECK(json["other_test_sets"]["second"]["arms"].contains("care"));
  CHECK(fs::exists(folder.path / "results.txt"));
  CHECK(fs::exists(folder.path / "metrics.csv"));
}

TEST_CASE("results: the CSV has each network's epochs once") {
  auto run = run_of("plain", 0, 1, {});
  trainer::EpochRow row;
  row.epoch = 1;
  row.train_loss = 0.5;
  row.guided = 3;
  run.epochs = {row};
  auto other = run;
  other.test_set = "second";
  CHECK(
      trainer::metrics_csv({run, other}) ==
      "arm,fold,seed,epoch,stage,train_loss,inner,outer,inside_share,guided,"
      "train_accuracy,val_mca,val_accuracy,val_rare_recall,seconds\n"
      "plain,0,1,1,1,0.5,,,,3,,,,,\n");
}

TEST_CASE("results: the table shows both arms, also one alone") {
  auto runs = small_set();
  auto text =
      trainer::results_text(trainer::summarize(runs, {"mole", "rare"}, {1}));
  CHECK(text.find("rare (rare)") != std::string::npos);
  CHECK(text.find("care - plain") != std::string::npos);
  CHECK(text.find("0.750 [") != std::string::npos);
  CHECK(text.find("all-zero maps") != std::string::npos);
  CHECK(text.find("Confusion matrix, care") != std::string::npos);
  runs.resize(2);
  text = trainer::results_text(trainer::summarize(runs, {"mole", "rare"}, {}));
  CHECK(text.find("plain") == std::string::npos);
  CHECK(text.find("care") != std::string::npos);
}

TEST_CASE("results: runs that do not fit are refused") {
  auto runs = small_set();
  CARE_REQUIRE_THROWS_AS(
      trainer::summarize(runs, {"a", "b", "c"}, {}),
      std::invalid_argument,
      "run 'care', fold 0, seed 7");
  CARE_REQUIRE_THROWS_AS(
      trainer::summarize(runs, {"a", "b"}, {2}),
      std::invalid_argument,
      "expected rare classes in [0, 2), but got 2");
  runs.push_back(runs[0]);
  CARE_REQUIRE_THROWS_AS(
      trainer::summarize(runs, {"a", "b"}, {}),
      std::invalid_argument,
      "is there twice");
  runs = small_set();
  runs[0].predictions[1].id = "a";
  CARE_REQUIRE_THROWS_AS(
      trainer::summarize(runs, {"a", "b"}, {}),
      std::invalid_argument,
      "image 'a' is there twice");
  runs = small_set();
  runs[0].predictions[0].target = 1;
  CARE_REQUIRE_THROWS_AS(
      trainer::summarize(runs, {"a", "b"}, {}),
      std::invalid_argument,
      "image 'a' has another class");
}
