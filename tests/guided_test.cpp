// Tests of the guide beyond one map for each image's one class: binary and
// multi-label heads, bags, several layers, frozen statistics.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"
#include "support/warnings.hpp"

#include <care/amp.hpp>
#include <care/guide.hpp>

#include <torch/nn/functional/loss.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>

#include <array>
#include <string>
#include <vector>

namespace nn = torch::nn;

namespace {

torch::Tensor random_features(torch::IntArrayRef sizes) {
  return torch::rand(sizes, torch::kDouble).requires_grad_();
}

/// Grad-CAM of one score, plainly.
torch::Tensor plain_map(
    const torch::Tensor& features,
    const torch::Tensor& score,
    int64_t image) {
  const auto gradient =
      torch::autograd::grad({score}, {features}, {}, true)[0][image];
  const auto weight = gradient.mean({1, 2}, /*keepdim=*/true);
  return (weight * features[image]).sum(0);
}

/// Keeps the maps a guide hands to its loss.
struct Keep {
  std::vector<torch::Tensor>* maps;
  torch::Tensor operator()(
      const torch::Tensor& given,
      const care::RegionWeights& regions) const {
    maps->push_back(given.detach().clone());
    return (given * regions.inside.to(given.scalar_type())).sum({1, 2});
  }
};

} // namespace

TEST_CASE("guide: a binary head", "[guide]") {
  const auto features = random_features({3, 4, 5, 5});
  const auto weight = torch::randn({4}, torch::kDouble);
  const auto logits = torch::matmul(features.mean({2, 3}), weight); // [3]
  const auto target = torch::tensor({1, 0, 1}, torch::kLong);
  const auto boxes =
      care::Boxes::from_lists({{{0, 0, 2, 2}}, {{1, 1, 4, 4}}, {}}, {5, 5});
  for (const bool column : {false, true}) {
    const care::Seen seen{column ? logits.unsqueeze(1) : logits, features};
    std::vector<torch::Tensor> maps;
    care::Guide<care::GradCam, Keep> all(care::GuideOptions(), Keep{&maps});
    CHECK(all.count(target, boxes) == 2);
    all.loss(torch::zeros({}), seen, target, boxes);
    REQUIRE(maps.size() == 1);
    CHECK(care_test::allclose(
        maps[0][0], plain_map(features, logits[0], 0), 1e-12, 1e-12));
    CHECK(care_test::allclose(
        maps[0][1], plain_map(features, -logits[1], 1), 1e-12, 1e-12));

    care::Guide<care::GradCam, Keep> lesions(
        care::GuideOptions().classes({1}), Keep{&maps});
    CHECK(lesions.count(target, boxes) == 1);
    CARE_REQUIRE_THROWS(
        all.loss(
            torch::zeros({}),
            seen,
            torch::tensor({1, 2, 0}, torch::kLong),
            boxes),
        "[0, 2)");
  }
}

TEST_CASE("guide: the target of a binary cross-entropy", "[guide]") {
  // [N, 1], and in floating point, as F::binary_cross_entropy_with_logits wants
  // it: class 0 or 1 of each image, not a label of a class 0.
  torch::manual_seed(0);
  const auto features = random_features({3, 4, 5, 5});
  const auto weight = torch::randn({4}, torch::kDouble);
  const auto logits = torch::matmul(features.mean({2, 3}), weight);
  const auto boxes =
      care::Boxes::from_lists(
          {{{0, 0, 2, 2}}, {{1, 1, 4, 4}}, {{2, 2, 5, 5}}}, {5, 5})
          .with_labels(torch::tensor({1, 1, 1}, torch::kLong));
  const auto classes = torch::tensor({1, 0, 1}, torch::kLong);
  for (const auto dtype : {torch::kLong, torch::kFloat, torch::kBool}) {
    for (const auto& target : {classes, classes.unsqueeze(1)}) {
      for (const auto& head : {logits, logits.unsqueeze(1)}) {
        CAPTURE(dtype, target.dim(), head.dim());
        std::vector<torch::Tensor> maps;
        const care::Guide<care::GradCam, Keep> guide(
            care::GuideOptions(), Keep{&maps});
        CHECK(guide.count(target.to(dtype), boxes) == 2);
        const auto loss = guide.loss(
            torch::zeros({}), {head, features}, target.to(dtype), boxes);
        CHECK(loss.attention.guided == 2);
        REQUIRE(maps.size() == 1);
        for (const int64_t i : {0, 1}) {
          CHECK(care_test::allclose(
              maps[0][i],
              plain_map(features, logits[2 * i], 2 * i),
              1e-12,
              1e-12));
        }
      }
    }
  }
  const care::Guide<> guide;
  const care::Seen seen{logits, features};
  const auto soft = torch::tensor({{1.0}, {0.25}, {0.0}});
  CARE_REQUIRE_THROWS_AS(
      guide.loss(torch::zeros({}), seen, soft, boxes),
      c10::ValueError,
      "care::Guide::loss: expected a binary target of 0 and 1, but target[1] "
      "is 0.25");
  CARE_REQUIRE_THROWS_AS(
      guide.count(soft, boxes),
      c10::ValueError,
      "care::Guide::count: expected a binary target of 0 and 1");
  CARE_REQUIRE_THROWS_AS(
      guide.count(torch::tensor({{1.0, 0.0}, {0.25, 1.0}, {0.0, 0.0}}), boxes),
      c10::ValueError,
      "expected a multi-label target of 0 and 1, but target[1][0] is 0.25");
  CARE_REQUIRE_THROWS_AS(
      guide.loss(torch::zeros({}), seen, torch::ones({3, 2}), boxes),
      c10::ValueError,
      "expected target of shape [3] or [3, 1], but got [3, 2]");
  // Classes of several in floating point stay an error.
  CARE_REQUIRE_THROWS_AS(
      guide.loss(
          torch::zeros({}),
          {torch::stack({logits, -logits, logits}, 1), features},
          classes.to(torch::kFloat),
          boxes),
      c10::TypeError,
      "expected target to hold integers");
}

TEST_CASE("guide: images that share a row of logits", "[guide]") {
  // Five tiles of three bags. A bag's logits are of the mean over its tiles.
  torch::manual_seed(4);
  const auto features = random_features({5, 4, 6, 6});
  const auto weight = torch::randn({3, 4}, torch::kDouble);
  const auto rows = torch::tensor({0, 0, 1, 2, 2}, torch::kLong);
  const auto bags =
      torch::zeros({3, 5}, torch::kDouble)
          .index_put({rows, torch::arange(5)}, torch::ones({}, torch::kDouble));
  const auto logits = torch::matmul(
      torch::matmul(bags / bags.sum(1, true), features.mean({2, 3})),
      weight.t());
  const care::Seen seen{logits, features, {}, {}, rows};
  const auto boxes = care::Boxes::from_lists(
      {{{0, 0, 3, 3}}, {{1, 1, 4, 4}}, {}, {}, {{2, 2, 6, 6}}}, {6, 6});
  std::vector<torch::Tensor> maps;
  const Keep keep{&maps};
  const auto check = [&](const torch::Tensor& map, int64_t tile, int64_t k) {
    const auto row = rows[tile].item<int64_t>();
    CHECK(care_test::allclose(
        map, plain_map(features, logits[row][k], tile), 1e-12, 1e-12));
  };

  SECTION("one class for each bag") {
    const auto target = torch::tensor({2, 0, 1}, torch::kLong);
    care::Guide<care::GradCam, Keep> guide(care::GuideOptions(), keep);
    CHECK(guide.count(target, boxes, rows) == 3);
    const auto loss = guide.loss(torch::zeros({}), seen, target, boxes);
    CHECK(loss.attention.guided == 3);
    REQUIRE(maps.size() == 1);
    check(maps[0][0], 0, 2);
    check(maps[0][1], 1, 2);
    check(maps[0][2], 4, 1);
    guide.evaluate(seen, target, boxes);
    REQUIRE(maps.size() == 2);
    CHECK(care_test::identical(maps[1], maps[0]));

    care::Guide<care::GradCam, Keep> listed(
        care::GuideOptions().classes({1}), keep);
    CHECK(listed.count(target, boxes, rows) == 1);
    listed.loss(torch::zeros({}), seen, target, boxes);
    check(maps[2][0], 4, 1);
  }
  SECTION("several labels: a bag stands for one class in a round") {
    const auto target =
        torch::tensor({{1.0, 0.0, 1.0}, {0.0, 1.0, 0.0}, {1.0, 1.0, 0.0}});
    const auto labelled =
        boxes.with_labels(torch::tensor({2, 0, 1}, torch::kLong));
    care::Guide<care::GradCam, Keep> guide(care::GuideOptions(), keep);
    CHECK(guide.count(target, labelled, rows) == 3);
    guide.loss(torch::zeros({}), seen, target, labelled);
    REQUIRE(maps.size() == 2);
    REQUIRE(maps[0].size(0) == 2);
    check(maps[0][0], 0, 2);
    check(maps[0][1], 4, 1);
    REQUIRE(maps[1].size(0) == 1);
    check(maps[1][0], 1, 0);
  }
  SECTION("with frozen statistics") {
    // The head in evaluation mode makes of the tiles what it made before.
    auto frozen = seen;
    frozen.logits = logits * 2;
    frozen.frozen_head = [&](const torch::Tensor& x) {
      return torch::matmul(
          torch::matmul(bags / bags.sum(1, true), x.mean({2, 3})), weight.t());
    };
    care::Guide<care::GradCam, Keep> guide(
        care::GuideOptions().frozen_statistics(true), keep);
    guide.loss(
        torch::zeros({}),
        frozen,
        torch::tensor({2, 0, 1}, torch::kLong),
        boxes);
    check(maps[0][0], 0, 2);
    check(maps[0][2], 4, 1);
  }
  SECTION("the tiles of a bag do not couple the bags") {
    const care::Guide<> guide;
    const auto target = torch::tensor({2, 0, 1}, torch::kLong);
    const auto audit = guide.audit(
        torch::nn::functional::cross_entropy(logits, target),
        seen,
        target,
        boxes,
        {features});
    CHECK(audit.guided == 3);
    CHECK(audit.batch_coupling == 0);
    CHECK(audit.warnings().empty());
  }
  SECTION("what does not fit") {
    const care::Guide<> guide;
    const auto target = torch::tensor({2, 0, 1}, torch::kLong);
    const auto lc = torch::zeros({});
    const auto with = [&](const torch::Tensor& other) {
      return care::Seen{logits, features, {}, {}, other};
    };
    CARE_REQUIRE_THROWS_AS(
        guide.loss(lc, with(rows + 1), target, boxes),
        c10::IndexError,
        "expected rows of logits in [0, 3), but rows[3] is 3");
    CARE_REQUIRE_THROWS_AS(
        guide.loss(lc, with(rows.slice(0, 1)), target, boxes),
        c10::ValueError,
        "expected rows of shape [5], but got [4]");
    CARE_REQUIRE_THROWS_AS(
        guide.loss(lc, with(rows.to(torch::kFloat)), target, boxes),
        c10::TypeError,
        "expected rows to hold integers");
    CARE_REQUIRE_THROWS_AS(
        guide.loss(lc, with({}), target, boxes),
        c10::ValueError,
        "expected logits of shape [5, K]");
    CARE_REQUIRE_THROWS_AS(
        guide.loss(lc, seen, rows, boxes),
        c10::ValueError,
        "expected target of shape [3], but got [5]");
    CARE_REQUIRE_THROWS_AS(
        guide.count(target, boxes),
        c10::ValueError,
        "expected a target and logits of 5 images, but got 3 rows");
  }
}

TEST_CASE("guide: errors number the boxes of the batch", "[guide]") {
  const auto features = random_features({3, 4, 5, 5});
  const auto weight = torch::randn({3, 4}, torch::kDouble);
  const care::Seen seen{
      torch::matmul(features.mean({2, 3}), weight.t()), features};
  const auto target = torch::tensor({0, 1, 2}, torch::kLong);
  // Image 0 is not guided: neither is a box beside it.
  const auto boxes = care::Boxes::from_lists(
      {{{50, 0, 60, 5}, {0, 0, 2, 2}}, {{1, 1, 4, 4}}, {{0, 0, 5, 5}}},
      {20, 20});
  const care::Guide<> guide(care::GuideOptions().classes({1, 2}));
  CHECK(
      guide.loss(torch::zeros({}), seen, target, boxes).attention.guided == 2);
  const auto bad = care::Boxes::from_lists(
      {{{50, 0, 60, 5}, {0, 0, 2, 2}},
       {{1, 1, 4, 4}},
       {{0, 0, 5, 5}, {0, 30, 5, 40}}},
      {20, 20});
  CARE_REQUIRE_THROWS_AS(
      guide.loss(torch::zeros({}), seen, target, bad),
      c10::ValueError,
      "care::Guide::loss: expected boxes on images of 20x20 (height x width), "
      "but box 4 (image 2) lies wholly outside");
  CARE_REQUIRE_THROWS_AS(
      guide.evaluate(seen, target, bad), c10::ValueError, "box 4 (image 2)");
  // Nor does a box that speaks for another class.
  const auto labelled =
      bad.with_labels(torch::tensor({-1, -1, -1, -1, 0}, torch::kLong));
  CHECK(
      guide.loss(torch::zeros({}), seen, target, labelled).attention.guided ==
      2);
}

TEST_CASE("guide: logits that are probabilities are warned of", "[guide]") {
  const auto features = torch::rand({3, 4, 5, 5}).requires_grad_();
  auto head = nn::Linear(4, 3);
  const auto target = torch::tensor({0, 1, 2}, torch::kLong);
  const auto boxes =
      care::Boxes::from_lists({{{0, 0, 2, 2}}, {{1, 1, 4, 4}}, {}}, {5, 5});
  const auto warned = [&](auto&& end) {
    const care_test::Warnings warnings;
    const care::Guide<> guide;
    const auto seen = guide.watch(features, [&](const torch::Tensor& x) {
      return end(head(x.mean({2, 3})));
    });
    const auto binary = seen.logits.size(1) == 1;
    guide.loss(torch::zeros({}), seen, binary ? target > 1 : target, boxes);
    return warnings.count("the logits come from a");
  };
  using torch::Tensor;
  CHECK(warned([](const Tensor& x) { return x; }) == 0);
  CHECK(warned([](const Tensor& x) { return x.softmax(1) * 3; }) == 0);
  CHECK(warned([](const Tensor& x) { return x.softmax(1); }) == 1);
  CHECK(warned([](const Tensor& x) { return x.log_softmax(1); }) == 1);
  CHECK(warned([](const Tensor& x) { return x.sigmoid(); }) == 1);
  CHECK(warned([](const Tensor& x) {
          return x.to(torch::kBFloat16).softmax(1); // and widened by `watch`
        }) == 1);
  CHECK(warned([](const Tensor& x) {
          return x.select(1, 0).sigmoid().unsqueeze(1);
        }) == 1);

  // The audit counts them, also where the graph does not tell.
  const care::Guide<> guide;
  const auto audit = [&](const Tensor& logits) {
    return guide.audit(
        logits.square().mean(),
        {logits, features},
        target,
        boxes,
        head->parameters());
  };
  const auto logits = head(features.mean({2, 3}));
  CHECK(audit(logits).probability_batches == 0);
  CHECK(audit(logits.softmax(1)).probability_batches == 1);
  CHECK(audit(logits.sigmoid()).probability_batches == 1);
  auto found = audit(logits.softmax(1) * 1);
  CHECK(found.probability_batches == 1);
  found += audit(logits);
  REQUIRE_FALSE(found.warnings().empty());
  bool said = false;
  for (const auto& warning : found.warnings()) {
    said = said ||
        warning.find("look like probabilities in 1 of 2 batches") !=
            std::string::npos;
  }
  CHECK(said);
}

TEST_CASE("guide: a fine map before a small head is guided", "[guide]") {
  // Before a mean over h w cells Grad-CAM is divided by their number.
  torch::manual_seed(0);
  const auto values = torch::rand({2, 4, 128, 96});
  const auto weight = torch::randn({4, 3});
  const auto target = torch::tensor({0, 2}, torch::kLong);
  const auto boxes =
      care::Boxes::from_lists({{{5, 9, 60, 80}}, {{1, 1, 44, 70}}}, {128, 96});
  const auto gradient = [&](const auto& guide, double factor) {
    const auto features = values.clone().requires_grad_();
    const auto logits = torch::matmul(features.mean({2, 3}), weight * factor);
    const auto loss =
        guide.loss(torch::zeros({}), {logits, features}, target, boxes);
    CHECK(loss.attention.flat.template item<int64_t>() == 0);
    loss.backward();
    return features.grad();
  };
  const auto check = [&](const auto& guide) {
    const auto usual = gradient(guide, 1);
    CHECK(usual.abs().max().template item<double>() > 0);
    CHECK(care_test::allclose(gradient(guide, 1e-4), usual, 1e-8, 1e-3));
  };
  check(care::Guide<>());
  check(care::Guide<care::GradCam, care::EnergyLoss>());
  check(care::Guide<care::GradCam, care::L1GuidanceLoss>());
}

TEST_CASE("guide: labels of boxes beyond the logits' classes", "[guide]") {
  const auto features = torch::rand({2, 4, 5, 5}).requires_grad_();
  auto head = nn::Linear(4, 3);
  const care::Seen seen{head(features.mean({2, 3})), features};
  const auto boxes =
      care::Boxes::from_lists({{{0, 0, 2, 2}}, {{1, 1, 4, 4}}}, {5, 5});
  const care::Guide<> guide;
  for (const auto& target :
       {torch::tensor({0, 2}, torch::kLong),
        torch::tensor({{1, 1, 1}, {0, 0, 1}}, torch::kLong)}) {
    CARE_REQUIRE_THROWS_AS(
        guide.loss(
            torch::zeros({}),
            seen,
            target,
            boxes.with_labels(care_test::longs({-1, 3}))),
        c10::IndexError,
        "care::Guide::loss: expected box labels (-1: every class) in [-1, 3), "
        "but labels[1] is 3");
    CARE_REQUIRE_THROWS_AS(
        guide.audit(
            seen.logits.square().mean(),
            seen,
            target,
            boxes.with_labels(care_test::longs({3, 3})),
            head->parameters()),
        c10::IndexError,
        "care::Guide::audit: expected box labels");
  }
}

TEST_CASE("guide: height and width swapped are warned of", "[guide]") {
  const auto features = torch::rand({2, 4, 4, 5}).requires_grad_();
  auto head = nn::Linear(4, 3);
  const care::Seen seen{head(features.mean({2, 3})), features};
  const auto target = torch::tensor({0, 2}, torch::kLong);
  const care::Guide<> guide;
  const auto warned = [&](const care::Regions& regions) {
    const care_test::Warnings warnings;
    guide.loss(torch::zeros({}), seen, target, regions);
    return warnings.count("are height and width swapped?");
  };
  const auto boxes = [](int64_t height, int64_t width) {
    return care::Boxes::from_lists(
        {{{0, 0, 20, 20}}, {{9, 3, 30, 31}}}, {height, width});
  };
  CHECK(warned(boxes(32, 40)) == 0);
  CHECK(warned(boxes(32, 32)) == 0);
  CHECK(warned(boxes(40, 32)) == 1);
  CHECK(warned(torch::ones({2, 32, 40})) == 0);
  CHECK(warned(torch::ones({2, 40, 32})) == 0); // may have any size
  CHECK(warned(care::rasterize(boxes(32, 40), {4, 5})) == 0);
}

TEST_CASE("guide: options that a Seen does not serve", "[guide]") {
  const auto features = torch::rand({2, 4, 5, 5}).requires_grad_();
  auto head = nn::Linear(4, 3);
  const auto pooled = [&](const torch::Tensor& x) {
    return head(x.mean({2, 3}));
  };
  const care::Seen seen{pooled(features), features};
  const auto target = torch::tensor({0, 1}, torch::kLong);
  const auto boxes = care::Boxes::from_lists({{{0, 0, 2, 2}}, {}}, {5, 5});
  const care::Guide<> frozen(care::GuideOptions().frozen_statistics(true));
  const char* message =
      "expected a Seen with a frozen_head, because of frozen_statistics";
  CARE_REQUIRE_THROWS_AS(
      frozen.loss(torch::zeros({}), seen, target, boxes),
      c10::ValueError,
      message);
  CARE_REQUIRE_THROWS_AS(
      frozen.evaluate(seen, target, boxes), c10::ValueError, message);
  auto both = seen;
  both.frozen_head = pooled;
  CHECK(
      frozen.loss(torch::zeros({}), both, target, boxes).attention.guided == 1);
  both.more.push_back(features);
  CARE_REQUIRE_THROWS_AS(
      frozen.loss(torch::zeros({}), both, target, boxes),
      c10::ValueError,
      "expected the maps of one layer beside a frozen_head");

  const care::Guide<> layers(care::GuideOptions().target_layers(
      {care::TargetLayer(), care::TargetLayer().map_size({8, 8})}));
  CARE_REQUIRE_THROWS_AS(
      layers.loss(torch::zeros({}), seen, target, boxes),
      c10::ValueError,
      "expected the maps of 2 layers, because of target_layers, but got those "
      "of 1");
  CARE_REQUIRE_THROWS_AS(
      layers.watch(features, pooled),
      c10::ValueError,
      "care::Guide::watch: expected a forward to choose a map from");
  auto uneven = seen;
  uneven.more = {torch::rand({3, 4, 5, 5}).requires_grad_()};
  CARE_REQUIRE_THROWS_AS(
      layers.loss(torch::zeros({}), uneven, target, boxes),
      c10::ValueError,
      "expected features of 2 images in every layer, but got [3, 4, 5, 5]");
}

TEST_CASE("guide: multi-label, a map for each image and class", "[guide]") {
  const auto features = random_features({3, 4, 6, 6});
  const auto weight = torch::randn({3, 4}, torch::kDouble);
  const auto logits = torch::matmul(features.mean({2, 3}), weight.t());
  // Image 0 shows classes 0 and 2, image 1 class 1, image 2 all three.
  const auto target =
      torch::tensor({1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0}).view({3, 3});
  const care::Seen seen{logits, features};
  std::vector<torch::Tensor> maps;
  const Keep keep{&maps};

  SECTION("boxes of every class") {
    const auto boxes = care::Boxes::from_lists(
        {{{0, 0, 3, 3}}, {{1, 1, 4, 4}}, {{2, 2, 6, 6}}}, {6, 6});
    care::Guide<care::GradCam, Keep> guide(care::GuideOptions(), keep);
    CHECK(guide.count(target, boxes) == 6);
    const auto loss = guide.loss(torch::zeros({}), seen, target, boxes);
    CHECK(loss.attention.guided == 6);
    // In rounds: the first label of each image, the second, the third.
    REQUIRE(maps.size() == 3);
    const std::vector<std::vector<std::array<int64_t, 2>>> rounds{
        {{0, 0}, {1, 1}, {2, 0}}, {{0, 2}, {2, 1}}, {{2, 2}}};
    for (size_t r = 0; r < rounds.size(); ++r) {
      REQUIRE(maps[r].size(0) == static_cast<int64_t>(rounds[r].size()));
      for (size_t i = 0; i < rounds[r].size(); ++i) {
        const auto [image, label] = rounds[r][i];
        INFO("image " << image << ", class " << label);
        CHECK(care_test::allclose(
            maps[r][static_cast<int64_t>(i)],
            plain_map(features, logits[image][label], image),
            1e-12,
            1e-12));
      }
    }
    // The mean over the six maps.
    double sum = 0;
    const auto inside =
        care::rasterize(boxes, {6, 6}, care::RasterizeOptions()).inside;
    for (size_t r = 0; r < rounds.size(); ++r) {
      for (size_t i = 0; i < rounds[r].size(); ++i) {
        sum += (maps[r][static_cast<int64_t>(i)] * inside[rounds[r][i][0]])
                   .sum()
                   .item<double>();
      }
    }
    CHECK(loss.attention.loss.item<double>() == Approx(sum / 6).epsilon(1e-6));
    CHECK(loss.total.item<double>() == Approx(0.5 * sum / 6).epsilon(1e-6));
  }
  SECTION("labelled boxes speak for their class alone") {
    const auto boxes =
        care::Boxes::from_lists(
            {{{0, 0, 3, 3}, {1, 1, 5, 5}}, {{1, 1, 4, 4}}, {{2, 2, 6, 6}}},
            {6, 6})
            .with_labels(torch::tensor({2, 1, 1, 0}, torch::kLong));
    care::Guide<care::GradCam, Keep> guide(care::GuideOptions(), keep);
    CHECK(guide.count(target, boxes) == 3); // (0, 2), (1, 1), (2, 0)
    guide.loss(torch::zeros({}), seen, target, boxes);
    REQUIRE(maps.size() == 1);
    CHECK(care_test::allclose(
        maps[0][0], plain_map(features, logits[0][2], 0), 1e-12, 1e-12));
    care::Guide<care::GradCam, Keep> listed(
        care::GuideOptions().classes({2}), keep);
    CHECK(listed.count(target, boxes) == 1);
  }
  SECTION("targets that are no labels") {
    const auto boxes = care::Boxes::from_lists({{}, {}, {}}, {6, 6});
    care::Guide guide;
    CARE_REQUIRE_THROWS(
        guide.loss(torch::zeros({}), seen, target * 0.5, boxes),
        "target[0][0] is 0.5");
    CARE_REQUIRE_THROWS(
        guide.loss(torch::zeros({}), seen, target.slice(1, 0, 2), boxes),
        "target of shape [3, 3]");
  }
}

TEST_CASE("guide: the map of a margin", "[guide]") {
  const auto features = random_features({4, 4, 5, 5});
  const auto weight = torch::randn({3, 4}, torch::kDouble).requires_grad_();
  const auto logits =
      torch::matmul((features * features).mean({2, 3}), weight.t());
  const auto target = torch::tensor({0, 1, 2, 1}, torch::kLong);
  const auto boxes = care::Boxes::from_lists(
      {{{0, 0, 2, 2}}, {{1, 1, 4, 4}}, {}, {{2, 0, 5, 3}}}, {5, 5});
  std::vector<torch::Tensor> maps;
  const auto options =
      care::GuideOptions().weight(1.0).score(care::Score::kMargin);
  const auto margin = [&](int64_t image, int64_t label) {
    const auto row = logits[image];
    return row[label] -
        torch::maximum(row[(label + 1) % 3], row[(label + 2) % 3]);
  };
  const care::Guide<care::GradCam, Keep> keeping(options, Keep{&maps});
  keeping.loss(torch::zeros({}), {logits, features}, target, boxes);
  REQUIRE(maps.size() == 1);
  const std::vector<int64_t> guided{0, 1, 3};
  for (size_t i = 0; i < guided.size(); ++i) {
    const auto image = guided[i];
    const auto label = target[image].item<int64_t>();
    CHECK(care_test::allclose(
        maps[0][static_cast<int64_t>(i)],
        plain_map(features, margin(image, label), image),
        1e-12,
        1e-12));
  }

  // In full order, the other class's weights are moved too.
  const care::Guide<> full(
      care::GuideOptions(options).order(care::GradientOrder::kFull));
  const auto one = boxes.filter(boxes.image_index() == 1);
  const auto loss =
      full.loss(torch::zeros({}), {logits, features}, target, one);
  const auto gradient =
      torch::autograd::grad({margin(1, 1)}, {features}, {}, true, true)[0][1];
  const auto map = (gradient.mean({1, 2}, true) * features[1]).sum(0);
  const auto expected = care::attention_loss(
      map.unsqueeze(0),
      care::rasterize(one.select(torch::tensor({1}, torch::kLong)), {5, 5}));
  CHECK(care_test::allclose(loss.total, expected, 1e-12, 1e-6));
  const auto of_weight = [&](const torch::Tensor& total) {
    return torch::autograd::grad({total}, {weight}, {}, true)[0];
  };
  const auto moved = of_weight(loss.total);
  CHECK(care_test::allclose(moved, of_weight(expected), 1e-9, 1e-6));
  const auto other = logits[1][0].item<double>() > logits[1][2].item<double>()
      ? int64_t{0}
      : int64_t{2};
  CHECK(moved[1].abs().max().item<double>() > 1e-6);
  CHECK(moved[other].abs().max().item<double>() > 1e-6);
  CHECK(moved[2 - other].abs().max().item<double>() == 0);

  // One logit of a binary head is a margin.
  const auto binary = logits.select(1, 0);
  const auto sides = torch::tensor({1, 0, 1, 0}, torch::kLong);
  const auto value = [&](const care::GuideOptions& given) {
    return care::Guide<>(given)
        .loss(torch::zeros({}), {binary, features}, sides, boxes)
        .total;
  };
  CHECK(care_test::identical(
      value(options), value(care::GuideOptions().weight(1.0))));

  const auto labels = torch::ones({4, 3});
  const char* message =
      "expected Score::kLogit for a multi-label target, whose classes do not "
      "exclude each other, but got kMargin";
  CARE_REQUIRE_THROWS_AS(
      full.loss(torch::zeros({}), {logits, features}, labels, boxes),
      c10::ValueError,
      message);
  CARE_REQUIRE_THROWS_AS(
      full.evaluate({logits, features}, labels, boxes),
      c10::ValueError,
      message);
}

TEST_CASE("guide: maps of several layers, fused", "[guide]") {
  auto first = nn::Conv2d(nn::Conv2dOptions(3, 4, 3).padding(1));
  auto second = nn::Conv2d(nn::Conv2dOptions(4, 5, 3).stride(2).padding(1));
  auto head = nn::Linear(5, 3);
  auto net = nn::Sequential(first, nn::ReLU(), second, nn::ReLU());
  const auto images = torch::rand({2, 3, 8, 8});
  const auto target = torch::tensor({2, 0}, torch::kLong);
  const auto boxes =
      care::Boxes::from_lists({{{0, 0, 4, 4}}, {{2, 2, 8, 8}}}, {8, 8});
  std::vector<torch::Tensor> maps;
  for (const auto fusion :
       {care::Fusion::kMean, care::Fusion::kMax, care::Fusion::kProduct}) {
    maps.clear();
    care::Guide<care::GradCam, Keep> guide(
        care::GuideOptions().fusion(fusion).target_layers(
            {care::TargetLayer(), care::TargetLayer().map_size({8, 8})}),
        Keep{&maps});
    const auto seen = guide.watch([&] {
      return head(net->forward(images).mean({2, 3}));
    });
    REQUIRE(seen.more.size() == 1);
    auto loss = guide.loss(torch::zeros({}), seen, target, boxes);
    const auto scores = care::class_scores(seen.logits, target);
    const auto expected = care::fuse(
        {care::grad_cam(seen.features, scores),
         care::grad_cam(seen.more[0], scores)},
        fusion);
    REQUIRE(maps.size() == 1);
    CHECK(maps[0].sizes() == torch::IntArrayRef({2, 8, 8}));
    CHECK(care_test::allclose(maps[0], expected, 1e-5, 1e-6));
    loss.backward();
    CHECK(first->weight.grad().abs().sum().item<double>() > 0);
  }
}

TEST_CASE(
    "guide: with frozen statistics a map does not depend on its batch mates",
    "[guide]") {
  auto norm = nn::BatchNorm2d(4);
  auto head = nn::Sequential(
      norm,
      nn::ReLU(),
      nn::Dropout(nn::DropoutOptions(0.5)),
      nn::AdaptiveAvgPool2d(1),
      nn::Flatten(),
      nn::Linear(4, 3));
  head->to(torch::kDouble);
  for (int i = 0; i < 5; ++i) {
    head->forward(torch::randn({8, 4, 5, 5}, torch::kDouble)); // statistics
  }
  const auto mean = norm->running_mean.clone();
  const auto var = norm->running_var.clone();
  const auto reset = [&] {
    torch::NoGradGuard no_grad;
    norm->running_mean.copy_(mean);
    norm->running_var.copy_(var);
  };
  const auto one = torch::rand({1, 4, 5, 5}, torch::kDouble);
  const auto target = torch::tensor({1, 0, 2}, torch::kLong);
  const auto boxes = care::Boxes::from_lists(
      {{{0, 0, 3, 3}}, {{1, 1, 4, 4}}, {{2, 2, 5, 5}}}, {5, 5});
  std::vector<torch::Tensor> maps;
  const auto map_beside = [&](bool frozen, uint64_t seed, bool as_function) {
    torch::manual_seed(seed);
    reset();
    const auto features =
        torch::cat({one, torch::randn({2, 4, 5, 5}, torch::kDouble)})
            .requires_grad_();
    care::Guide<care::GradCam, Keep> guide(
        care::GuideOptions().frozen_statistics(frozen), Keep{&maps});
    const auto function = [&](const torch::Tensor& x) {
      return head->forward(x);
    };
    const auto seen = as_function ? guide.watch(features, function, *head)
                                  : guide.watch(features, head);
    guide.loss(torch::zeros({}), seen, target, boxes);
    // The batch moved the statistics, whatever its maps were taken with.
    CHECK_FALSE(torch::equal(norm->running_mean, mean));
    return maps.back()[0];
  };
  CHECK_FALSE(torch::allclose(
      map_beside(false, 1, false), map_beside(false, 2, false)));
  const auto frozen = map_beside(true, 1, false);
  CHECK(care_test::allclose(map_beside(true, 2, false), frozen, 1e-12, 1e-12));
  CHECK(care_test::allclose(map_beside(true, 3, true), frozen, 1e-12, 1e-12));

  // By hand: the head in evaluation mode, the image alone.
  reset();
  head->eval();
  const auto alone = one.clone().requires_grad_();
  const auto expected = plain_map(alone, head->forward(alone)[0][1], 0);
  CHECK(care_test::allclose(frozen, expected, 1e-12, 1e-12));
}

namespace {

/// A head that says how it was run, and cannot be copied.
struct TellingHeadImpl : nn::Module {
  TellingHeadImpl() {
    register_module("linear", linear);
    register_module("norm", norm);
    register_module("again", norm); // known under two names
  }
  TellingHeadImpl(const TellingHeadImpl&) = delete;
  TellingHeadImpl& operator=(const TellingHeadImpl&) = delete;

  torch::Tensor forward(const torch::Tensor& x) {
    was_training.push_back(is_training());
    return linear(norm(x).mean({2, 3}));
  }

  nn::Linear linear{4, 3};
  nn::BatchNorm2d norm{4};
  std::vector<bool> was_training;
};
TORCH_MODULE(TellingHead);

} // namespace

TEST_CASE("guide: frozen statistics of a module by reference", "[guide]") {
  auto head = TellingHead();
  const care::Guide<> guide(care::GuideOptions().frozen_statistics(true));
  const auto boxes =
      care::Boxes::from_lists({{{0, 0, 3, 3}}, {{1, 1, 4, 4}}}, {5, 5});
  const auto target = torch::tensor({1, 0}, torch::kLong);
  auto before = head->norm->running_mean.clone();
  for (int step = 0; step < 3; ++step) {
    const auto features = torch::rand({2, 4, 5, 5}).requires_grad_();
    const auto seen = guide.watch(features, *head);
    guide.loss(torch::zeros({}), seen, target, boxes).backward();
    // The live statistics are those that are saved, and they move.
    CHECK(head->norm->running_mean.is_same(
        head->norm->named_buffers()["running_mean"]));
    CHECK_FALSE(torch::equal(head->norm->running_mean, before));
    before = head->norm->running_mean.clone();
  }
  const std::vector<bool> expected{true, false, true, false, true, false};
  CHECK(head->was_training == expected);
  CHECK(head->is_training());
}

TEST_CASE("guide: a frozen head that takes more than features", "[guide]") {
  // Age and sex beside the picture, say: a row for each image.
  nn::Linear linear(4 + 2, 3);
  const auto more = torch::rand({3, 2});
  const auto features = torch::rand({3, 4, 5, 5}).requires_grad_();
  int64_t runs = 0;
  const auto head = [&](const torch::Tensor& f) {
    ++runs;
    return linear->forward(torch::cat({f.mean({2, 3}), more}, 1));
  };
  const auto boxes =
      care::Boxes::from_lists({{{0, 0, 3, 3}}, {}, {{2, 2, 5, 5}}}, {5, 5});
  const auto maps_of = [&](bool frozen, const torch::Tensor& target) {
    std::vector<torch::Tensor> maps;
    care::Guide<care::GradCam, Keep> guide(
        care::GuideOptions().frozen_statistics(frozen), Keep{&maps});
    const auto seen = guide.watch(features, head, *linear);
    guide.loss(torch::zeros({}), seen, target, boxes);
    return torch::cat(maps);
  };
  const auto one = torch::tensor({1, 0, 2}, torch::kLong);
  CHECK(care_test::allclose(maps_of(true, one), maps_of(false, one)));
  // Several labels an image: once for all of them.
  const auto several =
      torch::tensor({1, 1, 0, 0, 0, 1, 1, 0, 1}, torch::kLong).view({3, 3});
  const auto expected = maps_of(false, several);
  runs = 0;
  CHECK(care_test::allclose(maps_of(true, several), expected));
  CHECK(runs == 2);
}

TEST_CASE("guide: a frozen head outlives its network", "[guide]") {
  const care::Guide<> guide(care::GuideOptions().frozen_statistics(true));
  const auto features = torch::rand({2, 4, 5, 5}).requires_grad_();
  const auto seen = [&] {
    auto head = TellingHead();
    return guide.watch(features, *head);
  }();
  guide
      .loss(
          torch::zeros({}),
          seen,
          torch::tensor({1, 0}, torch::kLong),
          care::Boxes::from_lists({{{0, 0, 3, 3}}, {}}, {5, 5}))
      .backward();
  CHECK(features.grad().abs().sum().item<double>() > 0);
}

TEST_CASE("guide: frozen statistics under autocast", "[guide]") {
  // The loss within the region or, where losses belong, behind it: the head's
  // second pass runs as its first one did.
  const auto gradient = [](bool within) {
    torch::manual_seed(6);
    auto head = TellingHead();
    const care::Guide<> guide(care::GuideOptions().frozen_statistics(true));
    const auto features = torch::rand({2, 4, 5, 5}).requires_grad_();
    const auto boxes = care::Boxes::from_lists({{{0, 0, 3, 3}}, {}}, {5, 5});
    const auto target = torch::tensor({1, 0}, torch::kLong);
    care::Seen seen;
    care::GuidedLoss loss;
    {
      const care::Autocast on(torch::kCPU);
      seen = guide.watch(features.to(torch::kBFloat16), *head);
      if (within) {
        loss = guide.loss(torch::zeros({}), seen, target, boxes);
      }
    }
    if (!within) {
      loss = guide.loss(torch::zeros({}), seen, target, boxes);
    }
    CHECK(loss.attention.guided == 1);
    loss.backward();
    return features.grad();
  };
  const auto within = gradient(true);
  CHECK(within.abs().sum().item<double>() > 0);
  CHECK(care_test::allclose(gradient(false), within, 1e-6));
}

TEST_CASE("guide: statistics that do not run cannot be frozen", "[guide]") {
  auto head = nn::Sequential(
      nn::BatchNorm2d(nn::BatchNormOptions(4).track_running_stats(false)),
      nn::AdaptiveAvgPool2d(1),
      nn::Flatten(),
      nn::Linear(4, 3));
  const care::Guide<> guide(care::GuideOptions().frozen_statistics(true));
  const auto features = torch::rand({2, 4, 5, 5}).requires_grad_();
  CARE_REQUIRE_THROWS_AS(
      guide.watch(features, head),
      c10::ValueError,
      "expected BatchNorms with running statistics, because of "
      "frozen_statistics, but got torch::nn::BatchNorm2d(4");
}

TEST_CASE("guide: frozen statistics leave the head as it was", "[guide]") {
  auto norm = nn::BatchNorm2d(4);
  auto dropout = nn::Dropout();
  auto head = nn::Sequential(
      norm, dropout, nn::AdaptiveAvgPool2d(1), nn::Flatten(), nn::Linear(4, 3));
  dropout->eval(); // a mixed state, which must come back
  const auto features = torch::rand({4, 4, 5, 5}).requires_grad_();
  const auto target = torch::tensor({0, 1, 2, 0}, torch::kLong);
  const auto boxes =
      care::Boxes::from_lists({{{0, 0, 3, 3}}, {}, {{0, 0, 2, 2}}, {}}, {5, 5});
  const care::Guide guide(care::GuideOptions().frozen_statistics(true));
  const auto seen = guide.watch(features, head);
  const auto mean = norm->running_mean.clone();
  CHECK(mean.abs().sum().item<double>() > 0); // the forward moved it, once
  guide.loss(torch::zeros({}), seen, target, boxes).backward();
  CHECK(torch::equal(norm->running_mean, mean));
  CHECK(norm->is_training());
  CHECK_FALSE(dropout->is_training());
  CHECK(features.grad().abs().sum().item<double>() > 0);
  // The full order reaches the head's parameters through the second pass.
  const care::Guide full(care::GuideOptions().frozen_statistics(true).order(
      care::GradientOrder::kFull));
  head->zero_grad();
  const auto again = full.watch(features, head);
  full.loss(torch::zeros({}), again, target, boxes).backward();
  CHECK(norm->weight.grad().abs().sum().item<double>() > 0);

  CARE_REQUIRE_THROWS(
      guide.watch([&] { return head->forward(features); }), "as a module");
  CARE_REQUIRE_THROWS(
      guide.watch(features, [&](const auto& x) { return head->forward(x); }),
      "as a module");
}
