// Tests of the auto_boxes program: pictures in, a manifest with boxes out.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/program.hpp"
#include "support/support.hpp"

#include "auto_boxes/find.hpp"
#include "auto_boxes/generated_set.hpp"
#include "auto_boxes/input.hpp"
#include "auto_boxes/methods.hpp"
#include "auto_boxes/score.hpp"
#include "auto_boxes/sheet.hpp"
#include "common/files.hpp"
#include "common/manifest.hpp"

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include <array>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using auto_boxes::Found;
using auto_boxes::Method;
using care_test::Folder;
using common::Record;

/// A grey picture of 200x100 with a red square.
cv::Mat red_square(int left, int top, int side) {
  cv::Mat picture(100, 200, CV_8UC3, cv::Scalar(128, 128, 128));
  picture(cv::Rect(left, top, side, side)).setTo(cv::Scalar(220, 30, 30));
  return picture; // RGB
}

void write(const fs::path& file, const cv::Mat& rgb) {
  fs::create_directories(file.parent_path());
  cv::Mat bgr;
  cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
  cv::imwrite(file.string(), bgr);
}

/// Says that everything left of the middle stands out; counts its calls.
Method left_half(std::atomic<int>& calls) {
  return {
      "left",
      [&calls](const torch::Tensor& x) {
        ++calls;
        auto map = torch::zeros({x.size(0), x.size(2), x.size(3)});
        map.slice(2, 0, x.size(3) / 2).fill_(1);
        return map;
      },
      care::BoxFinderOptions().padding(1)};
}

auto_boxes::FindSettings settings(const fs::path& folder) {
  auto_boxes::FindSettings result;
  result.identity = "test";
  result.cache = folder / "found.json";
  return result;
}

/// Five pictures, the third damaged, and their records.
std::vector<Record> five(const fs::path& folder) {
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    write(folder / "in" / (std::string(name) + ".png"), red_square(20, 20, 40));
  }
  std::ofstream(folder / "in" / "c.png") << "not a picture";
  return auto_boxes::read_input(folder / "in");
}

} // namespace

TEST_CASE("auto_boxes: a folder gives its pictures, labelled by folder") {
  const Folder folder;
  write(folder.path / "mole/b.PNG", red_square(0, 0, 10));
  write(folder.path / "mole/a.jpg", red_square(0, 0, 10));
  write(folder.path / "top.png", red_square(0, 0, 10));
  std::ofstream(folder.path / "notes.txt") << "x";
  const auto records = auto_boxes::read_input(folder.path);
  REQUIRE(records.size() == 3);
  CHECK(records[0].path == "mole/a.jpg");
  CHECK(records[0].label == "mole");
  CHECK(records[1].path == "mole/b.PNG");
  CHECK(records[2].label == "unlabelled");
  CHECK(fs::exists(records[1].file));
  // Its own results are not its input.
  CHECK(auto_boxes::read_input(folder.path, folder.path / "mole").size() == 1);

  const Folder empty;
  CARE_REQUIRE_THROWS_AS(
      auto_boxes::read_input(empty.path), std::runtime_error, "has none");
}

TEST_CASE("auto_boxes: names of methods, and what is wrong with them") {
  const auto methods =
      auto_boxes::make_methods({"frequency", "background"}, {}, {});
  REQUIRE(methods.size() == 2);
  CHECK(methods[0].name == "frequency");
  auto_boxes::FinderChoice choice;
  choice.max_boxes = 7;
  CHECK(
      auto_boxes::make_methods({"lesion"}, {}, choice)[0].finder.max_boxes() ==
      7);
  CARE_REQUIRE_THROWS_AS(
      auto_boxes::make_methods({"salient"}, {}, {}),
      std::invalid_argument,
      "but got salient");
  CARE_REQUIRE_THROWS_AS(
      auto_boxes::make_methods({"lesion", "lesion"}, {}, {}),
      std::invalid_argument,
      "lesion twice");
  CARE_REQUIRE_THROWS_AS(
      auto_boxes::make_methods({"segmentation"}, {}, {}),
      std::invalid_argument,
      "--network");
  choice.level = -1;
  CARE_REQUIRE_THROWS(
      auto_boxes::make_methods({"background"}, {}, choice), "level above 0");
}

TEST_CASE("auto_boxes: every saliency method finds a plain square") {
  const auto picture = red_square(110, 30, 40);
  const auto manual =
      care::Boxes::from_lists({{{110, 30, 150, 70}}}, {100, 200});
  for (const auto& name : auto_boxes::method_names()) {
    if (name == "segmentation" || name == "object") {
      continue; // the one needs a network, the other a spot on an object
    }
    INFO(name);
    const auto methods = auto_boxes::make_methods({name}, {}, {});
    const auto found = auto_boxes::find_on(picture, methods, 100, manual);
    REQUIRE(found.boxes.size() == 1);
    CHECK(found.boxes[0].method == name);
    CHECK(found.boxes[0].confidence > 0.1);
    // Of a large thing the spectral residual shows the outline alone.
    const double least = name == "spectral" ? 0.2 : 0.5;
    CHECK(auto_boxes::box_iou(found.boxes[0].xyxy, {110, 30, 150, 70}) > least);
    CHECK(found.best_iou > least);
    CHECK(found.seconds > 0);
  }
}

TEST_CASE("auto_boxes: the next method is asked where one finds nothing") {
  std::atomic<int> calls{0};
  auto nothing = left_half(calls);
  nothing.name = "nothing";
  nothing.map = [](const torch::Tensor& x) {
    return torch::zeros({x.size(0), x.size(2), x.size(3)});
  };
  const auto none = care::Boxes::none(1, {100, 200});
  const auto picture = red_square(0, 0, 10);
  const auto found =
      auto_boxes::find_on(picture, {nothing, left_half(calls)}, 0, none);
  REQUIRE(found.boxes.size() == 1);
  CHECK(found.boxes[0].method == "left");
  CHECK(found.boxes[0].xyxy == std::array<double, 4>{0, 0, 100, 100});
  CHECK(std::isnan(found.best_iou));
  CHECK(auto_boxes::find_on(picture, {nothing}, 0, none).boxes.empty());
}

TEST_CASE("auto_boxes: a damaged picture is skipped, the rest is done once") {
  const Folder folder;
  const auto records = five(folder.path);
  std::atomic<int> calls{0};
  const auto found =
      auto_boxes::find_all(records, {left_half(calls)}, settings(folder.path));
  CHECK(calls == 4);
  REQUIRE(found.size() == 5);
  CHECK(found[2].error.find("c.png") != std::string::npos);
  CHECK(found[2].boxes.empty());
  CHECK(found[3].error.empty());
  CHECK(found[3].boxes.size() == 1);

  const auto again =
      auto_boxes::find_all(records, {left_half(calls)}, settings(folder.path));
  CHECK(calls == 4);
  CHECK(again[3].boxes[0].xyxy == found[3].boxes[0].xyxy);
  CHECK(again[3].boxes[0].confidence == found[3].boxes[0].confidence);
  CHECK(again[2].error == found[2].error);

  // A repaired picture and a changed one are done, the others are not.
  write(records[2].file, red_square(20, 20, 50));
  write(records[3].file, red_square(120, 20, 33));
  auto_boxes::find_all(records, {left_half(calls)}, settings(folder.path));
  CHECK(calls == 6);

  // Boxes drawn by hand are compared with the map anew.
  auto drawn = records;
  drawn[0].boxes = {{0, 0, 100, 100}};
  const auto compared =
      auto_boxes::find_all(drawn, {left_half(calls)}, settings(folder.path));
  CHECK(calls == 7);
  CHECK(compared[0].best_iou == Approx(1));

  auto other = settings(folder.path);
  other.identity = "others";
  CARE_REQUIRE_THROWS_AS(
      auto_boxes::find_all(records, {left_half(calls)}, other),
      std::runtime_error,
      "--fresh");
  other.fresh = true;
  auto_boxes::find_all(records, {left_half(calls)}, other);
  CHECK(calls == 12);
}

TEST_CASE("auto_boxes: what was done before an error is not done again") {
  const Folder folder;
  const auto records = five(folder.path);
  std::atomic<int> calls{0};
  auto breaks = left_half(calls);
  breaks.map = [&, map = breaks.map](const torch::Tensor& x) {
    if (calls == 2) {
      throw std::logic_error("stop");
    }
    return map(x);
  };
  CHECK_THROWS_AS(
      auto_boxes::find_all(records, {breaks}, settings(folder.path)),
      std::logic_error);
  auto_boxes::find_all(records, {left_half(calls)}, settings(folder.path));
  CHECK(calls == 4);
}

TEST_CASE("auto_boxes: the manifest can be read back") {
  const Folder folder;
  std::vector<Record> records(3);
  records[0].path = records[0].file = folder.path / "in" / "a, \"b\".png";
  records[0].label = "mole";
  records[0].fold = 2;
  records[1].file = folder.path / "in" / "none.png";
  records[1].label = "skin";
  records[2].file = folder.path / "in" / "skipped.png";
  records[2].label = "skin";
  std::vector<Found> found(3);
  found[0].boxes = {
      {{1.25, 2, 30, 40}, "background", 0.5},
      {{5, 6, 7, 8}, "frequency", 0.25}};
  found[2].error = "is damaged";
  const auto path = folder.path / "out" / "manifest.csv";
  auto_boxes::write_manifest(path, records, found);

  const auto back = common::read_manifest(path);
  REQUIRE(back.size() == 2);
  CHECK(fs::weakly_canonical(back[0].file) == records[0].file);
  CHECK(back[0].label == "mole");
  CHECK(back[0].fold == 2);
  REQUIRE(back[0].boxes.size() == 2);
  CHECK(back[0].boxes[0] == std::array<double, 4>{1.25, 2, 30, 40});
  CHECK(back[0].confidence == std::vector<double>{0.5, 0.25});
  CHECK(back[1].boxes.empty());
  CHECK(back[1].fold == -1);
  const auto text = common::read_file(path);
  CHECK(text.find(",background,0.5000\n") != std::string::npos);
  CHECK(text.find("../in/none.png,skin,,,,,,none,\n") != std::string::npos);

  records[0].group = "patient 7";
  auto_boxes::write_manifest(path, records, found);
  const auto grouped = common::read_manifest(path);
  CHECK(grouped[0].group == "patient 7");
  CHECK(grouped[0].fold == 2);
  CHECK(grouped[1].group.empty());
}

TEST_CASE("auto_boxes: scores are what they say, by label and for all") {
  CHECK(auto_boxes::box_iou({0, 0, 10, 10}, {0, 0, 10, 10}) == 1.0);
  CHECK(auto_boxes::box_iou({0, 0, 10, 10}, {5, 0, 15, 10}) == Approx(1.0 / 3));
  CHECK(auto_boxes::box_iou({0, 0, 10, 10}, {20, 0, 30, 10}) == 0.0);

  std::vector<Record> records(5);
  std::vector<Found> found(5);
  for (size_t i = 0; i < 5; ++i) {
    records[i].label = i < 2 ? "a" : "b";
    records[i].boxes = {{0, 0, 10, 10}, {50, 50, 60, 60}};
    found[i].size = {100, 100};
    found[i].seconds = 0.002;
    found[i].best_iou = 0.75;
  }
  found[0].boxes = {{{50, 50, 60, 60}, "x", 0.9}}; // fits the second
  found[1].boxes = {{{0, 0, 20, 10}, "x", 0.9}, {{50, 50, 60, 60}, "x", 0.1}};
  found[2].best_iou = NAN; // nothing found on a flat map
  records[3].boxes.clear(); // nothing to compare with
  found[4].error = "is damaged";

  const auto scores = auto_boxes::score(records, found);
  REQUIRE(scores.size() == 3);
  CHECK(scores[0].group == "a");
  CHECK(scores[0].images == 2);
  CHECK(scores[0].half.value == 1.0); // 1 and 1/2
  CHECK(scores[0].iou.value == Approx(0.75));
  CHECK(scores[0].area_iou == Approx((0.5 + 200.0 / 300) / 2));
  CHECK(scores[1].group == "b");
  CHECK(scores[1].images == 1);
  CHECK(scores[1].found == 0.0);
  CHECK(scores[2].group == "all");
  CHECK(scores[2].images == 3);
  CHECK(scores[2].half.value == Approx(2.0 / 3));
  CHECK(scores[2].half.low <= scores[2].half.value);
  CHECK(scores[2].best_iou == Approx(0.5));
  CHECK(scores[2].milliseconds == Approx(2));
  CHECK(
      auto_boxes::score_table(scores).find("| b | 1 | 0.00 [0.00, 0.00]") !=
      std::string::npos);
}

TEST_CASE("auto_boxes: the sheet starts where an eye is needed most") {
  std::vector<Found> found(4);
  found[0].boxes = {{{0, 0, 9, 9}, "x", 0.9}};
  found[1].boxes = {{{0, 0, 9, 9}, "x", 0.2}};
  found[3].error = "is damaged";
  CHECK(auto_boxes::to_look_through(found, 9) == std::vector<size_t>{2, 1, 0});
  CHECK(auto_boxes::to_look_through(found, 1) == std::vector<size_t>{2});
}

TEST_CASE("auto_boxes: the program writes a manifest, a score and a sheet") {
  const Folder folder;
  const auto in = folder.path / "in";
  write(in / "a.png", red_square(20, 20, 40));
  write(in / "b.png", red_square(120, 30, 50));
  std::ofstream(in / "c.png") << "not a picture";
  std::ofstream(in / "manifest.csv")
      << "path,label,xmin,ymin,xmax,ymax,fold\na.png,x,20,20,60,60,0\n"
         "b.png,x,120,30,170,80,1\nc.png,x,,,,,1\n";
  const auto out = folder.path / "out";
  const auto arguments = (in / "manifest.csv").string() +
      " --method background,frequency --score --threads 1 --out " +
      out.string();
  const auto outcome = care_test::run_program(CARE_AUTO_BOXES, arguments);
  INFO(outcome.text);
  REQUIRE(outcome.status == 0);
  CHECK(outcome.text.find("skipped: ") != std::string::npos);
  CHECK(outcome.text.find("c.png") != std::string::npos);
  CHECK(outcome.text.find("1 skipped") != std::string::npos);
  CHECK(outcome.text.find("| all | 2 | 1.00 ") != std::string::npos);
  CHECK(common::read_manifest(out / "manifest.csv").size() == 2);
  CHECK_FALSE(cv::imread((out / "sheet.png").string()).empty());
  const auto page = common::read_file(out / "sheet.html");
  CHECK(page.find("data:image/jpeg;base64,") != std::string::npos);
  CHECK(page.find("a.png") != std::string::npos);
  CHECK(page.find("http") == std::string::npos); // nothing from elsewhere

  const auto other =
      care_test::run_program(CARE_AUTO_BOXES, arguments + " --level 3");
  CHECK(other.status == 1);
  CHECK(other.text.find("--fresh") != std::string::npos);
  const auto none = care_test::run_program(
      CARE_AUTO_BOXES, in.string() + " --score --out " + out.string() + "2");
  CHECK(none.status == 1);
  CHECK(none.text.find("expected boxes") != std::string::npos);
}
