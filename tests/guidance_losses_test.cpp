// The peers' guidance losses: by hand, against LibTorch, and on difficult maps.
// SPDX-License-Identifier: Apache-2.0
#include "support/maps.hpp"
#include "support/support.hpp"

#include <care/amp.hpp>
#include <care/guide.hpp>
#include <care/loss.hpp>
#include <care/metrics/attention.hpp>

#include <cmath>
#include <limits>

namespace F = torch::nn::functional;
using care::Boxes;
using care::RegionWeights;
using care_test::gradcheck;
using care_test::some_maps;
using care_test::some_regions;
using care_test::Tensors;

namespace {

using Loss =
    std::function<torch::Tensor(const torch::Tensor&, const RegionWeights&)>;

const std::map<std::string, Loss>& peers() {
  static const std::map<std::string, Loss> all{
      {"EnergyLoss", care::EnergyLoss{}},
      {"GainLoss", care::GainLoss{}},
      {"HintLoss", care::HintLoss{}},
      {"L1GuidanceLoss", care::L1GuidanceLoss{}},
      {"PpceLoss", care::PpceLoss{}},
      {"RrrLoss", care::RrrLoss{}}};
  return all;
}

/// Maps as large as the image: a cell is a pixel, the weights are the mask.
struct Pixels {
  Boxes boxes =
      Boxes::from_lists({{{2, 1, 6, 5}}, {{0, 3, 3, 8}, {1, 2, 5, 4}}}, {8, 8});
  RegionWeights regions = care::rasterize(boxes, {8, 8});
  torch::Tensor masks = care::pixel_mask(boxes);
  torch::Tensor maps;

  Pixels() {
    torch::manual_seed(3);
    maps = torch::randn({2, 8, 8});
  }
};

/// The mean over each image, as a reference takes it: one image at a time.
torch::Tensor for_each_image(
    const Pixels& in,
    const std::function<torch::Tensor(torch::Tensor, torch::Tensor)>& loss) {
  return torch::stack(
      {loss(in.maps[0], in.masks[0]), loss(in.maps[1], in.masks[1])});
}

} // namespace

TEST_CASE("guidance losses: values worked out by hand", "[loss]") {
  // A+ is 2, 0, 1, 0; A / max|A| is 0.5, -1, 0.25, 0. The third cell lies half
  // inside.
  auto maps = torch::tensor({2.0, -4.0, 1.0, 0.0}).view({1, 2, 2});
  RegionWeights regions{
      torch::tensor({1.0, 0.0, 0.5, 0.0}).view({1, 2, 2}),
      torch::tensor({0.0, 1.0, 0.5, 1.0}).view({1, 2, 2}),
      torch::ones({1})};
  const std::map<std::string, double> expected{
      {"EnergyLoss", 1.0 / 6}, // 1 - (2 + 0.5) / 3
      {"GainLoss", 0.0625}, // (0 + 0.5 * 0.25 + 0.5 * 0.25) / 4
      {"HintLoss", 0.53125 / 1.5}, // (0.25 + 0.5 * 0.5625) / 1.5
      {"L1GuidanceLoss", 0.25}, // (0.5 + 0.5 * 0.75 + 0.5 * 0.25) / 4
      {"PpceLoss", 4.0 / 3 * std::log(2.0)}, // (log 2 + 0.5 * log 4) / 1.5
      {"RrrLoss", 1.03125}}; // 1 + 0.5 * 0.0625
  for (const auto& [name, loss] : peers()) {
    CAPTURE(name);
    auto value = loss(maps, regions);
    REQUIRE(value.sizes() == torch::IntArrayRef{1});
    CHECK(value.item<double>() == Approx(expected.at(name)));
    // A positive factor says nothing, an image's weight everything.
    CHECK(
        loss(maps * 1e3, regions).item<double>() ==
        Approx(expected.at(name)).epsilon(1e-5));
    auto weighted = regions;
    weighted.weight = torch::full({1}, 0.25);
    CHECK(loss(maps, weighted).item<double>() == Approx(expected.at(name) / 4));
  }
}

TEST_CASE("guidance losses: a box's weight is a factor", "[loss]") {
  const auto maps = torch::randn({2, 7, 7}, torch::kDouble);
  const auto boxes = care::Boxes::from_lists(
      {{{20, 30, 110, 90}}, {{0, 0, 50, 60}, {100, 90, 180, 224}}}, {224, 224});
  const auto plain = care::rasterize(boxes, {7, 7});
  const auto light =
      care::rasterize(boxes.with_weights(torch::full({3}, 0.3)), {7, 7});
  for (const auto& [name, loss] : peers()) {
    CAPTURE(name);
    CHECK(care_test::allclose(
        loss(maps, light), 0.3 * loss(maps, plain), 1e-5, 1e-6));
  }
  CHECK(care_test::allclose(
      care::CareLoss()(maps, light),
      0.3 * care::CareLoss()(maps, plain),
      1e-5,
      1e-6));
}

TEST_CASE("guidance losses: LibTorch's losses, pixel by pixel", "[loss]") {
  Pixels in;
  auto positive = [](const torch::Tensor& map) {
    return map.relu() / map.abs().max();
  };
  CHECK(care_test::allclose(
      care::L1GuidanceLoss{}(in.maps, in.regions),
      for_each_image(
          in, [&](auto a, auto m) { return F::l1_loss(positive(a), m); })));
  CHECK(care_test::allclose(
      care::GainLoss{}(in.maps, in.regions),
      for_each_image(in, [&](auto a, auto m) {
        return F::mse_loss(a.relu() / a.max(), m);
      })));
  CHECK(care_test::allclose(
      care::HintLoss{}(in.maps, in.regions),
      for_each_image(in, [&](auto a, auto m) {
        auto inside = positive(a).masked_select(m > 0.5);
        return F::mse_loss(inside, torch::ones_like(inside));
      })));
  CHECK(care_test::allclose(
      care::PpceLoss{care::PpceLossOptions().floor(0.01)}(in.maps, in.regions),
      for_each_image(in, [&](auto a, auto m) {
        auto inside = positive(a).masked_select(m > 0.5).clamp_min(0.01);
        return F::binary_cross_entropy(inside, torch::ones_like(inside));
      })));
  CHECK(care_test::allclose(
      care::RrrLoss{}(in.maps, in.regions),
      for_each_image(in, [&](auto a, auto m) {
        auto outside = (a / a.abs().max()).masked_select(m < 0.5);
        return F::mse_loss(
            outside,
            torch::zeros_like(outside),
            F::MSELossFuncOptions(torch::kSum));
      })));
}

TEST_CASE(
    "guidance losses: energy and L1 at the image's resolution",
    "[loss]") {
  auto boxes = Boxes::from_lists(
      {{{3, 4, 30, 21}, {20, 9, 50, 40}}, {{40, 20, 80, 44}}}, {51, 83});
  auto regions = care::rasterize(boxes, {5, 9});
  torch::manual_seed(7);
  auto maps = torch::randn({2, 5, 9});
  auto masks = care::pixel_mask(boxes);
  CHECK(care_test::allclose(
      care::EnergyLoss{}(maps, regions),
      1 - care::energy_pointing_game(maps, masks)));
  auto largest = maps.abs().amax({1, 2}, true);
  auto up = F::interpolate(
                (maps.relu() / largest).unsqueeze(1),
                F::InterpolateFuncOptions()
                    .size(std::vector<int64_t>{51, 83})
                    .mode(torch::kBilinear)
                    .align_corners(false))
                .squeeze(1);
  CHECK(care_test::allclose(
      care::L1GuidanceLoss{}(maps, regions), (up - masks).abs().mean({1, 2})));
}

TEST_CASE("guidance losses: gradcheck", "[loss]") {
  auto regions = some_regions(torch::kDouble);
  for (const auto& entry : peers()) {
    const auto& loss = entry.second;
    CAPTURE(entry.first);
    CHECK(gradcheck(
        [&](const Tensors& in) { return loss(in[0], regions); },
        {some_maps(torch::kDouble).requires_grad_()}));
  }
}

TEST_CASE("guidance losses: a gradient step attends to the box", "[loss]") {
  auto regions = some_regions();
  for (const auto& [name, loss] : peers()) {
    CAPTURE(name);
    auto maps = some_maps().requires_grad_();
    auto before = loss(maps, regions);
    auto gradient = torch::autograd::grad({before.sum()}, {maps})[0];
    CHECK(gradient[2].abs().max().item<double>() == 0); // no region
    CHECK(before[2].item<double>() == 0);
    auto after = loss(maps.detach() - 0.01 * gradient, regions);
    CHECK((after < before).slice(0, 0, 2).all().item<bool>());
  }
}

TEST_CASE("guidance losses: difficult maps", "[loss]") {
  auto regions = some_regions();
  for (const auto& entry : peers()) {
    const auto& name = entry.first;
    const auto& loss = entry.second;
    CAPTURE(name);
    auto run = [&](const torch::Tensor& start) {
      auto maps = start.detach().clone().requires_grad_();
      auto value = loss(maps, regions);
      value.sum().backward();
      CHECK(torch::isfinite(value).all().item<bool>());
      CHECK(torch::isfinite(maps.grad()).all().item<bool>());
      return std::make_pair(value.detach(), maps.grad());
    };
    auto nothing = [&](const torch::Tensor& maps) {
      auto [value, gradient] = run(maps);
      CHECK(value.abs().max().item<double>() == 0);
      CHECK(gradient.abs().max().item<double>() == 0);
    };
    nothing(torch::zeros({3, 5, 6}));
    nothing(torch::full({3, 5, 6}, 1e-20));
    if (name == "RrrLoss") { // signed: evidence against counts as well
      CHECK(run(-some_maps().abs()).first[0].item<double>() > 0);
    } else {
      nothing(-some_maps().abs());
      nothing(torch::full({3, 5, 6}, -3.0));
    }
    // A constant map attends everywhere alike; the gradient is no NaN.
    CHECK(run(torch::ones({3, 5, 6})).first[2].item<double>() == 0);
    // Tiny, huge, and the largest floats there are.
    const auto usual = run(some_maps()).first;
    for (const double factor : {1e-10, 1e-3, 1e30, 5e37}) {
      CAPTURE(factor);
      CHECK(care_test::allclose(run(some_maps() * factor).first, usual, 1e-5));
    }
    const auto top = std::numeric_limits<float>::max();
    auto edge = torch::full({3, 5, 6}, -top);
    edge.slice(2, 0, 3).fill_(top);
    run(edge);
    // Just above flat: the gradient is large, and bounded.
    const auto steep =
        run(some_maps() * 5e-12).second.abs().max().item<double>();
    CHECK(steep > 1e6);
    CHECK(steep <= 120 / care::flat_range(torch::kFloat));
    // A broken map counts for nothing and leaves the others alone.
    for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
      auto maps = some_maps();
      maps[0][2][3] = bad;
      auto [value, gradient] = run(maps);
      CHECK(value[0].item<double>() == 0);
      CHECK(gradient[0].abs().max().item<double>() == 0);
      CHECK(care_test::identical(value[1], usual[1]));
    }
  }
}

TEST_CASE("guidance losses: difficult regions", "[loss]") {
  auto maps = some_maps();
  // All inside: nothing is outside.
  auto full = care::rasterize(
      Boxes::from_lists(
          {{{0, 0, 64, 64}}, {{0, 0, 64, 64}}, {{0, 0, 64, 64}}}, {64, 64}),
      {5, 6});
  CHECK(care::EnergyLoss{}(maps, full).abs().max().item<double>() < 1e-6);
  CHECK(care::RrrLoss{}(maps, full).abs().max().item<double>() == 0);
  for (const auto& [name, loss] : peers()) {
    CAPTURE(name);
    CHECK(torch::isfinite(loss(maps, full)).all().item<bool>());
    // No image has a region.
    auto none = care::rasterize(Boxes::none(3, {64, 64}), {5, 6});
    CHECK(loss(maps, none).abs().max().item<double>() == 0);
    // No image at all.
    auto empty = care::rasterize(Boxes::none(0, {64, 64}), {5, 6});
    CHECK(
        loss(torch::zeros({0, 5, 6}), empty).sizes() == torch::IntArrayRef{0});
  }
  // All the attention lies in the margin, under no weight.
  auto margin = some_regions();
  margin.inside = torch::zeros_like(margin.inside);
  margin.outside = torch::zeros_like(margin.outside);
  margin.inside.select(2, 0).fill_(1);
  auto elsewhere = torch::zeros({3, 5, 6});
  elsewhere.select(2, 3).fill_(1);
  elsewhere.requires_grad_();
  auto value = care::EnergyLoss{}(elsewhere, margin);
  CHECK(value.abs().max().item<double>() == 0);
  value.sum().backward();
  CHECK(elsewhere.grad().abs().max().item<double>() == 0);
}

TEST_CASE("guidance losses: half, bfloat16 and autocast", "[loss]") {
  auto regions = some_regions();
  for (const auto& [name, loss] : peers()) {
    auto exact = loss(some_maps(), regions);
    for (const auto dtype : {torch::kHalf, torch::kBFloat16}) {
      CAPTURE(name, dtype);
      auto maps = some_maps().to(dtype).requires_grad_();
      auto value = loss(maps, regions);
      CHECK(value.scalar_type() == torch::kFloat);
      CHECK(care_test::allclose(value, exact, 2e-2, 2e-2));
      value.sum().backward();
      CHECK(maps.grad().scalar_type() == dtype);
      CHECK(torch::isfinite(maps.grad()).all().item<bool>());
      auto huge = torch::where(
          maps.detach() > 0,
          torch::full({}, 6e4, dtype),
          torch::full({}, -6e4, dtype));
      CHECK(torch::isfinite(loss(huge, regions)).all().item<bool>());
    }
    CHECK(
        loss(some_maps(torch::kDouble), regions).scalar_type() ==
        torch::kDouble);
    const care::Autocast autocast(
        torch::kCPU); // loses nothing of the maps it is given
    CHECK(care_test::identical(loss(some_maps(), regions), exact));
  }
}

TEST_CASE("guidance losses: bad input", "[loss]") {
  auto regions = some_regions();
  for (const auto& entry : peers()) { // no binding: lambdas capture it
    const auto& name = entry.first;
    const auto& loss = entry.second;
    CARE_REQUIRE_THROWS_AS(
        loss(some_maps()[0], regions),
        c10::ValueError,
        "care::" + name + ": expected maps of shape [N, h, w], but got [5, 6]");
    CARE_REQUIRE_THROWS_AS(
        loss(torch::ones({3, 5, 6}, torch::kLong), regions),
        c10::TypeError,
        "expected maps to hold floating point numbers, but got Long");
    CARE_REQUIRE_THROWS_AS(
        loss(torch::ones({3, 6, 5}), regions),
        c10::ValueError,
        "expected regions.inside of shape [3, 6, 5], but got [3, 5, 6]");
  }
  for (const double floor : {0.0, 1.0, static_cast<double>(NAN)}) {
    CARE_REQUIRE_THROWS_AS(
        care::PpceLoss{care::PpceLossOptions().floor(floor)}(
            some_maps(), regions),
        c10::ValueError,
        "care::PpceLoss: expected a floor in (0, 1), but got");
  }
}

TEMPLATE_TEST_CASE(
    "guidance losses: each is a policy of the guide",
    "[loss]",
    care::EnergyLoss,
    care::GainLoss,
    care::HintLoss,
    care::L1GuidanceLoss,
    care::PpceLoss,
    care::RrrLoss) {
  care::Guide<care::GradCam, TestType> guide(care::GuideOptions().weight(1.0));
  torch::manual_seed(2);
  auto features = torch::rand({2, 4, 5, 5}).requires_grad_();
  auto head = torch::rand({4, 3});
  auto seen = guide.watch(features, [&](const torch::Tensor& f) {
    return torch::matmul(f.mean({2, 3}), head);
  });
  auto target = torch::tensor({0, 2}, torch::kLong);
  auto boxes = Boxes::from_lists({{}, {{8, 8, 40, 32}}}, {64, 64});
  auto loss =
      guide.loss(F::cross_entropy(seen.logits, target), seen, target, boxes);
  loss.backward();
  CHECK(loss.attention.loss.template item<double>() > 0);
  CHECK(torch::isfinite(features.grad()).all().template item<bool>());
}
