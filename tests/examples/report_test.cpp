// The report: complete, self-contained, honest about what the numbers say.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/report.hpp"
#include "resnet_trainer/html.hpp"
#include "resnet_trainer/verdict.hpp"

#include "common/files.hpp"
#include "support/support.hpp"

#include <unistd.h>
#include <opencv2/imgcodecs.hpp>

#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

namespace fs = std::filesystem;
using trainer::AttentionPicture;
using trainer::AttentionPictures;
using trainer::Report;
using trainer::Run;

namespace {

/// `hits` of ten rare images found, in each of three seeds.
Run run_of(const std::string& arm, int64_t seed, int hits) {
  Run run;
  run.arm = arm;
  run.seed = seed;
  for (int i = 0; i < 40; ++i) {
    trainer::Prediction p;
    p.id = "image " + std::to_string(i);
    p.target = i < 10 ? 1 : 0;
    const bool rare = i < hits;
    p.probability = {rare ? 0.0 : 1.0, rare ? 1.0 : 0.0};
    p.boxed = true;
    p.epg = arm == "care" ? 0.5 : 0.2;
    run.predictions.push_back(p);
  }
  for (int epoch = 1; epoch <= 4; ++epoch) {
    trainer::EpochRow row;
    row.epoch = epoch;
    row.stage = epoch > 2 ? 2 : 1;
    row.train_loss = 1.0 / epoch;
    row.val_mca = 0.5 + 0.1 * epoch;
    run.epochs.push_back(row);
  }
  return run;
}

AttentionPicture picture_of(const std::string& id) {
  AttentionPicture picture;
  picture.id = id;
  picture.label = "wart";
  picture.image = cv::Mat(60, 80, CV_8UC3, cv::Scalar(200, 150, 120));
  picture.boxes = care::Boxes::from_lists({{{10, 10, 40, 30}}}, {60, 80});
  picture.looks = {
      {torch::zeros({4, 4}), "mole", trainer::kNaN},
      {torch::eye(4), "wart", 0.4}};
  return picture;
}

AttentionPictures pictures_of(std::vector<AttentionPicture> rows) {
  return {{"Plain training", "CARE"}, std::move(rows)};
}

Report report_of(std::vector<Run> runs) {
  Report report;
  report.settings = {{"net", "resnet18"}, {"name", "<b>&\"'"}};
  report.summary = trainer::summarize(runs, {"mole", "wart"}, {1});
  report.runs = std::move(runs);
  report.pictures = pictures_of({picture_of("a.png"), picture_of("<i>.png")});
  return report;
}

std::vector<Run> clear_runs() {
  std::vector<Run> runs;
  for (const int64_t seed : {0, 1, 2}) {
    runs.push_back(run_of("plain", seed, 2));
    runs.push_back(run_of("care", seed, 9));
  }
  return runs;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace

TEST_CASE("report: the verdict says what the interval says") {
  auto report = report_of(clear_runs());
  auto said = trainer::verdict(report.summary);
  CHECK(has(said, "With CARE the recall of the rare class (wart) rose"));
  CHECK(has(said, "from 20.0 % to 90.0 %: +70.0 points (95 % interval +"));
  CHECK(has(said, "inside the boxes went from 20.0 % to 50.0 %"));
  CHECK_FALSE(has(said, "includes zero"));
  CHECK_FALSE(has(said, "one seed"));

  said = trainer::verdict(
      report_of({run_of("plain", 0, 5), run_of("care", 0, 5)}).summary);
  CHECK(has(said, "do not show that CARE changes the recall"));
  CHECK(has(said, "includes zero"));
  CHECK(has(said, "one seed"));

  said = trainer::verdict(
      report_of({run_of("plain", 0, 9), run_of("care", 0, 2)}).summary);
  CHECK(has(said, "fell"));

  said = trainer::verdict(report_of({run_of("plain", 0, 5)}).summary);
  CHECK(has(said, "Plain training alone: MCA"));
  CHECK(trainer::verdict({}) == "Nothing was tested.");
}

TEST_CASE("report: the trap's cost is told where there are both test sets") {
  std::vector<Run> runs;
  const auto add = [&](const char* arm, const char* test_set, int hits) {
    runs.push_back(run_of(arm, 0, hits));
    runs.back().test_set = test_set;
  };
  add("plain", "trap", 2);
  add("care", "trap", 7);
  add("plain", "as_trained", 9);
  add("care", "as_trained", 8);
  CHECK(
      has(trainer::verdict(report_of(runs).summary),
          "plain training loses 70.0 points of rare recall, CARE 10.0."));
  const auto html = trainer::report_html(report_of(runs));
  CHECK(has(html, "Test set: trap"));
  CHECK(has(html, "Test set: as_trained"));
}

TEST_CASE("report: the page is complete and needs nothing else") {
  const auto html = trainer::report_html(report_of(clear_runs()));
  for (const auto* part :
       {"<!DOCTYPE html>",
        "not a medical device",
        "resnet18",
        "CARE &minus; plain",
        "Training loss",
        "Validation MCA",
        "stage 2",
        "Confusion matrices",
        "Where the networks look",
        "no positive attention",
        "40 % of attention inside",
        "</html>"}) {
    INFO(part);
    CHECK(has(html, part));
  }
  // No curve was measured there.
  CHECK_FALSE(has(html, "Share of attention inside the boxes</figcaption>"));
  for (const auto* part :
       {"http:", "https:", "<script", "<link", "nan,", "nan<", "nan "}) {
    INFO(part);
    CHECK_FALSE(has(html, part));
  }
  // Names are text, never markup; each picture says what it is.
  CHECK_FALSE(has(html, "<b>&\"'"));
  CHECK(has(html, "&lt;b&gt;&amp;&quot;&#39;"));
  CHECK(has(html, "alt=\"&lt;i&gt;.png, true class wart\""));
}

TEST_CASE("report: a column for each network, and none without pictures") {
  auto report = report_of({run_of("care", 0, 5)});
  report.pictures.networks = {"CARE"};
  for (auto& picture : report.pictures.rows) {
    picture.looks.erase(picture.looks.begin());
  }
  const auto html = trainer::report_html(report);
  CHECK(has(html, "repeat(2,"));
  CHECK_FALSE(has(html, "&minus;"));
  const auto sheet = trainer::attention_sheet(report.pictures);

  // A third network has looked at one of the two images alone.
  report.pictures.networks.push_back("<third>");
  report.pictures.rows[0].looks.push_back({torch::ones({2, 2}), "wart", 0.1});
  report.pictures.rows[1].looks.emplace_back();
  CHECK(trainer::attention_sheet(report.pictures).cols > sheet.cols);
  CHECK(has(trainer::report_html(report), "repeat(3,"));
  CHECK(has(trainer::report_html(report), "&lt;third&gt;"));
  report.pictures.rows.clear();
  CHECK_FALSE(has(trainer::report_html(report), "Where the networks look"));
}

TEST_CASE("report: no run at all is still a page") {
  CHECK(has(trainer::report_html({}), "Nothing was tested."));
}

TEST_CASE("report: the overlay colours where the map is positive") {
  const cv::Mat image(40, 40, CV_8UC3, cv::Scalar(200, 100, 50));
  auto map = torch::full({2, 2}, -1.0);
  const auto grey = trainer::overlay(image, map).at<cv::Vec3b>(0, 0);
  CHECK(grey[0] == grey[1]);
  CHECK(grey[1] == grey[2]);
  map[1][0] = 5.0; // bottom left
  const auto heat = trainer::overlay(image, map);
  CHECK(heat.at<cv::Vec3b>(39, 39) == grey);
  CHECK(heat.at<cv::Vec3b>(0, 0) == grey);
  const auto hot = heat.at<cv::Vec3b>(39, 0);
  CHECK(hot[0] > hot[2] + 50); // red
  // The scale of the map does not show.
  const auto same = trainer::overlay(image, map * 1e-20);
  CHECK(cv::norm(heat, same, cv::NORM_INF) == 0);
  CARE_REQUIRE_THROWS_AS(
      trainer::overlay(image, torch::ones({1, 2, 2})),
      std::invalid_argument,
      "[h, w]");
}

TEST_CASE("report: pictures that do not fit are refused") {
  auto picture = picture_of("a.png");
  picture.boxes = care::Boxes::from_lists({{{1, 1, 4, 4}}}, {10, 10});
  CARE_REQUIRE_THROWS_AS(
      trainer::attention_sheet(pictures_of({picture})),
      std::invalid_argument,
      "80x60");
  picture = picture_of("a.png");
  picture.image = cv::Mat(60, 80, CV_8UC1);
  CARE_REQUIRE_THROWS_AS(
      trainer::attention_sheet(pictures_of({picture})),
      std::invalid_argument,
      "RGB");
  CARE_REQUIRE_THROWS_AS(
      trainer::attention_sheet({}), std::invalid_argument, "a picture");
}

TEST_CASE("report: both files are written, the sheet as a readable PNG") {
  const auto folder = fs::temp_directory_path() /
      ("care_report_test_" + std::to_string(::getpid()));
  const auto report = report_of(clear_runs());
  trainer::write_report(folder, report);
  CHECK(
      common::read_file(folder / "report.html") ==
      trainer::report_html(report));
  const auto sheet = cv::imread((folder / "attention.png").string());
  CHECK(sheet.size() == trainer::attention_sheet(report.pictures).size());
  fs::remove_all(folder);
}
