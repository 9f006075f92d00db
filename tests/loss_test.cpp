// Tests of care/loss.hpp: the CARE loss against closed forms and golden values.
// SPDX-License-Identifier: Apache-2.0
#include "support/maps.hpp"
#include "support/support.hpp"

#include <care/attention.hpp>
#include <care/boxes.hpp>
#include <care/loss.hpp>
#include <care/rasterize.hpp>

#include <cmath>
#include <limits>

namespace F = torch::nn::functional;
using care::AttentionLossOptions;
using care::Boxes;
using care::RegionWeights;
using care_test::gradcheck;
using care_test::some_maps;
using care_test::some_regions;
using care_test::Tensors;

namespace {

AttentionLossOptions none() {
  return AttentionLossOptions().reduction(torch::kNone);
}

} // namespace

TEST_CASE("attention_loss: a value worked out by hand", "[loss]") {
  // Min-max of the map: 0, 0.25, 0.75, 1.
  auto maps = torch::tensor({-1.0, 0.0, 2.0, 3.0}).view({1, 2, 2});
  RegionWeights regions{
      torch::tensor({0.0, 1.0, 1.0, 0.0}).view({1, 2, 2}),
      torch::tensor({3.0, 0.0, 0.0, 1.0}).view({1, 2, 2}),
      torch::ones({1})};
  auto terms = care::attention_terms(maps, regions);
  CHECK(terms.inner.item<float>() == Approx(0.5));
  CHECK(terms.outer.item<float>() == Approx(0.25));
  CHECK_FALSE(terms.flat.item<bool>());
  auto at = [&](double lambda, double tau) {
    return care::attention_loss(
               maps, regions, AttentionLossOptions().lambda(lambda).tau(tau))
        .item<double>();
  };
  CHECK(at(1, 1) == Approx(-0.25));
  CHECK(at(1, 0.4) == Approx(-0.15));
  CHECK(at(0.7, 1) == Approx(-0.325));
  CHECK(at(0, 1) == Approx(-0.5));
  // Max and sum normalisation cut the negative value.
  auto max = care::attention_terms(maps, regions, care::Normalisation::kMax);
  CHECK(max.inner.item<float>() == Approx(1.0 / 3));
  CHECK(max.outer.item<float>() == Approx(0.25));
  auto sum = care::attention_terms(maps, regions, care::Normalisation::kSum);
  CHECK(sum.inner.item<float>() == Approx(0.2));
  CHECK(sum.outer.item<float>() == Approx(0.15));
}

TEST_CASE("attention_loss: the authors' code", "[loss][golden]") {
  const std::string name = GENERATE(
      "uniform_7x7", "distance_7x7", "clamped_7x7", "distance_offset_14x14");
  CAPTURE(name);
  auto golden = care_test::golden("golden/" + name);
  auto features = golden["features"].clone().requires_grad_();
  auto logits = F::linear(
      features.mean({2, 3}), golden["head_weight"], golden["head_bias"]);
  CHECK(care_test::allclose(logits, golden["logits"], 1e-5, 1e-5));
  const auto n = features.size(0);
  Boxes boxes(golden["boxes"], torch::arange(n), n, {224, 224});
  auto regions = care::rasterize(
      boxes,
      {features.size(2), features.size(3)},
      care::RasterizeOptions()
          .start(golden["start_value"].item<double>())
          .delta(golden["delta"].item<double>()));
  auto maps =
      care::grad_cam(features, care::class_scores(logits, golden["target"]));
  auto loss = care::attention_loss(
      maps, regions, none().tau(golden["tau"].item<double>()));
  CHECK(care_test::allclose(loss, golden["loss"], 1e-5, 0));
  loss.sum().backward();
  // The gradients themselves are about 1e-4: hold them to 1e-5 of the largest.
  const auto largest = golden["grad_features"].abs().max().item<double>();
  CHECK(care_test::allclose(
      features.grad(), golden["grad_features"], 1e-5 * largest + 1e-9, 1e-5));
}

TEST_CASE("attention_loss: equals the loss at image resolution", "[loss]") {
  const auto [size, h, w] = GENERATE(
      std::tuple<care::Size, int64_t, int64_t>{{224, 224}, 7, 7},
      std::tuple<care::Size, int64_t, int64_t>{{51, 83}, 5, 9});
  auto boxes = Boxes::from_lists(
                   {{{3.5, 4, 30.25, 21}, {20, 9, 50, 40.75}},
                    {{40, 40, 41, 41}},
                    {{-5, 10, 20, 60}}},
                   size)
                   .to(torch::kDouble);
  torch::manual_seed(5);
  auto maps = torch::randn({3, h, w}, torch::kDouble).requires_grad_();
  auto options = none().lambda(0.7).tau(0.45);
  auto small =
      care::attention_loss(maps, care::rasterize(boxes, {h, w}), options);

  auto low = maps.amin({1, 2}, true), high = maps.amax({1, 2}, true);
  auto up = F::interpolate(
                ((maps - low) / (high - low)).unsqueeze(1),
                F::InterpolateFuncOptions()
                    .size(std::vector<int64_t>{size.height, size.width})
                    .mode(torch::kBilinear)
                    .align_corners(false))
                .squeeze(1);
  auto mask = care::pixel_mask(boxes);
  auto inner = (up * mask).sum({1, 2}) / mask.sum({1, 2});
  auto outer = (up * (1 - mask)).sum({1, 2}) / (1 - mask).sum({1, 2});
  auto large = 0.7 * outer - inner.clamp_max(0.45);
  CHECK(care_test::allclose(small, large, 1e-10));
  CHECK(care_test::allclose(
      torch::autograd::grad({small.sum()}, {maps})[0],
      torch::autograd::grad({large.sum()}, {maps})[0],
      1e-10));
}

TEST_CASE("attention_loss: gradcheck", "[loss]") {
  auto maps = some_maps(torch::kDouble).requires_grad_();
  auto regions = some_regions(torch::kDouble);
  for (const auto how :
       {care::Normalisation::kMinMax,
        care::Normalisation::kMax,
        care::Normalisation::kSum}) {
    for (const double tau : {0.9, 0.2}) {
      CAPTURE(static_cast<int>(how), tau);
      CHECK(gradcheck(
          [&](const Tensors& in) {
            return care::attention_loss(
                in[0], regions, none().tau(tau).lambda(0.7).normalisation(how));
          },
          {maps}));
    }
  }
}

TEST_CASE("attention_loss: gradients end at tau", "[loss]") {
  auto maps = some_maps().requires_grad_();
  auto regions = some_regions();
  auto inner = care::attention_terms(maps, regions).inner[0].item<double>();
  auto slope = [&](double tau) {
    auto loss =
        care::attention_loss(maps, regions, none().lambda(0).tau(tau))[0];
    return torch::autograd::grad({loss}, {maps})[0].abs().sum().item<double>();
  };
  CHECK(slope(inner - 0.01) == 0);
  CHECK(slope(inner + 0.01) > 0);
}

TEST_CASE("attention_loss: a gradient step attends to the box", "[loss]") {
  auto maps = some_maps().requires_grad_();
  auto regions = some_regions();
  auto before = care::attention_loss(maps, regions);
  auto gradient = torch::autograd::grad({before}, {maps})[0];
  auto after = care::attention_loss(maps - 0.05 * gradient, regions);
  CHECK(after.item<double>() < before.item<double>());
  CHECK(gradient[2].abs().max().item<double>() == 0); // no region
}

TEST_CASE("attention_loss: reductions and image weights", "[loss]") {
  auto maps = some_maps();
  auto regions = some_regions();
  auto each = care::attention_loss(maps, regions, none());
  CHECK(each[2].item<double>() == 0);
  auto sum = care::attention_loss(
      maps, regions, AttentionLossOptions().reduction(torch::kSum));
  auto mean = care::attention_loss(maps, regions);
  CHECK(sum.item<double>() == Approx(each.sum().item<double>()));
  CHECK(mean.item<double>() == Approx(each.sum().item<double>() / 2));
  // The mean does not know how many unguided images stand beside.
  auto guided = RegionWeights{
      regions.inside.slice(0, 0, 2),
      regions.outside.slice(0, 0, 2),
      regions.weight.slice(0, 0, 2)};
  CHECK(
      care::attention_loss(maps.slice(0, 0, 2), guided).item<double>() ==
      Approx(mean.item<double>()));

  regions.weight = torch::tensor({0.5F, 1.F, 0.F});
  auto weighted = care::attention_loss(maps, regions, none());
  CHECK(weighted[0].item<double>() == Approx(each[0].item<double>() / 2));
  CHECK(weighted[1].item<double>() == Approx(each[1].item<double>()));
}

TEST_CASE("attention_loss: nothing to guide", "[loss]") {
  SECTION("no image has a region") {
    auto maps = some_maps().requires_grad_();
    auto regions = care::rasterize(Boxes::none(3, {64, 64}), {5, 6});
    auto loss = care::attention_loss(maps, regions);
    CHECK(loss.item<double>() == 0);
    loss.backward();
    CHECK(maps.grad().abs().max().item<double>() == 0);
  }
  SECTION("an empty batch") {
    auto maps = torch::zeros({0, 5, 6}).requires_grad_();
    auto regions = care::rasterize(Boxes::none(0, {64, 64}), {5, 6});
    for (const auto how :
         {care::Normalisation::kMinMax,
          care::Normalisation::kMax,
          care::Normalisation::kSum}) {
      auto loss = care::attention_loss(
          maps, regions, AttentionLossOptions().normalisation(how));
      CHECK(loss.item<double>() == 0);
      CHECK(loss.requires_grad());
    }
    CHECK(
        care::attention_loss(maps, regions, none()).sizes() ==
        torch::IntArrayRef({0}));
  }
  SECTION("a map of one cell says nothing") {
    auto maps = torch::full({1, 1, 1}, 3.0).requires_grad_();
    auto boxes = Boxes::from_lists({{{3, 4, 30, 21}}}, {64, 64});
    auto loss = care::attention_loss(maps, care::rasterize(boxes, {1, 1}));
    CHECK(loss.item<double>() == 0);
    loss.backward();
    CHECK(maps.grad().item<double>() == 0);
  }
}

TEST_CASE("attention_loss: a region that fills the image", "[loss]") {
  auto maps = some_maps();
  auto boxes = Boxes::from_lists(
      {{{0, 0, 64, 64}}, {{0, 0, 64, 64}}, {{-9, -9, 99, 99}}}, {64, 64});
  auto regions = care::rasterize(boxes, {5, 6});
  auto terms = care::attention_terms(maps, regions);
  CHECK(terms.outer.abs().max().item<double>() == 0);
  auto a = care::attention_loss(maps, regions, none().lambda(1));
  auto b = care::attention_loss(maps, regions, none().lambda(100));
  CHECK(care_test::identical(a, b));
}

TEST_CASE("attention_loss: difficult maps", "[loss]") {
  auto regions = some_regions();
  auto run = [&](const torch::Tensor& start) {
    auto maps = start.clone().requires_grad_();
    auto loss = care::attention_loss(maps, regions, none());
    loss.sum().backward();
    CHECK(torch::isfinite(loss).all().item<bool>());
    CHECK(torch::isfinite(maps.grad()).all().item<bool>());
    return std::make_pair(loss.detach(), maps.grad());
  };
  SECTION("flat maps: zero loss, zero gradient") {
    for (const float value : {0.F, 1.F, -7.F, 1e30F, 1e-38F}) {
      CAPTURE(value);
      auto [loss, gradient] = run(torch::full({3, 5, 6}, value));
      CHECK(loss.abs().max().item<double>() == 0);
      CHECK(gradient.abs().max().item<double>() == 0);
    }
  }
  SECTION("a flat map beside others leaves them alone") {
    auto maps = some_maps();
    auto [before, gradient] = run(maps);
    auto changed = maps.clone();
    changed[1].fill_(4);
    auto [after, gradient2] = run(changed);
    CHECK(after[1].item<double>() == 0);
    CHECK(care_test::identical(after[0], before[0]));
    CHECK(care_test::identical(gradient2[0], gradient[0]));
  }
  SECTION("nearly flat maps: bounded gradient") {
    const auto flat = care::flat_range(torch::kFloat);
    for (const double range : {1e-3, 1e-7, 2 * flat, 0.1 * flat}) {
      CAPTURE(range);
      auto [loss, gradient] = run(some_maps() * (range / 5));
      CHECK(gradient.abs().max().item<double>() <= 2 / flat);
      CHECK((gradient.abs().max().item<double>() > 0) == (range > flat));
    }
  }
  SECTION("all-negative maps are signed maps like others") {
    auto maps = some_maps();
    auto a = run(maps).first;
    auto b = run(maps - 100).first;
    CHECK(b.lt(-1e-4).any().item<bool>());
    CHECK(care_test::allclose(a, b, 1e-4));
  }
  SECTION("huge maps") {
    auto maps = some_maps();
    auto a = run(maps).first;
    for (const float factor : {1e30F, 1e38F}) {
      CHECK(care_test::allclose(run(maps * (factor / 4)).first, a, 1e-5));
    }
    auto top = std::numeric_limits<float>::max();
    auto edge = torch::full({3, 5, 6}, -top);
    edge.slice(2, 0, 3).fill_(top);
    CHECK(run(edge).first.abs().max().item<double>() > 0);
  }
  SECTION("NaN and infinity count as flat") {
    for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
      CAPTURE(bad);
      auto maps = some_maps();
      auto before = run(maps).first;
      maps[0][2][3] = bad;
      auto [loss, gradient] = run(maps);
      CHECK(loss[0].item<double>() == 0);
      CHECK(gradient[0].abs().max().item<double>() == 0);
      CHECK(care_test::identical(loss[1], before[1]));
      CHECK(care_test::identical(
          care::attention_terms(maps, regions).flat,
          torch::tensor({true, false, false})));
    }
  }
}

TEST_CASE("attention_loss: half and bfloat16 maps", "[loss]") {
  auto regions = some_regions();
  auto exact = care::attention_loss(some_maps(), regions);
  for (const auto dtype : {torch::kHalf, torch::kBFloat16}) {
    auto maps = some_maps().to(dtype).requires_grad_();
    auto loss = care::attention_loss(maps, regions);
    CHECK(loss.scalar_type() == torch::kFloat);
    CHECK(loss.item<double>() == Approx(exact.item<double>()).margin(1e-2));
    loss.backward();
    CHECK(maps.grad().scalar_type() == dtype);
    CHECK(torch::isfinite(maps.grad()).all().item<bool>());
    CHECK(maps.grad().abs().max().item<double>() > 0);
    // Weights in the small dtype too.
    CHECK(
        care::attention_loss(maps, regions.to(dtype)).item<double>() ==
        Approx(exact.item<double>()).margin(2e-2));
    // The largest number of the dtype.
    auto huge = torch::where(
        maps.detach() > 0,
        torch::full({}, 6e4, dtype),
        torch::full({}, -6e4, dtype));
    CHECK(std::isfinite(care::attention_loss(huge, regions).item<double>()));
  }
  CHECK(
      care::attention_loss(some_maps(torch::kDouble), regions).scalar_type() ==
      torch::kDouble);
}

TEST_CASE("attention_loss: bad input", "[loss]") {
  auto regions = some_regions();
  auto maps = some_maps();
  CARE_REQUIRE_THROWS_AS(
      care::attention_loss(maps[0], regions),
      c10::ValueError,
      "expected maps of shape [N, h, w], but got [5, 6]");
  CARE_REQUIRE_THROWS_AS(
      care::attention_loss(torch::Tensor(), regions),
      c10::ValueError,
      "expected maps of shape [N, h, w], but got an undefined tensor");
  CARE_REQUIRE_THROWS_AS(
      care::attention_loss(torch::randn({3, 6, 5}), regions),
      c10::ValueError,
      "care::attention_loss: expected regions.inside of shape [3, 6, 5], but "
      "got [3, 5, 6]");
  auto short_weight = regions;
  short_weight.weight = torch::ones({2});
  CARE_REQUIRE_THROWS_AS(
      care::attention_loss(maps, short_weight),
      c10::ValueError,
      "expected regions.weight of shape [3], but got [2]");
  auto elsewhere = regions;
  elsewhere.weight = torch::ones({3}, torch::Device("meta"));
  CARE_REQUIRE_THROWS_AS(
      care::attention_loss(maps, elsewhere),
      c10::ValueError,
      "expected maps and regions on one device, but got cpu and meta");
  CARE_REQUIRE_THROWS_AS(
      care::attention_loss(maps, RegionWeights()),
      c10::ValueError,
      "regions.inside of shape [3, 5, 6], but got an undefined tensor");
  CARE_REQUIRE_THROWS_AS(
      care::attention_loss(torch::ones({3, 5, 6}, torch::kLong), regions),
      c10::TypeError,
      "care::attention_loss: expected maps to hold floating point numbers, but "
      "got Long");
  for (const double tau : {0.0, -0.5, 1.5, static_cast<double>(NAN)}) {
    CARE_REQUIRE_THROWS_AS(
        care::attention_loss(maps, regions, AttentionLossOptions().tau(tau)),
        c10::ValueError,
        "care::attention_loss: expected tau in (0, 1], but got");
  }
  CARE_REQUIRE_THROWS_AS(
      care::AttentionLoss(AttentionLossOptions().lambda(-1)),
      c10::ValueError,
      "care::AttentionLoss: expected lambda of at least 0, but got -1");
}

TEST_CASE("AttentionLoss: the function as a module", "[loss]") {
  auto options = AttentionLossOptions().lambda(0.7).tau(0.4);
  care::AttentionLoss module(options);
  CHECK(care_test::identical(
      module(some_maps(), some_regions()),
      care::attention_loss(some_maps(), some_regions(), options)));
  CHECK(module->parameters().empty());
  CHECK(module->buffers().empty());
  CHECK(c10::str(module) == "care::AttentionLoss(lambda=0.7, tau=0.4)");
  auto clone =
      std::dynamic_pointer_cast<care::AttentionLossImpl>(module->clone());
  REQUIRE(clone);
  CHECK(clone->options.lambda() == 0.7);

  care::CareLoss policy{options};
  CHECK(care_test::identical(
      policy(some_maps(), some_regions()),
      care::attention_loss(
          some_maps(),
          some_regions(),
          AttentionLossOptions(options).reduction(torch::kNone))));
}
