// Tests of the trainer as a program: what it writes, how it resumes, its
// errors. SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/program.hpp"

#include "common/files.hpp"
#include "resnet_trainer/resnet.hpp"

#include <torch/serialize.h>
#include <nlohmann/json.hpp>
#include <opencv2/imgcodecs.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace fs = std::filesystem;
using care_test::Folder;
using common::read_file;
using Outcome = care_test::ProgramOutcome;

namespace {

Outcome run(const std::string& arguments) {
  return care_test::run_program(CARE_TRAINER, arguments);
}

/// A run of a few seconds on the generated set.
std::string tiny(const fs::path& out, const std::string& more = "") {
  return "--size 32 --counts 12,8,8,6 --test-count 4 --stage1 2 --stage2 4 "
         "--width 0.125 --batch 8 --val-share 0.2 --threads 1 --pictures 2 "
         "--compare --out " +
      out.string() + " " + more;
}

/// What `tiny` trained with CARE, as a plain network.
trainer::ResNet trained_net(const fs::path& out) {
  trainer::ResNetOptions options;
  options.width = 0.125;
  options.classes = 4;
  options.last_stride = 1;
  trainer::ResNet net(options);
  torch::load(net, (out / "weights" / "care-fold0-seed0.pt").string());
  return net;
}

nlohmann::json figures(const fs::path& out) {
  auto json = nlohmann::json::parse(read_file(out / "results.json"));
  return {json["arms"], json["difference"], json["other_test_sets"]};
}

} // namespace

TEST_CASE("trainer: a run leaves figures, weights and a report", "[trainer]") {
  const Folder folder;
  const auto outcome = run(tiny(folder.path));
  INFO(outcome.text);
  REQUIRE(outcome.status == 0);

  const auto json =
      nlohmann::json::parse(read_file(folder.path / "results.json"));
  for (const char* arm : {"plain", "care"}) {
    INFO(arm);
    const auto& pooled = json["arms"][arm]["pooled"];
    for (const char* name : {"mca", "accuracy", "epg"}) {
      INFO(name);
      REQUIRE(pooled[name].contains("value"));
      CHECK(pooled[name].contains("low"));
      CHECK(pooled[name].contains("high"));
    }
    CHECK(pooled["recall"].contains("dermatofibroma"));
    CHECK(json["arms"][arm]["runs"].size() == 1);
    CHECK(json["arms"][arm]["runs"][0]["seed"] == 0);
  }
  CHECK(json["other_test_sets"].contains("as_trained"));
  CHECK(outcome.text.find("MCA") != std::string::npos);
  CHECK(
      read_file(folder.path / "report.html").find("not a medical device") !=
      std::string::npos);
  CHECK_FALSE(cv::imread((folder.path / "attention.png").string()).empty());
  // Six epochs for each arm, and a header.
  const auto rows = read_file(folder.path / "metrics.csv");
  CHECK(std::count(rows.begin(), rows.end(), '\n') == 13);
  CHECK(fs::is_empty(folder.path / "checkpoints"));

  // The weights are those of a plain network: the same keys, and a forward pass
  // without any of care.
  auto net = trained_net(folder.path);
  net->eval();
  CHECK(
      net->forward(torch::zeros({1, 3, 32, 32})).isfinite().all().item<bool>());

  // The same command again trains nothing, and says the same.
  const auto before = figures(folder.path);
  const auto again = run(tiny(folder.path));
  CHECK(again.status == 0);
  CHECK(again.text.find("epoch") == std::string::npos);
  CHECK(figures(folder.path) == before);

  const auto other = run(tiny(folder.path, "--alpha 0.3"));
  CHECK(other.status == 1);
  CHECK(other.text.find("alpha") != std::string::npos);
}

TEST_CASE("trainer: a killed run goes on and gives the same", "[trainer]") {
  const Folder whole, broken;
  REQUIRE(run(tiny(whole.path)).status == 0);

  const auto checkpoint = broken.path / "checkpoints" / "care-fold0-seed0.pt";
  care_test::kill_when_there(CARE_TRAINER, tiny(broken.path), checkpoint);
  REQUIRE(fs::exists(checkpoint)); // else it had finished, or never started

  const auto rest = run(tiny(broken.path));
  INFO(rest.text);
  REQUIRE(rest.status == 0);
  CHECK(rest.text.find("going on after epoch") != std::string::npos);
  CHECK(rest.text.find("plain, fold 0") == std::string::npos); // was finished
  CHECK(figures(broken.path) == figures(whole.path));
}

TEST_CASE(
    "trainer: a damaged checkpoint is an error that names it",
    "[trainer]") {
  const Folder folder;
  fs::create_directories(folder.path / "checkpoints");
  std::ofstream(folder.path / "checkpoints" / "plain-fold0-seed0.pt") << "half";
  const auto outcome = run(tiny(folder.path));
  CHECK(outcome.status == 1);
  CHECK(outcome.text.find("plain-fold0-seed0.pt") != std::string::npos);
  CHECK(outcome.text.find("--fresh") != std::string::npos);
}

TEST_CASE("trainer: without a single box CARE is plain training", "[trainer]") {
  const Folder folder;
  const auto outcome = run(tiny(folder.path, "--box-missing 1"));
  INFO(outcome.text);
  REQUIRE(outcome.status == 0);
  const auto difference = figures(folder.path)[1];
  for (const char* name : {"mca", "accuracy", "epg"}) {
    INFO(name);
    CHECK(difference[name]["value"] == 0.0);
  }
}

TEST_CASE("trainer: the backbone in bfloat16", "[trainer]") {
  const Folder folder;
  const auto outcome = run(tiny(folder.path, "--precision bfloat16"));
  INFO(outcome.text);
  REQUIRE(outcome.status == 0);
  const auto json =
      nlohmann::json::parse(read_file(folder.path / "results.json"));
  CHECK(json["settings"]["precision"] == "bfloat16");
  const auto& pooled = json["arms"]["care"]["pooled"];
  CHECK(pooled["mca"]["value"].get<double>() > 0);
  CHECK(pooled["epg"]["value"].get<double>() > 0);
  // The weights stay float.
  auto net = trained_net(folder.path);
  for (const auto& parameter : net->parameters()) {
    CHECK(parameter.scalar_type() == torch::kFloat);
  }
}

TEST_CASE("trainer: errors name the flag or the file and line", "[trainer]") {
  const Folder folder;
  const auto manifest = folder.path / "m.csv";
  auto expect = [&](const std::string& arguments, const std::string& part) {
    const auto outcome =
        run(arguments + " --out " + (folder.path / "out").string());
    INFO(arguments << "\n" << outcome.text);
    CHECK(outcome.status != 0);
    CHECK(outcome.text.find(part) != std::string::npos);
  };
  expect("--data " + (folder.path / "none.csv").string(), "--data");
  expect("--size 12", "--size");
  expect("--net vgg19", "--net");
  expect("--precision half", "--precision");
  expect("--alpha 2", "--alpha");
  expect("--tau 0", "--tau");
  expect("--guide melanom", "--guide");
  expect("--test-fold x", "--test-fold");
  expect("--select best --val-share 0", "--val-share");

  std::ofstream(manifest) << "path,label,xmin,ymin,xmax,ymax\n"
                             "a.png,x,1,2,,\n";
  expect("--data " + manifest.string(), "m.csv:2");
  expect("--boxes " + manifest.string(), "--boxes: expected --data");
  std::ofstream(manifest) << "path,label,xmin,ymin,xmax,ymax\n"
                             "a.png,x,,,,\nb.png,y,,,,\n";
  expect("--data " + manifest.string(), "a.png");
  std::ofstream(folder.path / "a.png") << "not a picture";
  expect("--data " + manifest.string(), "a.png");
}

namespace {

/// Twelve grey pictures with a square, six of each class, those of "rare" with
/// a box; returns the manifest.
fs::path write_set(const fs::path& folder, const std::string& folds) {
  fs::create_directories(folder);
  std::ofstream csv(folder / "set.csv");
  csv << "path,label,xmin,ymin,xmax,ymax,fold\n";
  for (int i = 0; i < 12; ++i) {
    cv::Mat picture(32, 32, CV_8UC3, cv::Scalar(90 + i, 100, 110));
    const bool rare = i % 2 == 1;
    picture(cv::Rect(4 + i, 5, 9, 8))
        .setTo(rare ? cv::Scalar(20, 20, 200) : cv::Scalar(200, 20, 20));
    const auto name = std::to_string(i) + ".png";
    cv::imwrite((folder / name).string(), picture);
    csv << name << (rare ? ",rare," : ",common,");
    if (rare) {
      csv << 4 + i << ",5," << 13 + i << ",13";
    } else {
      csv << ",,,";
    }
    csv << ',' << folds[static_cast<size_t>(i) / 2 % folds.size()] << '\n';
  }
  return folder / "set.csv";
}

std::string tiny_on(const fs::path& manifest, const fs::path& out) {
  return "--size 32 --stage1 1 --stage2 1 --width 0.125 --batch 4 --threads 1 "
         "--pictures 1 --compare --data " +
      manifest.string() + " --out " + out.string() + " ";
}

} // namespace

TEST_CASE("trainer: a class may be called rare", "[trainer]") {
  const Folder folder;
  const auto set = write_set(folder.path / "set", "012");
  const auto out = folder.path / "out";
  const auto outcome =
      run(tiny_on(set, out) + "--rare rare,rare --guide rare --test-fold 1,1");
  INFO(outcome.text);
  REQUIRE(outcome.status == 0);
  const auto json = nlohmann::json::parse(read_file(out / "results.json"));
  CHECK(json["rare"] == nlohmann::json{"rare"});
  CHECK(json["arms"]["care"]["runs"].size() == 1);

  SECTION("another manifest makes other runs") {
    std::ofstream(set, std::ios::app) << "0.png,common,1,1,5,5,0\n";
    const auto again = run(tiny_on(set, out) + "--rare rare,rare --guide rare");
    CHECK(again.status == 1);
    CHECK(again.text.find("holds runs with fingerprint") != std::string::npos);
  }
  SECTION("weights that were deleted are not missed") {
    fs::remove_all(out / "weights");
    CHECK(
        run(tiny_on(set, out) + "--rare rare,rare --guide rare --test-fold 1")
            .status == 0);
  }
}

TEST_CASE("trainer: refuses what would train or test nothing", "[trainer]") {
  const Folder folder;
  const auto out = folder.path / "out";
  const auto expect = [&](const std::string& arguments,
                          const std::string& part) {
    const auto outcome = run(arguments);
    INFO(outcome.text);
    CHECK(outcome.status == 1);
    CHECK(outcome.text.find(part) != std::string::npos);
  };
  const auto one_fold = write_set(folder.path / "one", "0");
  expect(tiny_on(one_fold, out), "expected pictures to learn from in fold 0");
  const auto set = write_set(folder.path / "set", "012");
  expect(
      tiny_on(set, folder.path / "b") + "--guide common",
      "--guide common: expected training pictures of these classes with a box");
  expect(tiny(folder.path / "c", "--train-share 0.5"), "expected --data");

  // A folder of somebody else's is not cleared.
  const auto theirs = folder.path / "theirs";
  fs::create_directories(theirs / "runs");
  std::ofstream(theirs / "runs" / "precious") << "x";
  expect(tiny(theirs, "--fresh"), "holds a folder runs and no settings.json");
  CHECK(fs::exists(theirs / "runs" / "precious"));
}

TEST_CASE("trainer: the real sets, when they are there", "[trainer]") {
  const fs::path shared = CARE_SHARED_DATA;
  for (const auto& [name, more] :
       std::vector<std::pair<std::string, std::string>>{
           {"bccd", "--exclude basophil --size 64"},
           {"coffee_leaf", "--size 128x64"}}) {
    const auto manifest = shared / name / "manifest.csv";
    if (!fs::exists(manifest)) {
      std::cout << "SKIPPED: the real set " << name << " is not at "
                << manifest.string() << std::endl;
      continue;
    }
    const Folder folder;
    const auto outcome =
        run("--data " + manifest.string() + " " + more +
            " --test-fold 0 --stage1 0 --stage2 1 --width 0.125 --guide all "
            "--class-weights --pictures 2 --out " +
            folder.path.string());
    INFO(outcome.text);
    CHECK(outcome.status == 0);
    const auto json =
        nlohmann::json::parse(read_file(folder.path / "results.json"));
    CHECK(json["arms"]["care"]["pooled"]["epg"]["value"].get<double>() > 0);
  }
}
