// Tests of the U-Net: shapes, files, training, and the boxes it is asked for.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/program.hpp"
#include "support/support.hpp"

#include "auto_boxes/find.hpp"
#include "auto_boxes/generated_set.hpp"
#include "auto_boxes/input.hpp"
#include "auto_boxes/methods.hpp"
#include "auto_boxes/score.hpp"
#include "auto_boxes/train_unet.hpp"
#include "common/files.hpp"
#include "common/manifest.hpp"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using auto_boxes::UNet;
using care_test::Folder;

auto_boxes::UNetOptions small_net() {
  auto_boxes::UNetOptions options;
  options.width = 4;
  options.depth = 3;
  return options;
}

/// A small generated set; every training here leaves the rare class out.
fs::path small_set(const fs::path& folder) {
  common::GeneratedOptions options;
  options.size = {48, 48};
  options.counts = {20, 12, 12, 10};
  return auto_boxes::write_generated(folder, options, 1);
}

auto_boxes::UNetSettings training(const fs::path& folder) {
  auto_boxes::UNetSettings settings;
  settings.data = small_set(folder / "set").string();
  settings.masks = (folder / "set" / "masks").string();
  settings.exclude = {"dermatofibroma"};
  settings.size = {48, 48};
  settings.net = small_net();
  settings.epochs = 25;
  settings.batch = 4;
  settings.lr = 1e-2;
  settings.out = (folder / "unet.pt").string();
  return settings;
}

/// How well the network's boxes fit those of the class it never saw.
auto_boxes::Score score_of_rare(const fs::path& folder) {
  auto records = common::read_manifest(folder / "set" / "manifest.csv");
  records.erase(records.begin(), records.end() - 10);
  const auto methods =
      auto_boxes::make_methods({"segmentation"}, folder / "unet.pt", {});
  auto_boxes::FindSettings settings;
  settings.cache = folder / "found.json";
  return auto_boxes::score(
             records, auto_boxes::find_all(records, methods, settings))
      .back();
}

} // namespace

TEST_CASE("unet: gives logits of the image's own size, whatever it is") {
  UNet net(small_net());
  net->eval();
  for (const auto& size :
       std::vector<std::vector<int64_t>>{{16, 16}, {17, 31}, {8, 40}}) {
    const auto x = torch::rand({2, 3, size[0], size[1]});
    CHECK(net(x).sizes() == torch::IntArrayRef({2, 1, size[0], size[1]}));
  }
  CARE_REQUIRE_THROWS(net(torch::rand({1, 3, 7, 16})), "at least 8 pixels");
  CARE_REQUIRE_THROWS(net(torch::rand({1, 1, 16, 16})), "[N, 3, H, W]");
  auto_boxes::UNetOptions none;
  none.width = 0;
  CARE_REQUIRE_THROWS(UNet(none), "expected width > 0");
}

TEST_CASE("unet: a file gives back the network") {
  const Folder folder;
  const auto file = folder.path / "net.pt";
  UNet net(small_net());
  net->eval();
  auto_boxes::save_unet(file, {net, {24, 32}});
  auto back = auto_boxes::load_unet(file);
  const auto x = torch::rand({1, 3, 24, 32});
  CHECK(torch::equal(back.net(x), net(x)));
  CHECK(back.size == care::Size{24, 32});
  CHECK_FALSE(back.net->is_training());

  std::ofstream(file) << "not a network";
  CARE_REQUIRE_THROWS_AS(
      auto_boxes::load_unet(file), std::runtime_error, "net.pt");
}

TEST_CASE("unet: learns masks, and finds the class it never saw", "[slow]") {
  const Folder folder;
  const auto outcome = auto_boxes::train_unet(training(folder.path));
  CHECK(outcome.seen.size() == 3);
  REQUIRE(outcome.unseen.count("dermatofibroma") == 1);
  CHECK(outcome.unseen.at("dermatofibroma").second == 10);
  CHECK(outcome.unseen.at("dermatofibroma").first > 0.5);
  const auto score = score_of_rare(folder.path);
  CHECK(score.images == 10);
  CHECK(score.iou.value > 0.5);
}

TEST_CASE("unet: learns boxes where there are no masks", "[slow]") {
  const Folder folder;
  auto settings = training(folder.path);
  settings.masks.clear();
  auto_boxes::train_unet(settings);
  CHECK(score_of_rare(folder.path).iou.value > 0.5);
}

TEST_CASE("unet: says which mask is missing or of another size") {
  const Folder folder;
  auto settings = training(folder.path);
  fs::remove(fs::path(settings.masks) / "00003.png");
  CARE_REQUIRE_THROWS_AS(
      auto_boxes::train_unet(settings), std::runtime_error, "00003.png");
  // Two pictures must not share a mask; in folders each may have its own.
  const auto all = common::read_manifest(settings.data);
  const auto set = fs::path(settings.data).parent_path();
  const fs::path masks = settings.masks;
  fs::create_directories(set / "more");
  fs::copy(all[1].file, set / "more" / all[1].file.filename());
  fs::copy(masks / "00001.png", masks / "00003.png");
  std::ofstream(settings.data, std::ios::app)
      << "more/" << all[1].file.filename().string() << ",nevus,,,,,\n";
  CARE_REQUIRE_THROWS_AS(
      auto_boxes::train_unet(settings),
      std::runtime_error,
      "expected a mask of its own");
  fs::create_directories(masks / "more");
  fs::copy(masks / "00001.png", masks / "more" / "00001.png");
  settings.epochs = 1;
  CHECK_NOTHROW(auto_boxes::train_unet(settings));

  settings.leave_fold = 77;
  CARE_REQUIRE_THROWS_AS(
      auto_boxes::train_unet(settings), std::invalid_argument, "77");
  settings.leave_fold = -1;
  settings.exclude = {"melanom"};
  CARE_REQUIRE_THROWS_AS(
      auto_boxes::train_unet(settings), std::invalid_argument, "melanom");
  settings.exclude = {"nevus", "melanoma", "keratosis", "dermatofibroma"};
  CARE_REQUIRE_THROWS_AS(
      auto_boxes::train_unet(settings), std::invalid_argument, "all 55");
}

TEST_CASE("unet: a killed training goes on and gives the same", "[slow]") {
  const Folder folder;
  const auto set = small_set(folder.path / "set").string();
  const auto arguments = [&](const char* name) {
    return "--data " + set +
        " --size 48 --width 4 --depth 2 --epochs 8 --out " +
        (folder.path / name).string();
  };
  const auto whole = care_test::run_program(CARE_TRAIN_UNET, arguments("a.pt"));
  INFO(whole.text);
  REQUIRE(whole.status == 0);
  const auto checkpoint = folder.path / "b.pt.checkpoint";
  care_test::kill_when_there(CARE_TRAIN_UNET, arguments("b.pt"), checkpoint);
  REQUIRE(fs::exists(checkpoint)); // else it had finished, or never started
  REQUIRE(
      care_test::run_program(CARE_TRAIN_UNET, arguments("b.pt")).status == 0);
  CHECK_FALSE(fs::exists(checkpoint));
  auto a = auto_boxes::load_unet(folder.path / "a.pt");
  auto b = auto_boxes::load_unet(folder.path / "b.pt");
  const auto x = torch::rand({1, 3, 48, 48});
  CHECK(torch::equal(a.net(x), b.net(x)));
}
