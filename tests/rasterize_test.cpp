// Tests of care/rasterize.hpp: the adjoint, the union, distances, gradients.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/amp.hpp>
#include <care/rasterize.hpp>

#include <array>
#include <cmath>

namespace F = torch::nn::functional;
using care::Boxes;
using care::RasterizeOptions;
using care::RasterMode;
using care::Size;
using care_test::gradcheck;
using care_test::Tensors;

namespace {

/// The union of the boxes painted at `fine` times the resolution and averaged:
/// exact for coordinates that are multiples of 1 / fine.
torch::Tensor painted(const Boxes& boxes, int64_t fine = 8) {
  const auto [h, w] = boxes.image_size();
  auto canvas =
      torch::zeros({boxes.num_images(), h * fine, w * fine}, torch::kDouble);
  for (int64_t m = 0; m < boxes.num_boxes(); ++m) {
    auto box = (boxes.xyxy()[m].detach().to(torch::kDouble) *
                static_cast<double>(fine))
                   .round()
                   .to(torch::kLong);
    auto at = [&](int64_t i, int64_t length) {
      return std::min(
          std::max<int64_t>(box[i].item<int64_t>(), 0), length * fine);
    };
    canvas[boxes.image_index()[m].item<int64_t>()]
        .slice(0, at(1, h), at(3, h))
        .slice(1, at(0, w), at(2, w))
        .fill_(1);
  }
  return canvas.view({boxes.num_images(), h, fine, w, fine}).mean({2, 4});
}

/// Distance of each pixel to the nearest box, pixel by pixel, box by box.
torch::Tensor brute_distance(const Boxes& boxes, bool euclidean) {
  const auto [h, w] = boxes.image_size();
  auto result = torch::zeros({boxes.num_images(), h, w}, torch::kDouble);
  auto box = boxes.xyxy().to(torch::kDouble);
  for (int64_t n = 0; n < boxes.num_images(); ++n) {
    for (int64_t y = 0; y < h; ++y) {
      for (int64_t x = 0; x < w; ++x) {
        double best = INFINITY;
        for (int64_t m = 0; m < boxes.num_boxes(); ++m) {
          if (boxes.image_index()[m].item<int64_t>() != n) {
            continue;
          }
          auto c = [&](int64_t i) { return box[m][i].item<double>(); };
          const auto px = static_cast<double>(x), py = static_cast<double>(y);
          const double dx = std::max({c(0) - px, px + 1 - c(2), 0.0});
          const double dy = std::max({c(1) - py, py + 1 - c(3), 0.0});
          best = std::min(best, euclidean ? std::hypot(dx, dy) : dx + dy);
        }
        result[n][y][x] = std::isfinite(best) ? best : 0.0;
      }
    }
  }
  return result;
}

torch::Tensor upsampled(const torch::Tensor& maps, Size size) {
  return F::interpolate(
             maps.unsqueeze(1),
             F::InterpolateFuncOptions()
                 .size(std::vector<int64_t>{size.height, size.width})
                 .mode(torch::kBilinear)
                 .align_corners(false))
      .squeeze(1);
}

/// The mask brought down by the backward pass of `interpolate` itself.
torch::Tensor adjoint(const torch::Tensor& mask, Size map_size) {
  auto maps =
      torch::zeros(
          {mask.size(0), map_size.height, map_size.width}, torch::kDouble)
          .requires_grad_();
  auto up = upsampled(maps, {mask.size(1), mask.size(2)});
  return torch::autograd::grad({(up * mask).sum()}, {maps})[0];
}

/// The share of each cell that a mask covers (sizes that divide).
torch::Tensor cell_means(const torch::Tensor& mask, Size map_size) {
  return F::adaptive_avg_pool2d(
      mask, F::AdaptiveAvgPool2dFuncOptions({map_size.height, map_size.width}));
}

/// Overlapping, fractional, touching and partly outside; an image without.
Boxes difficult_boxes(Size size) {
  const auto w = static_cast<double>(size.width);
  const auto h = static_cast<double>(size.height);
  return Boxes::from_lists(
             {{{1.25, 2.5, 7.75, 9.125}, {5, 4, 12.5, 8}, {5, 4, 12.5, 8}},
              {},
              {{-3.5, h - 4.25, 6, h + 9}, {w - 5, -2, w, 3.5}},
              {{0, 0, w, h}},
              {{3, 3, 4, 4}, {4, 3, 5, 4}, {8.125, 0, 8.25, h}}},
             size)
      .to(torch::kDouble);
}

} // namespace

TEST_CASE(
    "rasterize: paper mode is the adjoint of interpolate",
    "[rasterize]") {
  const auto [size, map_size] = GENERATE(
      std::pair<Size, Size>{{224, 224}, {7, 7}},
      std::pair<Size, Size>{{224, 224}, {14, 14}},
      std::pair<Size, Size>{{37, 53}, {5, 3}},
      std::pair<Size, Size>{{31, 20}, {7, 13}},
      std::pair<Size, Size>{{16, 24}, {16, 24}},
      std::pair<Size, Size>{{16, 17}, {23, 40}}, // a map finer than the image
      std::pair<Size, Size>{{20, 30}, {1, 1}},
      std::pair<Size, Size>{{20, 30}, {1, 4}});
  CAPTURE(size, map_size);
  auto boxes = difficult_boxes(size);
  auto mask = painted(boxes);
  auto got = care::rasterize(boxes, map_size);
  CHECK(care_test::allclose(got.inside, adjoint(mask, map_size), 1e-9));
  auto outside = (1 - mask);
  outside[1].zero_();
  CHECK(care_test::allclose(got.outside, adjoint(outside, map_size), 1e-9));

  // The inner product with any map, at both resolutions.
  torch::manual_seed(3);
  auto maps =
      torch::randn({5, map_size.height, map_size.width}, torch::kDouble);
  CHECK(care_test::allclose(
      (got.inside * maps).sum({1, 2}),
      (upsampled(maps, size) * mask).sum({1, 2}),
      1e-8));
}

TEST_CASE(
    "rasterize: coverage is the covered area of each cell",
    "[rasterize]") {
  auto boxes = difficult_boxes({24, 36});
  auto mask = painted(boxes);
  for (const Size map_size :
       {Size{24, 36}, Size{6, 9}, Size{3, 2}, Size{1, 1}}) {
    CAPTURE(map_size);
    auto got = care::rasterize(
        boxes, map_size, RasterizeOptions().mode(RasterMode::kCoverage));
    CHECK(care_test::allclose(got.inside, cell_means(mask, map_size), 1e-9));
    auto outside = 1 - mask;
    outside[1].zero_();
    CHECK(
        care_test::allclose(got.outside, cell_means(outside, map_size), 1e-9));
  }
  // A cell border through a pixel: 3 pixels on 2 cells.
  auto half = care::rasterize(
      Boxes::from_lists({{{1, 0, 2, 1}}}, {1, 3}),
      {1, 2},
      RasterizeOptions().mode(RasterMode::kCoverage));
  CHECK(
      care_test::allclose(half.inside, torch::full({1, 1, 2}, 1.0 / 3), 1e-6));
}

TEST_CASE("rasterize: random boxes against painted ones", "[rasterize]") {
  const Size size{18, 25};
  for (uint64_t seed = 0; seed < 40; ++seed) {
    CAPTURE(seed);
    torch::manual_seed(seed);
    auto a = torch::randint(-16, 17 * 8, {9, 2}).to(torch::kDouble) / 8;
    auto extent = torch::randint(1, 12 * 8, {9, 2}).to(torch::kDouble) / 8;
    auto boxes = Boxes(
                     torch::cat({a, a + extent}, 1),
                     torch::randint(0, 4, {9}, torch::kLong),
                     4,
                     size)
                     .clip();
    auto mask = painted(boxes);
    CHECK(care_test::allclose(care::pixel_mask(boxes), mask, 1e-9));
    CHECK(care_test::allclose(
        care::rasterize(boxes, {4, 6}).inside, adjoint(mask, {4, 6}), 1e-8));
  }
}

TEST_CASE("rasterize: with and without a gradient the same", "[rasterize]") {
  // Boxes on the host that need no gradient take a path of their own.
  for (uint64_t seed = 0; seed < 60; ++seed) {
    CAPTURE(seed);
    torch::manual_seed(seed);
    const auto pick = [](int64_t low, int64_t high) {
      return torch::randint(low, high, {1}, torch::kLong).item<int64_t>();
    };
    const Size size{pick(5, 70), pick(5, 70)};
    const Size map_size{pick(1, 12), pick(1, 40)};
    const auto images = pick(1, 8);
    const auto count = pick(1, 20);
    auto corner = torch::rand({count, 2}, torch::kDouble) * 1.2 - 0.2;
    auto extent = torch::rand({count, 2}, torch::kDouble) * 0.7 + 0.2;
    auto scale = torch::tensor(
        {static_cast<double>(size.width), static_cast<double>(size.height)},
        torch::kDouble);
    auto xyxy = torch::cat({corner * scale, (corner + extent) * scale}, 1);
    if (seed % 2 == 0) { // edges that coincide, with each other and with pixels
      xyxy = xyxy.round();
      xyxy.slice(1, 2) += 1;
    }
    auto image = torch::randint(0, images, {count}, torch::kLong);
    auto boxes = Boxes(xyxy, image, images, size).clip();
    if (seed % 3 == 0) {
      auto weight = torch::rand({boxes.num_boxes()}, torch::kDouble);
      boxes = boxes.with_weights(weight * (weight > 0.3));
    }
    auto options =
        RasterizeOptions()
            .mode(seed % 4 < 2 ? RasterMode::kAdjoint : RasterMode::kCoverage)
            .start(0.25 + static_cast<double>(seed % 5))
            .margin(seed % 6 < 3 ? 0 : 1.75);
    auto learning = Boxes(
        boxes.xyxy().clone().requires_grad_(),
        boxes.image_index(),
        images,
        size);
    if (boxes.has_weights()) {
      learning = learning.with_weights(boxes.weights());
    }
    if (boxes.num_boxes() == 0) {
      continue;
    }
    REQUIRE(learning.requires_grad());
    auto a = care::rasterize(boxes, map_size, options);
    auto b = care::rasterize(learning, map_size, options);
    CHECK(b.inside.requires_grad());
    CHECK(care_test::allclose(a.inside, b.inside, 1e-10, 1e-9));
    CHECK(care_test::allclose(a.outside, b.outside, 1e-10, 1e-9));
    CHECK(care_test::identical(a.weight, b.weight));
    CHECK(a.inside.min().item<double>() >= 0);
    CHECK(a.outside.min().item<double>() >= 0);

    const std::array<double, 4> all = {
        0,
        0,
        static_cast<double>(size.width),
        static_cast<double>(size.height)};
    auto whole = care::rasterize(
        Boxes::from_lists({{all}, {all, all}}, size), map_size, options);
    CHECK(whole.outside.abs().max().item<double>() == 0);

    auto single = care::rasterize(boxes.to(torch::kFloat), map_size, options);
    CHECK(single.inside.scalar_type() == torch::kFloat);
    CHECK(care_test::allclose(single.inside, a.inside, 1e-3, 1e-5));
    CHECK(care_test::allclose(single.outside, a.outside, 1e-3, 1e-5));
  }
  // Weights that need a gradient get it.
  auto weight = torch::ones({1}).requires_grad_();
  auto weighted =
      Boxes::from_lists({{{1, 1, 5, 5}}}, {8, 8}).with_weights(weight);
  care::rasterize(weighted, {4, 4}).weight.sum().backward();
  CHECK(weight.grad().item<double>() == Approx(1));
}

TEST_CASE("rasterize: edge cases of boxes", "[rasterize]") {
  const Size size{64, 96};
  SECTION("no boxes and no images") {
    auto got = care::rasterize(Boxes::none(3, size), {7, 5});
    CHECK(care_test::identical(got.inside, torch::zeros({3, 7, 5})));
    CHECK(care_test::identical(got.outside, torch::zeros({3, 7, 5})));
    CHECK(care_test::identical(got.weight, torch::zeros({3})));
    CHECK(
        care::rasterize(Boxes::none(0, size), {7, 5}).inside.sizes() ==
        torch::IntArrayRef({0, 7, 5}));
    CHECK(care::rasterize(Boxes(), {7, 5}).inside.size(0) == 0);
  }
  SECTION("an image without boxes beside others") {
    auto got = care::rasterize(
        Boxes::from_lists({{}, {{1, 2, 30, 40}}, {}}, size), {4, 6});
    CHECK(care_test::identical(got.weight, torch::tensor({0.F, 1.F, 0.F})));
    CHECK(got.inside[1].sum().item<double>() == Approx(29 * 38));
    for (int64_t n : {0, 2}) {
      CHECK(got.inside[n].abs().sum().item<double>() == 0);
      CHECK(got.outside[n].abs().sum().item<double>() == 0);
    }
  }
  SECTION("a box over the whole image has no outside") {
    for (const auto mode : {RasterMode::kAdjoint, RasterMode::kCoverage}) {
      for (const double delta : {0.0, 1.0}) {
        auto got = care::rasterize(
            Boxes::from_lists({{{0, 0, 96, 64}}, {{-5, -5, 200, 64}}}, size),
            {7, 7},
            RasterizeOptions().mode(mode).delta(delta));
        CHECK(got.outside.abs().max().item<double>() == 0);
        CHECK(got.inside.min().item<double>() > 0);
      }
    }
  }
  SECTION("a box of one pixel, and of a fraction of one, at large sizes") {
    auto got = care::rasterize(
        Boxes::from_lists(
            {{{2046, 2046, 2047, 2047}}, {{2047.25, 3, 2047.5, 3.5}}},
            {2048, 2048}),
        {7, 7});
    CHECK(got.inside[0].sum().item<double>() == Approx(1).epsilon(1e-5));
    CHECK(got.inside[1].sum().item<double>() == Approx(0.125).epsilon(1e-5));
    CHECK(got.inside.min().item<double>() >= 0);
    CHECK(got.inside[0][6][6].item<double>() == Approx(1).epsilon(1e-5));
  }
  SECTION("nearest-neighbour masks lose this box, the rasterizer does not") {
    auto boxes = Boxes::from_lists({{{40, 40, 64, 64}}}, {224, 224});
    CHECK(
        care::rasterize(boxes, {7, 7}).inside.sum().item<double>() ==
        Approx(24 * 24));
  }
  SECTION("overlapping boxes count once") {
    auto one = Boxes::from_lists({{{8, 8, 40, 40}}}, size);
    auto many = Boxes::from_lists(
        {{{8, 8, 40, 30}, {8, 20, 40, 40}, {9, 9, 12, 12}}}, size);
    CHECK(care_test::allclose(
        care::rasterize(one, {7, 7}).inside,
        care::rasterize(many, {7, 7}).inside,
        1e-4));
  }
}

TEST_CASE(
    "rasterize: the order of boxes and images does not matter",
    "[rasterize]") {
  auto boxes = difficult_boxes({32, 40});
  auto order = torch::tensor({6, 2, 0, 8, 4, 1, 7, 3, 5}, torch::kLong);
  REQUIRE(boxes.num_boxes() == 9);
  Boxes shuffled(
      boxes.xyxy().index_select(0, order),
      boxes.image_index().index_select(0, order),
      boxes.num_images(),
      boxes.image_size());
  auto options = RasterizeOptions().delta(0.5).margin(2);
  auto a = care::rasterize(boxes, {5, 7}, options);
  auto b = care::rasterize(shuffled, {5, 7}, options);
  CHECK(care_test::allclose(a.inside, b.inside, 1e-9));
  CHECK(care_test::allclose(a.outside, b.outside, 1e-9));
}

TEST_CASE(
    "rasterize: outside weights grow with the nearest box",
    "[rasterize]") {
  const Size size{20, 26};
  auto boxes = difficult_boxes(size);
  auto share = 1 - painted(boxes);
  share[1].zero_();
  for (const bool euclidean : {false, true}) {
    for (const double start : {0.0, 1.5}) {
      CAPTURE(euclidean, start);
      auto weight = share * (start + 0.25 * brute_distance(boxes, euclidean));
      auto options = RasterizeOptions().start(start).delta(0.25).distance(
          euclidean ? care::Distance::kEuclidean : care::Distance::kCityblock);
      CHECK(care_test::allclose(
          care::rasterize(boxes, {5, 4}, options).outside,
          adjoint(weight, {5, 4}),
          1e-8));
      CHECK(care_test::allclose(
          care::rasterize(boxes, {5, 13}, options.mode(RasterMode::kCoverage))
              .outside,
          cell_means(weight, {5, 13}),
          1e-8));
    }
  }
  // A pixel beside the border is at distance 1; flat weights scale.
  auto one = Boxes::from_lists({{{2, 2, 4, 4}}}, {8, 8});
  auto near = care::rasterize(
      one,
      {8, 8},
      RasterizeOptions().mode(RasterMode::kCoverage).start(0).delta(1));
  CHECK(near.outside[0][2][4].item<double>() == 1);
  CHECK(near.outside[0][5][5].item<double>() == 4);
  CHECK(near.outside[0][3][3].item<double>() == 0);
  CHECK(care_test::allclose(
      care::rasterize(one, {4, 4}, RasterizeOptions().start(3)).outside,
      3 * care::rasterize(one, {4, 4}).outside));
}

TEST_CASE("rasterize: a margin is neither inside nor outside", "[rasterize]") {
  const Size size{24, 32};
  auto boxes = Boxes::from_lists(
                   {{{8, 8, 12, 12}, {11, 10.5, 20, 14}}, {{0, 0, 5, 5}}}, size)
                   .to(torch::kDouble);
  auto plain = care::rasterize(boxes, {6, 8});
  auto got = care::rasterize(boxes, {6, 8}, RasterizeOptions().margin(2.5));
  CHECK(care_test::identical(got.inside, plain.inside));
  CHECK(care_test::allclose(
      got.outside, adjoint(1 - painted(boxes.pad(2.5)), {6, 8}), 1e-9));
  // Distances still count from the box.
  auto far = care::rasterize(
      boxes, {6, 8}, RasterizeOptions().margin(2.5).start(0).delta(1));
  CHECK(care_test::allclose(
      far.outside,
      adjoint(
          (1 - painted(boxes.pad(2.5))) * brute_distance(boxes, false), {6, 8}),
      1e-8));
}

TEST_CASE("rasterize: box weights", "[rasterize]") {
  auto boxes =
      Boxes::from_lists({{{0, 0, 4, 4}, {2, 2, 6, 6}}, {{1, 1, 3, 3}}}, {8, 8});
  auto options = RasterizeOptions().mode(RasterMode::kCoverage);
  auto plain = care::rasterize(boxes, {8, 8}, options);
  auto got = care::rasterize(
      boxes.with_weights(torch::tensor({0.5, 0.25, 0.0})), {8, 8}, options);
  CHECK(care_test::identical(got.weight, torch::tensor({0.5F, 0.F})));
  CHECK(got.inside[0][1][1].item<double>() == 1); // of the heaviest
  CHECK(got.inside[0][3][3].item<double>() == 1); // the larger of the two
  CHECK(got.inside[0][5][5].item<double>() == 0.5);
  CHECK(got.inside[1].sum().item<double>() == 0);
  // A box of weight 0 is not background.
  CHECK(care_test::allclose(got.outside, plain.outside));
}

TEST_CASE("pixel_mask: boxes count in full, whatever they weigh") {
  const auto boxes =
      Boxes::from_lists({{{0, 0, 4, 4}, {2, 2, 6, 6}}, {{1, 1, 3, 3}}}, {8, 8});
  const auto mask =
      care::pixel_mask(boxes.with_weights(torch::tensor({0.3, 2.0, 0.0})));
  CHECK(care_test::identical(mask[0], care::pixel_mask(boxes)[0]));
  CHECK(mask.max().item<double>() == 1);
  CHECK(mask[1].sum().item<double>() == 0); // a box of weight 0 says nothing
}

TEST_CASE("rasterize: autocast loses nothing", "[rasterize]") {
  const auto boxes = Boxes::from_lists({{{3, 5, 21, 30}}, {}}, {48, 64});
  const auto options = RasterizeOptions().delta(0.37);
  const auto masks = care::pixel_mask(boxes);
  const auto expected = care::rasterize(boxes, {6, 8}, options);
  const auto of_masks = care::rasterize(masks, {6, 8}, options);
  const care::Autocast on(torch::kCPU);
  const auto got = care::rasterize(boxes, {6, 8}, options);
  CHECK(care_test::identical(got.outside, expected.outside));
  const auto again = care::rasterize(masks, {6, 8}, options);
  CHECK(care_test::identical(again.outside, of_masks.outside));
}

TEST_CASE("rasterize: gradients reach the boxes", "[rasterize]") {
  auto xyxy =
      torch::tensor(
          {{1.3, 2.4, 7.7, 9.2}, {5.1, 4.6, 12.4, 8.3}, {3.2, 0.7, 9.9, 6.1}},
          torch::kDouble)
          .requires_grad_();
  auto image = torch::tensor({0, 0, 1}, torch::kLong);
  for (const auto mode : {RasterMode::kAdjoint, RasterMode::kCoverage}) {
    for (const double margin : {0.0, 0.75}) {
      CAPTURE(static_cast<int>(mode), margin);
      CHECK(gradcheck(
          [&](const Tensors& in) {
            auto got = care::rasterize(
                Boxes(in[0], image, 2, {13, 17}),
                {4, 5},
                RasterizeOptions().mode(mode).margin(margin));
            return torch::cat({got.inside, got.outside});
          },
          {xyxy}));
    }
  }
  // Edges beyond the image move nothing.
  auto over =
      torch::tensor({{-3.0, 2.25, 7.5, 40.0}}, torch::kDouble).requires_grad_();
  auto weights = care::rasterize(
      Boxes(over, torch::zeros({1}, torch::kLong), 1, {13, 17}), {4, 5});
  weights.inside.sum().backward();
  CHECK(care_test::allclose(
      over.grad(), torch::tensor({{0.0, -7.5, 10.75, 0.0}}, torch::kDouble)));
}

TEST_CASE("rasterize: dtypes", "[rasterize]") {
  auto boxes = Boxes::from_lists({{{3, 5, 20, 30}}, {{1, 1, 9, 9}}}, {32, 32});
  auto single = care::rasterize(boxes, {7, 7}, RasterizeOptions().delta(1));
  auto twice = care::rasterize(
      boxes.to(torch::kDouble), {7, 7}, RasterizeOptions().delta(1));
  CHECK(single.inside.scalar_type() == torch::kFloat);
  CHECK(twice.outside.scalar_type() == torch::kDouble);
  CHECK(twice.weight.scalar_type() == torch::kDouble);
  CHECK(care_test::allclose(single.inside, twice.inside, 1e-4));
  CHECK(care_test::allclose(single.outside, twice.outside, 1e-4, 1e-5));
  for (const auto dtype : {torch::kHalf, torch::kBFloat16}) {
    auto small = single.to(dtype);
    CHECK(small.inside.scalar_type() == dtype);
    CHECK(small.weight.scalar_type() == dtype);
    CHECK(care_test::allclose(small.inside, single.inside, 1e-2, 1e-2));
  }
  CHECK(single.to(torch::Device(torch::kCPU)).inside.device().is_cpu());
}

TEST_CASE("rasterize: masks as regions", "[rasterize]") {
  auto boxes =
      Boxes::from_lists(
          {{{2, 3, 9, 8}, {7, 6, 14, 12}}, {}, {{4, 4, 5, 5}}}, {16, 20})
          .to(torch::kDouble);
  auto mask = painted(boxes, 1);
  SECTION("a mask of boxes weighs as the boxes do") {
    for (const auto mode : {RasterMode::kAdjoint, RasterMode::kCoverage}) {
      for (const double delta : {0.0, 0.5}) {
        for (const double margin : {0.0, 2.0}) {
          CAPTURE(static_cast<int>(mode), delta, margin);
          auto options =
              RasterizeOptions().mode(mode).delta(delta).margin(margin);
          auto a = care::rasterize(mask, {4, 5}, options);
          auto b = care::rasterize(boxes, {4, 5}, options);
          CHECK(care_test::allclose(a.inside, b.inside, 1e-9));
          CHECK(care_test::allclose(a.outside, b.outside, 1e-9));
          CHECK(care_test::identical(a.weight, b.weight));
        }
      }
    }
  }
  SECTION("bool, soft and full masks") {
    CHECK(care_test::allclose(
        care::rasterize(mask > 0, {4, 5}).inside,
        care::rasterize(mask, {4, 5}).inside,
        1e-4));
    auto soft = care::rasterize(
        torch::full({1, 8, 8}, 0.25),
        {8, 8},
        RasterizeOptions().mode(RasterMode::kCoverage));
    CHECK(care_test::allclose(soft.inside, torch::full({1, 8, 8}, 0.25)));
    CHECK(care_test::allclose(soft.outside, torch::full({1, 8, 8}, 0.75)));
    auto full = care::rasterize(torch::ones({1, 8, 8}), {3, 3});
    CHECK(full.outside.abs().max().item<double>() == 0);
    CHECK(care::rasterize(torch::ones({0, 8, 8}), {3, 3}).inside.size(0) == 0);
  }
  SECTION("errors") {
    CARE_REQUIRE_THROWS_AS(
        care::rasterize(torch::ones({8, 8}), {3, 3}),
        c10::ValueError,
        "care::rasterize: expected masks of shape [N, H, W], but got [8, 8]");
    CARE_REQUIRE_THROWS_AS(
        care::rasterize(torch::full({1, 8, 8}, 255), {3, 3}),
        c10::ValueError,
        "expected masks in [0, 1], but got values from 255 to 255");
    CARE_REQUIRE_THROWS_AS(
        care::rasterize(torch::full({1, 8, 8}, NAN), {3, 3}),
        c10::ValueError,
        "expected masks in [0, 1]");
    CARE_REQUIRE_THROWS_AS(
        care::rasterize(
            torch::ones({1, 8, 8}),
            {3, 3},
            RasterizeOptions().delta(1).distance(care::Distance::kEuclidean)),
        c10::NotImplementedError,
        "expected Distance::kCityblock for masks, but got kEuclidean");
  }
}

TEST_CASE("rasterize: masks coarser than the map", "[rasterize]") {
  auto coarse = torch::zeros({1, 7, 5});
  coarse[0].slice(0, 2, 4).slice(1, 1, 3).fill_(1);
  const auto fine = coarse.repeat_interleave(12, 1).repeat_interleave(12, 2);
  for (const auto mode : {RasterMode::kAdjoint, RasterMode::kCoverage}) {
    for (const int64_t times : {1, 2, 3, 4}) {
      const Size size{7 * times, 5 * times};
      const auto options = RasterizeOptions().mode(mode);
      const auto got = care::rasterize(coarse, size, options);
      CAPTURE(times, static_cast<int>(mode));
      // Every cell lies in the picture, and so on one of the two sides.
      CHECK((got.inside + got.outside).min().item<double>() > 0);
      const auto expected = care::rasterize(fine, size, options);
      // The same place: the centre of what lies inside, in cells.
      const auto centre = [](const torch::Tensor& inside, int64_t axis) {
        const auto along = inside.sum(std::vector<int64_t>{0, 3 - axis});
        const auto place = torch::arange(along.size(0), along.options());
        return ((along * place).sum() / along.sum()).item<double>();
      };
      for (const int64_t axis : {1, 2}) {
        CHECK(
            centre(got.inside, axis) ==
            Approx(centre(expected.inside, axis)).margin(0.02));
      }
      const auto peak = got.inside[0][3 * times - 1][2 * times - 1];
      CHECK(peak.item<double>() > 0);
      CHECK(got.inside[0][0][0].item<double>() == 0);
    }
  }
}

TEST_CASE("rasterize: a mask that was rounded beyond 1", "[rasterize]") {
  auto mask = torch::zeros({1, 8, 8});
  mask.slice(1, 2, 5).slice(2, 2, 6).fill_(1);
  const auto exact = care::rasterize(mask, {4, 4});
  const auto rounded = care::rasterize(mask * 1.0001, {4, 4});
  CHECK(care_test::identical(rounded.inside, exact.inside));
  CHECK(care_test::identical(rounded.outside, exact.outside));
  CARE_REQUIRE_THROWS_AS(
      care::rasterize(mask * 1.01, {4, 4}),
      c10::ValueError,
      "care::rasterize: expected masks in [0, 1], but got values from 0 to "
      "1.01 in masks[0]");
}

TEST_CASE("rasterize: distances to a mask of less than half", "[rasterize]") {
  // A lesion smaller than a pixel, as a resized mask shows it.
  auto mask = torch::zeros({2, 8, 8});
  mask[0][2][3] = 0.3;
  mask[1][2][3] = 1;
  const auto options = RasterizeOptions().start(0).delta(1);
  const auto got = care::rasterize(mask, {8, 8}, options);
  CHECK(got.weight.sum().item<double>() == 2);
  CHECK(got.outside[0][7][7].item<double>() == 9);
  CHECK(care_test::allclose(got.outside[0], got.outside[1]));
}

TEST_CASE("rasterize: the mask at the image's resolution", "[rasterize]") {
  auto boxes = difficult_boxes({19, 23});
  CHECK(care_test::allclose(care::pixel_mask(boxes), painted(boxes), 1e-12));
  auto whole = Boxes::from_lists({{{3, 4, 10, 12}}}, {19, 23});
  CHECK(care_test::identical(
      care::pixel_mask(whole), painted(whole, 1).to(torch::kFloat)));
}

TEST_CASE("rasterize: the golden masks", "[rasterize]") {
  const std::string name = GENERATE(
      "uniform_7x7", "distance_7x7", "clamped_7x7", "distance_offset_14x14");
  CAPTURE(name);
  auto golden = care_test::golden("golden/" + name);
  const auto n = golden["boxes"].size(0);
  Boxes boxes(golden["boxes"], torch::arange(n), n, {224, 224});
  // On a map as fine as the image the weights are the masks themselves.
  auto got = care::rasterize(
      boxes,
      {224, 224},
      RasterizeOptions()
          .start(golden["start_value"].item<double>())
          .delta(golden["delta"].item<double>()));
  auto share = [](const torch::Tensor& x) {
    return x / x.sum({1, 2}, /*keepdim=*/true);
  };
  auto every16 = [](const torch::Tensor& x) {
    return x.slice(1, 8, 224, 16).slice(2, 8, 224, 16);
  };
  CHECK(care_test::allclose(
      share(got.inside).amax({1, 2}), golden["inner224_max"], 0, 1e-5));
  CHECK(care_test::allclose(
      share(got.outside).amax({1, 2}), golden["outer224_max"], 0, 1e-5));
  CHECK(care_test::allclose(
      every16(share(got.outside)), golden["outer224_every16"], 1e-12, 1e-5));
}

TEST_CASE("rasterize: bad input", "[rasterize]") {
  auto boxes = Boxes::from_lists(
      {{{0, 0, 4, 4}}, {{1, 1, 2, 2}, {30, 1, 40, 4}}}, {16, 30});
  CARE_REQUIRE_THROWS_AS(
      care::rasterize(boxes, {7, 7}),
      c10::ValueError,
      "care::rasterize: expected boxes on images of 16x30 (height x width), "
      "but "
      "box 2 (image 1) lies wholly outside");
  auto good = boxes.clip();
  CHECK(good.num_boxes() == 2);
  CARE_REQUIRE_THROWS_AS(
      care::rasterize(good, {0, 7}),
      c10::ValueError,
      "expected a map size of at least 1x1, but got 0x7");
  CARE_REQUIRE_THROWS_AS(
      care::rasterize(good, {7, 7}, RasterizeOptions().start(-1)),
      c10::ValueError,
      "expected start and delta of at least 0, not both 0, but got -1 and 0");
  CARE_REQUIRE_THROWS_AS(
      care::rasterize(good, {7, 7}, RasterizeOptions().start(0)),
      c10::ValueError,
      "not both 0, but got 0 and 0");
  CARE_REQUIRE_THROWS_AS(
      care::rasterize(good, {7, 7}, RasterizeOptions().delta(NAN)),
      c10::ValueError,
      "expected start and delta");
  CARE_REQUIRE_THROWS_AS(
      care::rasterize(good, {7, 7}, RasterizeOptions().margin(-2)),
      c10::ValueError,
      "expected a margin of at least 0 pixels, but got -2");
  CARE_REQUIRE_THROWS_AS(
      care::BoxMaskRasterizer(RasterizeOptions().margin(INFINITY)),
      c10::ValueError,
      "care::BoxMaskRasterizer: expected a margin");
}

TEST_CASE("BoxMaskRasterizer: the function as a module", "[rasterize]") {
  auto boxes = Boxes::from_lists({{{3, 5, 20, 30}}}, {32, 32});
  care::BoxMaskRasterizer module(
      RasterizeOptions().mode(RasterMode::kCoverage).margin(4));
  auto a = module(boxes, Size{7, 7});
  auto b = care::rasterize(
      boxes, {7, 7}, RasterizeOptions().mode(RasterMode::kCoverage).margin(4));
  CHECK(care_test::identical(a.inside, b.inside));
  CHECK(care_test::identical(a.outside, b.outside));
  CHECK(module->parameters().empty());
  CHECK(module->buffers().empty());
  CHECK(
      c10::str(module) ==
      "care::BoxMaskRasterizer(coverage, start=1, delta=0, margin=4)");
  auto clone =
      std::dynamic_pointer_cast<care::BoxMaskRasterizerImpl>(module->clone());
  REQUIRE(clone);
  CHECK(clone->options.margin() == 4);
  CHECK(
      module->from_masks(torch::ones({2, 32, 32}), {7, 7}).inside.size(0) == 2);
}
