// Class weights and losses: by hand, against other libraries, on hard inputs.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"
#include "support/warnings.hpp"

#include <care/amp.hpp>
#include <care/imbalance.hpp>

#include <cmath>
#include <limits>

using care_test::doubles;
using care_test::gradcheck;
using care_test::longs;
using care_test::Tensors;

namespace F = torch::nn::functional;
using Counts = std::vector<int64_t>;

namespace {

const double kLog2 = std::log(2.0);

/// Probabilities 1/2, 1/4, 1/4 in both rows.
torch::Tensor half_and_quarters() {
  return doubles({kLog2, 0, 0, kLog2, 0, 0}).view({2, 3});
}

using ClassLoss =
    std::function<torch::Tensor(const torch::Tensor&, const torch::Tensor&)>;

/// Every loss, of three classes and image by image.
std::map<std::string, ClassLoss> losses() {
  return {
      {"focal",
       [](const auto& z, const auto& y) {
         return care::focal_loss(
             z, y, care::FocalLossOptions().reduction(torch::kNone));
       }},
      {"ldam",
       [](const auto& z, const auto& y) {
         return care::ldam_loss(
             z, y, {90, 9, 1}, care::LdamLossOptions().reduction(torch::kNone));
       }},
      {"logit_adjusted",
       [](const auto& z, const auto& y) {
         return care::logit_adjusted_loss(
             z,
             y,
             {90, 9, 1},
             care::LogitAdjustmentOptions().reduction(torch::kNone));
       }},
      {"smoothed", [](const auto& z, const auto& y) {
         return care::smoothed_cross_entropy(
             z,
             y,
             {0.3, 0.1, 0.0},
             care::LabelSmoothingOptions().reduction(torch::kNone));
       }}};
}

} // namespace

TEST_CASE("class_counts: counts, also classes without images", "[imbalance]") {
  CHECK(care::class_counts({0, 2, 0, 0}, 4) == Counts{3, 0, 1, 0});
  CARE_REQUIRE_THROWS_AS(
      care::class_counts({0, 4}, 4),
      c10::IndexError,
      "expected classes in [0, 4), but targets[1] is 4");
  CARE_REQUIRE_THROWS_AS(
      care::class_counts({}, 0), c10::ValueError, "at least 1 class");
}

TEST_CASE("class weights: by hand", "[imbalance]") {
  CHECK(care_test::allclose(
      care::inverse_frequency_weights({6, 3, 1}),
      doubles({10.0 / 18, 10.0 / 9, 10.0 / 3})));
  CHECK(care_test::allclose(
      care::median_frequency_weights({6, 3, 1}), doubles({0.5, 1, 3})));
  CHECK(care_test::allclose(
      care::median_frequency_weights({8, 1, 2, 4}),
      doubles({0.375, 3, 1.5, 0.75})));
  // 1 - 1/2^n is 1/2, 3/4, 7/8; the weights 1, 2/3, 4/7 have the mean 47/63.
  CHECK(care_test::allclose(
      care::effective_number_weights({1, 2, 3}, 0.5),
      doubles({63.0 / 47, 42.0 / 47, 36.0 / 47})));
  CHECK(care_test::identical(
      care::effective_number_weights({5, 900}, 0), torch::ones({2})));
  // Next to 1 it is the inverse frequency; 1 - beta^n in doubles is not.
  CHECK(care_test::allclose(
      care::effective_number_weights({1, 2}, 1 - 1e-12),
      doubles({4.0 / 3, 2.0 / 3})));
  CHECK(care::inverse_frequency_weights({1, 2}).scalar_type() == torch::kFloat);
}

TEST_CASE("class weights: scikit-learn", "[imbalance][golden]") {
  auto expected = care_test::golden("golden_imbalance/imbalance");
  const auto counts = expected["counts"].contiguous();
  const auto* data = counts.data_ptr<int64_t>();
  CHECK(care_test::allclose(
      care::inverse_frequency_weights(Counts(data, data + counts.size(0))),
      expected["balanced"]));
}

TEST_CASE("class weights: bad input", "[imbalance]") {
  for (const auto& weights :
       {std::function<torch::Tensor(const Counts&)>(
            care::inverse_frequency_weights),
        std::function<torch::Tensor(const Counts&)>(
            care::median_frequency_weights),
        std::function<torch::Tensor(const Counts&)>([](const Counts& n) {
          return care::effective_number_weights(n);
        })}) {
    CARE_REQUIRE_THROWS_AS(
        weights({3, 0}),
        c10::ValueError,
        "expected counts of at least 1, but counts[1] is 0");
    CARE_REQUIRE_THROWS_AS(weights({}), c10::ValueError, "but got none");
  }
  for (const double beta : {-0.1, 1.0, static_cast<double>(NAN)}) {
    CARE_REQUIRE_THROWS_AS(
        care::effective_number_weights({1}, beta),
        c10::ValueError,
        "expected beta in [0, 1), but got");
  }
}

TEST_CASE("deferred_weights: ones first", "[imbalance]") {
  const auto weights = torch::tensor({0.5F, 2.5F});
  CHECK(care_test::identical(
      care::deferred_weights(weights, 0, 3), torch::ones({2})));
  CHECK(care_test::identical(
      care::deferred_weights(weights, 2, 3), torch::ones({2})));
  CHECK(care_test::identical(care::deferred_weights(weights, 3, 3), weights));
  CHECK(care_test::identical(care::deferred_weights(weights, 0, 0), weights));
  CARE_REQUIRE_THROWS_AS(
      care::deferred_weights(weights, -1, 3), c10::ValueError, "-1 and 3");
  CARE_REQUIRE_THROWS_AS(
      care::deferred_weights({}, 0, 3), c10::ValueError, "shape [K]");
}

TEST_CASE("focal_loss: by hand", "[imbalance]") {
  // p = 1/2: (1/2)^2 log 2. p = 1/4: (3/4)^2 log 4.
  const double half = 0.25 * kLog2, quarter = 0.5625 * 2 * kLog2;
  auto at = [](const care::FocalLossOptions& options) {
    return care::focal_loss(half_and_quarters(), longs({0, 2}), options);
  };
  using Options = care::FocalLossOptions;
  CHECK(care_test::allclose(
      at(Options().reduction(torch::kNone)), doubles({half, quarter}), 1e-12));
  CHECK(at(Options()).item<double>() == Approx((half + quarter) / 2));
  CHECK(
      at(Options().reduction(torch::kSum)).item<double>() ==
      Approx(half + quarter));
  CHECK(
      at(Options().gamma(1)).item<double>() ==
      Approx((0.5 * kLog2 + 0.75 * 2 * kLog2) / 2));
  // The weights 1 and 3: over 4.
  CHECK(
      at(Options().weight(torch::tensor({1.0, 9.0, 3.0}))).item<double>() ==
      Approx((half + 3 * quarter) / 4));
}

TEST_CASE("focal_loss: kornia", "[imbalance][golden]") {
  auto expected = care_test::golden("golden_imbalance/imbalance");
  for (const double gamma : {0.5, 2.0, 5.0}) {
    CAPTURE(gamma);
    const auto name = std::string("focal_") +
        (gamma == 0.5       ? "0.5"
             : gamma == 2.0 ? "2.0"
                            : "5.0");
    auto logits = expected["logits"].clone().requires_grad_();
    auto loss = care::focal_loss(
        logits,
        expected["target"],
        care::FocalLossOptions().gamma(gamma).reduction(torch::kNone));
    CHECK(care_test::allclose(loss, expected[name], 1e-9));
    loss.sum().backward();
    CHECK(
        care_test::allclose(logits.grad(), expected[name + "_gradient"], 1e-7));
  }
}

TEST_CASE("focal_loss: cross-entropy at gamma 0", "[imbalance]") {
  const auto logits = torch::randn({6, 3});
  const auto target = longs({0, 1, 2, 2, 1, 1});
  const auto weight = torch::tensor({0.2F, 1.F, 4.F});
  CHECK(care_test::allclose(
      care::focal_loss(
          logits, target, care::FocalLossOptions().gamma(0).weight(weight)),
      F::cross_entropy(
          logits, target, F::CrossEntropyFuncOptions().weight(weight))));
}

TEST_CASE("imbalance losses: classes masked by -inf", "[imbalance]") {
  const auto inf = std::numeric_limits<float>::infinity();
  const auto target = longs({0, 1});
  const auto by_hand = torch::nn::functional::cross_entropy;
  auto logits =
      torch::tensor({{1.F, 2.F, -inf}, {-inf, 0.5F, -inf}}).requires_grad_();
  // The only class that is left is certain.
  auto focal = care::focal_loss(
      logits, target, care::FocalLossOptions().reduction(torch::kNone));
  CHECK(focal[1].item<double>() == 0);
  focal.sum().backward();
  CHECK(torch::isfinite(logits.grad()).all().item<bool>());
  CHECK(logits.grad()[1].abs().sum().item<double>() == 0);

  logits.mutable_grad() = torch::Tensor();
  auto smoothed = care::smoothed_cross_entropy(logits, target, {0, 0, 0.1});
  CHECK(
      smoothed.item<double>() ==
      Approx(by_hand(logits, target, {}).item<double>()));
  smoothed.backward();
  CHECK(torch::isfinite(logits.grad()).all().item<bool>());
}

TEST_CASE("focal_loss: a network that is sure", "[imbalance]") {
  for (const double gamma : {0.25, 0.5, 1.0, 2.0}) {
    CAPTURE(gamma);
    auto logits = torch::tensor({{1e4F, 0.F}, {0.F, 1e4F}, {50.F, 50.F}});
    logits.requires_grad_();
    auto loss = care::focal_loss(
        logits,
        longs({0, 0, 1}),
        care::FocalLossOptions().gamma(gamma).reduction(torch::kNone));
    CHECK(care_test::allclose(
        loss, doubles({0, 1e4, std::pow(0.5, gamma) * kLog2})));
    loss.sum().backward();
    CHECK(care_test::allclose(logits.grad()[0], doubles({0, 0})));
    CHECK(care_test::allclose(logits.grad()[1], doubles({-1, 1})));
    CHECK(torch::isfinite(logits.grad()).all().item<bool>());
  }
}

TEST_CASE("ldam_loss: by hand", "[imbalance]") {
  // Margins of 16 and 1 images: 1/2 (1/16)^(1/4) = 1/4, and 1/2.
  const auto logits = doubles({0.6, 0.2, 0.6, 0.2}).view({2, 2});
  auto options = care::LdamLossOptions().scale(2).reduction(torch::kNone);
  CHECK(care_test::allclose(
      care::ldam_loss(logits, longs({0, 1}), {16, 1}, options),
      doubles(
          {std::log1p(std::exp(0.4 - 0.7)), std::log1p(std::exp(1.2 + 0.6))}),
      1e-12));
  // The margins depend on the counts' ratio alone.
  CHECK(care_test::allclose(
      care::ldam_loss(logits, longs({0, 1}), {1600, 100}, options),
      care::ldam_loss(logits, longs({0, 1}), {16, 1}, options)));
  // Deferred re-weighting: the mean is over the weights.
  const double a = std::log1p(std::exp(-0.3)), b = std::log1p(std::exp(1.8));
  options.weight(torch::tensor({1.F, 3.F})).reduction(torch::kMean);
  CHECK(
      care::ldam_loss(logits, longs({0, 1}), {16, 1}, options).item<double>() ==
      Approx((a + 3 * b) / 4));
}

TEST_CASE("NormalisedLinear: cosines by hand", "[imbalance]") {
  care::NormalisedLinear head(2, 3);
  {
    torch::NoGradGuard no_grad;
    head->weight.copy_(torch::tensor({{3.F, 4.F}, {0.F, 2.F}, {-1.F, 0.F}}));
  }
  const auto x = torch::tensor({{1.F, 0.F}, {0.F, 10.F}, {0.F, 0.F}});
  CHECK(care_test::allclose(
      head(x),
      torch::tensor({{0.6, 0.0, -1.0}, {0.8, 1.0, 0.0}, {0., 0., 0.}})));
  auto live = x.clone().requires_grad_();
  head(live).sum().backward();
  CHECK(torch::isfinite(live.grad()).all().item<bool>());
  CHECK(head->weight.grad().abs().max().item<double>() > 0);
  // 300 squared is beyond half precision.
  const auto large = (x * 300).to(torch::kHalf);
  if (torch::cuda::is_available() || TORCH_VERSION_MAJOR >= 2) {
    CHECK(care_test::allclose(head(large)[0], head(x)[0], 1e-3));
  }
  CHECK(care_test::allclose(
      head((x * 300).to(torch::kBFloat16))[0], head(x)[0], 1e-2));
  REQUIRE(head->parameters().size() == 1);
  CHECK(
      c10::str(head).find(
          "care::NormalisedLinear(in_features=2, out_features=3)") !=
      std::string::npos);

  // Fresh ones have rows of length 1 that differ, and a clone has its own.
  care::NormalisedLinear fresh(8, 4);
  CHECK(
      care_test::allclose(fresh->weight.norm(2, {1}), torch::ones({4}), 1e-5));
  CHECK_FALSE(torch::equal(fresh->weight[0], fresh->weight[1]));
  auto clone =
      std::dynamic_pointer_cast<care::NormalisedLinearImpl>(fresh->clone());
  REQUIRE(clone);
  CHECK(torch::equal(clone->weight, fresh->weight));
  CHECK(clone->weight.data_ptr() != fresh->weight.data_ptr());

  CARE_REQUIRE_THROWS_AS(
      head(torch::zeros({1, 3})),
      c10::ValueError,
      "expected features of shape [N, 2], but got [1, 3]");
  CARE_REQUIRE_THROWS_AS(
      care::NormalisedLinear(0, 3), c10::ValueError, "but got 0 and 3");
}

TEST_CASE("NormalisedLinear: features of 0 in second order", "[imbalance]") {
  // A dead image, and a class without a weight: both have length 0.
  torch::manual_seed(9);
  care::NormalisedLinear head(4, 3);
  {
    torch::NoGradGuard no_grad;
    head->weight[2].zero_();
  }
  auto x = torch::rand({3, 4});
  x[1].zero_();
  x.requires_grad_();
  const auto scores = head(x);
  CHECK(scores[1].abs().max().item<double>() == 0);
  const auto first = torch::autograd::grad(
      {scores.select(1, 0).sum() + scores.select(1, 2).sum()},
      {x},
      {},
      /*retain_graph=*/true,
      /*create_graph=*/true)[0];
  CHECK(torch::isfinite(first).all().item<bool>());
  const auto second = torch::autograd::grad(
      {first.square().sum()}, {x, head->weight}, {}, true, false, true);
  for (const auto& gradient : second) {
    CHECK(torch::isfinite(gradient).all().item<bool>());
  }
  CHECK(second[0][0].abs().max().item<double>() > 0);
}

TEST_CASE("NormalisedLinear: gradcheck", "[imbalance]") {
  care::NormalisedLinear head(4, 3);
  head->to(torch::kDouble);
  CHECK(gradcheck(
      [&](const Tensors& in) {
        head->weight = in[1];
        return head(in[0]);
      },
      {torch::randn({2, 4}, torch::kDouble).requires_grad_(),
       torch::randn({3, 4}, torch::kDouble).requires_grad_()}));
}

TEST_CASE("logit_adjusted_loss: by hand", "[imbalance]") {
  // e^z is 2 and 6; times 3 and 1 images both are 6, so p = 1/2.
  const auto logits =
      doubles({kLog2, std::log(6.0), kLog2, std::log(6.0)}).view({2, 2});
  auto options = care::LogitAdjustmentOptions().reduction(torch::kNone);
  CHECK(care_test::allclose(
      care::logit_adjusted_loss(logits, longs({0, 1}), {3, 1}, options),
      doubles({kLog2, kLog2}),
      1e-12));
  // Squared counts: 18 and 6.
  CHECK(care_test::allclose(
      care::logit_adjusted_loss(logits, longs({0, 1}), {3, 1}, options.tau(2)),
      doubles({std::log(4.0 / 3), std::log(4.0)}),
      1e-12));
  CHECK(care_test::allclose(
      care::logit_adjusted_loss(logits, longs({0, 1}), {3, 1}, options.tau(0)),
      F::cross_entropy(
          logits,
          longs({0, 1}),
          F::CrossEntropyFuncOptions().reduction(torch::kNone))));
}

TEST_CASE("adjust_logits: by hand", "[imbalance]") {
  const auto logits = doubles({kLog2, 0}).view({1, 2});
  // 2 / (3/4) against 1 / (1/4): the rare class wins.
  auto adjusted = care::adjust_logits(logits, {3, 1});
  CHECK(care_test::allclose(
      adjusted, doubles({std::log(8.0 / 3), std::log(4.0)}).view({1, 2})));
  CHECK(logits.argmax(1).item<int64_t>() == 0);
  CHECK(adjusted.argmax(1).item<int64_t>() == 1);
  CHECK(care_test::allclose(care::adjust_logits(logits, {3, 1}, 0), logits));
  CHECK(
      care::adjust_logits(logits.to(torch::kHalf), {3, 1}).scalar_type() ==
      torch::kFloat);
  CARE_REQUIRE_THROWS_AS(
      care::adjust_logits(logits, {3, 1}, -1),
      c10::ValueError,
      "care::adjust_logits: expected tau of at least 0, but got -1");
  CARE_REQUIRE_THROWS_AS(
      care::adjust_logits(logits, {3, 1, 1}),
      c10::ValueError,
      "expected 2 counts for logits of shape [1, 2], but got 3");
}

TEST_CASE("smoothed_cross_entropy: by hand", "[imbalance]") {
  const auto logits =
      torch::cat({half_and_quarters(), half_and_quarters()}).slice(0, 0, 3);
  auto options = care::LabelSmoothingOptions().reduction(torch::kNone);
  // -log p is L, 2L, 2L. e = 0.3: 0.7 L + 0.1 (5 L). e = 0: 2 L. e = 1: 5/3 L.
  CHECK(care_test::allclose(
      care::smoothed_cross_entropy(
          logits, longs({0, 1, 2}), {0.3, 0, 1}, options),
      doubles({1.2 * kLog2, 2 * kLog2, 5 * kLog2 / 3}),
      1e-12));
  torch::manual_seed(4);
  const auto random = torch::randn({6, 3});
  const auto target = longs({0, 1, 2, 2, 1, 1});
  CHECK(care_test::allclose(
      care::smoothed_cross_entropy(random, target, {0.2, 0.2, 0.2}),
      F::cross_entropy(
          random, target, F::CrossEntropyFuncOptions().label_smoothing(0.2))));
}

TEST_CASE("smoothing_by_count: by hand", "[imbalance]") {
  auto smoothing = care::smoothing_by_count({101, 1, 51}, 0.2, 0.04);
  REQUIRE(smoothing.size() == 3);
  CHECK(smoothing[0] == Approx(0.2));
  CHECK(smoothing[1] == Approx(0.04));
  CHECK(smoothing[2] == Approx(0.04 + 0.16 * std::sqrt(0.5)));
  CHECK(care::smoothing_by_count({7, 7}, 0.2) == std::vector<double>{0.2, 0.2});
  CARE_REQUIRE_THROWS_AS(
      care::smoothing_by_count({1, 2}, 1.5), c10::ValueError, "is 1.5");
}

TEST_CASE("imbalance losses: gradcheck", "[imbalance]") {
  const auto logits = torch::randn({5, 3}, torch::kDouble) * 0.5;
  const auto target = longs({0, 1, 2, 1, 0});
  for (const auto& entry : losses()) {
    const auto& loss = entry.second;
    CAPTURE(entry.first);
    CHECK(gradcheck(
        [&](const Tensors& in) { return loss(in[0], target); },
        {logits.clone().requires_grad_()}));
  }
}

TEST_CASE("imbalance losses: half precision and autocast", "[imbalance]") {
  const auto logits = torch::randn({5, 3}).to(torch::kBFloat16);
  const auto target = longs({0, 1, 2, 1, 0});
  for (const auto& [name, loss] : losses()) {
    CAPTURE(name);
    // The numbers that half precision can hold give what float gives.
    const auto exact = loss(logits.to(torch::kFloat), target);
    for (const auto dtype : {torch::kHalf, torch::kBFloat16}) {
      auto live = logits.detach().clone().to(dtype).requires_grad_();
      auto value = loss(live, target);
      CHECK(value.scalar_type() == torch::kFloat);
      CHECK(care_test::allclose(value, exact, 1e-3, 1e-3));
      value.sum().backward();
      CHECK(live.grad().scalar_type() == dtype);
      CHECK(torch::isfinite(live.grad()).all().item<bool>());
    }
    auto wild = torch::tensor(
        {{6e4F, -6e4F, 0.F}, {-6e4F, 6e4F, 6e4F}, {6e4F, 6e4F, 6e4F}});
    auto live = wild.to(torch::kHalf).requires_grad_();
    auto value = loss(live, longs({0, 0, 1}));
    CHECK(torch::isfinite(value).all().item<bool>());
    value.sum().backward();
    CHECK(torch::isfinite(live.grad()).all().item<bool>());
    {
      const care::Autocast autocast(torch::kCPU);
      auto cast = loss(logits, target);
      CHECK(cast.scalar_type() == torch::kFloat);
      CHECK(care_test::allclose(cast, exact, 1e-3, 1e-3));
    }
  }
  care::NormalisedLinear head(16, 3);
  const auto features = torch::randn({4, 16});
  const auto expected = head(features);
  const care::Autocast autocast(torch::kCPU);
  auto loss = care::ldam_loss(head(features), longs({0, 1, 2, 1}), {90, 9, 1});
  CHECK(loss.scalar_type() == torch::kFloat);
  CHECK(
      loss.item<double>() ==
      Approx(care::ldam_loss(expected, longs({0, 1, 2, 1}), {90, 9, 1})
                 .item<double>())
          .epsilon(0.05));
}

TEST_CASE("imbalance losses: probabilities are warned of", "[imbalance]") {
  const auto logits = torch::randn({3, 3}).requires_grad_();
  const auto target = longs({0, 1, 2});
  for (const auto& entry : losses()) { // no binding: lambdas capture it
    const auto& loss = entry.second;
    CAPTURE(entry.first);
    const auto warned = [&](const torch::Tensor& given) {
      const care_test::Warnings warnings;
      loss(given, target);
      return warnings.count("the logits come from a s");
    };
    CHECK(warned(logits) == 0);
    CHECK(warned(logits.log_softmax(1)) == 0); // its softmax is the same
    CHECK(warned(logits.softmax(1)) == 1);
    CHECK(warned(logits.to(torch::kDouble).sigmoid().to(torch::kFloat)) == 1);
  }
}

TEST_CASE(
    "ldam_loss: logits that are no cosines are warned of",
    "[imbalance]") {
  const auto warned = [](const torch::Tensor& logits) {
    const care_test::Warnings warnings;
    care::ldam_loss(logits, longs({0, 1, 2}), {9, 4, 1});
    return warnings.count("care::ldam_loss: expected cosines as logits");
  };
  auto cosines = torch::rand({3, 3}) * 2 - 1;
  CHECK(warned(cosines) == 0);
  CHECK(warned(cosines * 3) == 1);
  cosines[0][2] = -std::numeric_limits<double>::infinity(); // a class masked
  CHECK(warned(cosines) == 0);
}

TEST_CASE("imbalance losses: an empty batch gives 0", "[imbalance]") {
  const auto none = torch::empty({0}, torch::kLong);
  auto logits = torch::zeros({0, 3}).requires_grad_();
  const std::vector<torch::Tensor> values{
      care::focal_loss(logits, none),
      care::ldam_loss(logits, none, {1, 2, 3}),
      care::logit_adjusted_loss(logits, none, {1, 2, 3}),
      care::smoothed_cross_entropy(logits, none, {0.1, 0.1, 0.1})};
  for (const auto& value : values) {
    CHECK(value.item<double>() == 0);
    value.backward();
  }
  for (const auto& entry : losses()) {
    CHECK(entry.second(logits, none).sizes() == torch::IntArrayRef{0});
  }
}

TEST_CASE("imbalance losses: bad input", "[imbalance]") {
  const auto logits = torch::zeros({2, 3});
  for (const auto& entry : losses()) { // no binding: lambdas capture it
    const auto& name = entry.first;
    const auto& loss = entry.second;
    CAPTURE(name);
    CARE_REQUIRE_THROWS_AS(
        loss(logits[0], longs({0})),
        c10::ValueError,
        "expected logits of shape [N, K] with K of at least 2, but got [3]");
    CARE_REQUIRE_THROWS_AS(
        loss(torch::zeros({2, 1}), longs({0, 0})),
        c10::ValueError,
        "K of at least 2, but got [2, 1]");
    CARE_REQUIRE_THROWS_AS(
        loss(logits, longs({0, 3})),
        c10::IndexError,
        "expected classes in [0, 3), but target[1] is 3");
    CARE_REQUIRE_THROWS_AS(
        loss(logits, longs({0})), c10::ValueError, "target of shape [2]");
    CARE_REQUIRE_THROWS_AS(
        loss(logits, torch::zeros({2})),
        c10::TypeError,
        "expected target to hold integers, but got Float");
    CARE_REQUIRE_THROWS_AS(
        loss(logits.to(torch::kLong), longs({0, 1})),
        c10::TypeError,
        "expected logits to hold floating point");
  }
  CARE_REQUIRE_THROWS_AS(
      care::focal_loss(
          logits,
          longs({0, 1}),
          care::FocalLossOptions().weight(torch::ones({2}))),
      c10::ValueError,
      "care::focal_loss: expected weight of shape [3], but got [2]");
  for (const double bad :
       {static_cast<double>(INFINITY), static_cast<double>(NAN), -1.0}) {
    CAPTURE(bad);
    CARE_REQUIRE_THROWS_AS(
        care::focal_loss(
            logits,
            longs({0, 1}),
            care::FocalLossOptions().weight(torch::tensor({1.0, 1.0, bad}))),
        c10::ValueError,
        "care::focal_loss: expected weights that are finite and at least 0");
  }
  CARE_REQUIRE_THROWS_AS(
      care::FocalLoss(care::FocalLossOptions().gamma(-1)),
      c10::ValueError,
      "care::FocalLoss: expected gamma of at least 0, but got -1");
  CARE_REQUIRE_THROWS_AS(
      care::ldam_loss(logits, longs({0, 1}), {1, 2}),
      c10::ValueError,
      "care::ldam_loss: expected 3 counts for logits of shape [2, 3], but");
  CARE_REQUIRE_THROWS_AS(
      care::LdamLoss(Counts{1, 2}, care::LdamLossOptions().scale(0)),
      c10::ValueError,
      "expected max_margin and scale above 0, but got 0.5 and 0");
  CARE_REQUIRE_THROWS_AS(
      care::LogitAdjustedLoss(Counts{1, 0}), c10::ValueError, "counts[1] is 0");
  CARE_REQUIRE_THROWS_AS(
      care::SmoothedCrossEntropy(std::vector<double>{0.1, -0.1}),
      c10::ValueError,
      "expected smoothing in [0, 1], but smoothing[1] is -0.1");
}

TEST_CASE("imbalance losses: the functions as modules", "[imbalance]") {
  const auto z = torch::randn({4, 3});
  const auto y = longs({0, 1, 2, 2});
  care::FocalLoss focal(care::FocalLossOptions().gamma(1.5));
  care::LdamLoss ldam(Counts{90, 9, 1}, care::LdamLossOptions().scale(10));
  care::LogitAdjustedLoss adjusted(
      Counts{90, 9, 1}, care::LogitAdjustmentOptions().tau(0.5));
  care::SmoothedCrossEntropy smoothed(std::vector<double>{0.3, 0.1, 0});
  CHECK(care_test::identical(
      focal(z, y),
      care::focal_loss(z, y, care::FocalLossOptions().gamma(1.5))));
  CHECK(care_test::identical(
      ldam(z, y),
      care::ldam_loss(z, y, {90, 9, 1}, care::LdamLossOptions().scale(10))));
  CHECK(care_test::identical(
      adjusted(z, y),
      care::logit_adjusted_loss(
          z, y, {90, 9, 1}, care::LogitAdjustmentOptions().tau(0.5))));
  CHECK(care_test::identical(
      smoothed(z, y), care::smoothed_cross_entropy(z, y, {0.3, 0.1, 0})));
  CHECK(c10::str(focal) == "care::FocalLoss(gamma=1.5)");
  CHECK(
      c10::str(ldam) == "care::LdamLoss(classes=3, max_margin=0.5, scale=10)");
  CHECK(c10::str(adjusted) == "care::LogitAdjustedLoss(classes=3, tau=0.5)");
  CHECK(c10::str(smoothed) == "care::SmoothedCrossEntropy(classes=3)");
  CHECK(ldam->parameters().empty());
  auto clone = std::dynamic_pointer_cast<care::LdamLossImpl>(ldam->clone());
  REQUIRE(clone);
  CHECK(care_test::identical(clone->forward(z, y), ldam(z, y)));
  // Deferred re-weighting sets the weights as the epochs go by.
  const auto weight = torch::tensor({1.F, 2.F, 5.F});
  ldam->options.weight(care::deferred_weights(weight, 0, 1));
  CHECK(care_test::allclose(ldam(z, y), clone->forward(z, y)));
  ldam->options.weight(care::deferred_weights(weight, 1, 1));
  CHECK_FALSE(care_test::allclose(ldam(z, y), clone->forward(z, y)));
}
