// Tests of care/guide/regions.hpp: masks and weights where boxes may stand.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"

#include <care/guide.hpp>

#include <torch/nn/functional/loss.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace F = torch::nn::functional;
using care::Boxes;
using care::Guide;
using care::GuideOptions;
using care::RasterizeOptions;
using care::RegionWeights;
using care::Seen;
using torch::Tensor;

namespace {

/// Four images of 16 x 20 with maps of 4 x 5; boxes of whole pixels on 0, 1 and
/// 3, and the same regions as masks.
struct Setting {
  Setting() {
    torch::manual_seed(4);
    features = torch::rand({4, 6, 4, 5}, torch::kDouble).requires_grad_();
    logits = torch::matmul(
        (features.square() + features).mean({2, 3}),
        torch::randn({6, 3}, torch::kDouble));
  }

  Seen seen() const {
    return {logits, features};
  }
  Tensor lc() const {
    return F::cross_entropy(logits, target);
  }

  Tensor features, logits;
  Tensor target = torch::tensor({0, 1, 2, 1}, torch::kLong);
  Boxes boxes = Boxes::from_lists(
      {{{2, 3, 8, 9}, {6, 6, 12, 14}}, {{1, 1, 5, 5}}, {}, {{10, 4, 20, 16}}},
      {16, 20});
  Tensor masks = care::pixel_mask(boxes);
};

struct Outcome {
  care::GuidedLoss loss;
  Tensor gradient;
  care::AttentionFigures figures;
  care::Audit audit;
  int64_t count = 0;
};

Outcome run(
    const Setting& s,
    const GuideOptions& options,
    const care::Regions& regions,
    const Tensor& target) {
  const Guide<> guide(options);
  Outcome result;
  result.loss = guide.loss(torch::zeros({}), s.seen(), target, regions);
  result.gradient =
      torch::autograd::grad({result.loss.total}, {s.features}, {}, true)[0];
  result.figures = guide.evaluate(s.seen(), target, regions);
  result.audit = guide.audit(s.lc(), s.seen(), target, regions, {s.features});
  result.count = guide.count(target, regions);
  return result;
}

void check_same(const Outcome& got, const Outcome& wanted) {
  CHECK(got.count == wanted.count);
  CHECK(got.loss.attention.guided == wanted.loss.attention.guided);
  CHECK(care_test::allclose(got.loss.total, wanted.loss.total, 1e-6, 1e-5));
  CHECK(care_test::allclose(got.gradient, wanted.gradient, 1e-7, 1e-4));
  CHECK(got.gradient.abs().sum().item<double>() > 1e-4);
  const auto near = [](const Tensor& a, const Tensor& b) {
    CHECK(care_test::allclose(a, b, 1e-6, 1e-5));
  };
  near(got.figures.loss, wanted.figures.loss);
  near(got.figures.inner, wanted.figures.inner);
  near(got.figures.outer, wanted.figures.outer);
  near(got.figures.inside_share, wanted.figures.inside_share);
  near(got.figures.flat, wanted.figures.flat);
  CHECK(got.audit.guided == wanted.audit.guided);
  CHECK(
      got.audit.attention_norm ==
      Approx(wanted.audit.attention_norm).epsilon(1e-5));
}

} // namespace

TEST_CASE("regions: a mask that is the box", "[regions]") {
  const Setting s;
  std::vector<RasterizeOptions> rasters{
      RasterizeOptions(),
      RasterizeOptions().mode(care::RasterMode::kCoverage),
      RasterizeOptions().margin(2),
      RasterizeOptions().start(0.5).delta(0.25)};
  for (size_t i = 0; i < rasters.size(); ++i) {
    CAPTURE(i);
    const auto options = GuideOptions().weight(1.0).raster(rasters[i]);
    const auto wanted = run(s, options, s.boxes, s.target);
    CHECK(wanted.loss.attention.guided == 3);
    for (const auto dtype : {torch::kFloat, torch::kBool, torch::kByte}) {
      CAPTURE(dtype);
      check_same(run(s, options, s.masks.to(dtype), s.target), wanted);
    }
    auto weights =
        run(s, options, care::rasterize(s.boxes, {4, 5}, rasters[i]), s.target);
    if (i > 1) { // what lies inside and outside is then not the image
      CHECK(
          std::abs(
              weights.figures.inside_share.item<double>() -
              wanted.figures.inside_share.item<double>()) > 1e-3);
      weights.figures.inside_share = wanted.figures.inside_share;
    }
    check_same(weights, wanted);
  }
}

TEST_CASE("regions: the classes that are guided, batches of one", "[regions]") {
  const Setting s;
  const auto weights = care::rasterize(s.boxes, {4, 5});
  for (const int64_t label : {0, 1}) {
    const auto options = GuideOptions().weight(1.0).classes({label});
    const auto wanted = run(s, options, s.boxes, s.target);
    CHECK(wanted.count == label + 1);
    check_same(run(s, options, s.masks, s.target), wanted);
    check_same(run(s, options, weights, s.target), wanted);
  }
  // Image 2 has none, and in class 2 there is no other.
  const Guide<> none(GuideOptions().classes({2}));
  for (const care::Regions& regions :
       {care::Regions(s.boxes), care::Regions(s.masks), {weights}}) {
    const auto loss = none.loss(s.lc(), s.seen(), s.target, regions);
    CHECK(loss.attention.guided == 0);
    CHECK(loss.total.item<double>() == Approx(0.5 * s.lc().item<double>()));
    CHECK(none.evaluate(s.seen(), s.target, regions).guided == 0);
    const auto audit =
        none.audit(s.lc(), s.seen(), s.target, regions, {s.features});
    CHECK(audit.unguided_batches == 1);
  }
}

TEST_CASE("regions: images with an empty mask are unguided", "[regions]") {
  const Setting s;
  const Guide<> guide(GuideOptions().weight(1.0));
  CHECK(guide.count(s.target, s.masks) == 3);
  CHECK(guide.count(s.target, torch::zeros({4, 16, 20})) == 0);
  auto one = torch::zeros({4, 16, 20});
  one[2][5][7] = 0.01; // soft, and a pixel small, but a region
  CHECK(guide.count(s.target, one) == 1);

  auto weights = care::rasterize(s.boxes, {4, 5});
  weights.weight = torch::tensor({1.0, 0.0, 0.0, 2.0});
  CHECK(guide.count(s.target, weights) == 2);
  weights.inside[3].zero_(); // a weight, but no region
  CHECK(guide.count(s.target, weights) == 1);
}

TEST_CASE("regions: a soft mask, by hand", "[regions]") {
  // One cell for a pixel: the mask is the weight inside, what it lacks of 1 the
  // weight outside.
  const auto features = torch::tensor({0.0, 1.0, 2.0, 4.0}, torch::kDouble)
                            .view({1, 1, 2, 2})
                            .requires_grad_();
  const auto logits =
      torch::cat({features.sum({2, 3}), -features.sum({2, 3})}, 1);
  const auto mask = torch::tensor({0.0, 0.25, 0.5, 1.0}).view({1, 2, 2});
  const Guide<> guide(GuideOptions().weight(1.0));
  const auto loss = guide.loss(
      torch::zeros({}),
      {logits, features},
      torch::tensor({0}, torch::kLong),
      mask);
  // The map is the features; from 0 to 1 it is 0, 1/4, 1/2, 1.
  const double inner = (0.25 * 0.25 + 0.5 * 0.5 + 1) / 1.75;
  const double outer = (0.75 * 0.25 + 0.5 * 0.5) / 2.25;
  CHECK(loss.attention.inner.item<double>() == Approx(inner));
  CHECK(loss.attention.outer.item<double>() == Approx(outer));
  CHECK(loss.total.item<double>() == Approx(outer - inner));
  CHECK(
      loss.attention.inside_share.item<double>() ==
      Approx((0.25 * 1 + 0.5 * 2 + 1 * 4) / 7));
}

TEST_CASE("regions: weights of the image's loss", "[regions]") {
  const Setting s;
  const Guide<> guide(GuideOptions().weight(1.0));
  auto weights = care::rasterize(s.boxes, {4, 5});
  const auto value = [&](const RegionWeights& regions) {
    return guide.loss(torch::zeros({}), s.seen(), s.target, regions)
        .total.item<double>();
  };
  const double plain = value(weights);
  weights.weight = weights.weight * 0.25;
  CHECK(value(weights) == Approx(0.25 * plain));
}

TEST_CASE("regions: bags, several labels, several layers", "[regions]") {
  const Setting s;
  const auto weights = care::rasterize(s.boxes, {4, 5});
  const Guide<> guide(GuideOptions().weight(1.0));
  SECTION("images that share a row of logits") {
    auto seen = s.seen();
    seen.logits = torch::stack(
        {s.logits.slice(0, 0, 2).amax(0), s.logits.slice(0, 2, 4).amax(0)});
    seen.rows = torch::tensor({0, 0, 1, 1}, torch::kLong);
    const auto target = torch::tensor({1, 2}, torch::kLong);
    const auto value = [&](const care::Regions& regions) {
      CHECK(guide.count(target, regions, seen.rows) == 3);
      return guide.loss(torch::zeros({}), seen, target, regions).total;
    };
    CHECK(care_test::allclose(value(s.masks), value(s.boxes), 1e-6, 1e-5));
    CHECK(care_test::allclose(value(weights), value(s.boxes), 1e-6, 1e-5));
  }
  SECTION("a mask speaks for every class of its image") {
    const auto labels = torch::tensor(
        {{1, 0, 1}, {0, 1, 0}, {1, 1, 1}, {1, 1, 1}}, torch::kLong);
    const auto loss = [&](const care::Regions& regions) {
      CHECK(guide.count(labels, regions) == 6);
      return guide.loss(torch::zeros({}), s.seen(), labels, regions);
    };
    const auto wanted = loss(s.boxes);
    for (const auto& got : {loss(s.masks), loss(weights)}) {
      CHECK(got.attention.guided == 6);
      CHECK(care_test::allclose(got.total, wanted.total, 1e-6, 1e-5));
      CHECK(care_test::allclose(
          got.attention.inside_share,
          wanted.attention.inside_share,
          1e-6,
          1e-5));
    }
  }
  SECTION("weights are those of the finest map") {
    auto seen = s.seen();
    const auto finer =
        torch::rand({4, 2, 8, 10}, torch::kDouble).requires_grad_();
    seen.logits = s.logits + finer.mean({2, 3}).sum(1, true) * s.logits;
    seen.more = {finer};
    const Guide<> two(GuideOptions().weight(1.0).target_layers(
        {care::TargetLayer(), care::TargetLayer().map_size({8, 10})}));
    const auto value = [&](const care::Regions& regions) {
      return two.loss(torch::zeros({}), seen, s.target, regions).total;
    };
    CHECK(care_test::allclose(
        value(care::rasterize(s.boxes, {8, 10})), value(s.boxes), 1e-6, 1e-5));
    CHECK(care_test::allclose(value(s.masks), value(s.boxes), 1e-6, 1e-5));
    CARE_REQUIRE_THROWS_AS(
        value(weights),
        c10::ValueError,
        "care::Guide::loss: expected regions.inside of the maps' size, 8x10 "
        "(height x width), but got [4, 4, 5]");
  }
}

TEST_CASE("regions: masks coarser than the map", "[regions]") {
  torch::manual_seed(8);
  const auto target = torch::tensor({0, 1}, torch::kLong);
  auto masks = torch::zeros({2, 7, 7});
  masks[0].slice(0, 2, 5).slice(1, 1, 4).fill_(1);
  masks[1].slice(0, 0, 2).slice(1, 5, 7).fill_(1);
  for (const int64_t side : {14, 21, 28}) {
    const auto features = torch::rand({2, 5, side, side}).requires_grad_();
    const auto logits =
        torch::matmul(features.mean({2, 3}), torch::randn({5, 3}));
    const auto map =
        care::grad_cam(features, care::class_scores(logits, target)).relu();
    const auto cells = care::rasterize(masks, {side, side});
    const auto sum = [&](const Tensor& weights) {
      return (map * weights).sum({1, 2});
    };
    const auto expected =
        (sum(cells.inside) / sum(cells.inside + cells.outside)).mean();
    const auto figures = Guide<>().evaluate({logits, features}, target, masks);
    CAPTURE(side);
    CHECK(
        figures.inside_share.item<double>() ==
        Approx(expected.item<double>()).epsilon(1e-4));
  }
}

TEST_CASE("regions: with Balance and Accumulation", "[regions]") {
  const Setting s;
  const Guide<> guide;
  const auto value = [&](const care::Regions& regions) {
    care::Balance balance;
    return guide.loss(s.lc(), s.seen(), s.target, regions, balance)
        .total.item<double>();
  };
  CHECK(value(s.masks) == Approx(value(s.boxes)).epsilon(1e-5));
  const care::Accumulation parts{2, 6};
  CHECK(
      guide.loss(s.lc(), s.seen(), s.target, s.masks, parts)
          .total.item<double>() ==
      Approx(guide.loss(s.lc(), s.seen(), s.target, s.boxes, parts)
                 .total.item<double>())
          .epsilon(1e-5));
}

TEST_CASE("regions: what does not fit", "[regions]") {
  const Setting s;
  const Guide<> guide;
  const auto loss = [&](const care::Regions& regions) {
    return guide.loss(s.lc(), s.seen(), s.target, regions);
  };
  const auto refused = [&](const care::Regions& regions,
                           const std::string& why) {
    CARE_REQUIRE_THROWS_AS(
        loss(regions), c10::ValueError, "care::Guide::loss: expected " + why);
    CARE_REQUIRE_THROWS_AS(
        guide.evaluate(s.seen(), s.target, regions),
        c10::ValueError,
        "care::Guide::evaluate: expected " + why);
    CARE_REQUIRE_THROWS_AS(
        guide.audit(s.lc(), s.seen(), s.target, regions, {s.features}),
        c10::ValueError,
        "care::Guide::audit: expected " + why);
  };
  SECTION("masks") {
    refused(s.masks.slice(0, 0, 3), "masks of 4 images, but got those of 3");
    refused(s.masks[0], "masks of shape [N, H, W], but got [16, 20]");
    refused(
        s.masks.unsqueeze(1),
        "masks of shape [N, H, W], but got [4, 1, 16, 20]");
    refused(Tensor(), "masks of shape [N, H, W], but got an undefined tensor");
    auto wrong = s.masks.clone();
    wrong[2][3][4] = -0.5; // of an image that is not guided
    refused(
        wrong, "masks in [0, 1], but got values from -0.5 to 0 in masks[2]");
    wrong = s.masks.clone();
    wrong[3][0][0] = std::numeric_limits<float>::quiet_NaN();
    refused(
        wrong, "masks in [0, 1], but got values from nan to nan in masks[3]");
    refused(
        (s.masks * 255).to(torch::kByte),
        "masks in [0, 1], but got values from 0 to 255 in masks[0]");
    wrong = s.masks.clone();
    wrong[1][0][0] = std::numeric_limits<float>::infinity();
    refused(wrong, "masks in [0, 1], but got values from 0 to inf in masks[1]");
    CARE_REQUIRE_THROWS_AS(
        guide.count(s.target, wrong),
        c10::ValueError,
        "care::Guide::count: expected masks in [0, 1]");
    CARE_REQUIRE_THROWS_AS(
        Guide<>(GuideOptions().raster(RasterizeOptions().delta(1).distance(
                    care::Distance::kEuclidean)))
            .loss(s.lc(), s.seen(), s.target, s.masks),
        c10::NotImplementedError,
        "care::Guide::loss: expected Distance::kCityblock for masks");
  }
  SECTION("weights") {
    const auto good = care::rasterize(s.boxes, {4, 5});
    const auto changed = [&](const auto& change) {
      RegionWeights weights{
          good.inside.clone(), good.outside.clone(), good.weight.clone()};
      change(weights);
      return weights;
    };
    refused(
        care::rasterize(
            s.boxes.select(torch::tensor({0, 1}, torch::kLong)), {4, 5}),
        "regions of 4 images, but got those of 2");
    refused(
        care::rasterize(s.boxes, {5, 4}),
        "regions.inside of the maps' size, 4x5 (height x width), but got [4, "
        "5, 4]");
    refused(
        changed([](auto& w) { w.outside = w.outside[0]; }),
        "regions.outside of shape [4, 4, 5], but got [4, 5]");
    refused(
        changed([](auto& w) { w.weight = Tensor(); }),
        "regions.weight of shape [4], but got an undefined tensor");
    refused(
        RegionWeights(),
        "regions.inside of shape [N, h, w], but got an undefined tensor");
    refused(
        changed([](auto& w) { w.inside[2][0][0] = -1; }),
        "finite weights of at least 0, but got values from -1 to 0 in "
        "regions.inside[2]");
    refused(
        changed([](auto& w) { w.outside[1][0][0] = NAN; }),
        "finite weights of at least 0, but got values from nan to nan in "
        "regions.outside[1]");
    refused(
        changed([](auto& w) { w.weight[3] = INFINITY; }),
        "finite weights of at least 0, but got values from inf to inf in "
        "regions.weight[3]");
  }
  SECTION("boxes, as they were") {
    refused(Boxes::none(3, {16, 20}), "boxes of 4 images, but got those of 3");
  }
}
