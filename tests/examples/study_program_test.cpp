// Tests of the study as a program: resumed, shared, failing, on real cases.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"
#include "support/program.hpp"
#include "support/small_set.hpp"

#include "common/json.hpp"
#include "resnet_trainer/manifest.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

namespace fs = std::filesystem;

namespace {

using care_test::contains;
using care_test::Folder;
using Json = nlohmann::json;

/// A study of seconds on the generated set: 2 seeds, 5 arms with the controls.
Json tiny() {
  return {
      {"counts", {8, 6, 6, 6}},
      {"test_count", 4},
      {"rare", {"dermatofibroma"}},
      {"recipe",
       {{"size", "32"}, {"width", 0.125}, {"epochs", 3}, {"batch", 8}}},
      {"seeds", {0, 1}},
      {"arms",
       {{{"name", "weights"}, {"imbalance", "class_weights"}},
        {{"name", "weights + CARE"},
         {"imbalance", "class_weights"},
         {"guidance", "care"}},
        {{"name", "LDAM + automatic"},
         {"imbalance", "ldam_drw"},
         {"guidance", "care"},
         {"balance", 1.0}},
        {{"name", "Energy"},
         {"imbalance", "square_root_sampling"},
         {"guidance", "energy"},
         {"map", "layer_cam"},
         {"map_stride", 8},
         {"outside", "other_class"}}}}};
}

fs::path write_settings(const Folder& folder, const Json& json) {
  return care_test::write_text(folder.path / "settings.json", json.dump());
}

care_test::ProgramOutcome run(
    const fs::path& settings,
    const fs::path& out,
    const std::string& more = "") {
  return care_test::run_program(
      CARE_STUDY, settings.string() + " --out " + out.string() + " " + more);
}

/// Every finished run without its time, by file.
std::map<std::string, Json> runs_in(const fs::path& out) {
  std::map<std::string, Json> all;
  for (const auto& entry : fs::recursive_directory_iterator(out / "runs")) {
    if (entry.path().extension() == ".json") {
      auto json = common::read_json(entry.path());
      json.erase("seconds");
      all[fs::relative(entry.path(), out).string()] = json;
    }
  }
  return all;
}

size_t lines_of(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

} // namespace

TEST_CASE("study: a whole one, started again and killed", "[study]") {
  const Folder whole, broken;
  const auto settings = write_settings(whole, tiny());
  const auto out = whole.path / "out";
  const auto first = run(settings, out);
  INFO(first.text);
  REQUIRE(first.status == 0);
  const auto finished = runs_in(out);
  // 4 arms, 2 more controls, the shuffled boxes; 2 seeds each.
  CHECK(finished.size() == 14);
  const auto csv = care_test::read_text(out / "runs.csv");
  CHECK(lines_of(csv) == 1 + 2 * 14); // two test sets
  CHECK(contains(csv, "\"trap\""));
  const auto html = care_test::read_text(out / "report.html");
  CHECK(contains(html, "Where the networks look"));
  CHECK(contains(html, "trap/dermatofibroma-0000.png"));
  CHECK(contains(html, "not a medical device"));
  CHECK_FALSE(contains(html, "<script"));
  CHECK(contains(first.text, "Against the test set \"as_trained\""));
  CHECK(contains(first.text, "| weights + CARE | weights | 2 |"));
  CHECK(fs::exists(out / "charts" / "MCA-all.svg"));
  CHECK(fs::exists(out / "attention.png"));
  CHECK(fs::exists(out / "arms" / "weights.json"));

  // Again: nothing is trained.
  const auto again = run(settings, out);
  CHECK(again.status == 0);
  CHECK(contains(again.text, "trained 0 networks"));

  // Two processes side by side, killed now and then, give the same.
  const auto other = broken.path / "out";
  const auto arguments = settings.string() + " --out " + other.string();
  const auto done = [&] {
    return fs::exists(other / "runs") ? runs_in(other).size() : 0;
  };
  for (size_t round = 0; round < 3; ++round) {
    const care_test::Child one(CARE_STUDY, arguments);
    const care_test::Child two(CARE_STUDY, arguments);
    REQUIRE(care_test::is_so_soon([&] { return done() > round; }));
  }
  CHECK(done() < finished.size()); // or nothing was left to do
  care_test::write_text(other / "runs" / "half.json.part", "half");
  care_test::write_text(other / "arms" / "half.json.part", "half");
  const auto foreign = {// of other programs
                        other / "download.zip.part",
                        other / "runs" / "checkpoint.pt.part"};
  for (const auto& file : foreign) {
    care_test::write_text(file, "half");
  }
  CHECK(run(settings, other, "--processes 2").status == 0);
  for (const auto& file : foreign) {
    CHECK(fs::remove(file));
  }
  CHECK(runs_in(other) == finished);
  CHECK(
      care_test::read_text(other / "results.md") ==
      care_test::read_text(out / "results.md"));
  for (const auto& entry : fs::recursive_directory_iterator(other)) {
    INFO(entry.path());
    CHECK(entry.path().extension() != ".part");
    CHECK(entry.path().extension() != ".pt");
    CHECK(entry.path().extension() != ".claim");
  }

  // Another recipe, or another arm of an old name, is refused.
  auto json = tiny();
  json["recipe"]["epochs"] = 4;
  const auto recipe = run(write_settings(broken, json), out);
  CHECK(recipe.status == 1);
  CHECK(contains(recipe.text, "epochs = 3, but now it is 4"));
  json = tiny();
  json["arms"][1]["tau"] = 0.7;
  const auto arm = run(write_settings(broken, json), out);
  CHECK(arm.status == 1);
  CHECK(contains(arm.text, "tau = 1.0, but now it is 0.7"));
}

TEST_CASE("study: one network of the list, as clusters start them", "[study]") {
  const Folder folder;
  auto json = tiny();
  while (json["arms"].size() > 1) {
    json["arms"].erase(json["arms"].size() - 1);
  }
  const auto settings = write_settings(folder, json);
  const auto out = folder.path / "out";
  const auto list = run(settings, out, "--list");
  CHECK(list.status == 0);
  CHECK(
      list.text ==
      "0\twhole/weights/split0-seed0\n1\twhole/weights/split0-seed1\n");
  CHECK_FALSE(fs::exists(out));
  // A checkpoint that cannot be read stops nothing.
  const auto checkpoint = out / "checkpoints/whole/weights/split0-seed1.pt";
  fs::create_directories(checkpoint.parent_path());
  care_test::write_text(checkpoint, "half of one");
  const auto one = run(settings, out, "--only 1");
  INFO(one.text);
  CHECK(one.status == 0);
  CHECK(contains(
      one.text,
      checkpoint.string() +
          ": expected a checkpoint, but it cannot be read; "
          "whole/weights/split0-seed1 is begun anew"));
  CHECK(fs::exists(out / "runs/whole/weights/split0-seed1.json"));
  CHECK_FALSE(fs::exists(out / "runs/whole/weights/split0-seed0.json"));
  CHECK_FALSE(fs::exists(out / "report.html"));
  const auto beyond = run(settings, out, "--only 2");
  CHECK(beyond.status == 1);
  CHECK(contains(beyond.text, "expected a network from 0 to 1, but got 2"));

  // What docs/study.md says of GNU parallel.
  if (std::system("parallel --version > /dev/null 2>&1") != 0) {
    WARN("skipped: GNU parallel is not installed");
    return;
  }
  const auto arguments = settings.string() + " --out " + out.string();
  const auto all = care_test::run_program(
      "sh",
      "-c '" CARE_STUDY " " + arguments +
          " --list | cut -f 1 | parallel --quote --jobs 2 " CARE_STUDY " " +
          arguments + " --only'");
  INFO(all.text);
  CHECK(all.status == 0);
  CHECK(contains(run(settings, out).text, "trained 0 networks"));
}

TEST_CASE("study: masks as regions", "[study]") {
  const Folder folder;
  auto json = tiny();
  json["recipe"]["regions"] = "masks";
  json["occlusion"] = true;
  json["seeds"] = {0};
  json["arms"] = Json::array({json["arms"][1], json["arms"][3]});
  const auto out = folder.path / "out";
  const auto outcome = run(write_settings(folder, json), out);
  INFO(outcome.text);
  REQUIRE(outcome.status == 0);
  const auto by_masks = runs_in(out);
  CHECK(by_masks.size() == 5); // two arms, their controls, shuffled masks
  CHECK(fs::exists(out / "attention.png"));
  const auto results = care_test::read_text(out / "results.md");
  CHECK(contains(results, "test set \"trap, lesion alone\""));
  CHECK(contains(results, "test set \"as_trained, lesion grey\""));

  json["occlusion"] = false;
  CHECK(contains(
      run(write_settings(folder, json), out).text,
      "made with occlusion = true, but now it is null"));
  json["occlusion"] = true;
  json["recipe"]["regions"] = "boxes";
  const auto refused = run(write_settings(folder, json), out);
  CHECK(refused.status == 1);
  CHECK(contains(refused.text, "the runs there were made with regions"));
  const auto other = folder.path / "boxes";
  REQUIRE(run(write_settings(folder, json), other).status == 0);
  CHECK(runs_in(other) != by_masks);

  const auto data = care_test::write_text(
      folder.path / "m.csv",
      "path,label,xmin,ymin,xmax,ymax,split\na.png,cat,1,2,3,4,train\n"
      "b.png,dog,1,2,3,4,test\n");
  json["data"] = data.string();
  json["recipe"]["regions"] = "masks";
  json["rare"] = {"dog"};
  json.erase("counts");
  json.erase("test_count");
  CHECK(contains(
      run(write_settings(folder, json), folder.path / "none").text,
      "recipe.regions: expected a manifest with masks, but got none"));
}

TEST_CASE("study: weights are their file's bytes, not its path", "[study]") {
  const Folder folder;
  const auto set = care_test::write_small_set(folder.path / "set", 12);
  const auto trained = care_test::run_program(
      CARE_TRAINER,
      "--data " + set.string() + " --out " + (folder.path / "run").string() +
          " --size 32 --width .125 --stage1 0 --stage2 1 --val-share 0 "
          "--threads 1 --pictures 0");
  INFO(trained.text);
  REQUIRE(trained.status == 0);
  const auto file = folder.path / "run" / "network.safetensors";
  auto json = tiny();
  json["arms"] = Json::array({json["arms"][0]});
  json["recipe"]["epochs"] = 1;
  const auto out = folder.path / "out";
  const auto start = [&](const fs::path& weights, const std::string& more) {
    json["recipe"]["weights"] = weights.string();
    return run(write_settings(folder, json), out, more);
  };
  // A misspelt file and one of another network claim no folder.
  const auto none = start(folder.path / "nope.pth", "");
  CHECK(none.status == 1);
  CHECK(contains(none.text, "nope.pth': No such file"));
  CHECK_FALSE(fs::exists(out));
  json["recipe"]["width"] = 0.25;
  const auto other = start(file, "");
  CHECK(other.status == 1);
  CHECK(contains(other.text, "expected weights that fit the network"));
  CHECK_FALSE(fs::exists(out / "study.json"));

  json["recipe"]["width"] = 0.125;
  const auto first = start(file, "--processes 2");
  INFO(first.text);
  REQUIRE(first.status == 0);
  CHECK(runs_in(out).size() == 2);
  CHECK(contains(first.text, "trained 2 networks")); // by both processes
  fs::copy_file(file, folder.path / "copy");
  const auto again = start(folder.path / "." / "copy", "");
  CHECK(again.status == 0);
  CHECK(contains(again.text, "trained 0 networks"));
  std::ofstream(folder.path / "copy", std::ios::app) << "more";
  const auto edited = start(folder.path / "copy", "");
  CHECK(edited.status == 1);
  CHECK(contains(edited.text, "the runs there were made with weights = "));
  json["recipe"].erase("weights");
  const auto removed = run(write_settings(folder, json), out);
  CHECK(removed.status == 1);
  CHECK(contains(removed.text, "the runs there were made with weights = "));
}

namespace {

/// A manifest's text with its first pictures to learn from, the rest to test.
std::string in_parts(const fs::path& manifest, int to_learn_from) {
  std::istringstream lines(care_test::read_text(manifest));
  std::string line, csv;
  for (int i = -1; std::getline(lines, line); ++i) {
    csv += line +
        (i < 0                   ? ",split"
             : i < to_learn_from ? ",train"
                                 : ",test") +
        "\n";
  }
  return csv;
}

/// One arm, seed and epoch on a set of `write_small_set`.
Json tiny_of(const fs::path& set, const std::string& arm) {
  auto json = tiny();
  json.erase("counts");
  json.erase("test_count");
  json["data"] = set.string();
  json["rare"] = {"rare"};
  json["seeds"] = {0};
  json["recipe"]["epochs"] = 1;
  json["arms"] = Json::array({{{"name", arm}}});
  return json;
}

} // namespace

TEST_CASE("study: pictures are looked at before a folder is claimed") {
  const Folder folder;
  const auto set = care_test::write_small_set(folder.path, 12);
  const auto csv = in_parts(set, 6);
  const auto json = tiny_of(set, "a|b");
  const auto out = folder.path / "out";
  const auto settings = write_settings(folder, json);
  // A box that is off its picture, and half a picture to test.
  const auto off = csv.find(",rare,");
  care_test::write_text(
      set,
      csv.substr(0, off) + ",rare,50,0,60,9,train" +
          csv.substr(csv.find('\n', off)));
  const auto bytes = care_test::read_text(folder.path / "8.png");
  care_test::write_text(folder.path / "8.png", bytes.substr(0, 90));
  const auto refused = run(settings, out);
  CHECK(refused.status == 1);
  CHECK(contains(refused.text, "2 of 12 are none"));
  CHECK(contains(refused.text, "manifest.csv:2: expected a box on the pict"));
  CHECK(contains(refused.text, "manifest.csv:10: "));
  CHECK_FALSE(fs::exists(out));

  care_test::write_text(set, csv);
  care_test::write_text(folder.path / "8.png", bytes);
  const auto unclear = run(settings, out, "--most 1 --processes 2");
  CHECK(unclear.is_refusal());
  CHECK(contains(unclear.text, "excludes"));
  const auto nothing = run(settings, out, "--most 0");
  CHECK(nothing.status == 0);
  CHECK_FALSE(contains(nothing.text, "report.html"));
  const auto good = run(settings, out);
  INFO(good.text);
  CHECK(good.status == 0);
  CHECK(contains(good.text, "Report: " + (out / "report.html").string()));
  CHECK(contains(care_test::read_text(out / "results.md"), "| a\\|b | 1 |"));
  // How the manifest spells a path is no matter.
  auto spelled = csv;
  for (size_t at = 0; (at = spelled.find(".png,", at)) != std::string::npos;) {
    at = spelled.rfind('\n', at) + 1;
    spelled.insert(at, "./");
    at = spelled.find('\n', at);
  }
  care_test::write_text(set, spelled);
  const auto again = run(settings, out, "--most 0");
  INFO(again.text);
  CHECK(again.status == 0);
  CHECK(contains(again.text, "| a\\|b | 1 |"));
  // A program that divides otherwise does not go on.
  const auto split = out / "splits" / "0-0.json";
  REQUIRE(fs::exists(split));
  care_test::write_text(split, R"({"learnt": "other pictures"})");
  const auto divided = run(settings, out);
  CHECK(divided.status == 1);
  CHECK(contains(divided.text, "the runs there were made with learnt = "));
}

TEST_CASE("study: one picture left waits for another epoch", "[study]") {
  const Folder folder;
  const auto set = care_test::write_small_set(folder.path, 12);
  care_test::write_text(set, in_parts(set, 9)); // batches of 8 and 1
  auto json = tiny_of(set, "plain");
  json["recipe"]["last_stride"] = 2; // maps of 1 x 1, one value for BatchNorm
  const auto outcome = run(write_settings(folder, json), folder.path / "out");
  INFO(outcome.text);
  CHECK(outcome.status == 0);
}

TEST_CASE("study: a failed start claims no folder", "[study]") {
  const Folder folder;
  auto json = tiny();
  json["arms"][1]["guide"] = "freckle";
  const auto out = folder.path / "out";
  auto outcome = run(write_settings(folder, json), out);
  CHECK(outcome.status == 1);
  CHECK(contains(outcome.text, "guide: expected one of 'dermatofibroma'"));
  CHECK_FALSE(fs::exists(out / "study.json"));
  CHECK_FALSE(fs::exists(out / "arms"));
  json = tiny();
  json["arms"][1]["weigh_boxes"] = true;
  outcome = run(write_settings(folder, json), out);
  CHECK(outcome.status == 1);
  CHECK(contains(
      outcome.text,
      "weigh_boxes of 'weights + CARE': expected boxes with a confidence, but "
      "got none in generated"));
  CHECK_FALSE(fs::exists(out / "study.json"));
  json = tiny();
  json["arms"][1]["boxes"] = "nowhere.csv";
  outcome = run(write_settings(folder, json), out);
  CHECK(outcome.status == 1);
  CHECK(contains(outcome.text, "nowhere.csv"));
  CHECK_FALSE(fs::exists(out / "study.json"));
}

TEST_CASE("study: writes over nothing of another program", "[study]") {
  const Folder folder;
  const auto settings = write_settings(folder, tiny());
  const auto out = folder.path / "out";
  fs::create_directory(out);
  for (const char* name : {"results.md", "attention.png", "runs.csv"}) {
    CAPTURE(name);
    care_test::write_text(out / name, "mine");
    const auto outcome = run(settings, out);
    CHECK(outcome.status == 1);
    CHECK(contains(
        outcome.text,
        "--out: expected the folder of a study or one without a file " +
            std::string(name)));
    CHECK(care_test::read_text(out / name) == "mine");
    fs::remove(out / name);
    CHECK(fs::is_empty(out));
  }
}

TEST_CASE("study: a bad job does not stop the others", "[study]") {
  // The class that the first arm guides has no boxes.
  const Folder folder;
  std::string csv = "path,label,xmin,ymin,xmax,ymax,split\n";
  for (int i = 0; i < 12; ++i) {
    const auto name = std::to_string(i) + ".png";
    trainer::write_picture(
        folder.path / name, cv::Mat(32, 32, CV_8UC3, cv::Scalar::all(20 * i)));
    csv += name + (i % 2 == 0 ? ",cat,,,,," : ",dog,4,4,20,20,") +
        (i < 8 ? "train\n" : "test\n");
  }
  const auto data = care_test::write_text(folder.path / "m.csv", csv);
  auto json = tiny();
  json.erase("counts");
  json.erase("test_count");
  json["data"] = data.string();
  json["rare"] = {"dog"};
  json["seeds"] = {0};
  json["shuffled_control"] = false;
  json["arms"] = Json::array();
  json["arms"].push_back(
      {{"name", "broken"}, {"guidance", "care"}, {"guide", "cat"}});
  json["arms"].push_back({{"name", "plain"}});
  const auto settings = write_settings(folder, json);
  const auto out = folder.path / "out";
  const std::string failed =
      "failed: whole/broken/split0-seed0: expected pictures of the guided "
      "classes with a box";
  const auto outcome = run(settings, out);
  INFO(outcome.text);
  CHECK(outcome.status == 1);
  CHECK(contains(outcome.text, failed));
  CHECK(fs::exists(out / "runs/whole/plain/split0-seed0.json"));
  const auto again = run(settings, out); // tries it once more
  CHECK(again.status == 1);
  CHECK(contains(again.text, failed));
  CHECK(contains(again.text, "trained 0 networks"));
  const auto two = run(settings, out, "--processes 2"); // whichever had it
  CHECK(two.status == 1);
  CHECK(contains(two.text, "not finished: whole/broken/split0-seed0"));
}

TEST_CASE("study: groups of mixed classes are dealt out", "[study]") {
  // shared/cases/14-groups-of-mixed-classes: of the old program's 30 splits 5
  // tested no rare picture, and class weights ended the study.
  const fs::path cases = CARE_SHARED "/cases/14-groups-of-mixed-classes";
  if (!fs::exists(cases)) {
    WARN("skipped: there is no " << cases);
    return;
  }
  const Folder folder;
  auto json = common::read_json(cases / "plan.json");
  json["data"] = (cases / "first_common.csv").string();
  json["arms"].erase(1);
  json["splits"][0]["numbers"]["count"] = 10;
  const auto out = folder.path / "out";
  const auto outcome = run(write_settings(folder, json), out);
  INFO(outcome.text);
  CHECK(outcome.status == 0);
  const auto runs = runs_in(out);
  CHECK(runs.size() == 10);
  std::map<std::string, std::string> label;
  for (const auto& row : trainer::read_manifest(cases / "first_common.csv")) {
    label[row.path] = row.label;
  }
  for (const auto& [name, run_] : runs) {
    INFO(name);
    int rare = 0;
    for (const auto& p : run_["predictions"]) {
      rare += label.at(p["id"]) == "rare" ? 1 : 0;
    }
    CHECK(rare > 0);
    CHECK(rare < 3);
  }
}

TEST_CASE("study: a split that cannot be is named in the report", "[study]") {
  // All pictures of the rare class are of one patient.
  const Folder folder;
  std::string csv = "path,label,xmin,ymin,xmax,ymax,group\n";
  for (int i = 0; i < 12; ++i) {
    const auto name = std::to_string(i) + ".png";
    trainer::write_picture(folder.path / name, cv::Mat(32, 32, CV_8UC3));
    csv += name + (i < 3 ? ",rare,,,,,one\n" : ",common,,,,,\n");
  }
  const auto data = care_test::write_text(folder.path / "m.csv", csv);
  Json json = tiny();
  json.erase("counts");
  json.erase("test_count");
  json["data"] = data.string();
  json["rare"] = {"rare"};
  json["seeds"] = {0};
  json["splits"] = {{{"train_share", 0.5}, {"numbers", {0, 1, 2}}}};
  json["arms"] = Json::array({{{"name", "CE"}}});
  const auto out = folder.path / "out";
  const auto outcome = run(write_settings(folder, json), out);
  INFO(outcome.text);
  CHECK(outcome.status == 0);
  CHECK(contains(
      care_test::read_text(out / "report.html"),
      "Split 0 of 50 % of each class to learn from: there are no pictures of "
      "rare on one side"));
}

TEST_CASE("pool: two studies by hand", "[study]") {
  const Folder folder;
  const auto pool = [](const std::string& arguments) {
    return care_test::run_program(CARE_POOL, arguments);
  };
  const std::string head = "arm,train_share,split,seed,mca,test_set\n";
  // Differences of .1, .2, .3; what lacks a partner, has another share or is of
  // another test set does not count.
  const auto halves = care_test::write_text(
      folder.path / "halves.csv",
      head +
          "plain,0.5,0,0,0.5,test\nplain,0.5,1,0,0.5,test\n"
          "plain,0.5,2,0,0.5,test\nplain,0.5,3,0,0.9,test\n"
          "plain,0.2,0,0,0.1,test\nCARE,0.2,0,0,0.9,test\n"
          "CARE,0.5,0,0,0.6,test\nCARE,0.5,1,0,0.7,test\n"
          "CARE,0.5,2,0,0.8,test\nCARE,0.5,0,0,0.1,far\n");
  const auto folds = care_test::write_text(
      folder.path / "folds.csv",
      head +
          "CE,0,0,0,0.2,test\nCE,0,1,0,0.2,test\nCE,0,2,0,0.2,test\n"
          "\"CE, guided\",0,0,0,0.3,test\n\"CE, guided\",0,1,0,0.4,test\n"
          "\"CE, guided\",0,2,0,0.5,test\n");
  const auto first = "--set " + halves.string() + " CARE plain 0.5 ";
  const auto second = "--set " + folds.string() + " 'CE, guided' CE 0 ";
  const auto both = pool(first + second);
  INFO(both.text);
  CHECK(both.status == 0);
  // t(2) sqrt((1/3 + 1) .01) and t(2) sqrt((1/3 + 1/2) .01); their errors
  // squared are .04/3 and .025/3: t(1) / sqrt(75 + 120) = .910.
  CHECK(contains(
      both.text,
      "| CARE | plain | 3 | 0.500 | 0.700 | +0.200 [-0.297, +0.697]"));
  CHECK(contains(
      both.text,
      "| CE, guided | CE | 3 | 0.200 | 0.400 | +0.200 [-0.193, +0.593]"));
  CHECK(contains(
      both.text, "| **2 sets** | | | | | | **+0.200 [-0.710, +1.110]"));
  CHECK(contains(both.text, "from set to set: 0.000"));

  // Seeds are no more splits, and where the rows say how many pictures there
  // were the share is not asked: t(2) sqrt((1/3 + 60/40) .01).
  // A test set that is a part of what the splits test has their ratio.
  for (const bool part : {false, true}) {
    CAPTURE(part);
    std::string rows = "arm,train_share,split,seed,mca,train_images,test_set,";
    rows += part ? "test_images,split_test_images\n" : "test_images\n";
    for (const char* seed : {"0", "1"}) {
      for (const char* split : {"0", "1", "2"}) {
        for (const bool care : {false, true}) {
          rows += std::string(care ? "CARE" : "plain") + ",0.5," + split + "," +
              seed + "," +
              (care ? "0." + std::to_string(6 + *split - '0') : "0.5") +
              ",40,test," + (part ? "20,60\n" : "60\n");
        }
      }
    }
    const auto seeds = care_test::write_text(folder.path / "seeds.csv", rows);
    const auto counted =
        pool("--set " + seeds.string() + " CARE plain 0.5 " + second);
    INFO(counted.text);
    CHECK(contains(
        counted.text,
        "| CARE | plain | 6 | 0.500 | 0.700 | +0.200 [-0.383, +0.783]"));
  }

  const auto fails = [&](const std::string& arguments, const char* words) {
    const auto outcome = pool(arguments);
    INFO(outcome.text);
    CHECK(outcome.status == 1);
    CHECK(contains(outcome.text, words));
  };
  fails(first, "expected at least 2 effects, but got 1");
  fails(
      first + "--set " + folds.string() + " CE CARE 0",
      "expected at least 2 splits that both 'CE' and 'CARE' have at the share "
      "0, but got 0");
  fails(first + second + "--figure auc", "auc");
  fails(
      first + "--set " + folds.string() + " CE CE half",
      "--set: expected a share in [0, 1), but got 'half'");
  const auto bad = care_test::write_text(
      folder.path / "bad.csv", head + "plain,0.5,0,0,,test\n");
  fails(
      "--set " + bad.string() + " CARE plain 0.5",
      "bad.csv:2: expected a number as mca, but got ''");
}
