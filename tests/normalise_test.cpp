// Tests of care/normalise.hpp: to [0, 1], and never NaN.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/attention.hpp>
#include <care/normalise.hpp>

#include <torch/autograd.h>

#include <cmath>
#include <limits>

using care::Normalisation;
using care::normalise;
using care_test::gradcheck;
using care_test::Tensors;

namespace {

torch::Tensor map_of(
    std::vector<double> cells,
    torch::Dtype dtype = torch::kFloat) {
  return torch::tensor(cells, torch::kDouble).to(dtype).view({1, 2, -1});
}

const Normalisation kAll[] = {
    Normalisation::kMinMax,
    Normalisation::kMax,
    Normalisation::kSum};

} // namespace

TEST_CASE("normalise: values worked out by hand", "[normalise]") {
  auto map = map_of({-1, 0, 1, 3});
  CHECK(care_test::allclose(normalise(map).maps, map_of({0, 0.25, 0.5, 1})));
  CHECK(care_test::allclose(
      normalise(map, Normalisation::kMax).maps, map_of({0, 0, 1.0 / 3, 1})));
  CHECK(care_test::allclose(
      normalise(map, Normalisation::kSum).maps, map_of({0, 0, 0.25, 0.75})));
  // Each map for itself, whatever its scale.
  auto batch = torch::cat({map, map * 1e-3, map * 1e20, -map});
  auto got = normalise(batch).maps;
  CHECK(care_test::allclose(got[1], got[0]));
  CHECK(care_test::allclose(got[2], got[0]));
  CHECK(care_test::allclose(got[3], 1 - got[0]));
}

TEST_CASE("normalise: gradcheck", "[normalise]") {
  for (const double scale : {1.0, 1e-3, 1e3}) {
    auto maps =
        (torch::randn({2, 3, 4}, torch::kDouble) * scale).requires_grad_();
    for (const auto how : kAll) {
      CAPTURE(scale, static_cast<int>(how));
      care_test::GradcheckOptions options;
      options.step = 1e-6 * scale;
      options.atol = 1e-6 / scale;
      CHECK(gradcheck(
          [&](const Tensors& in) { return normalise(in[0], how).maps; },
          {maps},
          options));
    }
  }
}

TEST_CASE("normalise: ties share the gradient", "[normalise]") {
  auto map = map_of({0, 0, 1, 2}, torch::kDouble).requires_grad_();
  normalise(map).maps[0][1][0].backward(); // (1 - m) / (2 - m), m = 0 twice
  CHECK(care_test::allclose(
      map.grad(), map_of({-0.125, -0.125, 0.5, -0.25}, torch::kDouble), 1e-12));
}

TEST_CASE(
    "normalise: flat maps become zero with gradient zero",
    "[normalise]") {
  for (const auto how : kAll) {
    CAPTURE(static_cast<int>(how));
    for (const double value : {0.0, -2.0}) {
      auto map = torch::full({2, 3, 3}, value).requires_grad_();
      auto got = normalise(map, how);
      CHECK(got.flat.all().item<bool>());
      CHECK(got.maps.abs().max().item<double>() == 0);
      got.maps.sum().backward();
      CHECK(map.grad().abs().max().item<double>() == 0);
    }
  }
  // A positive constant: no range, but a maximum and a sum.
  auto constant = torch::full({1, 2, 2}, 5.0);
  CHECK(normalise(constant).flat.item<bool>());
  CHECK(care_test::allclose(
      normalise(constant, Normalisation::kMax).maps, torch::ones({1, 2, 2})));
  CHECK(care_test::allclose(
      normalise(constant, Normalisation::kSum).maps,
      torch::full({1, 2, 2}, 0.25)));
  // Rounding noise on a large constant is no attention.
  auto noise = torch::full({1, 2, 2}, 1e6F);
  noise[0][0][0] = std::nextafter(1e6F, 2e6F);
  CHECK(normalise(noise).flat.item<bool>());
  CHECK(normalise(torch::zeros({0, 2, 2})).maps.size(0) == 0);
}

TEST_CASE("normalise: features that are the same everywhere", "[normalise]") {
  // Channels cancel out: a cell keeps more rounding than its own size's.
  torch::manual_seed(5);
  for (const auto dtype : {torch::kFloat, torch::kHalf, torch::kDouble}) {
    for (const int64_t channels : {512, 2048}) {
      auto features = torch::rand({64, channels, 1, 1})
                          .to(dtype)
                          .expand({64, channels, 7, 7})
                          .contiguous()
                          .requires_grad_();
      const auto weights = torch::randn({channels}, torch::kDouble);
      const auto scores =
          (features.to(torch::kDouble).mean({2, 3}) * weights).sum(1);
      const auto maps = care::grad_cam(features, scores);
      const auto got = normalise(maps);
      CAPTURE(dtype, channels);
      // All but those whose channels happen to cancel out wholly.
      CHECK(got.flat.sum().item<int64_t>() >= 60);
      const auto gradient =
          torch::autograd::grad({got.maps.sum()}, {features}).front();
      CHECK(gradient.index({got.flat}).abs().max().item<double>() == 0);
    }
  }
}

TEST_CASE(
    "normalise: the threshold and the bound of the gradient",
    "[normalise]") {
  for (const auto dtype : {torch::kFloat, torch::kDouble}) {
    const double least = care::flat_range(dtype);
    CHECK(normalise(map_of({0, 0, 0, least * 0.99}, dtype)).flat.item<bool>());
    for (const auto how : kAll) {
      auto map =
          map_of({0, least * 0.3, 0, least * 1.01}, dtype).requires_grad_();
      auto got = normalise(map, how);
      CHECK_FALSE(got.flat.item<bool>());
      got.maps[0][0][1].backward();
      CHECK(map.grad().abs().max().item<double>() <= 1 / least);
      CHECK(map.grad().abs().max().item<double>() > 0);
    }
  }
}

TEST_CASE("normalise: huge, tiny and broken values", "[normalise]") {
  const float top = std::numeric_limits<float>::max();
  for (const auto how : kAll) {
    CAPTURE(static_cast<int>(how));
    auto map = torch::tensor({-top, top, 0.F, top / 2})
                   .view({1, 2, 2})
                   .requires_grad_();
    auto got = normalise(map, how);
    CHECK_FALSE(got.flat.item<bool>());
    CHECK(got.maps.min().item<double>() >= 0);
    CHECK(got.maps.max().item<double>() <= 1);
    got.maps.pow(2).sum().backward();
    CHECK(torch::isfinite(map.grad()).all().item<bool>());

    for (const float bad : {std::nanf(""), INFINITY, -INFINITY, 1e-45F}) {
      CAPTURE(bad);
      auto broken = torch::zeros({2, 2, 2});
      broken[0][1][0] = bad;
      broken[1][0][0] = 1;
      broken.requires_grad_();
      auto result = normalise(broken, how);
      CHECK(care_test::identical(result.flat, torch::tensor({true, false})));
      CHECK(result.maps[0].abs().max().item<double>() == 0);
      result.maps.sum().backward();
      CHECK(torch::isfinite(broken.grad()).all().item<bool>());
      CHECK(broken.grad()[0].abs().max().item<double>() == 0);
    }
  }
}

TEST_CASE("normalise: half and bfloat16", "[normalise]") {
  for (const auto dtype : {torch::kHalf, torch::kBFloat16}) {
    auto map = map_of({-1, 0, 1, 3}, dtype).requires_grad_();
    auto got = normalise(map);
    CHECK(got.maps.scalar_type() == torch::kFloat);
    CHECK(care_test::allclose(got.maps, map_of({0, 0.25, 0.5, 1}), 1e-5));
    got.maps.pow(2).sum().backward();
    CHECK(map.grad().scalar_type() == dtype);
    CHECK(torch::isfinite(map.grad()).all().item<bool>());
    // The smallest range that is not flat keeps the gradient finite.
    auto least = map_of({0, 0, 0, care::flat_range(dtype) * 1.1}, dtype);
    least.requires_grad_();
    auto narrow = normalise(least);
    CHECK_FALSE(narrow.flat.item<bool>());
    narrow.maps.sum().backward();
    CHECK(torch::isfinite(least.grad()).all().item<bool>());
  }
}

TEST_CASE("normalise: bad input", "[normalise]") {
  CARE_REQUIRE_THROWS_AS(
      normalise(torch::rand({2, 2})),
      c10::ValueError,
      "care::normalise: expected maps of shape [N, h, w], but got [2, 2]");
  CARE_REQUIRE_THROWS_AS(
      normalise(torch::rand({2, 0, 2})), c10::ValueError, "but got [2, 0, 2]");
  CARE_REQUIRE_THROWS_AS(
      normalise(torch::ones({1, 2, 2}, torch::kLong)),
      c10::TypeError,
      "expected maps to hold floating point numbers");
}
