// Tests of care/masks.hpp: masks -> boxes, polygons -> masks.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/masks.hpp>
#include <care/rasterize.hpp>

#include <cmath>
#include <set>

using care::Boxes;
using care::MaskBoxes;
using care::Size;

namespace {

/// A mask drawn with characters: # is true.
torch::Tensor drawn(const std::vector<std::string>& lines) {
  auto mask = torch::zeros(
      {1,
       static_cast<int64_t>(lines.size()),
       static_cast<int64_t>(lines[0].size())},
      torch::kBool);
  for (size_t y = 0; y < lines.size(); ++y) {
    for (size_t x = 0; x < lines[y].size(); ++x) {
      mask[0][static_cast<int64_t>(y)][static_cast<int64_t>(x)] =
          lines[y][x] == '#';
    }
  }
  return mask;
}

torch::Tensor box_rows(std::vector<float> numbers) {
  return torch::tensor(numbers).view({-1, 4});
}

/// The boxes of the 8-connected components, by flood fill, as a set.
std::set<std::vector<int64_t>> flooded(const torch::Tensor& mask) {
  auto left = mask.clone();
  const auto h = mask.size(0), w = mask.size(1);
  std::set<std::vector<int64_t>> boxes;
  for (int64_t y = 0; y < h; ++y) {
    for (int64_t x = 0; x < w; ++x) {
      if (!left[y][x].item<bool>()) {
        continue;
      }
      std::vector<int64_t> box = {x, y, x + 1, y + 1};
      std::vector<std::pair<int64_t, int64_t>> stack = {{y, x}};
      left[y][x] = false;
      while (!stack.empty()) {
        const auto [v, u] = stack.back();
        stack.pop_back();
        box = {
            std::min(box[0], u),
            std::min(box[1], v),
            std::max(box[2], u + 1),
            std::max(box[3], v + 1)};
        for (int64_t j = std::max<int64_t>(v - 1, 0); j < std::min(v + 2, h);
             ++j) {
          for (int64_t i = std::max<int64_t>(u - 1, 0); i < std::min(u + 2, w);
               ++i) {
            if (left[j][i].item<bool>()) {
              left[j][i] = false;
              stack.emplace_back(j, i);
            }
          }
        }
      }
      boxes.insert(box);
    }
  }
  return boxes;
}

} // namespace

TEST_CASE("boxes_from_masks: one box round each component", "[masks]") {
  auto mask = drawn(
      {"##......#.",
       "##.....#..", // diagonal neighbours belong together
       "..........",
       ".#.#...###",
       ".###...#.#",
       ".......###"});
  CHECK(care_test::identical(
      care::boxes_from_masks(mask).xyxy(),
      box_rows({0, 0, 2, 2, 7, 0, 9, 2, 1, 3, 4, 5, 7, 3, 10, 6})));
  CHECK(care_test::identical(
      care::boxes_from_masks(mask, MaskBoxes::kTight).xyxy(),
      box_rows({0, 0, 10, 6})));
  // Components have 4, 2, 5 and 8 pixels.
  CHECK(care_test::identical(
      care::boxes_from_masks(mask, MaskBoxes::kComponents, 5).xyxy(),
      box_rows({1, 3, 4, 5, 7, 3, 10, 6})));
  CHECK(care_test::identical(
      care::boxes_from_masks(mask, MaskBoxes::kTight, 5).xyxy(),
      box_rows({1, 3, 10, 6})));
  CHECK(care::boxes_from_masks(mask, MaskBoxes::kTight, 9).num_boxes() == 0);
}

TEST_CASE("boxes_from_masks: shapes that join late", "[masks]") {
  auto spiral =
      drawn({"#.#.#.#.#", "#.#.#.#.#", "#.#.#.#.#", ".#...#.#.", "....#...."});
  CHECK(
      care::boxes_from_masks(spiral).num_boxes() ==
      static_cast<int64_t>(flooded(spiral[0]).size()));
  for (uint64_t seed = 0; seed < 30; ++seed) {
    CAPTURE(seed);
    torch::manual_seed(seed);
    auto mask = torch::rand({1, 9, 13}) > 0.6;
    auto boxes = care::boxes_from_masks(mask).xyxy().to(torch::kLong);
    std::set<std::vector<int64_t>> got;
    for (int64_t m = 0; m < boxes.size(0); ++m) {
      const auto* box = boxes[m].data_ptr<int64_t>();
      got.insert({box, box + 4});
    }
    CHECK(got == flooded(mask[0]));
  }
}

TEST_CASE("boxes_from_masks: batches and kinds of masks", "[masks]") {
  auto masks = torch::zeros({4, 6, 8}, torch::kBool);
  masks[1].slice(0, 2, 4).slice(1, 3, 8).fill_(true);
  masks[3].fill_(true);
  auto boxes = care::boxes_from_masks(masks);
  CHECK(boxes.num_images() == 4);
  CHECK(boxes.image_size() == Size{6, 8});
  CHECK(care_test::identical(
      boxes.image_index(), torch::tensor({1, 3}, torch::kLong)));
  CHECK(care_test::identical(boxes.xyxy(), box_rows({3, 2, 8, 4, 0, 0, 8, 6})));
  // Boxes drawn, found again.
  CHECK(care_test::identical(care::pixel_mask(boxes) > 0.5, masks));
  CHECK(care_test::identical(
      care::boxes_from_masks(masks.to(torch::kFloat) * 0.6).xyxy(),
      boxes.xyxy()));
  CHECK(care::boxes_from_masks(masks.to(torch::kFloat) * 0.5).num_boxes() == 0);
  CHECK(care_test::identical(
      care::boxes_from_masks(masks.to(torch::kByte)).xyxy(), boxes.xyxy()));
  // A view that is not contiguous.
  CHECK(care_test::identical(
      care::boxes_from_masks(masks.transpose(1, 2)).xyxy(),
      box_rows({2, 3, 4, 8, 0, 0, 6, 8})));
  CHECK(care::boxes_from_masks(torch::zeros({0, 4, 4})).num_images() == 0);
  CARE_REQUIRE_THROWS_AS(
      care::boxes_from_masks(masks[0]),
      c10::ValueError,
      "care::boxes_from_masks: expected masks of shape [N, H, W], but got [6, "
      "8]");
}

TEST_CASE("boxes_from_masks: a pixel in the corner", "[masks]") {
  auto mask = torch::zeros({1, 32, 32}, torch::kBool);
  mask[0][0][0] = true; // in pixels, for once
  CHECK(care_test::allclose(
      care::boxes_from_masks(mask).xyxy(), torch::tensor({{0, 0, 1, 1}})));
}

TEST_CASE("polygon_mask: rectangles, triangles, holes", "[masks]") {
  auto polygon = [](std::vector<float> points, Size size) {
    return care::polygon_mask(torch::tensor(points).view({-1, 2}), size);
  };
  auto box = Boxes::from_lists({{{2, 1, 7, 4}}}, {6, 9});
  CHECK(care_test::identical(
      polygon({2, 1, 7, 1, 7, 4, 2, 4}, {6, 9}),
      care::pixel_mask(box)[0] > 0.5));
  // The other way round, and from another corner.
  CHECK(care_test::identical(
      polygon({7, 4, 7, 1, 2, 1, 2, 4}, {6, 9}),
      care::pixel_mask(box)[0] > 0.5));
  CHECK(care_test::identical(
      polygon({0, 0, 4.2F, 0, 0, 4.2F}, {4, 5}).unsqueeze(0),
      drawn({"####.", "###..", "##...", "#...."})));
  // Beyond the image it is cut.
  CHECK(polygon({-9, -9, 30, -9, 30, 30, -9, 30}, {4, 5}).all().item<bool>());
  // Even-odd: what is covered twice is a hole.
  CHECK(care_test::identical(
      polygon(
          {0, 0, 5, 0, 5, 5, 0, 5, 0, 0, 1, 1, 4, 1, 4, 4, 1, 4, 1, 1}, {5, 5})
          .unsqueeze(0),
      drawn({"#####", "#...#", "#...#", "#...#", "#####"})));
  // Edges that begin and end beyond the image, however far.
  CHECK(care_test::identical(
      polygon({1, -1e30F, 3, -1e30F, 3, 1e30F, 1, 1e30F}, {3, 4}).unsqueeze(0),
      drawn({".##.", ".##.", ".##."})));
  // The area of a circle.
  auto angle = torch::arange(200, torch::kDouble) * (2 * M_PI / 200);
  auto circle = care::polygon_mask(
      torch::stack({angle.cos() * 40 + 50, angle.sin() * 40 + 50}, 1),
      {100, 100});
  CHECK(circle.sum().item<double>() == Approx(M_PI * 1600).epsilon(0.01));
}

TEST_CASE("polygon_mask: smaller than a pixel", "[masks]") {
  auto polygon = [](std::vector<float> points, Size size) {
    return care::polygon_mask(torch::tensor(points).view({-1, 2}), size)
        .unsqueeze(0);
  };
  // Holds no pixel's centre: the pixels of its points.
  CHECK(care_test::identical(
      polygon({1.6F, 1.1F, 1.9F, 1.1F, 1.9F, 1.4F}, {3, 4}),
      drawn({"....", ".#..", "...."})));
  CHECK(care_test::identical(
      polygon({0.8F, 0.1F, 2.2F, 0.1F, 1.5F, 0.2F}, {2, 4}),
      drawn({"###.", "...."})));
}

TEST_CASE("polygon_mask: pixels or fractions", "[masks]") {
  const auto fractions =
      torch::tensor({{0.25F, 0.25F}, {0.75F, 0.25F}, {0.75F, 0.5F}});
  CARE_REQUIRE_THROWS_AS(
      care::polygon_mask(fractions, {40, 60}),
      c10::ValueError,
      "care::polygon_mask: expected pixels, but all 3 points lie within [0, "
      "1], on images of 40x60");
  const auto scaled = fractions * torch::tensor({60.F, 40.F});
  CHECK(care_test::identical(
      care::polygon_mask(fractions, {40, 60}, care::BoxUnit::kFractions),
      care::polygon_mask(scaled, {40, 60})));
  // In the corner there may be a lesion of a pixel.
  CHECK(care::polygon_mask(fractions, {40, 60}, care::BoxUnit::kPixels)[0][0]
            .item<bool>());
}

TEST_CASE("polygon_mask: bad input", "[masks]") {
  CARE_REQUIRE_THROWS_AS( // between two rows of pixels' centres
      care::polygon_mask(
          torch::tensor({{-5.F, 10.6F}, {25.F, 10.6F}, {25.F, 10.9F}}),
          {20, 20}),
      c10::ValueError,
      "expected a polygon over the middle of a pixel of the image of 20x20");
  CARE_REQUIRE_THROWS_AS(
      care::polygon_mask(
          torch::tensor({{2.F, 2.F}, {9.F, 2.F}, {9.F, 9.F}}),
          {20, 20},
          care::BoxUnit::kFractions),
      c10::ValueError,
      "expected points as fractions of the image");
  CARE_REQUIRE_THROWS_AS( // points of an image of another size
      care::polygon_mask(
          torch::tensor({{60.F, 0.F}, {90.F, 0.F}, {90.F, 30.F}}), {40, 50}),
      c10::ValueError,
      "expected a polygon that meets the image of 40x50 (height x width), but "
      "its points reach from x 60, y 0 to 90, 30");
  CARE_REQUIRE_THROWS_AS(
      care::polygon_mask(
          torch::tensor({{-3.F, 1.F}, {-1.F, 1.F}, {-2.F, 3.F}}), {2, 4}),
      c10::ValueError,
      "to -1, 3");
  CARE_REQUIRE_THROWS_AS(
      care::polygon_mask(torch::rand({2, 2}), {4, 4}),
      c10::ValueError,
      "care::polygon_mask: expected points of shape [P, 2] with P >= 3, but "
      "got "
      "[2, 2]");
  CARE_REQUIRE_THROWS_AS(
      care::polygon_mask(
          torch::tensor({{0.F, 0.F}, {1.F, NAN}, {2.F, 2.F}}), {4, 4}),
      c10::ValueError,
      "care::polygon_mask: expected finite points, but got (1, nan) at index "
      "1");
  CARE_REQUIRE_THROWS_AS(
      care::polygon_mask(torch::rand({3, 2}), {-1, 5}),
      c10::ValueError,
      "care::polygon_mask: expected a size of at least 1x1, but got");
}
