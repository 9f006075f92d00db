// Tests of the trainer's augmentation: boxes stay on what they were drawn on.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"

#include "resnet_trainer/augment.hpp"

#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using common::Random;
using trainer::augment;
using trainer::AugmentOptions;

const cv::Rect kBox(20, 30, 24, 12);

/// Black, with a white rectangle that fills the box.
cv::Mat painted(cv::Size size) {
  cv::Mat image(size, CV_8UC3, cv::Scalar::all(0));
  image(kBox).setTo(cv::Scalar::all(255));
  return image;
}

care::Boxes boxes_of(cv::Size size) {
  return care::Boxes::from_lists(
      {{{static_cast<double>(kBox.x),
         static_cast<double>(kBox.y),
         static_cast<double>(kBox.br().x),
         static_cast<double>(kBox.br().y)}}},
      {size.height, size.width});
}

/// What is seen of the rectangle: white, not the grey from beyond the border.
cv::Rect seen_of(const cv::Mat& image) {
  cv::Mat white;
  cv::inRange(image, cv::Scalar::all(140), cv::Scalar::all(255), white);
  return cv::boundingRect(white);
}

void check_follows(const AugmentOptions& options, cv::Size size, int seeds) {
  int compared = 0;
  for (int seed = 0; seed < seeds; ++seed) {
    CAPTURE(seed);
    Random random(static_cast<uint64_t>(seed));
    const auto [image, boxes] =
        augment(painted(size), boxes_of(size), options, random);
    REQUIRE(image.size() == size);
    REQUIRE(boxes.image_size() == care::Size{size.height, size.width});
    if (boxes.num_boxes() == 0) {
      continue; // too little of it was left
    }
    ++compared;
    const auto box = boxes.xyxy()[0].to(torch::kDouble);
    const auto seen = seen_of(image);
    const std::array<double, 4> sides{
        static_cast<double>(seen.x),
        static_cast<double>(seen.y),
        static_cast<double>(seen.br().x),
        static_cast<double>(seen.br().y)};
    for (int64_t side = 0; side < 4; ++side) {
      CAPTURE(side);
      REQUIRE(
          std::abs(
              box[side].item<double>() - sides[static_cast<size_t>(side)]) <=
          1.3);
    }
  }
  CHECK(compared > seeds / 2);
}

} // namespace

TEST_CASE("augment: changes nothing by default") {
  Random random(1);
  const auto image = painted({96, 64});
  const auto [same, boxes] = augment(image, boxes_of({96, 64}), {}, random);
  CHECK(cv::norm(image, same, cv::NORM_INF) == 0);
  CHECK(care_test::identical(boxes.xyxy(), boxes_of({96, 64}).xyxy()));
}

TEST_CASE("augment: flips and turns move the box exactly") {
  AugmentOptions options;
  options.hflip = options.vflip = options.rot90 = true;
  for (const auto size : {cv::Size(80, 80), cv::Size(96, 64)}) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
      Random random(seed);
      const auto [image, boxes] =
          augment(painted(size), boxes_of(size), options, random);
      const auto seen = seen_of(image);
      const auto expected = torch::tensor(
          {{seen.x, seen.y, seen.br().x, seen.br().y}}, torch::kFloat);
      REQUIRE(image.size() == size);
      REQUIRE(care_test::identical(boxes.xyxy(), expected));
    }
  }
}

TEST_CASE("augment: a crop takes the box along") {
  AugmentOptions options;
  options.crop_scale_min = 0.4;
  check_follows(options, {80, 80}, 1000);
  check_follows(options, {128, 64}, 1000);
}

TEST_CASE("augment: a zoom takes the box along") {
  AugmentOptions options;
  options.scale = 0.3;
  check_follows(options, {96, 64}, 1000);
}

TEST_CASE("augment: all together, the box is around what is seen") {
  // A turned rectangle's corners are thin: its box may be a little wider than
  // the pixels that are bright enough to be seen, never narrower.
  AugmentOptions options;
  options.hflip = options.vflip = options.rot90 = true;
  options.rotate = 30;
  options.shear = 8;
  options.scale = 0.2;
  const cv::Size size(96, 96);
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    CAPTURE(seed);
    Random random(seed);
    const auto [image, boxes] =
        augment(painted(size), boxes_of(size), options, random);
    REQUIRE(boxes.num_boxes() == 1);
    const auto box = boxes.xyxy()[0].to(torch::kDouble);
    const auto seen = seen_of(image);
    const double left = seen.x - box[0].item<double>();
    const double top = seen.y - box[1].item<double>();
    const double right = box[2].item<double>() - seen.br().x;
    const double bottom = box[3].item<double>() - seen.br().y;
    for (const auto gap : {left, top, right, bottom}) {
      REQUIRE(gap > -1);
      REQUIRE(gap < 3);
    }
  }
}

TEST_CASE("augment: drops a box of which too little is left") {
  AugmentOptions options;
  options.crop_scale_min = 0.1;
  const cv::Size size(96, 96);
  int dropped = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed);
    const auto boxes =
        augment(painted(size), boxes_of(size), options, random).second;
    dropped += boxes.num_boxes() == 0 ? 1 : 0;
    REQUIRE(boxes.num_images() == 1);
  }
  CHECK(dropped > 20);
}

TEST_CASE("augment: colour changes leave the box and keep grey grey") {
  AugmentOptions options;
  options.saturation = 0.5;
  options.hue = 0.5;
  const cv::Size size(96, 96);
  const cv::Mat grey(size, CV_8UC3, cv::Scalar::all(90));
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Random random(seed);
    const auto [image, boxes] = augment(grey, boxes_of(size), options, random);
    REQUIRE(cv::norm(image, grey, cv::NORM_INF) <= 2);
    REQUIRE(care_test::identical(boxes.xyxy(), boxes_of(size).xyxy()));
  }
  options = {};
  options.brightness = 0.5;
  double least = 255, most = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Random random(seed);
    const auto mean =
        cv::mean(augment(grey, boxes_of(size), options, random).first)[0];
    least = std::min(least, mean);
    most = std::max(most, mean);
  }
  CHECK(least == Approx(45).margin(3));
  CHECK(most == Approx(135).margin(3));
}

TEST_CASE("augment: the same seed gives the same picture") {
  AugmentOptions options;
  options.crop_scale_min = 0.5;
  options.rotate = 20;
  options.hue = 0.1;
  const cv::Size size(96, 64);
  Random one(7), two(7), other(8);
  const auto a = augment(painted(size), boxes_of(size), options, one).first;
  const auto b = augment(painted(size), boxes_of(size), options, two).first;
  const auto c = augment(painted(size), boxes_of(size), options, other).first;
  CHECK(cv::norm(a, b, cv::NORM_INF) == 0);
  CHECK(cv::norm(a, c, cv::NORM_INF) > 0);
}

TEST_CASE("augment: names an option out of its range") {
  const auto with = [](double AugmentOptions::*member, double value) {
    AugmentOptions options;
    options.*member = value;
    return options;
  };
  const std::vector<std::pair<AugmentOptions, std::string>> cases{
      {with(&AugmentOptions::crop_scale_min, 0), "crop_scale_min"},
      {with(&AugmentOptions::rotate, -1), "rotate"},
      {with(&AugmentOptions::shear, 90), "shear"},
      {with(&AugmentOptions::scale, 1), "scale"},
      {with(&AugmentOptions::brightness, 2), "brightness"},
      {with(&AugmentOptions::hue, 0.6), "hue"},
      {with(&AugmentOptions::contrast, NAN), "contrast"},
  };
  for (const auto& entry : cases) {
    CHECK(care_test::throws<std::invalid_argument>(
        [&] { trainer::check(entry.first); }, entry.second));
  }
  trainer::check(AugmentOptions{});
}
