// Tests of the generated lesion set.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"

#include "common/generated.hpp"

#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <stdexcept>

namespace {

using common::Bystander;
using common::draw_generated;
using common::GeneratedOptions;
using common::make_generated;

GeneratedOptions options_of(
    std::array<int64_t, 4> counts,
    Bystander bystander) {
  GeneratedOptions options;
  options.counts = counts;
  options.bystander = bystander;
  return options;
}

double difference(const cv::Mat& a, const cv::Mat& b) {
  return cv::norm(a, b, cv::NORM_INF);
}

} // namespace

TEST_CASE("generated: a picture depends on seed and index alone") {
  const auto options = options_of({3, 3, 3, 3}, Bystander::kAsTrained);
  const auto one = make_generated(options, 1);
  const auto two = make_generated(options, 3);
  REQUIRE(one.size() == 12);
  for (size_t i = 0; i < one.size(); ++i) {
    REQUIRE(difference(one[i].image, two[i].image) == 0);
    REQUIRE(one[i].id == two[i].id);
  }
  auto other = options;
  other.seed = 2;
  CHECK(difference(make_generated(other, 1)[0].image, one[0].image) > 0);
}

TEST_CASE("generated: holds the classes that were asked for") {
  std::map<int64_t, int64_t> counts;
  for (const auto& sample :
       make_generated(options_of({5, 4, 0, 2}, Bystander::kNone), 2)) {
    ++counts[sample.target];
    CHECK(sample.image.type() == CV_8UC3);
    CHECK(sample.boxes.num_images() == 1);
    CHECK(sample.boxes.num_boxes() == 1);
  }
  CHECK(counts == std::map<int64_t, int64_t>{{0, 5}, {1, 4}, {3, 2}});
  CHECK(common::generated_classes().size() == common::kGeneratedClasses);
}

TEST_CASE("generated: the box is tight and of the stated size") {
  auto options = options_of({250, 250, 250, 250}, Bystander::kAsTrained);
  for (const auto size : {care::Size{96, 96}, care::Size{64, 128}}) {
    options.size = size;
    const auto side = static_cast<double>(std::min(size.height, size.width));
    for (int64_t i = 0; i < 1000; ++i) {
      CAPTURE(i);
      const auto drawn = draw_generated(options, i);
      REQUIRE(drawn.box == cv::boundingRect(drawn.mask));
      const auto longer = std::max(drawn.box.width, drawn.box.height);
      REQUIRE(longer >= 0.17 * side);
      REQUIRE(longer <= 0.62 * side);
      const auto inner = cv::Rect(
          1,
          1,
          static_cast<int>(size.width) - 2,
          static_cast<int>(size.height) - 2);
      REQUIRE((drawn.box & inner) == drawn.box); // wholly on the picture
    }
  }
}

TEST_CASE("generated: the sticker goes with the class as asked") {
  const auto share = [](Bystander bystander, int64_t target) {
    const auto options = options_of({200, 200, 200, 200}, bystander);
    int stickers = 0;
    for (int64_t i = 0; i < 200; ++i) {
      stickers += draw_generated(options, 200 * target + i).sticker ? 1 : 0;
    }
    return stickers / 200.0;
  };
  CHECK(share(Bystander::kAsTrained, common::kDermatofibroma) >= 0.9);
  CHECK(share(Bystander::kAsTrained, common::kNevus) <= 0.06);
  CHECK(share(Bystander::kTrap, common::kDermatofibroma) == 0);
  CHECK(share(Bystander::kTrap, common::kKeratosis) == Approx(0.5).margin(0.1));
  CHECK(share(Bystander::kNone, common::kMelanoma) == 0);
}

TEST_CASE("generated: the sticker is all that differs, and off the lesion") {
  for (const auto size : {care::Size{96, 96}, care::Size{64, 128}}) {
    auto with = options_of({0, 0, 0, 1000}, Bystander::kAsTrained);
    with.sticker_rare = 1;
    with.size = size;
    auto without = with;
    without.bystander = Bystander::kNone;
    for (int64_t i = 0; i < 1000; ++i) {
      CAPTURE(i);
      const auto a = draw_generated(with, i), b = draw_generated(without, i);
      REQUIRE(a.box == b.box);
      REQUIRE(difference(a.image(a.box), b.image(b.box)) == 0);
      cv::Mat changed;
      cv::absdiff(a.image, b.image, changed);
      cv::inRange(changed, cv::Scalar::all(0), cv::Scalar::all(30), changed);
      const auto seen =
          changed.total() - static_cast<size_t>(cv::countNonZero(changed));
      REQUIRE(seen > changed.total() / 125); // strongly visible
    }
  }
}

TEST_CASE("generated: names options out of range") {
  auto options = options_of({1, 1, 1, 1}, Bystander::kNone);
  CARE_REQUIRE_THROWS_AS(
      draw_generated(options, 4), std::out_of_range, "below 4, but got 4");
  options.rare_contrast = 2;
  CARE_REQUIRE_THROWS_AS(
      make_generated(options, 1), std::invalid_argument, "rare_contrast");
  options = {};
  options.size = {16, 96};
  CARE_REQUIRE_THROWS_AS(
      make_generated(options, 1), std::invalid_argument, "32x32");
  options = {};
  options.counts[2] = -1;
  CARE_REQUIRE_THROWS_AS(
      make_generated(options, 1), std::invalid_argument, "counts");
}
