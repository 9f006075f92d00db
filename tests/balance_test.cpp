// Tests of care/guide/balance.hpp: a strength that follows the gradients.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/guide.hpp>

#include <memory>
#include <sstream>

namespace F = torch::nn::functional;
using care::Balance;
using care::BalanceOptions;
using care::Boxes;

namespace {

/// Two scalar losses of known gradient norms at x.
struct Losses {
  torch::Tensor x = torch::ones({3, 4}).requires_grad_();

  torch::Tensor of_norm(double norm) const {
    return x.sum() * (norm / std::sqrt(12.0));
  }
};

/// A head on features, with boxes on two of three images.
struct GuidedBatch {
  GuidedBatch() {
    torch::manual_seed(5);
    features = torch::rand({3, 6, 5, 5}).requires_grad_();
    head = torch::nn::Linear(6, 3);
  }
  care::Seen seen(const care::Guide<>& guide) const {
    return guide.watch(features, [&](const torch::Tensor& x) {
      return torch::matmul(x.mean({2, 3}), head->weight.t()) + head->bias;
    });
  }

  torch::Tensor features;
  torch::nn::Linear head{nullptr};
  torch::Tensor target = torch::tensor({0, 1, 2}, torch::kLong);
  Boxes boxes =
      Boxes::from_lists({{{4, 4, 20, 20}}, {}, {{10, 2, 30, 18}}}, {40, 40});
};

double norm_at(const torch::Tensor& loss, const torch::Tensor& x) {
  return torch::autograd::grad({loss}, {x}, {}, /*retain_graph=*/true)[0]
      .norm()
      .item<double>();
}

} // namespace

TEST_CASE("balance: the weight is the ratio of the running norms") {
  const Losses losses;
  Balance balance(BalanceOptions().ratio(0.5).decay(0.75).limit(100));
  CHECK(balance.weight().item<double>() == 0);

  balance.update(losses.of_norm(6), losses.of_norm(2), {losses.x});
  CHECK(balance.weight().item<double>() == Approx(0.5 * 6 / 2));
  // Means of 6, 2 with the shares 3/4 and 1/4, from 0: the factor cancels.
  balance.update(losses.of_norm(2), losses.of_norm(4), {losses.x});
  const double c = 0.75 * 0.25 * 6 + 0.25 * 2;
  const double a = 0.75 * 0.25 * 2 + 0.25 * 4;
  CHECK(balance.weight().item<double>() == Approx(0.5 * c / a));
}

TEST_CASE("balance: what says nothing changes nothing") {
  const Losses losses;
  Balance balance(BalanceOptions().limit(3));
  balance.update(losses.of_norm(1), losses.of_norm(0), {losses.x});
  CHECK(balance.weight().item<double>() == 0);
  balance.update(losses.of_norm(5), losses.of_norm(4), {losses.x});
  const auto weight = balance.weight().item<double>();
  CHECK(weight == Approx(1.25));
  balance.update(losses.of_norm(7), losses.of_norm(0), {losses.x});
  balance.update(
      losses.of_norm(std::numeric_limits<double>::infinity()),
      losses.of_norm(1),
      {losses.x});
  {
    torch::NoGradGuard no_grad; // validation
    balance.update(torch::ones({}), torch::ones({}), {losses.x});
  }
  CHECK(balance.weight().item<double>() == weight);
  // Hardly any gradient left: the weight stays at the limit.
  for (int i = 0; i < 50; ++i) {
    balance.update(losses.of_norm(1), losses.of_norm(1e-6), {losses.x});
  }
  CHECK(balance.weight().item<double>() == Approx(3));
}

TEST_CASE("balance: a loss that does not pull at the features") {
  const Losses losses;
  Balance balance;
  const auto nothing = [](const torch::Tensor&) { return torch::Tensor(); };
  CARE_REQUIRE_THROWS_AS(
      balance.update(losses.of_norm(1), losses.of_norm(1), {losses.x}, nothing),
      c10::ValueError,
      "care::Balance: expected what sum returns of shape [2], but got an "
      "undefined tensor");
  CARE_REQUIRE_THROWS_AS(
      balance.update(torch::ones({}), losses.of_norm(1), {losses.x}),
      c10::ValueError,
      "care::Balance: expected the classification loss with a gradient "
      "history, but it has none");
  CARE_REQUIRE_THROWS_AS(
      balance.update(losses.of_norm(1), torch::ones({}), {losses.x}),
      c10::ValueError,
      "expected the attention loss with a gradient history");
  const Losses others;
  CARE_REQUIRE_THROWS_AS(
      balance.update(others.of_norm(1), losses.of_norm(1), {losses.x}),
      c10::ValueError,
      "expected a classification loss of these features, but no path leads");
  // One of several layers is enough.
  balance.update(losses.of_norm(3), losses.of_norm(2), {others.x, losses.x});
  CHECK(balance.weight().item<double>() == Approx(1.5));

  // In a guide: the weight would stay at 0 for the whole run.
  const GuidedBatch batch;
  const care::Guide<> guide;
  const auto seen = batch.seen(guide);
  const auto classification = F::cross_entropy(seen.logits, batch.target);
  CARE_REQUIRE_THROWS_AS(
      guide.loss(
          classification.detach(), seen, batch.target, batch.boxes, balance),
      c10::ValueError,
      "expected the classification loss with a gradient history");
}

TEST_CASE("balance: gradients too small for half precision") {
  // Half's smallest number is 6e-8.
  const auto x = torch::ones({4, 8}, torch::kHalf).requires_grad_();
  const auto of = [&](double slope) {
    return (x.to(torch::kFloat) * slope).sum();
  };
  Balance balance;
  balance.update(of(2e-8), of(1e-8), {x});
  CHECK(balance.weight().item<double>() == Approx(2).epsilon(0.02));
}

TEST_CASE("balance: bad options name themselves") {
  CARE_REQUIRE_THROWS_AS(
      Balance(BalanceOptions().ratio(-1)), c10::ValueError, "ratio");
  CARE_REQUIRE_THROWS_AS(
      Balance(BalanceOptions().decay(1)), c10::ValueError, "decay");
  CARE_REQUIRE_THROWS_AS(
      Balance(BalanceOptions().limit(0)), c10::ValueError, "limit");
}

TEST_CASE("balance: a ratio of 0 turns the attention off") {
  const Losses losses;
  Balance balance(BalanceOptions().ratio(0));
  balance.update(losses.of_norm(6), losses.of_norm(2), {losses.x});
  CHECK(balance.weight().item<double>() == 0);
}

TEST_CASE("balance: alpha and weight of the options are not used") {
  const GuidedBatch batch;
  const auto total = [&](const care::GuideOptions& options) {
    const care::Guide<> guide(options);
    Balance balance;
    const auto seen = batch.seen(guide);
    return guide
        .loss(
            F::cross_entropy(seen.logits, batch.target),
            seen,
            batch.target,
            batch.boxes,
            balance)
        .total;
  };
  const auto expected = total({});
  for (const double share : {0.25, 1.0}) {
    CAPTURE(share);
    CHECK(care_test::identical(
        total(care::GuideOptions().alpha(share)), expected));
    CHECK(care_test::identical(
        total(care::GuideOptions().weight(share)), expected));
  }
}

TEST_CASE("balance: a copy is one of its own") {
  const GuidedBatch batch;
  const care::Guide<> guide;
  Balance balance;
  std::stringstream fresh;
  torch::save(balance, fresh);
  const auto seen = batch.seen(guide);
  guide.loss(
      F::cross_entropy(seen.logits, batch.target),
      seen,
      batch.target,
      batch.boxes,
      balance);
  const auto weight = balance.weight().item<double>();
  CHECK(weight > 0);
  auto copy = balance;
  torch::load(copy, fresh);
  CHECK(copy.weight().item<double>() == 0);
  CHECK(balance.weight().item<double>() == weight);
}

TEST_CASE("balance: both terms pull alike at the features") {
  const GuidedBatch batch;
  const care::Guide<> guide;
  Balance balance(BalanceOptions().ratio(0.25).limit(1e6));
  const auto seen = batch.seen(guide);
  const auto classification = F::cross_entropy(seen.logits, batch.target);
  const auto loss =
      guide.loss(classification, seen, batch.target, batch.boxes, balance);
  CHECK(loss.attention.guided == 2);
  const auto attention = loss.total - classification;
  CHECK(
      norm_at(attention, batch.features) ==
      Approx(0.25 * norm_at(classification, batch.features)).epsilon(1e-4));

  // The control and a batch without a guided image: Lc alone, nothing learnt.
  const care::Guide<> off(care::GuideOptions().schedule(
      care::ScheduleOptions().start(care::ScheduleOptions::kManual)));
  const auto weight = balance.weight().item<double>();
  const auto control =
      off.loss(classification, seen, batch.target, batch.boxes, balance);
  CHECK(control.total.item<double>() == classification.item<double>());
  const auto none = guide.loss(
      classification,
      seen,
      batch.target,
      Boxes::from_lists({{}, {}, {}}, {40, 40}),
      balance);
  CHECK(none.total.item<double>() == classification.item<double>());
  CHECK(balance.weight().item<double>() == weight);
}

TEST_CASE("balance: a warm-up is not undone") {
  const GuidedBatch batch;
  care::Guide<> slow(
      care::GuideOptions().schedule(care::ScheduleOptions().warmup(3)));
  const care::Guide<> whole;
  const auto seen = batch.seen(whole);
  const auto classification = F::cross_entropy(seen.logits, batch.target);
  Balance one, two;
  const auto quarter =
      slow.loss(classification, seen, batch.target, batch.boxes, one);
  const auto full =
      whole.loss(classification, seen, batch.target, batch.boxes, two);
  CHECK(quarter.strength == Approx(0.25));
  const auto c = classification.item<double>();
  CHECK(full.total.item<double>() - c > 1e-4);
  CHECK(
      quarter.total.item<double>() - c ==
      Approx(0.25 * (full.total.item<double>() - c)).margin(1e-6)); // float
  CHECK(one.weight().item<double>() == Approx(two.weight().item<double>()));
}

TEST_CASE("balance: saved and loaded it goes on alike") {
  const Losses losses;
  Balance balance, again, fresh, unused;
  balance.update(losses.of_norm(6), losses.of_norm(2), {losses.x});
  std::stringstream bytes, empty;
  torch::save(balance, bytes);
  torch::load(again, bytes);
  for (auto* one : {&balance, &again}) {
    one->update(losses.of_norm(1), losses.of_norm(3), {losses.x});
  }
  CHECK(again.weight().item<double>() == balance.weight().item<double>());
  torch::save(fresh, empty);
  torch::load(unused, empty);
  CHECK(unused.weight().item<double>() == 0);
}
