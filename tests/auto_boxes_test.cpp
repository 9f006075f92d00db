// Tests of care/auto_boxes.hpp: one method, else the next, else none.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/auto_boxes.hpp>

using care::BoxMethod;
using care::FoundBoxes;

namespace {

/// Boxes round the values above 0.5 of one channel; notes how many images it
/// was given.
BoxMethod channel(const std::string& name, int64_t c, int64_t& given) {
  return {name, [c, &given](const torch::Tensor& images) {
            given = images.size(0);
            return care::find_boxes(
                images.select(1, c),
                care::BoxFinderOptions()
                    .threshold(care::MapThreshold::kFixed)
                    .level(0.5)
                    .max_boxes(2)
                    .merge_gap(-1)
                    .padding(1));
          }};
}

} // namespace

TEST_CASE("auto_boxes: the first that finds any", "[auto_boxes]") {
  // Images: 0 seen by the second, 1 by both, 2 by none, 3 by the first, twice.
  auto images = torch::zeros({4, 3, 20, 30});
  auto fill = [&](int64_t n, int64_t c, int64_t x, int64_t y, double value) {
    images[n][c].slice(0, y, y + 5).slice(1, x, x + 6).fill_(value);
  };
  fill(0, 1, 3, 4, 0.9);
  fill(1, 0, 5, 6, 0.8);
  fill(1, 1, 20, 10, 1.0);
  fill(3, 0, 2, 2, 0.7);
  fill(3, 0, 15, 12, 1.0);
  int64_t given_first = -1, given_second = -1;
  const auto found = care::auto_boxes(
      images,
      {channel("first", 0, given_first), channel("second", 1, given_second)});
  CHECK(given_first == 4);
  CHECK(given_second == 2); // images 0 and 2
  CHECK(care_test::identical(
      found.boxes.xyxy(),
      torch::tensor({3.F,
                     4.F,
                     9.F,
                     9.F,
                     5.F,
                     6.F,
                     11.F,
                     11.F, //
                     15.F,
                     12.F,
                     21.F,
                     17.F,
                     2.F,
                     2.F,
                     8.F,
                     7.F})
          .view({4, 4})));
  CHECK(care_test::identical(
      found.boxes.image_index(), torch::tensor({0, 1, 3, 3}, torch::kLong)));
  CHECK(care_test::identical(
      found.method, torch::tensor({1, 0, 0, 0}, torch::kLong)));
  CHECK(found.names == std::vector<std::string>{"first", "second"});
  CHECK(found.boxes.num_images() == 4);
  CHECK(found.boxes.boxes_per_image()[2].item<int64_t>() == 0);
  CHECK(care_test::allclose(
      found.confidence, torch::tensor({0.9, 0.8, 1.0, 0.7})));
  CHECK(care_test::identical(found.boxes.weights(), found.confidence));

  // Where the first finds all, the second is not asked.
  given_second = -1;
  care::auto_boxes(
      images.slice(0, 3, 4),
      {channel("first", 0, given_first), channel("second", 1, given_second)});
  CHECK(given_second == -1);
}

TEST_CASE("auto_boxes: nothing found, nothing given", "[auto_boxes]") {
  int64_t given = -1;
  auto found = care::auto_boxes(
      torch::zeros({2, 3, 8, 8}), {channel("first", 0, given)});
  CHECK(found.boxes.num_boxes() == 0);
  CHECK(found.boxes.num_images() == 2);
  CHECK(found.method.size(0) == 0);
  found = care::auto_boxes(
      torch::zeros({0, 3, 8, 8}), {channel("first", 0, given)});
  CHECK(found.boxes.num_images() == 0);
  CHECK(found.names.size() == 1);
}

TEST_CASE("auto_boxes: bad input", "[auto_boxes]") {
  const auto images = torch::rand({2, 3, 8, 8});
  int64_t given = 0;
  CARE_REQUIRE_THROWS_AS(
      care::auto_boxes(images, {}),
      c10::ValueError,
      "care::auto_boxes: expected at least 1 method, but got 0");
  CARE_REQUIRE_THROWS_AS(
      care::auto_boxes(images[0], {channel("first", 0, given)}),
      c10::ValueError,
      "care::auto_boxes: expected images of shape [N, C, H, W], but got [3, 8, "
      "8]");
  CARE_REQUIRE_THROWS_AS(
      care::auto_boxes(images, {{"nothing", nullptr}}),
      c10::ValueError,
      "care::auto_boxes: expected a function for each method, but \"nothing\" "
      "has none");
  CARE_REQUIRE_THROWS_AS(
      care::auto_boxes(
          images,
          {{"small",
            [](const torch::Tensor&) {
              return care::find_boxes(torch::rand({2, 4, 4}));
            }}}),
      c10::ValueError,
      "care::auto_boxes: expected boxes for 2 images of 8x8 (height x width) "
      "from \"small\", but got boxes for 2 of 4x4");
  CARE_REQUIRE_THROWS_AS(
      care::auto_boxes(
          images,
          {{"named",
            [](const torch::Tensor& x) {
              FoundBoxes found;
              found.boxes = care::Boxes::from_lists(
                                {{{0, 0, 2, 2}}, {}}, {x.size(2), x.size(3)})
                                .with_weights(torch::ones({1}))
                                .with_labels(care_test::longs({1}));
              return found;
            }}}),
      c10::ValueError,
      "expected boxes without labels");
}
