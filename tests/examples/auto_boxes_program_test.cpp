// Tests of the auto_boxes program: pictures in, a manifest with boxes out.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"
#include "support/program.hpp"

#include "auto_boxes/find.hpp"
#include "auto_boxes/finder.hpp"
#include "auto_boxes/score.hpp"
#include "auto_boxes/sheet.hpp"
#include "resnet_trainer/lock.hpp"
#include "resnet_trainer/manifest.hpp"
#include "resnet_trainer/picture.hpp"

#include <opencv2/core.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using auto_boxes::Found;
using care_test::contains;
using care_test::error_of;
using care_test::Folder;
using care_test::read_text;
using care_test::write_text;
using trainer::Row;
using Box = std::array<double, 4>;

/// A grey picture of 200x100 with a red square.
cv::Mat red_square(int left, int top, int side) {
  cv::Mat picture(100, 200, CV_8UC3, cv::Scalar(128, 128, 128));
  picture(cv::Rect(left, top, side, side)).setTo(cv::Scalar(220, 30, 30));
  return picture; // RGB
}

void write(const fs::path& file, const cv::Mat& rgb) {
  fs::create_directories(file.parent_path());
  trainer::write_picture(file, rgb);
}

/// Says that the left half is a lesion; counts its calls.
auto_boxes::Finder left_half(std::atomic<int>& calls) {
  return [&calls](const cv::Mat& picture, const Row& row) {
    ++calls;
    Found found;
    found.boxes = {
        {{0, 0, picture.cols / 2.0, 1.0 * picture.rows}, "left", .5}};
    found.best_iou = row.boxes.empty() ? 0 : 1;
    return found;
  };
}

auto_boxes::FindSettings settings(const fs::path& folder) {
  auto_boxes::FindSettings result;
  result.identity = "test";
  result.cache = folder / "found.json";
  return result;
}

/// Five pictures, the third damaged.
std::vector<Row> five(const fs::path& folder) {
  for (const char* name : {"a", "b", "c", "d", "e"}) {
    write(folder / "in" / (std::string(name) + ".png"), red_square(20, 20, 40));
  }
  write_text(folder / "in" / "c.png", "not a picture");
  return trainer::read_folder(folder / "in", "unlabelled");
}

double iou(const Box& a, const Box& b) {
  const double w = std::min(a[2], b[2]) - std::max(a[0], b[0]);
  const double h = std::min(a[3], b[3]) - std::max(a[1], b[1]);
  const double both = std::max(w, 0.0) * std::max(h, 0.0);
  return both /
      ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both);
}

care_test::ProgramOutcome run(const std::string& arguments) {
  return care_test::run_program(CARE_AUTO_BOXES, arguments + " --threads 1");
}

} // namespace

TEST_CASE("auto_boxes: wrong options are said before anything is done") {
  const auto error = [](const auto_boxes::FinderOptions& options) {
    return error_of([&] { auto_boxes::make_finder(options); });
  };
  auto_boxes::FinderOptions options;
  CHECK(error(options).empty());
  options.methods = {"salient"};
  CHECK(contains(error(options), "but got salient"));
  options.methods = {"lesion", "lesion"};
  CHECK(contains(error(options), "each once"));
  options.methods = {"segmentation"};
  CHECK(contains(error(options), "expected --network"));
  options.methods = {"background"};
  options.network = "unet.pt";
  CHECK(contains(error(options), "expected --method segmentation"));
  options.network.clear();
  options.numbers = {{"level", -1}};
  CHECK(contains(error(options), "level above 0"));
  options.numbers = {{"level", 3}};
  CHECK(error(options).empty());
  options.threshold = "otsu"; // which has no level
  CHECK(contains(error(options), "--level"));
}

TEST_CASE("auto_boxes: every saliency method finds a plain square") {
  const auto picture = red_square(110, 30, 40);
  const Box square{110, 30, 150, 70};
  Row row;
  row.boxes = {{square, "", ""}};
  for (const std::string name :
       {"background", "frequency", "lesion", "spectral"}) {
    INFO(name);
    auto_boxes::FinderOptions options;
    options.methods = {name};
    options.side = 100;
    const auto found = auto_boxes::make_finder(options)(picture, row);
    REQUIRE(found.boxes.size() == 1);
    CHECK(found.boxes[0].method == name);
    CHECK(found.boxes[0].confidence > 0.1);
    // Of a large thing the spectral residual shows the outline alone.
    const double least = name == "spectral" ? 0.2 : 0.5;
    const auto fit = iou(found.boxes[0].xyxy, square);
    CHECK(fit > least);
    CHECK(found.iou == Approx(fit));
    CHECK(found.area_iou == Approx(fit).margin(0.02)); // by pixels
    CHECK(found.best_iou > least);
    CHECK(found.seconds > 0);
  }
  row.boxes.clear();
  const auto found = auto_boxes::make_finder({})(picture, row);
  CHECK(found.boxes.size() == 1);
  CHECK(found.iou == 0);
  CHECK(found.best_iou == 0);
}

TEST_CASE("auto_boxes: boxes beyond float and the border are cut") {
  Row row;
  row.boxes = {{{-1e20, -1e20, 1e39, 1e39}, "", ""}};
  const auto found = auto_boxes::make_finder({})(red_square(0, 0, 100), row);
  REQUIRE(found.boxes.size() == 1);
  // It is all of the picture.
  CHECK(found.iou == Approx(iou(found.boxes[0].xyxy, {0, 0, 200, 100})));
  CHECK(found.iou > 0);
}

TEST_CASE("auto_boxes: a damaged picture is skipped, the rest is done once") {
  const Folder folder;
  const auto rows = five(folder.path);
  std::atomic<int> calls{0};
  const auto find = [&](const std::vector<Row>& of) {
    return auto_boxes::find_all(of, left_half(calls), settings(folder.path));
  };
  const auto found = find(rows);
  CHECK(calls == 4);
  REQUIRE(found.size() == 4);
  CHECK(found[2].row.path == "d.png");
  REQUIRE(found[2].boxes.size() == 1);
  CHECK(found[2].boxes[0].xyxy == Box{0, 0, 100, 100});

  const auto again = find(rows);
  CHECK(calls == 4);
  REQUIRE(again.size() == 4);
  CHECK(again[2].row.path == "d.png");
  CHECK(again[2].boxes[0].xyxy == found[2].boxes[0].xyxy);
  CHECK(again[2].boxes[0].confidence == found[2].boxes[0].confidence);

  // However a path is spelled, it is the same picture.
  auto spelled = rows;
  spelled[0].file = folder.path / "in" / ".." / "in" / "a.png";
  find(spelled);
  CHECK(calls == 4);

  // A repaired picture and a changed one are done, the others are not.
  write(rows[2].file, red_square(20, 20, 50));
  write(rows[3].file, red_square(120, 20, 33));
  CHECK(find(rows).size() == 5);
  CHECK(calls == 6);

  // Boxes drawn by hand are compared with the map anew.
  auto drawn = rows;
  drawn[0].boxes = {{{0, 0, 100, 100}, "", ""}};
  CHECK(find(drawn)[0].best_iou == 1);
  CHECK(calls == 7);

  auto other = settings(folder.path);
  other.identity = "others";
  const auto find_others = [&] {
    auto_boxes::find_all(rows, left_half(calls), other);
  };
  CHECK(contains(error_of(find_others), "(test), not others"));
  // A file that was cut off is not taken for less than it was.
  write_text(other.cache, read_text(other.cache).substr(0, 99));
  CHECK(contains(error_of(find_others), "(unreadable), not others"));
  other.fresh = true;
  find_others();
  CHECK(calls == 12);
}

TEST_CASE("auto_boxes: what was done before an error is not done again") {
  const Folder folder;
  const auto rows = five(folder.path);
  std::atomic<int> calls{0};
  const auto breaks = [&](const cv::Mat& picture, const Row& row) {
    if (calls == 2) {
      throw std::logic_error("stop");
    }
    return left_half(calls)(picture, row);
  };
  const auto found = [&](const auto_boxes::Finder& finder) {
    return auto_boxes::find_all(rows, finder, settings(folder.path)).size();
  };
  CHECK_THROWS_AS(found(breaks), std::logic_error);
  CHECK(found(left_half(calls)) == 4);
  CHECK(calls == 4);
}

TEST_CASE("auto_boxes: a picture that a finder refuses is skipped by name") {
  const Folder folder;
  auto rows = five(folder.path);
  rows[3].where = "m.csv:4";
  std::atomic<int> calls{0};
  const auto refuses = [&](const cv::Mat& picture, const Row& row) {
    if (row.path == "d.png") { // as one whose manual box lies beside it
      throw std::runtime_error("m.csv:5: expected a box on the picture");
    }
    return left_half(calls)(picture, row);
  };
  const auto found = auto_boxes::find_all(rows, refuses, settings(folder.path));
  REQUIRE(found.size() == 3);
  CHECK(found[2].row.path == "e.png");
}

TEST_CASE("auto_boxes: where no picture can be read, nothing is claimed") {
  const Folder folder;
  write_text(folder.path / "a.png", "not a picture");
  const auto rows = trainer::read_folder(folder.path, "unlabelled");
  std::atomic<int> calls{0};
  const auto error = error_of([&] {
    auto_boxes::find_all(rows, left_half(calls), settings(folder.path / "out"));
  });
  CHECK(contains(error, "all 1 were skipped"));
  CHECK_FALSE(fs::exists(folder.path / "out"));
}

TEST_CASE("auto_boxes: the manifest keeps all columns of the input") {
  const Folder folder;
  const auto in = folder.path / "in", out = folder.path / "out";
  write(in / "a, \"b\".png", red_square(20, 20, 40));
  write(in / "flat.png", cv::Mat(100, 200, CV_8UC3, cv::Scalar(9, 9, 9)));
  const auto manifest = write_text(
      in / "manifest.csv",
      "path,label,xmin,ymin,xmax,ymax,split,fold,group,mask,place,method,"
      "confidence,\n"
      "\"a, \"\"b\"\".png\",\"mole, dark\",1,2,3,4,train,2,patient 7,"
      "masks/a.png,land,hand,0.9,\n"
      "./flat.png,skin,,,,,test,,,,,,,\n");
  // The data are reached by a link, which the results must not depend on.
  fs::create_directory_symlink(in, folder.path / "link");
  const auto outcome =
      run((folder.path / "link/manifest.csv").string() + " --sheet 0 --out " +
          out.string());
  INFO(outcome.text);
  REQUIRE(outcome.status == 0);

  const auto rows = trainer::read_manifest(manifest);
  const auto back = trainer::read_manifest(out / "manifest.csv");
  REQUIRE(back.size() == 2);
  CHECK(fs::weakly_canonical(back[0].file) == rows[0].file);
  CHECK(back[0].label == "mole, dark");
  REQUIRE(back[0].boxes.size() == 1);
  CHECK(iou(back[0].boxes[0].xyxy, {20, 20, 60, 60}) > 0.5);
  CHECK(back[0].boxes[0].confidence > 0.1);
  CHECK(back[0].split == "train");
  CHECK(back[0].fold == "2");
  CHECK(back[0].group == "patient 7");
  CHECK(fs::weakly_canonical(back[0].mask) == rows[0].mask);
  CHECK(back[0].more.at("place") == "land");
  CHECK(back[0].more.at("method") == "background");
  CHECK(back[1].boxes.empty());
  CHECK(back[1].split == "test");
  CHECK(back[1].fold.empty());
  CHECK(back[1].mask.empty());
  const auto text = read_text(out / "manifest.csv");
  CHECK(contains(
      text,
      "path,label,xmin,ymin,xmax,ymax,confidence,fold,group,mask,method,place,"
      "split\n"));
  CHECK(contains(text, "../in/flat.png,skin,,,,,,,,,none,,test\n"));
}

TEST_CASE("auto_boxes: a label that is asked for may be one of several") {
  const Folder folder;
  write(folder.path / "a.png", red_square(20, 20, 40));
  write(folder.path / "b.png", red_square(30, 20, 40));
  const auto manifest = write_text(
      folder.path / "manifest.csv",
      "path,label,xmin,ymin,xmax,ymax\na.png,mole|vein,,,,\nb.png,vein,,,,\n");
  const auto out = folder.path / "out";
  const auto outcome =
      run(manifest.string() + " --labels mole --sheet 0 --out " + out.string());
  INFO(outcome.text);
  REQUIRE(outcome.status == 0);
  const auto rows = trainer::read_manifest(out / "manifest.csv");
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].label == "mole|vein");
}

TEST_CASE("auto_boxes: scores are what they say, by label and for all") {
  std::vector<Found> found(4);
  for (size_t i = 0; i < 4; ++i) {
    found[i].row.label = i < 2 ? "a" : "b";
    found[i].row.boxes = {{{0, 0, 10, 10}, "", ""}};
    found[i].boxes = {{{0, 0, 20, 10}, "x", 0.9}};
    found[i].seconds = 0.002;
    found[i].iou = found[i].area_iou = 0.5;
    found[i].best_iou = 0.75;
  }
  found[0].iou = 1;
  found[1].area_iou = 0.25;
  found[2] = {found[2].row, {}, 0.008, 0, 0, 0}; // nothing was found
  found[3].row.boxes.clear(); // nothing to compare with
  // a: 1 and 1/2; b: 0. In "all" of three pictures the mean of draws with
  // replacement lies between 0 and 1.
  const auto table = auto_boxes::score_table(found);
  INFO(table);
  CHECK(contains(
      table,
      "| a | 2 | 1.00 [1.00, 1.00] | 0.75 [0.50, 1.00] | 0.38 | 0.75 | 1.00 | "
      "2 |\n"));
  CHECK(contains(
      table,
      "| b | 1 | 0.00 [0.00, 0.00] | 0.00 [0.00, 0.00] | 0.00 | 0.00 | 0.00 | "
      "8 |\n"));
  CHECK(contains(table, "| all | 3 | 0.67 [0.00, 1.00] | 0.50 ["));
  CHECK(contains(table, "] | 0.25 | 0.50 | 0.67 | 4 |\n"));
}

TEST_CASE("auto_boxes: the sheet starts where an eye is needed most") {
  const Folder folder;
  std::vector<Found> found(3);
  for (size_t i = 0; i < 3; ++i) {
    found[i].row.path = std::string(1, static_cast<char>('a' + i)) + "<.png";
    found[i].row.file = folder.path / found[i].row.path;
    write(found[i].row.file, red_square(20, 20, 40));
  }
  found[0].boxes = {{{20, 20, 60, 60}, "x", 0.9}};
  found[1].boxes = {{{20, 20, 60, 60}, "x", 0.2}, {{0, 0, 9, 9}, "x", 0.1}};
  auto_boxes::write_sheet(folder.path, found, 9, "a <summary>");
  const auto page = read_text(folder.path / "sheet.html");
  const auto place = [&](const std::string& text) {
    const auto found_at = page.find("figcaption>" + text);
    REQUIRE(found_at != std::string::npos);
    return found_at;
  };
  CHECK(place("c&#60;.png<br>no box") < place("b&#60;.png<br>x 0.20, 2 boxes"));
  CHECK(place("b&#60;.png<br>x 0.20, 2 boxes") < place("a&#60;.png<br>x 0.90"));
  CHECK(contains(page, "3 of 3 pictures"));
  CHECK(contains(page, "a &#60;summary&#62;"));
  CHECK(contains(page, "src=\"data:image/"));
  CHECK_FALSE(contains(page, "http")); // nothing from elsewhere

  auto_boxes::write_sheet(folder.path, found, 1, "");
  const auto one = read_text(folder.path / "sheet.html");
  CHECK(contains(one, "1 of 3 pictures"));
  CHECK(contains(one, "c&#60;.png"));
  CHECK_FALSE(contains(one, "b&#60;.png"));
}

TEST_CASE("auto_boxes: the program writes a manifest, a score and a sheet") {
  const Folder folder;
  const auto in = folder.path / "in", out = folder.path / "out";
  write(in / "a.png", red_square(20, 20, 40));
  write(in / "b.png", red_square(120, 30, 50));
  write(in / "d.png", red_square(120, 30, 40));
  write_text(in / "c.png", "not a picture");
  const auto manifest = write_text(
      in / "manifest.csv",
      "path,label,xmin,ymin,xmax,ymax,fold,place\n"
      "a.png,\"Melanoma, NOS\",20,20,60,60,0,land\n"
      "b.png,x,120,30,170,80,1,\nc.png,x,,,,,1,sea\n"
      "d.png,x,300,30,310,80,1,sea\n"); // a box beyond it
  const auto arguments = manifest.string() + " --out " + out.string();
  const auto outcome =
      run(arguments + " --method background,frequency --score");
  INFO(outcome.text);
  REQUIRE(outcome.status == 0);
  CHECK(contains(outcome.text, "skipped: "));
  CHECK(contains(outcome.text, "manifest.csv:4: "));
  CHECK(contains(
      outcome.text,
      "skipped: " + manifest.string() + ":5: expected a box on the picture"));
  CHECK(contains(outcome.text, "4 pictures, 0 without a box, 2 skipped"));
  CHECK(contains(outcome.text, "| all | 2 | 1.00 "));
  const auto found = trainer::read_manifest(out / "manifest.csv");
  REQUIRE(found.size() == 2);
  CHECK(found[0].more.at("place") == "land");
  CHECK(found[1].fold == "1");
  CHECK(contains(read_text(out / "sheet.html"), "a.png<br>background"));
  CHECK(contains(read_text(out / "score.txt"), "| all | 2 |"));

  const auto other = run(arguments + " --method frequency");
  CHECK(other.status == 1);
  CHECK(contains(other.text, "--fresh"));
  CHECK(fs::exists(out / "score.txt")); // a refused start leaves all as it is

  // A label with a comma; what an earlier run left goes, and of a killed one.
  write_text(out / "sheet.html.part", "half a page");
  const auto labels =
      run(arguments +
          " --method background,frequency --sheet 0 --labels 'Melanoma, NOS'");
  INFO(labels.text);
  REQUIRE(labels.status == 0);
  CHECK(trainer::read_manifest(out / "manifest.csv").size() == 1);
  for (const char* gone : {"score.txt", "sheet.html", "sheet.html.part"}) {
    CHECK_FALSE(fs::exists(out / gone));
  }
}

TEST_CASE("auto_boxes: a failed start claims no folder") {
  const Folder folder;
  write(folder.path / "in/a.png", red_square(20, 20, 40));
  const auto in = (folder.path / "in").string();
  const auto out = (folder.path / "out").string();
  const auto refused = [&](const std::string& more, const std::string& text) {
    const auto outcome = run(in + " --out " + out + " " + more);
    INFO(outcome.text);
    CHECK(outcome.is_refusal());
    CHECK(contains(outcome.text, text));
    CHECK_FALSE(fs::exists(out));
  };
  refused("--score", "expected boxes in");
  refused("--labels mole", "expected one of 'unlabelled', but got 'mole'");
  refused("--folds 1", "--folds: expected one of '', but got '1'");
  refused("--method lesion --level 3", "--level");
  refused("--max-boxes 2.5", "--max-boxes");
  const auto same = run(in + " --out " + in);
  CHECK(same.status == 1);
  CHECK(contains(same.text, "expected another folder"));
}

TEST_CASE("auto_boxes: two runs do not share a folder") {
  const Folder folder;
  write(folder.path / "in/a.png", red_square(20, 20, 40));
  const auto out = folder.path / "out";
  trainer::Lock lock(out / ".lock");
  REQUIRE(lock.take(LOCK_EX | LOCK_NB));
  const auto second =
      run((folder.path / "in").string() + " --out " + out.string());
  INFO(second.text);
  CHECK(second.status == 1);
  CHECK(contains(second.text, "--out: expected a folder that no other run"));
  CHECK_FALSE(fs::exists(out / "manifest.csv"));
}

TEST_CASE("auto_boxes: takes a folder as it is, but not its own results") {
  const Folder folder;
  write(folder.path / "mole/dark/b.PNG", red_square(20, 20, 40));
  write(folder.path / "one_wide.png", red_square(20, 20, 40).col(30).clone());
  write(folder.path / "one_high.png", red_square(20, 20, 40).row(30).clone());
  write(folder.path / "dot.png", red_square(0, 0, 9)(cv::Rect(0, 0, 1, 1)));
  cv::Mat tall;
  cv::repeat(red_square(0, 0, 9)(cv::Rect(0, 0, 1, 100)), 4, 1, tall);
  write(folder.path / "tall.png", tall); // 1 x 400
  write_text(folder.path / "notes.txt", "x");
  const auto out = folder.path / "boxes";
  for (int i = 0; i < 2; ++i) {
    const auto outcome =
        run(folder.path.string() + " --out " + out.string() + " --side 0");
    INFO(outcome.text);
    REQUIRE(outcome.status == 0);
    const auto rows = trainer::read_manifest(out / "manifest.csv");
    REQUIRE(rows.size() == 5);
    CHECK(rows[1].path == "../mole/dark/b.PNG");
    CHECK(rows[1].label == "mole");
    CHECK(rows[0].label == "unlabelled");
  }
}
