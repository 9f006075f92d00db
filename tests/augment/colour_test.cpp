// Tests of care/augment/colour.hpp: the steps are torchvision's.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/augment/colour.hpp>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

using care::ColourFactors;

namespace {

/// The factors of each image; of one step alone, or (step 4) of all.
std::vector<ColourFactors> factors_of(
    const torch::Tensor& table,
    int64_t step) {
  std::vector<ColourFactors> factors;
  for (int64_t n = 0; n < table.size(0); ++n) {
    const auto at = [&](int64_t i, double none) {
      return step == i || step == 4 ? table[n][i].item<double>() : none;
    };
    factors.push_back(ColourFactors()
                          .brightness(at(0, 1))
                          .contrast(at(1, 1))
                          .saturation(at(2, 1))
                          .hue(at(3, 0)));
  }
  return factors;
}

} // namespace

TEST_CASE("adjust_colour: each step, and all, as torchvision", "[augment]") {
  const auto values = care_test::golden("golden_augment/colour");
  const std::vector<std::string> steps{
      "brightness", "contrast", "saturation", "hue", "all"};
  for (const std::string name : {"images", "grey"}) {
    const auto& images = values.at(name);
    for (size_t i = 0; i < steps.size(); ++i) {
      CAPTURE(name, steps[i]);
      const auto factors =
          factors_of(values.at("factors"), static_cast<int64_t>(i));
      const auto& expected = values.at(name + "_" + steps[i]);
      CHECK(care_test::allclose(
          care::adjust_colour(images, factors), expected, 1e-5, 0));
      CHECK(care_test::allclose(
          care::adjust_colour(images.to(torch::kDouble), factors),
          expected,
          1e-6, // torchvision turns the hue in float, whatever the dtype
          0));
      // What a device does: all images at once.
      auto at_once = images.clone();
      care::detail::change_colours_at_once(at_once, factors, 0, images.size(0));
      CHECK(care_test::allclose(at_once, expected, 1e-5, 0));
    }
  }
}

TEST_CASE("adjust_colour: by hand", "[augment]") {
  // Left: red and half as much green and blue; right: black.
  const auto image =
      torch::tensor({0.8F, 0.F, 0.4F, 0.F, 0.4F, 0.F}).view({1, 3, 1, 2});
  const auto with = [&](const ColourFactors& factors) {
    return care::adjust_colour(image, {factors}).view({3, 2});
  };
  const auto pixels = [](std::vector<float> numbers) {
    return torch::tensor(numbers).view({3, 2});
  };
  CHECK(care_test::allclose(
      with(ColourFactors().brightness(2)), pixels({1, 0, 0.8F, 0, 0.8F, 0})));
  // A third of the circle on, red becomes green.
  CHECK(care_test::allclose(
      with(ColourFactors().hue(1.0 / 3)), pixels({0.4F, 0, 0.8F, 0, 0.4F, 0})));
  const float grey = 0.2989F * 0.8F + (0.587F + 0.114F) * 0.4F;
  CHECK(care_test::allclose(
      with(ColourFactors().saturation(0)),
      pixels({grey, 0, grey, 0, grey, 0})));
  CHECK(care_test::allclose(
      with(ColourFactors().contrast(0)), torch::full({3, 2}, grey / 2)));
  CHECK(care_test::identical(with({}), image.view({3, 2})));
}

TEST_CASE(
    "adjust_colour: dtypes, layouts, no gradient, a new tensor",
    "[augment]") {
  const auto images = torch::rand({3, 3, 5, 4});
  const std::vector<ColourFactors> factors{
      ColourFactors().brightness(1.2).hue(0.1),
      ColourFactors().contrast(1.3),
      ColourFactors().saturation(0.5)};
  const auto before = images.clone();
  const auto expected = care::adjust_colour(images, factors);
  CHECK(care_test::identical(images, before));
  CHECK(care_test::allclose(
      care::adjust_colour(
          images.contiguous(torch::MemoryFormat::ChannelsLast), factors),
      expected));
  for (const auto dtype : {torch::kHalf, torch::kBFloat16}) {
    const auto half = care::adjust_colour(images.to(dtype), factors);
    CHECK(half.scalar_type() == dtype);
    CHECK(care_test::allclose(half, expected, 0.02));
  }
  CHECK_FALSE(care::adjust_colour(images.clone().requires_grad_(), factors)
                  .requires_grad());
  CHECK(care::adjust_colour(torch::empty({0, 3, 4, 4}), {}).size(0) == 0);
  const auto same = care::adjust_colour(images, std::vector<ColourFactors>(3));
  CHECK(care_test::identical(same, images));
  CHECK(same.data_ptr() != images.data_ptr());
}

TEST_CASE("adjust_colour: stays in [0, 1] and makes no NaN", "[augment]") {
  for (int round = 0; round < 50; ++round) {
    auto images = torch::rand({1, 3, 6, 6});
    images = round % 2 == 0 ? images : images.round(); // corners of the cube
    const auto factor = [] { return torch::rand({}).item<double>(); };
    const auto changed = care::adjust_colour(
        images,
        {ColourFactors()
             .brightness(3 * factor())
             .contrast(3 * factor())
             .saturation(3 * factor())
             .hue(factor() - 0.5)});
    CHECK(changed.min().item<float>() >= 0);
    CHECK(changed.max().item<float>() <= 1 + 1e-6F);
    CHECK(torch::isfinite(changed).all().item<bool>());
  }
}

TEST_CASE("adjust_colour: refuses what does not fit", "[augment]") {
  const auto images = torch::rand({2, 3, 4, 4});
  const std::vector<ColourFactors> none(2);
  CARE_REQUIRE_THROWS_AS(
      care::adjust_colour(images, {{}}),
      c10::ValueError,
      "care::adjust_colour: expected factors for 2 images, but got 1");
  CARE_REQUIRE_THROWS_AS(
      care::adjust_colour(torch::rand({2, 4, 4, 4}), none),
      c10::ValueError,
      "expected images of 3 channels or 1, but got [2, 4, 4, 4]");
  CARE_REQUIRE_THROWS_AS(
      care::adjust_colour(images, {{}, ColourFactors().contrast(-1)}),
      c10::ValueError,
      "expected factors[1].contrast in [0, 1e+06], but got -1");
  CARE_REQUIRE_THROWS_AS(
      care::adjust_colour(images, {{}, ColourFactors().hue(0.6)}),
      c10::ValueError,
      "expected factors[1].hue in [-0.5, 0.5], but got 0.6");
  CARE_REQUIRE_THROWS_AS(
      care::adjust_colour(images * 4 - 2, none),
      c10::ValueError,
      "expected images in [0, 1] (before any mean and deviation are taken "
      "off)");
  auto broken = images.clone();
  broken[1][0][0][0] = std::numeric_limits<float>::quiet_NaN();
  CARE_REQUIRE_THROWS_AS(
      care::adjust_colour(broken, none), c10::ValueError, "images in [0, 1]");
}
