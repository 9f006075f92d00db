// Tests of the guide beyond one map for each image's one class: binary and
// multi-label heads, several layers, frozen statistics.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"

#include <care/amp.hpp>
#include <care/guide.hpp>

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>

#include <array>
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
  torch::manual_seed(0);
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

TEST_CASE("guide: multi-label, a map for each image and class", "[guide]") {
  torch::manual_seed(1);
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

TEST_CASE("guide: maps of several layers, fused", "[guide]") {
  torch::manual_seed(2);
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
  torch::manual_seed(3);
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
  torch::manual_seed(5);
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

TEST_CASE("guide: frozen statistics under autocast", "[guide]") {
  torch::manual_seed(6);
  auto head = TellingHead();
  const care::Guide<> guide(care::GuideOptions().frozen_statistics(true));
  const auto features = torch::rand({2, 4, 5, 5}).requires_grad_();
  const auto boxes = care::Boxes::from_lists({{{0, 0, 3, 3}}, {}}, {5, 5});
  const auto target = torch::tensor({1, 0}, torch::kLong);
  care::GuidedLoss loss;
  {
    const care::Autocast on(torch::kCPU);
    const auto seen = guide.watch(features.to(torch::kBFloat16), *head);
    loss = guide.loss(torch::zeros({}), seen, target, boxes);
  }
  CHECK(loss.attention.guided == 1);
  loss.backward();
  CHECK(features.grad().abs().sum().item<double>() > 0);
}

TEST_CASE("guide: frozen statistics leave the head as it was", "[guide]") {
  torch::manual_seed(4);
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
