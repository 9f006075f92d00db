// Tests of care/attention: every map against its formula in plain loops.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/attention.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

using care::GradientOrder;
using care_test::gradcheck;
using care_test::Tensors;

namespace {

using Map = std::function<
    torch::Tensor(const torch::Tensor& features, const torch::Tensor& grads)>;

/// One channel of one image, as plain numbers.
using Cells = std::vector<double>;
using Weigh = Cells (*)(const Cells& f, const Cells& g);

double sum(const Cells& cells) {
  double total = 0;
  for (auto value : cells) {
    total += value;
  }
  return total;
}

/// A weight for every cell of a channel: each map is sum_c weight * feature.
Cells grad_cam(const Cells&, const Cells& g) {
  return Cells(g.size(), sum(g) / static_cast<double>(g.size()));
}

Cells grad_cam_plus_plus(const Cells& f, const Cells& g) {
  const double s = std::max(sum(f), 0.0);
  double weight = 0;
  for (auto x : g) {
    if (x > 0) { // as the paper writes it
      weight += x * (x * x / (2 * x * x + s * x * x * x));
    }
  }
  return Cells(g.size(), weight);
}

Cells hires_cam(const Cells&, const Cells& g) {
  return g;
}

Cells xgrad_cam(const Cells& f, const Cells& g) {
  double weighted = 0;
  for (std::size_t i = 0; i < f.size(); ++i) {
    weighted += f[i] * g[i];
  }
  return Cells(g.size(), sum(f) == 0 ? 0 : weighted / sum(f));
}

Cells layer_cam(const Cells&, const Cells& g) {
  Cells weights = g;
  for (auto& x : weights) {
    x = std::max(x, 0.0);
  }
  return weights;
}

Cells element_wise(const Cells& f, const Cells& g) {
  Cells weights = g;
  for (std::size_t i = 0; i < f.size(); ++i) {
    weights[i] = f[i] * g[i] > 0 ? g[i] : 0;
  }
  return weights;
}

struct Case {
  const char* name;
  Map map;
  Map cut; // with its ReLU
  Weigh weigh;
};

const std::vector<Case>& cases() {
  using namespace care;
  static const std::vector<Case> all = {
      {"GradCam", GradCam(), GradCam{true}, grad_cam},
      {"GradCamPlusPlus",
       GradCamPlusPlus(),
       GradCamPlusPlus{true},
       grad_cam_plus_plus},
      {"HiResCam", HiResCam(), HiResCam{true}, hires_cam},
      {"XGradCam", XGradCam(), XGradCam{true}, xgrad_cam},
      {"LayerCam", LayerCam(), LayerCam{true}, layer_cam},
      {"ElementWiseCam", ElementWiseCam(), ElementWiseCam(), element_wise}};
  return all;
}

/// The weights of every cell, [N, C, h, w], in plain loops.
torch::Tensor loop_weights(
    Weigh weigh,
    const torch::Tensor& features,
    const torch::Tensor& gradients) {
  auto f = features.detach().contiguous().flatten(2);
  auto g = gradients.detach().contiguous().flatten(2);
  auto result = torch::empty_like(f);
  for (int64_t n = 0; n < f.size(0); ++n) {
    for (int64_t c = 0; c < f.size(1); ++c) {
      auto cells = [&](const torch::Tensor& x) {
        Cells list;
        for (int64_t i = 0; i < x.size(2); ++i) {
          list.push_back(x[n][c][i].item<double>());
        }
        return list;
      };
      auto weights = weigh(cells(f), cells(g));
      result[n][c] = torch::tensor(weights, torch::kDouble);
    }
  }
  return result.view(features.sizes());
}

/// Non-negative features with empty cells and an empty channel.
torch::Tensor some_features() {
  auto features = torch::randn({3, 4, 2, 3}, torch::kDouble).relu();
  features[1][2].zero_();
  return features;
}

torch::Tensor some_gradients() {
  auto gradients = torch::randn({3, 4, 2, 3}, torch::kDouble);
  gradients[0][1][0].zero_();
  gradients[2][3].zero_();
  return gradients;
}

/// A head that is not linear and whose gradients vary over space.
torch::Tensor scores_of(
    const torch::Tensor& features,
    const torch::Tensor& weight,
    const torch::Tensor& target) {
  return care::class_scores(
      torch::matmul(features.tanh().flatten(1), weight / 4).tanh(), target);
}

} // namespace

TEST_CASE("maps: values worked out by hand", "[attention][maps]") {
  auto features = torch::tensor({1.0, 3.0}).view({1, 1, 1, 2});
  auto gradients = torch::tensor({2.0, -1.0}).view({1, 1, 1, 2});
  auto is = [&](const Map& map, double left, double right) {
    return care_test::allclose(
        map(features, gradients), torch::tensor({left, right}).view({1, 1, 2}));
  };
  CHECK(is(care::GradCam(), 0.5, 1.5)); // w = (2 - 1) / 2
  CHECK(is(care::GradCamPlusPlus(), 0.2, 0.6)); // w = 2 / (2 + 4 * 2)
  CHECK(is(care::HiResCam(), 2, -3));
  CHECK(is(care::HiResCam{true}, 2, 0));
  CHECK(is(care::XGradCam(), -0.25, -0.75)); // w = (2 - 3) / 4
  CHECK(is(care::XGradCam{true}, 0, 0));
  CHECK(is(care::LayerCam(), 2, 0));
  CHECK(is(care::ElementWiseCam(), 2, 0));
  // Signed features: HiResCAM's second cell is positive, LayerCAM's first is
  // negative, and the sum of -4 counts as 0 in Grad-CAM++ (w = 2 / 2).
  features = -features;
  CHECK(is(care::GradCamPlusPlus(), -1, -3));
  CHECK(is(care::HiResCam(), -2, 3));
  CHECK(is(care::XGradCam(), 0.25, 0.75));
  CHECK(is(care::LayerCam(), -2, 0));
  CHECK(is(care::LayerCam{true}, 0, 0));
  CHECK(is(care::ElementWiseCam(), 0, 3));
}

TEST_CASE("maps: the formulas in plain loops", "[attention][maps]") {
  auto gradients = some_gradients();
  for (const auto& features :
       {some_features(), torch::randn({3, 4, 2, 3}, torch::kDouble)}) {
    for (const auto& each : cases()) {
      CAPTURE(each.name);
      auto expected =
          (loop_weights(each.weigh, features, gradients) * features).sum(1);
      CHECK(
          care_test::allclose(each.map(features, gradients), expected, 1e-12));
      CHECK(care_test::allclose(
          each.cut(features, gradients), expected.relu(), 1e-12));
    }
  }
}

TEST_CASE("maps: first order holds every weight constant", "[attention]") {
  auto features = some_features().requires_grad_();
  auto gradients = some_gradients();
  auto direction = torch::randn({3, 2, 3}, torch::kDouble);
  for (const auto& each : cases()) {
    CAPTURE(each.name);
    // The maps are linear in the features then, and this is their gradient.
    auto expected =
        loop_weights(each.weigh, features, gradients) * direction.unsqueeze(1);
    auto map = each.map(features, gradients);
    auto got = torch::autograd::grad({(map * direction).sum()}, {features})[0];
    CHECK(care_test::allclose(got, expected, 1e-12));
  }
}

TEST_CASE("maps: full order differentiates all of it", "[attention]") {
  auto features = (torch::rand({2, 3, 2, 3}, torch::kDouble) + 0.1);
  features.requires_grad_();
  auto weight = torch::randn({18, 4}, torch::kDouble).requires_grad_();
  auto target = torch::tensor({3, 1}, torch::kLong);
  for (const auto& each : cases()) {
    CAPTURE(each.name);
    auto map_of = [&](const Tensors& in, GradientOrder order) {
      return care::class_attention_map(
          in[0], scores_of(in[0], in[1], target), each.map, order);
    };
    CHECK(gradcheck(
        [&](const Tensors& in) { return map_of(in, GradientOrder::kFull); },
        {features, weight}));
    // First order has the same values and another gradient.
    auto first = map_of({features, weight}, GradientOrder::kFirst);
    auto full = map_of({features, weight}, GradientOrder::kFull);
    CHECK(care_test::allclose(first, full, 1e-12));
    auto slope = [&](const torch::Tensor& map) {
      return torch::autograd::grad({map.pow(2).sum()}, {features}, {}, true)[0];
    };
    auto whole = slope(full);
    const auto largest = whole.abs().max().item<double>();
    CHECK_FALSE(care_test::allclose(slope(first), whole, 1e-3 * largest, 0));
  }
}

TEST_CASE("maps: full order with a frozen linear head", "[attention]") {
  // The gradients do not depend on anything that is trained; the features
  // inside the weights do.
  torch::manual_seed(24);
  auto features =
      (torch::rand({2, 3, 2, 3}, torch::kDouble) + 0.1).requires_grad_();
  auto weight = torch::randn({18}, torch::kDouble);
  for (const auto& each : cases()) {
    CAPTURE(each.name);
    CHECK(gradcheck(
        [&](const Tensors& in) {
          return care::class_attention_map(
              in[0],
              torch::matmul(in[0].flatten(1), weight),
              each.map,
              GradientOrder::kFull);
        },
        {features}));
  }
  CHECK(care::score_gradients(
            features,
            torch::matmul(features.flatten(1), weight),
            GradientOrder::kFull)
            .requires_grad());
  CHECK_FALSE(weight.requires_grad());
}

TEST_CASE("maps: a batch is its images one at a time", "[attention][maps]") {
  auto features = some_features().requires_grad_();
  auto weight = torch::randn({24, 5}, torch::kDouble);
  auto target = torch::tensor({4, 0, 2}, torch::kLong);
  for (const auto& each : cases()) {
    CAPTURE(each.name);
    auto all = care::class_attention_map(
        features, scores_of(features, weight, target), each.map);
    for (int64_t n = 0; n < 3; ++n) {
      auto one = features.detach().slice(0, n, n + 1).clone().requires_grad_();
      auto alone = care::class_attention_map(
          one, scores_of(one, weight, target.slice(0, n, n + 1)), each.map);
      CHECK(care_test::allclose(all[n], alone[0], 1e-12));
    }
    // Another class gives another map.
    auto other = care::class_attention_map(
        features,
        scores_of(features, weight, torch::tensor({3, 0, 2}, torch::kLong)),
        each.map);
    CHECK_FALSE(care_test::allclose(other[0], all[0], 1e-3));
    CHECK(care_test::allclose(other[1], all[1], 1e-12));
  }
}

TEST_CASE("maps: what they are of a linear head", "[attention][maps]") {
  auto features =
      torch::rand({2, 3, 4, 5}, torch::kDouble).add(0.1).requires_grad_();
  SECTION("on all cells: HiResCAM and XGrad-CAM add up to the score") {
    auto weight = torch::randn({60}, torch::kDouble);
    auto scores = torch::matmul(features.flatten(1), weight);
    auto total = [&](const auto& map) {
      return care::class_attention_map(features, scores, map).sum({1, 2});
    };
    CHECK(care_test::allclose(total(care::HiResCam()), scores, 1e-12));
    CHECK(care_test::allclose(total(care::XGradCam()), scores, 1e-12));
    CHECK_FALSE(care_test::allclose(total(care::GradCam()), scores, 1e-3));
  }
  SECTION("on the pooled ones: Grad-CAM, HiResCAM, XGrad-CAM are one") {
    auto scores =
        torch::matmul(features.mean({2, 3}), torch::randn({3}, torch::kDouble));
    auto map = care::grad_cam(features, scores);
    CHECK(care_test::allclose(
        care::class_attention_map(features, scores, care::HiResCam()),
        map,
        1e-12));
    CHECK(care_test::allclose(
        care::class_attention_map(features, scores, care::XGradCam()),
        map,
        1e-12));
  }
}

TEST_CASE("maps: difficult features and gradients", "[attention][maps]") {
  const auto ordinary = torch::rand({2, 3, 4, 5});
  const auto signs = torch::randn({2, 3, 4, 5});
  auto cancelling = torch::ones({2, 3, 4, 5}); // each channel sums to 0
  cancelling.slice(2, 0, 2).fill_(-1);
  struct Pair {
    const char* name;
    torch::Tensor features, gradients;
  };
  const std::vector<Pair> pairs = {
      {"zero features", torch::zeros_like(ordinary), signs},
      {"zero gradients", ordinary, torch::zeros_like(ordinary)},
      {"all zero", torch::zeros_like(ordinary), torch::zeros_like(ordinary)},
      {"flat features", torch::ones_like(ordinary), signs},
      {"negative features", -ordinary, signs},
      {"negative gradients", ordinary, -signs.abs()},
      {"cancelling features", cancelling, signs},
      {"nearly cancelling features", cancelling + 1e-8 * ordinary, signs},
      {"tiny features", ordinary * 1e-40, signs},
      {"tiny gradients", ordinary, signs * 1e-40},
      {"huge gradients", ordinary, signs * 1e30},
      {"features whose sum is infinite", ordinary.add(1) * 3e37, signs.sign()}};
  for (const auto& pair : pairs) {
    for (const auto& each : cases()) {
      for (const bool history : {false, true}) {
        CAPTURE(pair.name, each.name, history);
        auto features = pair.features.clone().requires_grad_();
        auto gradients = pair.gradients.clone().set_requires_grad(history);
        auto map = each.map(features, gradients);
        CHECK(torch::isfinite(map).all().item<bool>());
        auto slope = torch::autograd::grad({map.sum()}, {features})[0];
        CHECK(torch::isfinite(slope).all().item<bool>());
      }
    }
  }
  for (const auto& each : cases()) {
    CAPTURE(each.name);
    auto largest = [&](const Pair& pair) {
      return each.map(pair.features, pair.gradients).abs().max().item<double>();
    };
    CHECK(largest(pairs[0]) == 0);
    CHECK(largest(pairs[1]) == 0);
    CHECK(largest(pairs[3]) > 0);
  }
  // A channel that cancels out has no weight, and does not hide another.
  auto mixed = ordinary.clone();
  mixed.select(1, 1).copy_(cancelling.select(1, 1));
  auto without = mixed.clone();
  without.select(1, 1).zero_();
  auto map = care::XGradCam()(mixed, signs);
  CHECK(care_test::allclose(map, care::XGradCam()(without, signs)));
  CHECK(map.abs().max().item<double>() > 0);
}

TEST_CASE("maps: half and bfloat16", "[attention][maps]") {
  auto exact_features = torch::rand({2, 3, 4, 5}, torch::kDouble);
  auto exact_gradients = torch::randn({2, 3, 4, 5}, torch::kDouble);
  CHECK(
      cases()[0].cut(exact_features, exact_gradients).scalar_type() ==
      torch::kDouble);
  for (const auto dtype : {torch::kHalf, torch::kBFloat16, torch::kFloat}) {
    const double tolerance = dtype == torch::kFloat ? 1e-5 : 0.03;
    auto features = exact_features.to(dtype).requires_grad_();
    auto gradients = exact_gradients.to(dtype);
    for (const auto& each : cases()) {
      CAPTURE(each.name, dtype);
      auto map = each.cut(features, gradients);
      CHECK(map.scalar_type() == torch::kFloat);
      CHECK(care_test::allclose(
          map,
          each.cut(exact_features, exact_gradients),
          tolerance,
          tolerance));
      map.to(torch::kFloat).sum().backward();
      CHECK(features.grad().scalar_type() == dtype);
      CHECK(torch::isfinite(features.grad()).all().item<bool>());
      // The largest numbers of half, whose sum it does not hold, at gradients
      // that keep the map in range; and nothing at all.
      auto large = torch::full({2, 3, 4, 5}, 6e4, dtype);
      auto weak = (torch::rand({2, 3, 4, 5}) * 0.3).to(dtype);
      CHECK(torch::isfinite(each.map(large, weak)).all().item<bool>());
      auto none = torch::zeros({2, 3, 4, 5}, dtype);
      CHECK(care_test::identical(
          each.map(none, gradients), torch::zeros({2, 4, 5})));
    }
  }
}

TEST_CASE("XGradCam: channels that cancel out but for rounding", "[maps]") {
  // Whose sum in bfloat16 is what rounding left: the quotient would be noise.
  const auto exact = torch::randn({4, 8, 14, 14});
  const auto features = (exact - exact.mean({2, 3}, true)).to(torch::kBFloat16);
  const auto map = care::XGradCam()(features, torch::ones({4, 8, 14, 14}));
  CHECK(map.abs().max().item<double>() == 0);
}

TEST_CASE("maps: an empty batch and one cell", "[attention][maps]") {
  for (const auto& each : cases()) {
    CAPTURE(each.name);
    auto none = torch::rand({0, 3, 4, 5});
    CHECK(each.map(none, none).sizes() == torch::IntArrayRef({0, 4, 5}));
    auto one = torch::ones({2, 3, 1, 1});
    CHECK(each.map(one, one).sizes() == torch::IntArrayRef({2, 1, 1}));
  }
}

TEST_CASE("maps: bad input", "[attention][maps]") {
  auto features = torch::rand({2, 3, 4, 5}).requires_grad_();
  for (const auto& each : cases()) {
    CAPTURE(each.name);
    const auto where = std::string("care::") + each.name;
    CARE_REQUIRE_THROWS_AS(
        each.map(features[0], features[0]),
        c10::ValueError,
        where + ": expected features of shape [N, C, h, w], but got [3, 4, 5]");
    CARE_REQUIRE_THROWS_AS(
        each.map(features, features.mean({2, 3})),
        c10::ValueError,
        where + ": expected gradients of shape [2, 3, 4, 5], but got [2, 3]");
    CARE_REQUIRE_THROWS_AS(
        each.map(features, torch::Tensor()),
        c10::ValueError,
        "but got an undefined tensor");
    CARE_REQUIRE_THROWS_AS(
        each.map(features, torch::ones({2, 3, 4, 5}, torch::kLong)),
        c10::TypeError,
        "expected gradients to hold floating point numbers, but got Long");
  }
  auto scores = features.sum({1, 2, 3});
  auto pooled = [](const torch::Tensor& f, const torch::Tensor& g) {
    return (f * g).sum({1, 2, 3});
  };
  CARE_REQUIRE_THROWS_AS(
      care::class_attention_map(features, scores, pooled),
      c10::ValueError,
      "care::class_attention_map: expected the map policy to return [2, h, w], "
      "but got [2]");
  CARE_REQUIRE_THROWS_AS(
      care::class_attention_map(features, scores.detach(), care::LayerCam()),
      c10::ValueError,
      "but the scores have none");
}
