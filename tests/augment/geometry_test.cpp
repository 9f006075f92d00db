// Tests of care/augment/geometry.hpp and affine_map.hpp: images, masks and
// boxes move alike, and as torchvision moves images.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/augment/detail/draw.hpp>
#include <care/augment/geometry.hpp>
#include <care/rasterize.hpp>

#include <torch/cuda.h>

#include <cmath>
#include <limits>
#include <vector>

using care::AffineMap;
using care::AffineParameters;
using care::Boxes;
using care::Orientation;
using care::Size;
using care::Window;

namespace {

/// The eight orientations, each twice but for the names.
std::vector<Orientation> orientations() {
  std::vector<Orientation> all;
  for (const bool hflip : {false, true}) {
    for (const bool vflip : {false, true}) {
      for (const int64_t turns : {0, 1, 2, 3, -1, 6}) {
        all.push_back({hflip, vflip, turns});
      }
    }
  }
  return all;
}

torch::Tensor by_torch(torch::Tensor image, const Orientation& orientation) {
  image = orientation.hflip ? image.flip(-1) : image;
  image = orientation.vflip ? image.flip(-2) : image;
  return torch::rot90(image, orientation.turns, {-2, -1});
}

Boxes by_boxes(Boxes boxes, const Orientation& orientation) {
  boxes = orientation.hflip ? boxes.hflip() : boxes;
  boxes = orientation.vflip ? boxes.vflip() : boxes;
  return boxes.rot90(orientation.turns);
}

/// `count` images with up to three boxes each, whole pixels or not.
Boxes random_boxes(
    care::detail::Draw& random,
    int64_t count,
    Size size,
    bool whole) {
  std::vector<std::vector<std::array<double, 4>>> lists;
  for (int64_t n = 0; n < count; ++n) {
    auto& list = lists.emplace_back();
    for (auto k = random.below(4); k > 0; --k) {
      const auto side = [&](int64_t length) {
        const auto wide = static_cast<double>(length);
        auto low = random.uniform(0, wide - 1);
        auto high = random.uniform(low + 0.5, wide);
        return std::array<double, 2>{
            whole ? std::floor(low) : low, whole ? std::ceil(high) : high};
      };
      const auto x = side(size.width), y = side(size.height);
      list.push_back({x[0], y[0], x[1], y[1]});
    }
  }
  return Boxes::from_lists(lists, size);
}

/// A map drawn far and wide, also mirrored.
AffineMap random_map(care::detail::Draw& random, Size size) {
  const double far = random.uniform(0, 6);
  const auto bend = care::affine_map(
      AffineParameters()
          .angle(random.uniform(-180, 180))
          .scale(random.uniform(0.5, 2))
          .shear_x(random.uniform(-30, 30))
          .shear_y(random.uniform(-30, 30))
          .translate_x(random.uniform(-far, far))
          .translate_y(random.uniform(-far, far)),
      size);
  const Orientation mirrored{random.chance(0.5), false, 0};
  return care::compose(care::orientation_map(mirrored, size), bend);
}

} // namespace

TEST_CASE("affine maps: composed and turned back", "[augment]") {
  const AffineMap first{2, 1, 3, 0, 1, -1}, second{0, -1, 5, 1, 0, 0};
  // (1, 1) goes to (6, 0), and then to (5, 6).
  const auto both = care::compose(first, second);
  CHECK(both[0] + both[1] + both[2] == Approx(5));
  CHECK(both[3] + both[4] + both[5] == Approx(6));
  const auto nothing = care::compose(both, care::inverse(both));
  for (size_t i = 0; i < nothing.size(); ++i) {
    CHECK(nothing[i] == Approx(care::kIdentityMap[i]).margin(1e-12));
  }
  CHECK(
      care::crop_map({4, 2, 10, 5}, {20, 20}) == AffineMap{2, 0, -8, 0, 4, -8});
  const double inf = std::numeric_limits<double>::infinity();
  for (const auto& bad :
       {AffineMap{1, 2, 0, 2, 4, 0},
        {1, 0, inf, 0, 1, 0},
        {1, 0, 0, 0, inf, 0},
        {1e200, 0, 0, 0, 1e200, 0},
        {0, 0, 0, 0, 0, 0}}) {
    CARE_REQUIRE_THROWS_AS(
        care::inverse(bad), c10::ValueError, "can be turned back");
  }
}

TEST_CASE("geometry: boxes that were accepted are not questioned again") {
  // All within [0, 1] after the move: pixels they are all the same.
  const auto corner =
      Boxes::from_lists({{{63, 63, 64, 64}}}, {64, 64}, care::BoxUnit::kPixels);
  const auto turned = care::orient(corner, {Orientation{true, true}});
  CHECK(care_test::identical(
      turned.xyxy(), torch::tensor({{0.F, 0.F, 1.F, 1.F}})));
  CHECK_FALSE(turned.has_labels());
  CHECK(care_test::identical(
      care::orient(turned, {Orientation{}}).xyxy(), turned.xyxy()));
  const auto cut = care::warp(
      Boxes::from_lists({{{10, 10, 12, 12}}}, {64, 64}),
      {AffineMap{1, 0, -11.25, 0, 1, -11.25}},
      0.1);
  CHECK(care_test::identical(
      cut.xyxy(), torch::tensor({{0.F, 0.F, 0.75F, 0.75F}})));
  const auto labelled =
      care::orient(corner.with_labels(care_test::longs({3})), {Orientation{}});
  CHECK(labelled.labels()[0].item<int64_t>() == 3);
}

TEST_CASE("orient: images, masks and boxes, exactly", "[augment]") {
  for (const Size size : {Size{7, 7}, Size{6, 9}}) {
    auto all = orientations();
    if (size.height != size.width) {
      for (auto& orientation : all) {
        orientation.turns *= 2;
      }
    }
    const auto count = static_cast<int64_t>(all.size());
    const auto images = torch::rand({count, 3, size.height, size.width});
    const auto masks = images.select(1, 0) > 0.5;
    const auto whole = images.mul(255).to(torch::kInt);
    care::detail::Draw random(1, 2, 3, care::detail::DrawFor::kCrop);
    const auto boxes = random_boxes(random, count, size, false);
    const auto moved = care::orient(images, all);
    const auto moved_masks = care::orient(masks, all);
    const auto moved_boxes = care::orient(boxes, all);
    CHECK(care_test::identical(
        care::orient(whole, all),
        care::orient(images, all).mul(255).to(torch::kInt)));
    CHECK(care_test::identical(
        care::orient(images.contiguous(torch::MemoryFormat::ChannelsLast), all),
        moved));
    // Too large for the host's loops: by the operations that devices use.
    CHECK(care_test::identical(
        torch::real(care::orient(images.to(torch::kComplexDouble), all)),
        moved.to(torch::kDouble)));
    for (int64_t n = 0; n < count; ++n) {
      CAPTURE(size, n);
      const auto& one = all[static_cast<size_t>(n)];
      CHECK(care_test::identical(moved[n], by_torch(images[n], one)));
      CHECK(care_test::identical(moved_masks[n], by_torch(masks[n], one)));
      const auto row = torch::tensor({n}, torch::kLong);
      CHECK(care_test::allclose( // but for the rounding of fractions
          moved_boxes.select(row).xyxy(),
          by_boxes(boxes.select(row), one).xyxy(),
          1e-5,
          0));
    }
    // One orientation for all is done at once there, and is the same.
    const std::vector<Orientation> same(static_cast<size_t>(count), all[5]);
    CHECK(care_test::identical(
        torch::real(care::orient(images.to(torch::kComplexDouble), same)),
        by_torch(images, all[5]).to(torch::kDouble)));
  }
}

TEST_CASE(
    "orient: what a box covers, and its weights, move along",
    "[augment]") {
  care::detail::Draw random(4, 0, 0, care::detail::DrawFor::kCrop);
  const auto all = orientations();
  const auto count = static_cast<int64_t>(all.size());
  const auto boxes = random_boxes(random, count, {28, 28}, true);
  const auto moved = care::orient(boxes, all);
  CHECK(care_test::identical(
      care::pixel_mask(moved), care::orient(care::pixel_mask(boxes), all)));
  for (const auto mode :
       {care::RasterMode::kAdjoint, care::RasterMode::kCoverage}) {
    const auto options = care::RasterizeOptions().mode(mode).margin(1);
    const auto before = care::rasterize(boxes, {7, 7}, options);
    const auto after = care::rasterize(moved, {7, 7}, options);
    CHECK(care_test::allclose(
        after.inside, care::orient(before.inside, all), 1e-5));
    CHECK(care_test::allclose(
        after.outside, care::orient(before.outside, all), 1e-5));
  }
}

TEST_CASE("warp: images as torchvision's affine", "[augment]") {
  const auto values = care_test::golden("golden_augment/geometry");
  const auto& images = values.at("images");
  const Size size{images.size(2), images.size(3)};
  std::vector<AffineMap> maps;
  for (int64_t n = 0; n < images.size(0); ++n) {
    const auto p = values.at("parameters")[n];
    const auto at = [&](int64_t i) { return p[i].item<double>(); };
    maps.push_back(care::affine_map(
        AffineParameters()
            .angle(at(0))
            .translate_x(at(1))
            .translate_y(at(2))
            .scale(at(3))
            .shear_x(at(4))
            .shear_y(at(5)),
        size));
  }
  const auto& expected = values.at("warped");
  CHECK(care_test::allclose(care::warp(images, maps), expected, 1e-5, 0));
  CHECK(care_test::allclose(
      care::warp(images.to(torch::kDouble), maps), expected, 1e-12, 0));
  // What a device does, done here.
  const auto bilinear = care::detail::Interpolation::kBilinear;
  CHECK(care_test::allclose(
      care::detail::warp_by_grid(images, maps.data(), size, 0, bilinear),
      expected,
      1e-5,
      0));
  CHECK(care_test::allclose(
      care::detail::warp_by_grid(
          images.to(torch::kDouble), maps.data(), size, 0.25, bilinear),
      care::warp(images.to(torch::kDouble), maps, 0.25),
      1e-12,
      0));
  CHECK(care_test::identical(
      care::warp_masks(values.at("masks"), maps), values.at("warped_masks")));
  CHECK(care_test::allclose(
      care::warp_masks(images.select(1, 2), maps),
      expected.select(1, 2),
      1e-5,
      0));
}

TEST_CASE("warp: no soft mask leaves its range", "[augment]") {
  // Bilinear weights in float32, as a CUDA device multiplies them, add up to
  // more than 1 in one of some 3,000 pixels.
  torch::manual_seed(2);
  const auto device = torch::cuda::is_available() ? torch::kCUDA : torch::kCPU;
  const auto masks = torch::ones({8, 40, 40}).to(device);
  std::vector<AffineMap> maps;
  for (int i = 0; i < 8; ++i) {
    maps.push_back(care::affine_map(
        care::AffineParameters().angle(i).scale(1 + 0.1 * i), {40, 40}));
  }
  const auto warped = care::warp_masks(masks, maps);
  CHECK(warped.max().item<float>() == 1);
  CHECK(warped.min().item<float>() >= 0);
  CHECK(care_test::allclose( // the largest is the mask's own, whatever it is
      care::warp_masks(200 * masks, maps),
      200 * warped,
      1e-4,
      0));
}

TEST_CASE("warp: a crop as torchvision's resized_crop", "[augment]") {
  const auto values = care_test::golden("golden_augment/geometry");
  const auto& images = values.at("images");
  const Size to{12, 10};
  const auto same = torch::ones({6, 1, to.height, to.width}, torch::kBool);
  std::vector<AffineMap> maps;
  for (int64_t n = 0; n < images.size(0); ++n) {
    const auto w = values.at("windows")[n];
    const Window window{
        w[0].item<double>(),
        w[1].item<double>(),
        w[2].item<double>(),
        w[3].item<double>()};
    maps.push_back(care::crop_map(window, to));
    // In the outermost half pixel torchvision repeats the crop's own edge.
    const auto inside = [](double length, int64_t count) {
      const auto at = (torch::arange(count, torch::kDouble) + 0.5) *
              (length / static_cast<double>(count)) -
          0.5;
      return (at >= 0) & (at <= length - 1);
    };
    same[n][0].copy_(
        inside(window.height, to.height).unsqueeze(1) &
        inside(window.width, to.width).unsqueeze(0));
  }
  CHECK(same.sum().item<int64_t>() > 600);
  const auto expected = values.at("cropped").masked_fill(~same, 0);
  CHECK(care_test::allclose(
      care::warp(images, maps, 0, to).masked_fill(~same, 0),
      expected,
      1e-5,
      0));
  CHECK(care_test::allclose(
      care::detail::warp_by_grid(
          images, maps.data(), to, 0, care::detail::Interpolation::kBilinear)
          .masked_fill(~same, 0),
      expected,
      1e-5,
      0));
}

TEST_CASE("warp: half a pixel to the right, by hand", "[augment]") {
  const auto row = torch::tensor({0.F, 1.F, 0.F, 0.5F}).view({1, 1, 1, 4});
  const std::vector<AffineMap> map{{1, 0, 0.5, 0, 1, 0}};
  CHECK(care_test::allclose(
      care::warp(row, map),
      torch::tensor({0.F, 0.5F, 0.5F, 0.25F}).view({1, 1, 1, 4}),
      1e-7));
  CHECK(care_test::allclose(
      care::warp(row, map, 1),
      torch::tensor({0.5F, 0.5F, 0.5F, 0.25F}).view({1, 1, 1, 4}),
      1e-7));
  // An image of the colour of the fill has no border.
  const auto flat = torch::full({2, 5, 9, 11}, 0.25);
  const auto away = care::affine_map(
      AffineParameters().angle(33).scale(0.6).translate_x(100), {9, 11});
  const auto turned =
      care::affine_map(AffineParameters().angle(33).scale(0.6), {9, 11});
  CHECK(
      care_test::allclose(care::warp(flat, {turned, away}, 0.25), flat, 1e-7));
  CHECK(care_test::identical(
      care::warp(torch::rand({1, 4, 9, 11}), {away}, 0.5),
      torch::full({1, 4, 9, 11}, 0.5)));
}

TEST_CASE("warp: dtypes, layouts and empty batches", "[augment]") {
  const auto images = torch::rand({2, 3, 10, 8});
  const std::vector<AffineMap> maps{
      care::affine_map(AffineParameters().angle(20), {10, 8}),
      care::crop_map({1, 2, 5, 6}, {10, 8})};
  const auto expected = care::warp(images, maps, 0.5);
  CHECK(care_test::identical(
      care::warp(
          images.contiguous(torch::MemoryFormat::ChannelsLast), maps, 0.5),
      expected));
  for (const auto dtype : {torch::kHalf, torch::kBFloat16}) {
    const auto half = care::warp(images.to(dtype), maps, 0.5);
    CHECK(half.scalar_type() == dtype);
    CHECK(care_test::allclose(half, expected, 0.01));
  }
  CHECK_FALSE(
      care::warp(images.clone().requires_grad_(), maps).requires_grad());
  CHECK(
      care::warp(torch::empty({0, 3, 4, 4}), {}).sizes() ==
      torch::IntArrayRef({0, 3, 4, 4}));
  CHECK(care::orient(torch::empty({0, 3, 4, 4}), {}).size(0) == 0);
  CHECK(care::warp(Boxes::none(0, {4, 4}), {}).num_images() == 0);
  CHECK(care::orient(Boxes::none(2, {4, 4}), {{}, {}}).num_boxes() == 0);
  CHECK(care::warp(Boxes::none(2, {10, 8}), maps).num_images() == 2);
}

TEST_CASE("warp: boxes as Boxes::affine, each by its own map", "[augment]") {
  care::detail::Draw random(5, 0, 0, care::detail::DrawFor::kCrop);
  for (int round = 0; round < 20; ++round) {
    const Size size{20, 30}, to{25, 15};
    auto plain = random_boxes(random, 4, size, false);
    if (round % 2 == 1) { // which hang over the border
      plain = plain.pad(6);
    }
    const auto m = plain.num_boxes();
    const auto boxes = plain.with_weights(torch::arange(m) + 0.5)
                           .with_labels(torch::arange(m, torch::kLong));
    std::vector<AffineMap> maps;
    for (int64_t n = 0; n < 4; ++n) {
      maps.push_back(random_map(random, size));
    }
    for (const double min_visible : {0.0, 0.25, 0.9}) {
      const auto moved = care::warp(boxes, maps, min_visible, to);
      CHECK(moved.num_images() == 4);
      CHECK(moved.image_size() == to);
      for (int64_t n = 0; n < 4; ++n) {
        const auto row = torch::tensor({n}, torch::kLong);
        const auto one = boxes.select(row).affine(
            maps[static_cast<size_t>(n)], to, min_visible);
        const auto mine = moved.select(row);
        CHECK(care_test::allclose(mine.xyxy(), one.xyxy(), 1e-4));
        CHECK(care_test::identical(mine.weights(), one.weights()));
        CHECK(care_test::identical(mine.labels(), one.labels()));
      }
    }
  }
}

TEST_CASE("warp: boxes are cut before they move, and dropped", "[augment]") {
  // The first reaches 10 pixels beyond the left border, the second lies half
  // beyond after the move, the third goes.
  const auto boxes = Boxes::from_lists(
      {{{-10, 0, 10, 10}, {20, 20, 30, 30}, {34, 0, 40, 6}}}, {40, 40});
  const std::vector<AffineMap> right{{1, 0, 15, 0, 1, 0}};
  CHECK(care_test::identical(
      care::warp(boxes, right).xyxy(),
      torch::tensor({15.F, 0.F, 25.F, 10.F, 35.F, 20.F, 40.F, 30.F})
          .view({2, 4})));
  CHECK(care::warp(boxes, right, 0.5).num_boxes() == 2);
  CHECK(care::warp(boxes, right, 0.51).num_boxes() == 1);
  // So small after the move that float32 has no such box.
  const auto thin = Boxes::from_lists({{{39, 39, 39.00001, 40}}}, {40, 40});
  CHECK(care::warp(thin, {{0.1, 0, 35, 0, 1, 0}}).num_boxes() == 0);
  // The gradient of coordinates goes along.
  auto xyxy = torch::tensor({5., 5., 10., 12.}).view({1, 4}).requires_grad_();
  const Boxes movable(xyxy, torch::zeros({1}, torch::kLong), 1, {40, 40});
  care::warp(movable, {{2, 0, 0, 0, 1, 0}}).xyxy().sum().backward();
  CHECK(care_test::allclose(
      xyxy.grad(), torch::tensor({2., 1., 2., 1.}).view({1, 4})));
}

TEST_CASE(
    "warp: what was inside of a box is inside of the moved one",
    "[augment]") {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    care::detail::Draw random(seed, 0, 0, care::detail::DrawFor::kCrop);
    const Size size{random.below(30) + 5, random.below(30) + 5};
    const auto boxes = random_boxes(random, 3, size, true);
    std::vector<AffineMap> maps;
    for (int64_t n = 0; n < 3; ++n) {
      maps.push_back(random_map(random, size));
    }
    const auto masks = care::pixel_mask(boxes);
    const auto moved_masks = care::warp_masks(masks, maps);
    const auto nearest = care::warp_masks(masks > 0.5, maps);
    // A new pixel with anything of the region in it has its centre within half
    // a pixel of the old image, or an old pixel by the nearest one.
    for (int64_t n = 0; n < 3; ++n) {
      const auto& map = maps[static_cast<size_t>(n)];
      const double dx = (std::abs(map[0]) + std::abs(map[1])) / 2 + 1e-3;
      const double dy = (std::abs(map[3]) + std::abs(map[4])) / 2 + 1e-3;
      // Not cut at the border: what shows of a region may be a pixel of
      // interpolation, where its box lies just outside.
      const auto own = care::detail::around_moved_corners(
          boxes.select(torch::tensor({n}, torch::kLong)), {map});
      const auto x = (torch::arange(size.width) + 0.5).view({1, 1, -1});
      const auto y = (torch::arange(size.height) + 0.5).view({1, -1, 1});
      const auto within = [&](double grow_x, double grow_y) {
        const auto side = own.view({-1, 4, 1, 1}).unbind(1);
        return ((x >= side[0] - grow_x) & (x <= side[2] + grow_x) &
                (y >= side[1] - grow_y) & (y <= side[3] + grow_y))
            .any(0);
      };
      CAPTURE(seed, n, size);
      CHECK_FALSE(
          ((moved_masks[n] > 1e-5) & ~within(dx, dy)).any().item<bool>());
      // By the nearest pixel nothing lies beyond the box at all.
      CHECK_FALSE((nearest[n] & ~within(1e-3, 1e-3)).any().item<bool>());
    }
  }
}

TEST_CASE("warp: the rasterizer's weights move with a crop", "[augment]") {
  // A crop of whole cells, blown up to twice its size: the boxes' weights are
  // those of the moved mask.
  const auto boxes = Boxes::from_lists(
      {{{6, 8, 14, 18}}, {{0, 0, 9, 9}, {12, 4, 15, 20}}}, {24, 24});
  const std::vector<AffineMap> maps{
      care::crop_map({4, 4, 12, 12}, {24, 24}),
      care::crop_map({8, 0, 12, 12}, {24, 24})};
  const auto by_boxes = care::rasterize(care::warp(boxes, maps, 0), {6, 6});
  const auto masks = care::pixel_mask(boxes);
  const auto windows = torch::stack(
      {masks[0].slice(0, 4, 16).slice(1, 4, 16),
       masks[1].slice(0, 0, 12).slice(1, 8, 20)});
  const auto twice = windows.repeat_interleave(2, 1).repeat_interleave(2, 2);
  const auto by_masks = care::rasterize(twice, {6, 6});
  CHECK(care_test::allclose(by_boxes.inside, by_masks.inside, 1e-5));
  CHECK(care_test::allclose(by_boxes.outside, by_masks.outside, 1e-5));
}

TEST_CASE("geometry: refuses what does not fit", "[augment]") {
  const auto images = torch::rand({2, 3, 8, 6});
  const std::vector<AffineMap> one{care::kIdentityMap};
  CARE_REQUIRE_THROWS_AS(
      care::warp(images, one),
      c10::ValueError,
      "care::warp: expected maps for 2 images, but got 1");
  CARE_REQUIRE_THROWS_AS(
      care::warp(images, {care::kIdentityMap, {1, 1, 0, 1, 1, 0}}),
      c10::ValueError,
      "but maps[1] is [1, 1, 0, 1, 1, 0]");
  CARE_REQUIRE_THROWS_AS(
      care::warp(images[0], one), c10::ValueError, "[N, C, H, W], but got [3,");
  CARE_REQUIRE_THROWS_AS(
      care::warp(
          images.to(torch::kInt), {care::kIdentityMap, care::kIdentityMap}),
      c10::TypeError,
      "images to hold floating point numbers");
  CARE_REQUIRE_THROWS_AS(
      care::warp_masks(images, one),
      c10::ValueError,
      "masks of shape [N, H, W]");
  CARE_REQUIRE_THROWS_AS(
      care::warp(Boxes::none(1, {8, 6}), one, 1.5),
      c10::ValueError,
      "expected min_visible in [0, 1], but got 1.5");
  CARE_REQUIRE_THROWS_AS(
      care::orient(images, {{}}),
      c10::ValueError,
      "care::orient: expected orientations for 2 images, but got 1");
  CARE_REQUIRE_THROWS_AS(
      care::orient(images, {{}, {false, false, 3}}),
      c10::ValueError,
      "orientations[1] has 3 quarter turns");
  const std::vector<AffineMap> two(2, care::kIdentityMap);
  CARE_REQUIRE_THROWS_AS(
      care::warp(images, two, 0, {0, 64}), c10::ValueError, "0x64");
  CARE_REQUIRE_THROWS_AS(
      care::warp_masks(images.select(1, 0), two, {-1, 64}),
      c10::ValueError,
      "-1x64");
  const auto of = [](const care::AffineParameters& parameters) {
    return care::affine_map(parameters, {8, 6});
  };
  CARE_REQUIRE_THROWS_AS(
      of(care::AffineParameters().scale(-1)),
      c10::ValueError,
      "care::affine_map: expected a scale above 0, but got -1");
  CARE_REQUIRE_THROWS_AS(
      of(care::AffineParameters().shear_x(90)),
      c10::ValueError,
      "expected a shear_x below 90, but got 90");
  CARE_REQUIRE_THROWS_AS(
      of(care::AffineParameters().shear_y(NAN)),
      c10::ValueError,
      "expected a shear_y below 90, but got nan");
  CARE_REQUIRE_THROWS_AS(
      of(care::AffineParameters().angle(INFINITY)),
      c10::ValueError,
      "expected a finite angle, but got inf");
  CARE_REQUIRE_THROWS_AS(
      care::crop_map({0, 0, -10, 5}, {8, 6}),
      c10::ValueError,
      "care::crop_map: expected a window with an area, but got one of width "
      "-10");
  CARE_REQUIRE_THROWS_AS(
      care::orient(Boxes::none(1, {8, 6}), {{true, false, 1}}),
      c10::ValueError,
      "expected half turns of images of 8x6");
}
