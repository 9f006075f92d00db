// Tests of the trainer's manifest reader.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"

#include "resnet_trainer/manifest.hpp"

#include <array>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace {

using care_test::contains;
using trainer::Row;
using Box = std::array<double, 4>;

std::vector<Row> rows_of(const std::string& text) {
  const care_test::Folder folder;
  return trainer::read_manifest(
      care_test::write_text(folder.path / "m.csv", text));
}

const std::string kHeader = "path,label,xmin,ymin,xmax,ymax,fold\n";

} // namespace

TEST_CASE("manifest: joins the rows of a picture, in order of appearance") {
  const care_test::Folder folder;
  const auto file = care_test::write_text(
      folder.path / "m.csv",
      kHeader + "b.png,rust,1,2,3,4.5,0\n" + "a.png,miner,,,,,1\n" +
          "b.png,rust,10,20,30,40,0\n");
  const auto rows = trainer::read_manifest(file);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].path == "b.png");
  CHECK(rows[0].file == folder.path / "b.png");
  CHECK(rows[0].label == "rust");
  CHECK(rows[0].fold == "0");
  CHECK((
      rows[0].corners() == std::vector<Box>{{1, 2, 3, 4.5}, {10, 20, 30, 40}}));
  CHECK(rows[0].where == file.string() + ":2");
  CHECK(rows[0].boxes[1].where == file.string() + ":4");
  CHECK(rows[1].path == "a.png");
  CHECK(rows[1].boxes.empty());
}

TEST_CASE("manifest: a picture has one mask") {
  const std::string header = "path,label,xmin,ymin,xmax,ymax,mask\n";
  const auto rows =
      rows_of(header + "a.png,x,1,2,3,4,m.png\na.png,x,5,6,7,8,m.png\n");
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].mask.filename() == "m.png");
  CHECK(rows[0].has_region(true));
  CHECK(rows[0].has_region(false));
  for (const char* other : {"n.png", ""}) {
    CHECK(contains(
        care_test::error_of([&] {
          rows_of(
              header + "a.png,x,1,2,3,4,m.png\na.png,x,5,6,7,8," + other +
              "\n");
        }),
        "m.csv:3: expected the mask '"));
  }
  CHECK_FALSE(rows_of(header + "a.png,x,1,2,3,4,\n")[0].has_region(true));
  CHECK_FALSE(rows_of(header + "a.png,x,,,,,m.png\n")[0].has_region(false));
}

TEST_CASE("manifest: finds columns by name and keeps the others") {
  const auto rows = rows_of(
      "ymax,place,label,path,xmin,ymin,xmax,split,group,mask,confidence\n"
      "4,land,rust,a.png,1,2,3,val,p1,m/a.png,0.25\n");
  REQUIRE(rows.size() == 1);
  CHECK((rows[0].corners() == std::vector<Box>{{1, 2, 3, 4}}));
  CHECK(rows[0].split == "val");
  CHECK(rows[0].fold.empty());
  CHECK(rows[0].group == "p1");
  CHECK(rows[0].mask.filename() == "a.png");
  CHECK(rows[0].has_confidence);
  CHECK(rows[0].boxes[0].confidence == 0.25);
  CHECK(rows[0].more == std::map<std::string, std::string>{{"place", "land"}});
}

TEST_CASE("manifest: one file under several spellings is one picture") {
  const care_test::Folder folder;
  std::filesystem::create_directory(folder.path / "sub");
  care_test::write_text(folder.path / "a.png", "x");
  std::filesystem::create_symlink("a.png", folder.path / "link.png");
  for (const char* other :
       {"./a.png",
        "sub/../a.png",
        "sub/.././a.png",
        "link.png",
        "none/../a.png"}) {
    CAPTURE(other);
    const auto file = care_test::write_text(
        folder.path / "m.csv",
        kHeader + "a.png,rust,1,2,3,4,0\n" + other + ",rust,5,6,7,8,0\n");
    const auto rows = trainer::read_manifest(file);
    REQUIRE(rows.size() == 1);
    CHECK(rows[0].boxes.size() == 2);
    for (const auto& [label, fold, fault] :
         std::vector<std::array<std::string, 3>>{
             {"rust", "1", ":3: expected the fold '0'"},
             {"miner", "0", ":3: expected the label 'rust'"}}) {
      care_test::write_text(
          file,
          kHeader + "a.png,rust,,,,,0\n" + other + "," + label + ",,,,," +
              fold);
      CHECK(contains(
          care_test::error_of([&] { trainer::read_manifest(file); }), fault));
    }
  }
}

TEST_CASE("manifest: names the line and the fault") {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "expected at least one picture"},
      {"a,b,1,2,3,4\n", ":2: expected 7 fields as in the header, but got 6"},
      {"a,b,,,,,0\nc,d,1,x,3,4,0\n",
       ":3: expected a number in ymin, but got 'x'"},
      {"a,b,1,2,3px,4,0\n", "expected a number in xmax, but got '3px'"},
      {"a,b,\"1,5\",2,3,4,0\n", "expected a number in xmin, but got '1,5'"},
      {"a,b,nan,2,3,4,0\n", "expected a number in xmin, but got 'nan'"},
      {"a,b,1e999,2,3,4,0\n", "expected a number in xmin"},
      {"a,b,1,2,,4,0\n", "expected all four box fields or none, but got 3"},
      {"a,b,3,2,1,4,0\n", "expected xmin < xmax, but got 3 and 1"},
      {"a,b,1,4,3,4,0\n", "expected ymin < ymax, but got 4 and 4"},
      {"a,b,1,2,3,4,-1\n", "expected a fold of 0, 1, 2, ..., but got '-1'"},
      {"a,b,1,2,3,4,1.5\n", "expected a fold"},
      {",b,1,2,3,4,0\n", "expected a path and a label, but got no path"},
      {"a,b,,,,,0\nc,b,.1,.2,.5,1,0\n", ":3: expected boxes in pixels"},
      {"a,,1,2,3,4,0\n", "expected a path and a label, but got no label"},
  };
  for (const auto& [text, fault] : cases) {
    CAPTURE(text);
    CHECK(contains(
        care_test::error_of([&t = text] { rows_of(kHeader + t); }), fault));
  }
  const std::string header = "path,label,xmin,ymin,xmax,ymax,";
  for (const auto& [text, fault] :
       std::vector<std::pair<std::string, std::string>>{
           {"split\na,b,,,,,validation\n", "a split of train, val or test"},
           {"confidence\na,b,1,2,3,4,1.5\n", "a confidence from 0 to 1"},
           {"group\na,b,,,,,p1\na,b,,,,,p2\n", "expected the group 'p1'"},
           {"xmin\na,b,1,2,3,4,5\n", "each column once"}}) {
    CAPTURE(text);
    CHECK(contains(
        care_test::error_of([&, t = text] { rows_of(header + t); }), fault));
  }
}

TEST_CASE("manifest: a folder for each class does without a file") {
  const care_test::Folder folder;
  for (const char* name :
       {"rare/b.PNG",
        "common/a.jpg",
        "common/x/c.tif",
        "common/notes.txt",
        "common/._a.jpg",
        "common/.ipynb_checkpoints/a.jpg",
        ".ipynb_checkpoints/a.jpg",
        "top.png"}) {
    std::filesystem::create_directories((folder.path / name).parent_path());
    care_test::write_text(folder.path / name, "x");
  }
  // As a Python environment has it.
  std::filesystem::create_directories(folder.path / ".venv" / "lib");
  std::filesystem::create_directory_symlink(
      "lib", folder.path / ".venv" / "lib64");
  const auto rows = trainer::read_folder(folder.path);
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].path == "common/a.jpg");
  CHECK(rows[1].path == "common/x/c.tif");
  CHECK(rows[1].label == "common");
  CHECK(rows[2].label == "rare");
  CHECK(trainer::labels_of(rows) == std::vector<std::string>{"common", "rare"});
  CHECK(
      trainer::targets_of(rows, {"common", "rare"}) ==
      std::vector<int64_t>{0, 0, 1});
  CHECK(contains(
      care_test::error_of([&] { trainer::targets_of(rows, {"common"}); }),
      "known labels, but got 'rare'"));
  const care_test::Folder empty;
  CHECK(contains(
      care_test::error_of([&] { trainer::read_folder(empty.path); }),
      "a folder for each class"));
}

TEST_CASE("manifest: pictures by the endings that archives give") {
  const care_test::Folder folder;
  const std::string dicom = std::string(128, '\0') + "DICM";
  std::filesystem::create_directories(folder.path / "a");
  for (const char* name :
       {"1.dicom", "2.JFIF", "3.jpe", "IM0004", "1.2.840.10008.5"}) {
    care_test::write_text(folder.path / "a" / name, dicom);
  }
  care_test::write_text(folder.path / "a" / "page.1", "none of these");
  care_test::write_text(folder.path / "a" / "README", "none of these");
  CHECK(trainer::read_folder(folder.path, "").size() == 5);
}

TEST_CASE("manifest: a class's folder may be a link, but is one class") {
  const care_test::Folder folder;
  const auto in = folder.path / "in", rare = folder.path / "elsewhere" / "rare";
  std::filesystem::create_directories(in / "common");
  std::filesystem::create_directories(rare);
  care_test::write_text(in / "common" / "a.png", "x");
  care_test::write_text(rare / "b.png", "x");
  std::filesystem::create_directory_symlink(rare, in / "rare");
  std::filesystem::create_symlink("nothing", in / "gone");
  const auto rows = trainer::read_folder(in);
  REQUIRE(rows.size() == 2);
  CHECK(rows[1].path == "rare/b.png");
  CHECK(rows[1].label == "rare");

  // A ring, and a folder under two names, have no end or no label.
  for (const auto& target : {folder.path, rare, in / "common"}) {
    std::filesystem::create_directory_symlink(target, in / "common" / "x");
    const auto error = care_test::error_of([&] { trainer::read_folder(in); });
    CAPTURE(target, error);
    CHECK(contains(error, ": expected a folder of its own, but got "));
    std::filesystem::remove(in / "common" / "x");
  }

  std::filesystem::create_directory(in / "a|b");
  care_test::write_text(in / "a|b" / "c.png", "x");
  CHECK(contains(
      care_test::error_of([&] { trainer::read_folder(in); }),
      "expected a class's name without '|', but got a|b"));
}

TEST_CASE("manifest: pictures beside the classes' folders may have a label") {
  const care_test::Folder folder;
  std::filesystem::create_directory(folder.path / "rare");
  care_test::write_text(folder.path / "rare" / "b.png", "x");
  care_test::write_text(folder.path / "a.png", "x");
  CHECK(trainer::read_folder(folder.path).size() == 1);
  const auto rows = trainer::read_folder(folder.path, "unlabelled");
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].path == "a.png");
  CHECK(rows[0].label == "unlabelled");
  CHECK(rows[1].label == "rare");

  care_test::write_text(folder.path / "rare" / "caf\xe9.png", "x");
  CHECK(contains(
      care_test::error_of([&] { trainer::read_folder(folder.path); }),
      "expected names in UTF-8"));
}

TEST_CASE("manifest: what is asked for must occur") {
  const auto rows =
      rows_of(kHeader + "a.png,\"Melanoma, NOS\",,,,,0\nb.png,nevus,,,,,\n");
  const auto error = [&](auto column, const std::string& wanted) {
    return care_test::error_of([&] {
      trainer::check_known("--x", values_of(rows, column), {"nevus", wanted});
    });
  };
  CHECK(error(&Row::label, "Melanoma, NOS").empty());
  CHECK(
      error(&Row::label, "Melanoma") ==
      "--x: expected one of 'Melanoma, NOS', 'nevus', but got 'Melanoma'");
  CHECK(
      error(&Row::fold, "0") ==
      "--x: expected one of '', '0', but got 'nevus'");
  const auto several = rows_of(kHeader + "a.png,a|b,,,,,0\n");
  trainer::check_known("--x", labels_of(several), {"a", "b"});
  CHECK(care_test::error_of([&] {
          trainer::check_known("--x", labels_of(several), {"a|b"});
        }) == "--x: expected one of 'a', 'b', but got 'a|b'");
}

TEST_CASE("manifest: a picture may have several labels, a box its own") {
  const std::string header = "path,label,xmin,ymin,xmax,ymax,box_label\n";
  const auto rows = rows_of(
      header + "a.png,mass|nodule,1,2,3,4,nodule\n" +
      "a.png,mass|nodule,5,6,7,8,\n" + "b.png,mass,,,,,\n");
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].label == "mass|nodule");
  REQUIRE(rows[0].boxes.size() == 2);
  CHECK(rows[0].boxes[0].label == "nodule");
  CHECK(rows[0].boxes[1].label.empty());
  CHECK(rows[1].boxes.empty());
  CHECK(
      trainer::split_labels("mass|nodule") ==
      std::vector<std::string>{"mass", "nodule"});
  CHECK(trainer::split_labels("mass") == std::vector<std::string>{"mass"});
  const std::vector<std::string> classes{"mass", "nodule"};
  CHECK(trainer::labels_of(rows) == classes);
  CHECK(trainer::has_label(rows[0], "nodule"));
  CHECK_FALSE(trainer::has_label(rows[1], "nodule"));
  CHECK_FALSE(trainer::has_label(rows[0], "mass|nodule"));
  CHECK(
      trainer::all_targets_of(rows, classes) ==
      std::vector<std::vector<int64_t>>{{0, 1}, {0}});
  CHECK( // mass is of two pictures, nodule of one
      trainer::rarest_targets_of(rows, classes) == std::vector<int64_t>{1, 0});
  CHECK(contains(
      care_test::error_of([&] { trainer::all_targets_of(rows, {"mass"}); }),
      "m.csv:2: expected one of the known labels, but got 'nodule'"));
  CHECK(contains(
      care_test::error_of(
          [&] { trainer::targets_of(rows, trainer::labels_of(rows)); }),
      "m.csv:2: expected one label a picture, but got 'mass|nodule'"));
  for (const auto& [line, fault] :
       std::vector<std::pair<std::string, std::string>>{
           {"a.png,mass|nodule,1,2,3,4,cyst\n",
            "m.csv:2: expected a box_label of the label 'mass|nodule', but got "
            "'cyst'"},
           {"a.png,mass|,1,2,3,4,\n", "labels like a|b, each once"},
           {"a.png,mass|cyst|mass,,,,,\n", "labels like a|b, each once"}}) {
    CAPTURE(line);
    CHECK(contains(
        care_test::error_of([&, &text = line] { rows_of(header + text); }),
        fault));
  }
}
