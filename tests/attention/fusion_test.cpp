// Tests of care/attention/fusion.hpp: the maps of several layers as one.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/amp.hpp>
#include <care/attention/fusion.hpp>

#include <limits>
#include <vector>

using care::fuse;
using care::Fusion;
using care_test::gradcheck;
using care_test::Tensors;

namespace {

const std::vector<Fusion> kinds = {
    Fusion::kMean,
    Fusion::kMax,
    Fusion::kProduct};

torch::Tensor cells_of(std::vector<double> cells, int64_t h, int64_t w) {
  return torch::tensor(cells, torch::kDouble).view({1, h, w});
}

} // namespace

TEST_CASE("fuse: stays within 0 and 1 at any size", "[attention][fusion]") {
  for (int64_t side = 8; side < 60; ++side) {
    CAPTURE(side);
    const auto map = torch::randint(0, 2, {1, 7, 7}).to(torch::kFloat);
    const auto fused = fuse({map}, Fusion::kMean, care::Size{side, side + 3});
    CHECK(fused.max().item<float>() <= 1);
    CHECK(fused.min().item<float>() >= 0);
  }
}

TEST_CASE("fuse: values worked out by hand", "[attention][fusion]") {
  auto a = cells_of({-1, 0, 1, 3}, 2, 2); // 0, 0.25, 0.5, 1
  auto b = cells_of({20, 40, 0, 10}, 2, 2); // 0.5, 1, 0, 0.25
  CHECK(care_test::allclose(
      fuse({a, b}, Fusion::kMean),
      cells_of({0.25, 0.625, 0.25, 0.625}, 2, 2),
      1e-12));
  CHECK(care_test::allclose(
      fuse({a, b}, Fusion::kMax), cells_of({0.5, 1, 0.5, 1}, 2, 2), 1e-12));
  CHECK(care_test::allclose(
      fuse({a, b}, Fusion::kProduct),
      cells_of({0, 0.25, 0, 0.25}, 2, 2),
      1e-12));
  // One map is that map, normalised.
  for (const auto kind : kinds) {
    CHECK(care_test::allclose(
        fuse({a}, kind), cells_of({0, 0.25, 0.5, 1}, 2, 2), 1e-12));
  }
}

TEST_CASE("fuse: brings maps to one size", "[attention][fusion]") {
  // A row of two cells at four: pixel centres at -0.25, 0.25, 0.75, 1.25 of the
  // old ones, and the edge is kept.
  auto coarse = cells_of({0, 5}, 1, 2);
  auto fine = cells_of({0, 2, 2, 0}, 1, 4);
  auto up = std::vector<double>{0, 0.25, 0.75, 1};
  CHECK(care_test::allclose(
      fuse({coarse, fine}, Fusion::kProduct),
      cells_of({0, 0.25, 0.75, 0}, 1, 4),
      1e-12));
  CHECK(care_test::allclose(
      fuse({fine, coarse}, Fusion::kMean),
      cells_of({0, 0.625, 0.875, 0.5}, 1, 4),
      1e-12));
  CHECK(care_test::allclose(
      fuse({coarse}, Fusion::kMean, care::Size{1, 4}),
      cells_of(up, 1, 4),
      1e-12));
  CHECK(
      fuse({coarse, fine}, Fusion::kMax, care::Size{6, 3}).sizes() ==
      torch::IntArrayRef({1, 6, 3}));
  // The most cells, not the longest side; of equal ones the first.
  auto square = torch::rand({1, 3, 3}), row = torch::rand({1, 1, 8});
  CHECK(
      fuse({row, square}, Fusion::kMax).sizes() ==
      torch::IntArrayRef({1, 3, 3}));
  CHECK(
      fuse({torch::rand({1, 2, 6}), torch::rand({1, 6, 2})}, Fusion::kMax)
          .sizes() == torch::IntArrayRef({1, 2, 6}));
}

TEST_CASE(
    "fuse: sizes are LibTorch's, also under autocast",
    "[attention][fusion]") {
  const auto maps = torch::rand({2, 3, 5});
  for (const care::Size size : {care::Size{7, 7}, {2, 9}, {3, 5}, {1, 1}}) {
    const auto expected = torch::upsample_bilinear2d(
                              care::normalise(maps).maps.unsqueeze(1),
                              {size.height, size.width},
                              /*align_corners=*/false)
                              .squeeze(1);
    CAPTURE(size.height, size.width);
    CHECK(
        care_test::allclose(fuse({maps}, Fusion::kMean, size), expected, 1e-6));
    const care::Autocast mixed(torch::kCPU);
    const auto fused = fuse({maps}, Fusion::kMean, size);
    CHECK(fused.scalar_type() == torch::kFloat);
    CHECK(care_test::allclose(fused, expected, 1e-6));
  }
}

TEST_CASE("fuse: a flat map takes no part", "[attention][fusion]") {
  auto a = torch::randn({2, 6, 7}, torch::kDouble);
  auto b = torch::randn({2, 6, 7}, torch::kDouble);
  auto nan = std::numeric_limits<double>::quiet_NaN();
  for (const double value : {0.0, 7.0, nan}) {
    CAPTURE(value);
    auto flat = torch::randn({2, 6, 7}, torch::kDouble);
    flat[0].fill_(value); // of image 0 only
    for (const auto kind : kinds) {
      CAPTURE(static_cast<int>(kind));
      auto all = fuse({a, flat, b}, kind);
      CHECK(care_test::allclose(all[0], fuse({a, b}, kind)[0], 1e-12));
      CHECK_FALSE(care_test::allclose(all[1], fuse({a, b}, kind)[1], 1e-3));
      // And where it is the first one.
      CHECK(care_test::allclose(fuse({flat, a}, kind)[0], fuse({a}, kind)[0]));
    }
  }
  // Nothing but flat maps: 0, with gradient 0.
  for (const auto kind : kinds) {
    CAPTURE(static_cast<int>(kind));
    auto flat = torch::full({2, 3, 4}, 3.0).requires_grad_();
    auto map = fuse({flat, torch::zeros({2, 6, 8})}, kind);
    CHECK(care_test::identical(map, torch::zeros({2, 6, 8})));
    map.sum().backward();
    CHECK(flat.grad().abs().max().item<double>() == 0);
  }
}

TEST_CASE("fuse: gradcheck", "[attention][fusion]") {
  auto coarse = torch::randn({2, 2, 3}, torch::kDouble).requires_grad_();
  auto fine = torch::randn({2, 4, 5}, torch::kDouble).requires_grad_();
  for (const auto kind : kinds) {
    CAPTURE(static_cast<int>(kind));
    CHECK(gradcheck(
        [&](const Tensors& in) {
          return fuse({in[0], in[1]}, kind);
        },
        {coarse, fine}));
    // Also beside a flat map.
    auto flat = torch::ones({2, 3, 3}, torch::kDouble);
    CHECK(gradcheck(
        [&](const Tensors& in) {
          return fuse({in[0], flat, in[1]}, kind);
        },
        {coarse, fine}));
  }
}

TEST_CASE("fuse: dtypes and an empty batch", "[attention][fusion]") {
  auto a = torch::randn({2, 3, 4}), b = torch::randn({2, 6, 8});
  for (const auto kind : kinds) {
    auto exact = fuse({a, b}, kind);
    CHECK(exact.scalar_type() == torch::kFloat);
    CHECK(exact.min().item<double>() >= 0);
    CHECK(exact.max().item<double>() <= 1 + 1e-6);
    for (const auto dtype : {torch::kHalf, torch::kBFloat16}) {
      auto small = fuse({a.to(dtype), b}, kind);
      CHECK(small.scalar_type() == torch::kFloat);
      CHECK(care_test::allclose(small, exact, 0.02));
    }
    auto wide = fuse({a, b.to(torch::kDouble)}, kind);
    CHECK(wide.scalar_type() == torch::kDouble);
    CHECK(care_test::allclose(wide, exact));
    CHECK(
        fuse({torch::rand({0, 3, 4}), torch::rand({0, 6, 8})}, kind).sizes() ==
        torch::IntArrayRef({0, 6, 8}));
  }
}

TEST_CASE("fuse: bad input", "[attention][fusion]") {
  auto a = torch::rand({2, 3, 4});
  CARE_REQUIRE_THROWS_AS(
      fuse({}, Fusion::kMean),
      c10::ValueError,
      "care::fuse: expected at least one map, but got none");
  CARE_REQUIRE_THROWS_AS(
      fuse({a, a[0]}, Fusion::kMean),
      c10::ValueError,
      "care::fuse: expected maps[1] of shape [N, h, w], but got [3, 4]");
  CARE_REQUIRE_THROWS_AS(
      fuse({a, torch::Tensor()}, Fusion::kMax),
      c10::ValueError,
      "but got an undefined tensor");
  CARE_REQUIRE_THROWS_AS(
      fuse({a, torch::rand({2, 0, 4})}, Fusion::kMax),
      c10::ValueError,
      "but got [2, 0, 4]");
  CARE_REQUIRE_THROWS_AS(
      fuse({a, torch::rand({3, 3, 4})}, Fusion::kMax),
      c10::ValueError,
      "expected maps of one batch on one device, but got 3 images on cpu in "
      "maps[1] and 2 on cpu in maps[0]");
  CARE_REQUIRE_THROWS_AS(
      fuse({torch::ones({2, 3, 4}, torch::kLong)}, Fusion::kMax),
      c10::TypeError,
      "expected maps[0] to hold floating point numbers, but got Long");
  CARE_REQUIRE_THROWS_AS(
      fuse({a}, Fusion::kMax, care::Size{0, 5}),
      c10::ValueError,
      "expected a size of at least one cell, but got 0x5 (height x width)");
}
