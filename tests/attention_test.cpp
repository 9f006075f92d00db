// Tests of care/attention: scores, and Grad-CAM with its orders and errors.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/attention.hpp>
#include <care/normalise.hpp>

namespace F = torch::nn::functional;
using care::AttentionOptions;
using care::GradientOrder;
using care_test::gradcheck;
using care_test::longs;
using care_test::Tensors;

namespace {

const auto kFull = AttentionOptions().order(GradientOrder::kFull);

/// A head that is not linear, so that the two orders differ.
torch::Tensor curved_head(
    const torch::Tensor& features,
    const torch::Tensor& weight) {
  return torch::matmul(features.tanh().mean({2, 3}), weight);
}

} // namespace

TEST_CASE("class_scores: the logit of each image's class", "[attention]") {
  auto logits = torch::arange(6, torch::kFloat).view({2, 3});
  CHECK(care_test::identical(
      care::class_scores(logits, longs({2, 0})), torch::tensor({2.F, 3.F})));
  CHECK(care_test::identical(
      care::class_scores(logits, longs({2, 0}).to(torch::kInt)),
      torch::tensor({2.F, 3.F})));
  CHECK(care::class_scores(torch::zeros({0, 3}), longs({})).size(0) == 0);

  CARE_REQUIRE_THROWS_AS(
      care::class_scores(logits, longs({1, 3})),
      c10::IndexError,
      "care::class_scores: expected classes in [0, 3), but target[1] is 3");
  CARE_REQUIRE_THROWS_AS(
      care::class_scores(logits, longs({-1, 0})),
      c10::IndexError,
      "but target[0] is -1");
  CARE_REQUIRE_THROWS_AS(
      care::class_scores(logits, longs({1})),
      c10::ValueError,
      "expected target of shape [2], but got [1]");
  CARE_REQUIRE_THROWS_AS(
      care::class_scores(logits, torch::ones({2})),
      c10::TypeError,
      "expected target to hold integers, but got Float");
  CARE_REQUIRE_THROWS_AS(
      care::class_scores(logits.unsqueeze(0), longs({1})),
      c10::ValueError,
      "expected logits of shape [N, K], or [N, 1] or [N] of a binary head, but "
      "got [1, 2, 3]");
  CARE_REQUIRE_THROWS_AS(
      care::class_scores(torch::Tensor(), longs({1})),
      c10::ValueError,
      "but got an undefined tensor");
}

TEST_CASE("class_scores: one logit of a binary head", "[attention]") {
  auto logits = torch::tensor({2.F, -3.F, 5.F}).requires_grad_();
  auto target = longs({1, 0, 0});
  auto expected = torch::tensor({2.F, 3.F, -5.F});
  for (const auto& shape : {logits, logits.unsqueeze(1)}) {
    auto scores = care::class_scores(shape, target);
    CHECK(care_test::identical(scores, expected));
    CHECK(care_test::identical(
        torch::autograd::grad({scores.sum()}, {logits}, {}, true)[0],
        torch::tensor({1.F, -1.F, -1.F})));
  }
  // One of two columns, which does not lie in one piece.
  auto column = torch::stack({logits, logits}, 1).slice(1, 0, 1);
  CHECK(care_test::identical(care::class_scores(column, target), expected));
  for (auto shape : {torch::zeros({0}), torch::zeros({0, 1})}) {
    CHECK(care::class_scores(shape, longs({})).size(0) == 0);
  }
  CARE_REQUIRE_THROWS_AS(
      care::class_scores(logits, longs({1, 0, 2})),
      c10::IndexError,
      "care::class_scores: expected classes in [0, 2), but target[2] is 2");
  CARE_REQUIRE_THROWS_AS(
      care::class_scores(logits.unsqueeze(1), longs({1, -1, 0})),
      c10::IndexError,
      "but target[1] is -1");
  CARE_REQUIRE_THROWS_AS(
      care::class_scores(logits, longs({1})),
      c10::ValueError,
      "expected target of shape [3] or [3, 1], but got [1]");
}

TEST_CASE("class_scores: the margin over the others", "[attention]") {
  const auto logits =
      torch::tensor(
          {1.0, 4.0, 2.0, 3.0, 0.0, 5.0, 2.0, 2.0, 2.0}, torch::kDouble)
          .view({3, 3})
          .requires_grad_();
  const auto target = torch::tensor({0, 2, 1}, torch::kLong);
  const auto margins = care::class_scores(logits, target, care::Score::kMargin);
  CHECK(care_test::identical(
      margins,
      torch::tensor({1.0 - 4.0, 5.0 - 3.0, 2.0 - 2.0}, torch::kDouble)));
  // To the class and to the strongest other one; equal ones share.
  const auto gradient =
      torch::autograd::grad({margins.sum()}, {logits}, {}, true)[0];
  CHECK(care_test::identical(
      gradient,
      torch::tensor(
          {1.0, -1.0, 0.0, -1.0, 0.0, 1.0, -0.5, 1.0, -0.5}, torch::kDouble)
          .view({3, 3})));

  // Of two classes it is their difference; of one logit the logit itself.
  const auto two = logits.slice(1, 0, 2);
  CHECK(care_test::identical(
      care::class_scores(
          two, torch::tensor({0, 1, 0}, torch::kLong), care::Score::kMargin),
      torch::tensor({1.0 - 4.0, 0.0 - 3.0, 2.0 - 2.0}, torch::kDouble)));
  const auto one = torch::tensor({1.5, -2.0});
  const auto binary = torch::tensor({1, 0}, torch::kLong);
  CHECK(care_test::identical(
      care::class_scores(one, binary, care::Score::kMargin),
      care::class_scores(one, binary)));

  // Half precision, and others that are ruled out.
  const double infinity = std::numeric_limits<double>::infinity();
  const auto masked =
      torch::tensor({0.5, -infinity, -infinity, 0.25}).view({2, 2});
  CHECK(care_test::identical(
      care::class_scores(
          masked.to(torch::kHalf),
          torch::tensor({1, 1}, torch::kLong),
          care::Score::kMargin),
      torch::tensor({-infinity, infinity}).to(torch::kHalf)));
  CARE_REQUIRE_THROWS_AS(
      care::class_scores(
          logits, torch::tensor({0, 3, 1}, torch::kLong), care::Score::kMargin),
      c10::IndexError,
      "[0, 3)");
}

TEST_CASE("grad_cam: of a margin, with a linear head", "[attention]") {
  // The map is linear in the score: that of the class less that of the other.
  torch::manual_seed(6);
  const auto features =
      torch::randn({3, 5, 4, 4}, torch::kDouble).requires_grad_();
  const auto weight = torch::randn({4, 5}, torch::kDouble);
  const auto logits = torch::matmul(features.mean({2, 3}), weight.t());
  const auto target = torch::tensor({3, 0, 2}, torch::kLong);
  const auto other =
      logits.detach()
          .masked_fill(torch::one_hot(target, 4).to(torch::kBool), -1e9)
          .argmax(1);
  const auto map = care::grad_cam(
      features, care::class_scores(logits, target, care::Score::kMargin));
  CHECK(care_test::allclose(
      map,
      care::grad_cam_linear(features, weight, target) -
          care::grad_cam_linear(features, weight, other),
      1e-12,
      1e-10));
  CHECK_FALSE(care_test::allclose(
      map, care::grad_cam(features, care::class_scores(logits, target))));
}

TEST_CASE("grad_cam: a binary head's maps of 1 and of 0", "[attention]") {
  auto features = torch::rand({2, 3, 4, 5}).requires_grad_();
  auto logits = torch::matmul(features.mean({2, 3}), torch::randn({3, 1}));
  auto one =
      care::grad_cam(features, care::class_scores(logits, longs({1, 1})));
  auto mixed = care::grad_cam(
      features, care::class_scores(logits.squeeze(1), longs({1, 0})));
  CHECK(care_test::allclose(mixed[0], one[0]));
  CHECK(care_test::allclose(mixed[1], -one[1]));
}

TEST_CASE("class_scores: the target of a binary cross-entropy", "[attention]") {
  const auto logits = torch::tensor({2.F, -1.F, 0.5F});
  const auto expected = torch::tensor({2.F, 1.F, 0.5F});
  const auto target = torch::tensor({1, 0, 1}, torch::kLong);
  for (const auto& head : {logits, logits.unsqueeze(1)}) {
    for (const auto dtype :
         {torch::kLong,
          torch::kFloat,
          torch::kDouble,
          torch::kHalf,
          torch::kBool}) {
      for (const auto& shaped : {target, target.unsqueeze(1)}) {
        CAPTURE(head.dim(), dtype, shaped.dim());
        CHECK(care_test::identical(
            care::class_scores(head, shaped.to(dtype)), expected));
      }
    }
    CARE_REQUIRE_THROWS_AS(
        care::class_scores(head, torch::tensor({1.0, 0.0, 0.3})),
        c10::ValueError,
        "care::class_scores: expected a binary target of 0 and 1, but "
        "target[2] is 0.3");
    CARE_REQUIRE_THROWS_AS(
        care::class_scores(head, torch::tensor({1.0, NAN + 0.0, 0.0})),
        c10::ValueError,
        "target[1] is nan");
    CARE_REQUIRE_THROWS_AS(
        care::class_scores(head, torch::ones({3, 2})),
        c10::ValueError,
        "expected target of shape [3] or [3, 1], but got [3, 2]");
  }
}

TEST_CASE("class_scores: pairs of image and class", "[attention]") {
  auto logits = torch::arange(6, torch::kFloat).view({2, 3}).requires_grad_();
  CHECK(care_test::identical(
      care::class_scores(logits, longs({1, 0, 1}), longs({2, 1, 0})),
      torch::tensor({5.F, 1.F, 3.F})));
  auto twice =
      care::class_scores(logits, longs({1, 1}).to(torch::kInt), longs({0, 0}));
  CHECK(care_test::identical(twice, torch::tensor({3.F, 3.F})));
  CHECK(care_test::identical(
      torch::autograd::grad({twice.sum()}, {logits})[0],
      torch::tensor({{0.F, 0.F, 0.F}, {2.F, 0.F, 0.F}})));
  CHECK(care::class_scores(logits, longs({}), longs({})).size(0) == 0);

  CARE_REQUIRE_THROWS_AS(
      care::class_scores(logits, longs({0, 2}), longs({0, 0})),
      c10::IndexError,
      "care::class_scores: expected images in [0, 2), but images[1] is 2");
  CARE_REQUIRE_THROWS_AS(
      care::class_scores(logits, longs({0, 1}), longs({-1, 0})),
      c10::IndexError,
      "expected classes in [0, 3), but classes[0] is -1");
  CARE_REQUIRE_THROWS_AS(
      care::class_scores(logits, longs({0, 1}), longs({0})),
      c10::ValueError,
      "expected classes of shape [2], but got [1]");
  CARE_REQUIRE_THROWS_AS(
      care::class_scores(logits, longs({0, 1}).view({1, 2}), longs({0, 1})),
      c10::ValueError,
      "expected images of shape [M], but got [1, 2]");
  CARE_REQUIRE_THROWS_AS(
      care::class_scores(logits, longs({0}), torch::ones({1})),
      c10::TypeError,
      "expected classes to hold integers, but got Float");
  CARE_REQUIRE_THROWS_AS(
      care::class_scores(logits[0], longs({0}), longs({0})),
      c10::ValueError,
      "expected logits of shape [N, K] beside images and classes, but got [3]");
}

TEST_CASE("grad_cam: a pair of each image, for its class", "[attention]") {
  auto features = torch::rand({3, 2, 4, 4}).requires_grad_();
  auto logits = curved_head(features, torch::randn({2, 4}));
  auto all =
      care::grad_cam(features, care::class_scores(logits, longs({1, 3, 2})));
  auto images = longs({2, 0});
  auto scores = care::class_scores(logits, images, longs({2, 1}));
  auto gradients = care::score_gradients(features, scores);
  CHECK(care_test::allclose(
      care::GradCam()(
          features.index_select(0, images), gradients.index_select(0, images)),
      all.index_select(0, images)));
}

TEST_CASE("grad_cam: a linear head after pooling gives CAM", "[attention]") {
  auto features = torch::randn({3, 4, 5, 2}, torch::kDouble).requires_grad_();
  auto weight = torch::randn({6, 4}, torch::kDouble).requires_grad_();
  auto bias = torch::randn({6}, torch::kDouble).requires_grad_();
  auto target = longs({5, 0, 3});
  auto logits = F::linear(features.mean({2, 3}), weight, bias);
  auto scores = care::class_scores(logits, target);
  auto closed = torch::einsum(
      "nchw,nc->nhw", {features, weight.index_select(0, target) / 10.0});

  for (const auto order : {GradientOrder::kFirst, GradientOrder::kFull}) {
    auto options = AttentionOptions().order(order);
    auto map = care::grad_cam(features, scores, options);
    CARE_REQUIRE_THROWS_AS(
        care::grad_cam_linear(features, weight.to(torch::kMeta), target),
        c10::ValueError,
        "expected features and weight on one device, but got cpu and meta");
    auto linear = care::grad_cam_linear(features, weight, target, options);
    CHECK(care_test::allclose(map, closed, 1e-12));
    CHECK(care_test::allclose(linear, closed, 1e-12));
    for (const auto& each : {map, linear}) {
      auto grads = torch::autograd::grad(
          {each.pow(2).sum()}, {features, weight, bias}, {}, true, false, true);
      CHECK(grads[0].abs().max().item<double>() > 0);
      const bool moves_the_head =
          grads[1].defined() && grads[1].abs().max().item<double>() > 0;
      CHECK(moves_the_head == (order == GradientOrder::kFull));
      // Not even full order moves the bias.
      CHECK((!grads[2].defined() || grads[2].abs().max().item<double>() == 0));
    }
    CHECK(care_test::allclose(
        care::grad_cam(features, scores, AttentionOptions(options).relu(true)),
        closed.relu(),
        1e-12));
    CHECK(care_test::allclose(
        care::grad_cam_linear(
            features, weight, target, AttentionOptions(options).relu(true)),
        closed.relu(),
        1e-12));
  }
}

TEST_CASE("grad_cam: the golden maps", "[attention][golden]") {
  const std::string name = GENERATE(
      "uniform_7x7", "distance_7x7", "clamped_7x7", "distance_offset_14x14");
  CAPTURE(name);
  auto golden = care_test::golden("golden/" + name);
  auto features = golden["features"].clone().requires_grad_();
  auto logits = F::linear(
      features.mean({2, 3}), golden["head_weight"], golden["head_bias"]);
  auto map =
      care::grad_cam(features, care::class_scores(logits, golden["target"]));
  auto up = F::interpolate(
                care::normalise(map).maps.unsqueeze(1),
                F::InterpolateFuncOptions()
                    .size(std::vector<int64_t>{224, 224})
                    .mode(torch::kBilinear)
                    .align_corners(false))
                .squeeze(1);
  CHECK(care_test::allclose(
      torch::stack({up.amin({1, 2}), up.amax({1, 2}), up.mean({1, 2})}, 1),
      golden["cam_min_max_mean224"],
      1e-5,
      0));
  CHECK(care_test::allclose(
      up.slice(1, 8, 224, 16).slice(2, 8, 224, 16),
      golden["cam224_every16"],
      1e-5,
      0));
}

TEST_CASE("grad_cam: gradcheck", "[attention]") {
  auto features = torch::randn({2, 3, 2, 3}, torch::kDouble).requires_grad_();
  auto weight = torch::randn({3, 4}, torch::kDouble).requires_grad_();
  auto target = longs({1, 3});
  auto map_of = [&](const Tensors& in, const AttentionOptions& options) {
    return care::grad_cam(
        in[0], care::class_scores(curved_head(in[0], in[1]), target), options);
  };
  SECTION("full order: the whole chain") {
    CHECK(gradcheck(
        [&](const Tensors& in) { return map_of(in, kFull); },
        {features, weight}));
    CHECK(gradcheck(
        [&](const Tensors& in) {
          return map_of(in, AttentionOptions(kFull).relu(true));
        },
        {features, weight}));
  }
  SECTION("first order: the channel weights are frozen") {
    auto map = map_of({features, weight}, {});
    auto frozen =
        care::score_gradients(
            features, care::class_scores(curved_head(features, weight), target))
            .mean({2, 3});
    CHECK_FALSE(frozen.requires_grad());
    auto with_frozen = [&](const Tensors& in) {
      return torch::einsum("nchw,nc->nhw", {in[0], frozen});
    };
    REQUIRE(gradcheck(with_frozen, {features}));
    auto direction = torch::randn_like(map);
    auto got = torch::autograd::grad({(map * direction).sum()}, {features});
    auto expected = torch::autograd::grad(
        {(with_frozen({features}) * direction).sum()}, {features});
    CHECK(care_test::allclose(got[0], expected[0], 1e-12));
    // And differs from the full one, or this test would say nothing.
    auto full = torch::autograd::grad(
        {(map_of({features, weight}, kFull) * direction).sum()}, {features});
    CHECK_FALSE(care_test::allclose(got[0], full[0], 1e-3));
  }
  SECTION("closed form") {
    auto rows = torch::randn({4, 3}, torch::kDouble).requires_grad_();
    CHECK(gradcheck(
        [&](const Tensors& in) {
          return care::grad_cam_linear(in[0], in[1], target, kFull);
        },
        {features, rows}));
  }
}

TEST_CASE(
    "score_gradients: each image's own, nothing left behind",
    "[attention]") {
  auto features = torch::randn({3, 2, 4, 4}).requires_grad_();
  auto weight = torch::randn({2, 5}).requires_grad_();
  auto scores =
      care::class_scores(curved_head(features, weight), longs({0, 4, 2}));
  auto all = care::score_gradients(features, scores);
  for (int64_t n = 0; n < 3; ++n) {
    auto alone = torch::autograd::grad({scores[n]}, {features}, {}, true)[0];
    CHECK(care_test::allclose(all[n], alone[n]));
  }
  auto some =
      care::score_gradients(features, scores.index_select(0, longs({2, 0})));
  CHECK(care_test::allclose(some[0], all[0]));
  CHECK(some[1].abs().max().item<double>() == 0);

  CHECK_FALSE(features.grad().defined());
  CHECK_FALSE(weight.grad().defined());
  CHECK_FALSE(all.requires_grad());
  CHECK(care::score_gradients(features, scores, GradientOrder::kFull)
            .requires_grad());
  scores.sum().backward(); // the graph is still there
  CHECK(weight.grad().defined());
}

TEST_CASE("grad_cam: the graph of a network", "[attention]") {
  torch::nn::Conv2d stem(torch::nn::Conv2dOptions(3, 4, 3).padding(1));
  torch::nn::Conv2d last(4, 5, 3);
  torch::nn::Linear head(5, 3);
  auto features = last(stem(torch::randn({2, 3, 8, 6})).relu()).relu();
  auto logits = head(features.mean({2, 3}));
  auto map =
      care::grad_cam(features, care::class_scores(logits, longs({2, 1})));
  CHECK(map.sizes() == torch::IntArrayRef({2, 6, 4}));
  map.pow(2).sum().backward();
  // First order reaches the layers before the features, not the head.
  CHECK(stem->weight.grad().abs().max().item<double>() > 0);
  CHECK(last->weight.grad().abs().max().item<double>() > 0);
  CHECK_FALSE(head->weight.grad().defined());
  CHECK_FALSE(head->bias.grad().defined());
}

TEST_CASE("grad_cam: sizes and dtypes at the edge", "[attention]") {
  auto run = [](torch::IntArrayRef sizes, torch::Dtype dtype) {
    auto features = torch::rand(sizes).to(dtype).requires_grad_();
    auto logits =
        torch::stack({features.mean({1, 2, 3}), features.sum({1, 2, 3})}, 1);
    auto target = torch::ones({sizes[0]}, torch::kLong);
    return care::grad_cam(features, care::class_scores(logits, target));
  };
  CHECK(
      run({0, 3, 4, 5}, torch::kFloat).sizes() ==
      torch::IntArrayRef({0, 4, 5}));
  CHECK(
      run({2, 1, 1, 1}, torch::kFloat).sizes() ==
      torch::IntArrayRef({2, 1, 1}));
  CHECK(run({2, 3, 1, 7}, torch::kDouble).scalar_type() == torch::kDouble);
  auto small = run({2, 3, 4, 5}, torch::kBFloat16);
  CHECK(small.scalar_type() == torch::kFloat);
  CHECK(small.requires_grad());
  // The gradient of a sum is 1, so the map is the sum over the channels.
  auto features = torch::rand({2, 3, 4, 5}).requires_grad_();
  CHECK(care_test::allclose(
      care::grad_cam(features, features.sum({1, 2, 3})), features.sum(1)));
  CHECK(
      care::grad_cam_linear(
          torch::rand({0, 3, 4, 5}), torch::rand({6, 3}), longs({}))
          .sizes() == torch::IntArrayRef({0, 4, 5}));
}

TEST_CASE(
    "grad_cam: works under NoGradGuard on a recorded graph",
    "[attention]") {
  auto features = torch::rand({2, 3, 4, 5}).requires_grad_();
  auto scores = features.sum({1, 2, 3});
  torch::NoGradGuard guard;
  auto map = care::grad_cam(features, scores);
  CHECK_FALSE(map.requires_grad());
  CHECK(care_test::allclose(map, features.sum(1)));
  auto linear =
      care::grad_cam_linear(features, torch::ones({2, 3}), longs({0, 1}));
  CHECK(care_test::allclose(linear, features.sum(1) / 20));
}

TEST_CASE("grad_cam: bad input", "[attention]") {
  auto features = torch::rand({2, 3, 4, 5}).requires_grad_();
  auto scores = features.sum({1, 2, 3});
  CARE_REQUIRE_THROWS_AS(
      care::grad_cam(features.detach(), scores),
      c10::ValueError,
      "care::score_gradients: expected features and scores with a gradient "
      "history, but the features have none (detached, or computed under "
      "torch::NoGradGuard)");
  CARE_REQUIRE_THROWS_AS(
      care::grad_cam(features, scores.detach()),
      c10::ValueError,
      "but the scores have none");
  {
    torch::NoGradGuard guard;
    CARE_REQUIRE_THROWS_AS(
        care::grad_cam(features, features.sum({1, 2, 3})),
        c10::ValueError,
        "but the scores have none");
  }
  CARE_REQUIRE_THROWS_AS(
      care::grad_cam(features * 2, scores),
      c10::ValueError,
      "no path leads from the scores back to this tensor");
  CARE_REQUIRE_THROWS_AS(
      care::grad_cam(features[0], scores),
      c10::ValueError,
      "expected features of shape [N, C, h, w], but got [3, 4, 5]");
  CARE_REQUIRE_THROWS_AS(
      care::grad_cam(torch::rand({2, 3, 0, 5}), scores),
      c10::ValueError,
      "expected features of shape [N, C, h, w], but got [2, 3, 0, 5]");
  CARE_REQUIRE_THROWS_AS(
      care::grad_cam(torch::Tensor(), scores),
      c10::ValueError,
      "but got an undefined tensor");
  CARE_REQUIRE_THROWS_AS(
      care::grad_cam(torch::ones({2, 3, 4, 5}, torch::kLong), scores),
      c10::TypeError,
      "expected features to hold floating point numbers, but got Long");
  CARE_REQUIRE_THROWS_AS(
      care::grad_cam(features, scores.unsqueeze(1)),
      c10::ValueError,
      "expected scores of shape [N] with N = 2, but got [2, 1]");
  CARE_REQUIRE_THROWS_AS(
      care::grad_cam(features, features.sum({2, 3}).view(-1)),
      c10::ValueError,
      "expected scores of shape [N] with N = 2, but got [6]");
  CARE_REQUIRE_THROWS_AS(
      care::grad_cam_linear(features, torch::rand({4, 5}), longs({0, 1})),
      c10::ValueError,
      "care::grad_cam_linear: expected a weight of shape [K, 3], but got [4, "
      "5]");
  CARE_REQUIRE_THROWS_AS(
      care::grad_cam_linear(features, torch::rand({4, 3}), longs({0, 4})),
      c10::IndexError,
      "expected classes in [0, 4), but target[1] is 4");
}

TEST_CASE("Attention: the function as a module", "[attention]") {
  auto features = torch::rand({2, 3, 4, 5}).requires_grad_();
  auto scores = features.sum({1, 2, 3});
  care::Attention module(AttentionOptions(kFull).relu(true));
  CHECK(care_test::identical(
      module(features, scores),
      care::grad_cam(features, scores, AttentionOptions(kFull).relu(true))));
  CHECK(module->parameters().empty());
  CHECK(module->buffers().empty());
  CHECK(c10::str(module) == "care::Attention(order=full, relu=true)");
  CHECK(c10::str(care::Attention()) == "care::Attention(order=first)");
  auto clone = std::dynamic_pointer_cast<care::AttentionImpl>(module->clone());
  REQUIRE(clone);
  CHECK(clone->options.relu());
}
