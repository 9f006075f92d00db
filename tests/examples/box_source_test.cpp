// Tests of the trainer's box sources and of the noise it puts into boxes.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"

#include "resnet_trainer/box_source.hpp"
#include "resnet_trainer/data.hpp"
#include "resnet_trainer/dataset.hpp"

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

namespace {

namespace fs = std::filesystem;
using common::Sample;
using trainer::BoxNoise;
using trainer::with_noise;

/// Images of 100x80 of which image i has i % 3 boxes, told apart by their x.
std::vector<Sample> samples(int64_t count) {
  std::vector<Sample> made;
  for (int64_t i = 0; i < count; ++i) {
    std::vector<std::array<double, 4>> boxes;
    for (int64_t k = 0; k < i % 3; ++k) {
      const auto x = static_cast<double>(i);
      boxes.push_back({x, 10.0 + static_cast<double>(k), x + 20, 40});
    }
    Sample sample;
    sample.id = std::to_string(i);
    sample.target = i % 2;
    sample.boxes = care::Boxes::from_lists({boxes}, {80, 100});
    made.push_back(sample);
  }
  return made;
}

int64_t boxes_in(const std::vector<Sample>& all) {
  int64_t count = 0;
  for (const auto& sample : all) {
    count += sample.boxes.num_boxes();
  }
  return count;
}

bool same_boxes(const std::vector<Sample>& a, const std::vector<Sample>& b) {
  return std::equal(
      a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
        return torch::equal(x.boxes.xyxy(), y.boxes.xyxy());
      });
}

/// Two manifests of one picture of 40x20, in folders beside each other.
class Folders {
 public:
  Folders()
      : path_(
            fs::temp_directory_path() /
            ("care-box-source-" + std::to_string(::getpid()))) {
    fs::create_directories(path_ / "data");
    fs::create_directories(path_ / "auto");
    cv::imwrite((path_ / "data/a.png").string(), cv::Mat(20, 40, CV_8UC3));
    write("data", "a.png,cat,0,0,8,8\n", "");
  }
  ~Folders() {
    fs::remove_all(path_);
  }
  Folders(const Folders&) = delete;
  Folders& operator=(const Folders&) = delete;

  fs::path write(
      const std::string& folder,
      const std::string& rows,
      const std::string& columns = ",confidence") const {
    const auto file = path_ / folder / "manifest.csv";
    std::ofstream(file) << "path,label,xmin,ymin,xmax,ymax" << columns << "\n"
                        << rows;
    return file;
  }
  trainer::BoxesById read(const fs::path& manifest) const {
    const auto records = common::read_manifest(path_ / "data/manifest.csv");
    return trainer::read_boxes(
        manifest,
        records,
        trainer::load_samples(records, {"cat"}, {40, 40}, 1));
  }

 private:
  fs::path path_;
};

} // namespace

TEST_CASE("box source: boxes of another manifest, scaled and weighted") {
  const Folders folders;
  const auto manifest = folders.write(
      "auto",
      "../data/a.png,cat,10,5,20,15,0.25\n../data/a.png,cat,30,0,60,10,\n");
  const auto found = folders.read(manifest);
  REQUIRE(found.count("a.png") == 1);
  const auto& boxes = found.at("a.png");
  const auto expected = torch::tensor(
      {{10.0F, 10.0F, 20.0F, 30.0F}, {30.0F, 0.0F, 40.0F, 20.0F}});
  CHECK(torch::equal(boxes.xyxy(), expected)); // 40x20 became 40x40
  CHECK(torch::equal(boxes.weights(), torch::tensor({0.25F, 1.0F})));

  std::vector<Sample> one(1);
  one[0].id = "a.png";
  const auto given = trainer::with_boxes(one, found);
  CHECK(torch::equal(given[0].boxes.xyxy(), expected));
}

TEST_CASE("box source: boxes count in full unless they are weighed") {
  trainer::FoldData fold;
  fold.train.resize(1);
  fold.train[0].id = "a.png";
  const trainer::BoxesById boxes{
      {"a.png",
       care::Boxes::from_lists({{{0, 0, 8, 8}, {4, 4, 9, 9}}}, {40, 40})
           .with_weights(torch::tensor({0.25, 0.0}))}};
  trainer::Settings settings;
  const auto seen = [&] {
    return trainer::boxes_for_training(settings, boxes, fold, 0, 0)
        .train[0]
        .boxes;
  };
  CHECK_FALSE(seen().has_weights());
  CHECK(seen().num_boxes() == 1); // a confidence of 0 is no box
  settings.weigh_boxes = true;
  CHECK(torch::equal(seen().weights(), torch::tensor({0.25F, 0.0F})));
}

TEST_CASE("box source: a row without a box is an image without a box") {
  const Folders folders;
  const auto found =
      folders.read(folders.write("auto", "../data/a.png,cat,,,,,\n"));
  CHECK(found.at("a.png").num_boxes() == 0);
}

TEST_CASE("box source: says what is wrong with the other manifest") {
  const Folders folders;
  CARE_REQUIRE_THROWS_AS(
      folders.read(folders.write("auto", "../data/b.png,cat,1,1,2,2,1\n")),
      std::runtime_error,
      "expected a row for each picture of --data, but got none for ");
  CARE_REQUIRE_THROWS_AS(
      folders.read(folders.write("auto", "../data/a.png,cat,50,1,60,2,1\n")),
      std::runtime_error,
      "manifest.csv:2: expected a box on the picture of 40 x 20");
  CARE_REQUIRE_THROWS_AS(
      folders.read(folders.write("auto", "../data/a.png,cat,1,1,2,2,1.5\n")),
      std::runtime_error,
      "manifest.csv:2: expected a confidence from 0 to 1, but got '1.5'");
}

TEST_CASE("box noise: none leaves everything, and a seed repeats itself") {
  const auto before = samples(30);
  CHECK(same_boxes(with_noise(before, {}, 1), before));
  BoxNoise noise;
  noise.shift = 0.3;
  noise.missing = 0.2;
  noise.shuffled = true;
  const auto once = with_noise(before, noise, 1);
  CHECK(same_boxes(once, with_noise(before, noise, 1)));
  CHECK_FALSE(same_boxes(once, with_noise(before, noise, 2)));
}

TEST_CASE("box noise: shuffled boxes are all there, each with another image") {
  const auto before = samples(31);
  BoxNoise noise;
  noise.shuffled = true;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const auto after = with_noise(before, noise, seed);
    std::vector<float> x;
    for (size_t i = 0; i < after.size(); ++i) {
      const auto& boxes = after[i].boxes;
      REQUIRE((boxes.num_boxes() > 0) == (before[i].boxes.num_boxes() > 0));
      if (boxes.num_boxes() > 0) {
        const auto from = boxes.xyxy()[0][0].item<float>();
        REQUIRE(from != static_cast<float>(i));
        x.push_back(from);
      }
    }
    std::sort(x.begin(), x.end());
    REQUIRE(std::adjacent_find(x.begin(), x.end()) == x.end());
  }
  auto one = samples(2); // image 1 alone has a box
  CARE_REQUIRE_THROWS_AS(
      with_noise(one, noise, 0), std::invalid_argument, "but got 1");
}

TEST_CASE("box noise: takes away the share that was asked for") {
  const auto before = samples(60); // 60 boxes
  BoxNoise noise;
  noise.missing = 0.1;
  CHECK(boxes_in(with_noise(before, noise, 3)) == 54);
  noise.missing = 1;
  CHECK(boxes_in(with_noise(before, noise, 3)) == 0);
  noise.missing = 1.1;
  CARE_REQUIRE_THROWS_AS(
      with_noise(before, noise, 3), std::invalid_argument, "1.1");
}

TEST_CASE("box noise: shifts by a share of the sides, inside the picture") {
  const auto before = samples(80);
  BoxNoise noise;
  noise.shift = 0.25;
  const auto after = with_noise(before, noise, 4);
  int64_t free = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const auto was = before[i].boxes.xyxy(), is = after[i].boxes.xyxy();
    for (int64_t m = 0; m < was.size(0); ++m) {
      const auto size = was[m].slice(0, 2) - was[m].slice(0, 0, 2);
      const auto step = is[m].slice(0, 0, 2) - was[m].slice(0, 0, 2);
      REQUIRE(torch::allclose(is[m].slice(0, 2) - is[m].slice(0, 0, 2), size));
      const auto share = torch::norm(step / size).item<double>();
      REQUIRE(share <= 0.25 + 1e-4);
      free += share > 0.25 - 1e-4 ? 1 : 0;
      REQUIRE(is[m].min().item<double>() >= 0);
      REQUIRE(is[m][2].item<double>() <= 100);
      REQUIRE(is[m][3].item<double>() <= 80);
    }
  }
  CHECK(free >= 50); // of 79: only those near the border are held back
  noise.shift = -1;
  CARE_REQUIRE_THROWS_AS(
      with_noise(before, noise, 4), std::invalid_argument, "box shift");
}
