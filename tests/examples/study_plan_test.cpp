// Tests of a study's settings: what is read, added, ordered and refused.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"

#include "resnet_trainer/files.hpp"
#include "study/plan.hpp"

#include <nlohmann/json.hpp>

#include <array>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace {

using Json = nlohmann::json;
using Strings = std::vector<std::string>;

/// A study on a manifest: 3 arms with the controls.
Json small() {
  return {
      {"data", "somewhere.csv"},
      {"recipe", {{"size", "64x32"}, {"epochs", 3}}},
      {"splits",
       {{{"train_share", 0.5}, {"numbers", {{"first", 7}, {"count", 2}}}}}},
      {"arms",
       {{{"name", "weights"}, {"imbalance", "class_weights"}},
        {{"name", "weights + CARE"},
         {"imbalance", "class_weights"},
         {"guidance", "care"}}}}};
}

Strings job_names(const study::Plan& plan) {
  Strings names;
  for (const auto& job : plan.jobs()) {
    names.push_back(plan.name(job));
  }
  return names;
}

/// What is said of the small study with another value at `path`.
std::string refusal(const std::string& path, const Json& value) {
  auto json = small();
  json[Json::json_pointer(path)] = value;
  return care_test::error_of([&] { study::parse_plan(json); });
}

} // namespace

TEST_CASE("study: settings are read, and the defaults stand", "[study]") {
  auto json = small();
  json["arms"][1].update(
      {{"guide", "rare"},
       {"weight", 2},
       {"map", "layer_cam"},
       {"outside", "other_class"}});
  const auto plan = study::parse_plan(json);
  CHECK(plan.recipe.epochs == 3);
  CHECK(plan.recipe.batch == 16);
  CHECK(study::size_of(plan.recipe) == std::array<int64_t, 2>{64, 32});
  CHECK(plan.splits[0].numbers == std::vector<int64_t>{7, 8});
  const auto& arm = plan.arms[1];
  CHECK(arm.imbalance == study::Imbalance::kClassWeights);
  CHECK(arm.guide == Strings{"rare"});
  CHECK(arm.weight == 2);
  CHECK(!arm.balance);
  CHECK(arm.map == study::AttentionMap::kLayerCam);
  CHECK(arm.outside == study::Outside::kOtherClass);
  CHECK(arm.tau == 1);
}

TEST_CASE("study: other networks, and weights to start from", "[study]") {
  const care_test::Folder folder;
  const auto file = care_test::write_text(folder.path / "vgg16.pth", "bytes");
  auto json = small();
  json["recipe"].update(
      {{"net", "vgg16"},
       {"weights", file.string()},
       {"width", 1},
       {"last_stride", 2}});
  const auto plan = study::parse_plan(json);
  CHECK(plan.recipe.net == "vgg16");
  const auto identity = study::identity(plan);
  CHECK(identity.at("net") == "vgg16");
  CHECK(identity.at("weights") == trainer::fingerprint("bytes"));
  // How the path is spelled is no matter, what the file holds is.
  json["recipe"]["weights"] = (folder.path / "." / "vgg16.pth").string();
  CHECK(study::identity(study::parse_plan(json)) == identity);
  care_test::write_text(file, "others");
  CHECK(study::identity(study::parse_plan(json)) != identity);
  std::filesystem::remove(file);
  CHECK(care_test::contains(
      care_test::error_of([&] { study::identity(study::parse_plan(json)); }),
      "vgg16.pth': No such file"));

  const auto error = [&] {
    return care_test::error_of([&] { study::parse_plan(json); });
  };
  json["recipe"]["net"] = "vit_ti_16";
  CHECK(care_test::contains(
      error(), "recipe.size: expected 224 for vit_ti_16, but got 64"));
  json["recipe"]["size"] = "224";
  CHECK(error().empty());
  json["arms"][0]["imbalance"] = "ldam_drw";
  CHECK(care_test::contains(
      error(),
      "arms[0].imbalance: expected ldam_drw with a ResNet, but got vit_ti_16"));
  json["recipe"]["net"] = "convnext_tiny";
  json["arms"][0]["imbalance"] = "ce";
  CHECK(error().empty());
  json["recipe"].erase("width");
  CHECK(care_test::contains(
      error(), "recipe.width: expected 1 for convnext_tiny, but got 0.25"));
  // Without weights the identity is what it was before there were any.
  CHECK(study::identity(study::parse_plan(small())).count("weights") == 0);
}

TEST_CASE("study: the controls are added", "[study]") {
  const auto plan = study::parse_plan(small());
  // The unguided arm is the control already; the shuffled boxes are added.
  REQUIRE(plan.arms.size() == 3);
  CHECK(plan.arms[1].baseline == "weights");
  CHECK(plan.arms[2].boxes == "shuffled");
  CHECK(plan.arms[2].baseline == "weights");
  // Boxes of another manifest are weighed; the shuffled ones are the data's.
  auto json = small();
  json["arms"][1]["weigh_boxes"] = true;
  CHECK(study::parse_plan(json).arms[2].weigh_boxes);
  json["arms"][1]["boxes"] = "other.csv";
  CHECK_FALSE(study::parse_plan(json).arms[2].weigh_boxes);
  json = small();
  json["shuffled_control"] = false;
  CHECK(study::parse_plan(json).arms.size() == 2);

  json["arms"].erase(0); // the control is missing now
  const auto alone = study::parse_plan(json);
  REQUIRE(alone.arms.size() == 2);
  CHECK(alone.arms[0].baseline == "class_weights, not guided");
  CHECK_FALSE(alone.arms[1].is_guided());
  CHECK(alone.arms[1].imbalance == study::Imbalance::kClassWeights);

  // Controls that differ in their boxes alone have names of their own.
  auto boxes = json;
  boxes["arms"][0]["outside"] = "other_class";
  boxes["arms"][0]["box_missing"] = 0.5;
  boxes["arms"].push_back(boxes["arms"][0]);
  boxes["arms"][1]["name"] = "fewer";
  boxes["arms"][1]["box_missing"] = 0.9;
  const auto fewer = study::parse_plan(boxes);
  REQUIRE(fewer.arms.size() == 4);
  CHECK(
      fewer.arms[1].baseline ==
      "class_weights, not guided, outside other_class (2)");
  CHECK(fewer.arms[3].box_missing == 0.9);

  // Another alpha means another factor of Lc: another control.
  json["arms"][0]["alpha"] = 0.2;
  CHECK(study::parse_plan(json).arms[1].alpha == 0.2);
  json["arms"][0].erase("alpha");
  json["arms"][0]["weight"] = 2;
  CHECK(study::parse_plan(json).arms[1].weight == 0);
  // What is put outside is part of the training.
  json["arms"][0]["outside"] = "grey";
  CHECK(study::parse_plan(json).arms[1].outside == study::Outside::kGrey);
}

TEST_CASE("study: jobs come wave by wave, split by split", "[study]") {
  auto json = small();
  json["seeds"] = {3, 5};
  json["arms"][1]["wave"] = 1;
  json["arms"][1]["splits"] = 1;
  json["arms"].push_back({{"name", "CE"}});
  CHECK(
      job_names(study::parse_plan(json)) ==
      Strings{
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

TEST_CASE("study: some splits train some arms, and baselines", "[study]") {
  auto json = small();
  json["arms"].push_back({{"name", "CE"}});
  json["splits"] = {
      {{"train_share", 0.2}, {"numbers", {7}}, {"arms", {"weights + CARE"}}},
      {{"train_share", 0.5}, {"numbers", {7}}}};
  const auto names = job_names(study::parse_plan(json));
  CHECK(
      names ==
      Strings{
          "share-0.2/weights/split7-seed0",
          "share-0.2/weights + CARE/split7-seed0",
          "share-0.5/weights/split7-seed0",
          "share-0.5/weights + CARE/split7-seed0",
          "share-0.5/CE/split7-seed0",
          "share-0.5/weights + CARE, shuffled boxes/split7-seed0"});
  // A job that two sets of splits name is one job.
  json["splits"].push_back(json["splits"][1]);
  CHECK(job_names(study::parse_plan(json)) == names);
}

TEST_CASE("study: bad settings name the key", "[study]") {
  const std::vector<std::pair<std::string, std::string>> cases{
      {refusal("/arm", 1), "settings: expected the keys arms, counts, data"},
      {refusal("/arms/1/guidance", "magic"),
       "arms[1].guidance: expected one of none, care, energy, l1, ppce, rrr, "
       "hint, gain, but got \"magic\""},
      {refusal("/arms/1/alhpa", 0.3), "but got alhpa"},
      {refusal("/arms/1/alpha", 1.5), "arms[1].alpha: expected a number in"},
      {refusal("/arms/1/alpha", "much"), "arms[1].alpha: expected another"},
      {refusal("/arms/1/name", "weights"), "'weights' twice"},
      {refusal("/arms/1/name", "a/b"), "arms[1].name: expected a name without"},
      {refusal("/arms/1/baseline", "nobody"), "nobody"},
      {refusal("/arms/1/start", 3), "arms[1].start"},
      {refusal("/arms", Json::array()), "arms: expected at least one"},
      {refusal("/recipe/epochs", 0), "recipe.epochs"},
      {refusal("/recipe/epochs", 1.5), "recipe.epochs: expected another kind"},
      {refusal("/recipe/net", "vgg"), "recipe.net: expected one of convnext"},
      {refusal("/recipe/size", "64x"), "recipe.size"},
      {refusal("/recipe/size", "16"), "recipe.size"},
      {refusal("/splits/0/numbers", Json::array()), "splits[0]"},
      {refusal("/splits/0/folds", {0}), "splits[0]: expected folds, or"},
      {refusal("/splits/0/arms", {"nobody"}), "nobody"},
      {refusal("/seeds", {-1}), "seeds"},
      {refusal("/seeds", {{"first", 0}, {"cuont", 2}}),
       "the keys count, first"},
      // Options without effect.
      {refusal("/counts", {1, 1, 1, 1}), "counts: expected none"},
      {refusal("/arms/0/tau", 0.5), "arms[0].tau: expected none"},
      {refusal("/arms/0/boxes", "shuffled"), "arms[0].boxes: expected none"},
      {refusal("/arms/1/outside_share", 0.2), "outside_share: expected none"},
      {refusal("/recipe/regions", "mask"), "expected one of boxes, masks"}};
  for (const auto& [said, expected] : cases) {
    INFO("said: " << said << "\nexpected: " << expected);
    CHECK(care_test::contains(said, expected));
  }
  for (const auto& [key, value] : std::vector<std::pair<std::string, Json>>{
           {"dilate", 1.5},
           {"box_shift", 0.1},
           {"box_missing", 0.1},
           {"weigh_boxes", true},
           {"boxes", "other.csv"}}) {
    auto masks = small();
    masks["recipe"]["regions"] = "masks";
    masks["arms"][1][key] = value;
    INFO(key);
    CHECK(care_test::contains(
        care_test::error_of([&] { study::parse_plan(masks); }),
        "where masks are the regions"));
  }
  auto json = small();
  json["data"] = "generated";
  const auto said = care_test::error_of([&] { study::parse_plan(json); });
  CHECK(care_test::contains(said, "splits: expected none"));
}

TEST_CASE("study: the identity is what matters to a network", "[study]") {
  auto json = small();
  const auto plan = study::parse_plan(json);
  json["subgroup"] = "place";
  json["recipe"]["size"] = "64x32";
  json["arms"][1]["wave"] = 3;
  json["arms"][1]["boxes"] = "a/b.csv";
  const auto same = study::parse_plan(json);
  CHECK(study::identity(plan) == study::identity(same));
  json["recipe"]["regions"] = "boxes";
  CHECK(study::identity(plan) == study::identity(study::parse_plan(json)));
  json["recipe"].erase("regions");
  auto masks = small();
  masks["recipe"]["regions"] = "masks";
  CHECK(study::identity(plan) != study::identity(study::parse_plan(masks)));
  json["arms"][1]["boxes"] = "a/./b.csv"; // the rows in it are compared
  CHECK(
      study::identity(same.arms[1]) ==
      study::identity(study::parse_plan(json).arms[1]));
  json["recipe"]["lr"] = 0.5;
  json["arms"][1]["tau"] = 0.5;
  const auto other = study::parse_plan(json);
  CHECK(study::identity(plan) != study::identity(other));
  CHECK(study::identity(same.arms[1]) != study::identity(other.arms[1]));
}

TEST_CASE("study: the settings files that are published can be read") {
  namespace fs = std::filesystem;
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(
           fs::path(CARE_DOCS) / "../examples/study")) {
    if (entry.path().extension() == ".json") {
      CAPTURE(entry.path());
      CHECK_FALSE(study::read_plan(entry.path()).jobs().empty());
      ++files;
    }
  }
  CHECK(files >= 12);
}
