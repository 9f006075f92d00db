// Tests of care/guide/ranks.hpp: shares of a batch on several processes (here
// threads) give what the whole batch gives on one.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/guide.hpp>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <vector>

namespace F = torch::nn::functional;

namespace {

/// Adds tensors up over threads, each of which waits for all others.
class Team {
 public:
  explicit Team(int64_t size) : size_(size) {}

  torch::Tensor sum(const torch::Tensor& share) {
    std::unique_lock<std::mutex> lock(mutex_);
    sum_ = arrived_ == 0 ? share.clone() : sum_ + share;
    if (++arrived_ == size_) {
      arrived_ = 0;
      result_ = sum_;
      ++round_;
      all_here_.notify_all();
    } else {
      const auto round = round_;
      const auto has_come = all_here_.wait_for(
          lock, std::chrono::minutes(1), [&] { return round_ != round; });
      TORCH_CHECK(has_come, "a rank did not come");
    }
    return result_.clone();
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_here_;
  int64_t size_, arrived_ = 0, round_ = 0;
  torch::Tensor sum_, result_;
};

/// Six images, three of them guided; a filter and a head that learn.
struct Batch {
  Batch() {
    torch::manual_seed(11);
    images = torch::rand({6, 3, 32, 32}, torch::kDouble);
    filter = (0.3 * torch::randn({5, 3, 8, 8}, torch::kDouble));
    weight = torch::randn({3, 5}, torch::kDouble);
  }

  torch::Tensor images, filter, weight;
  torch::Tensor target = torch::tensor({0, 1, 2, 1, 0, 2}, torch::kLong);
  care::Boxes boxes = care::Boxes::from_lists(
      {{}, {{4, 4, 20, 20}}, {{0, 8, 16, 32}}, {{8, 8, 32, 24}}, {}, {}},
      {32, 32});
};

/// Gradients of filter and head for some images of the batch.
std::vector<torch::Tensor> gradients(
    const Batch& batch,
    const std::vector<int64_t>& rows,
    const care::SumOverRanks& sum,
    care::Balance* balance) {
  const auto index = torch::tensor(rows, torch::kLong);
  auto filter = batch.filter.clone().requires_grad_();
  auto weight = batch.weight.clone().requires_grad_();
  const care::Guide guide(care::GuideOptions().alpha(0.4).sum_over_ranks(sum));
  const auto target = batch.target.index_select(0, index);
  const auto boxes = batch.boxes.select(index);
  const auto seen = guide.watch(
      torch::conv2d(batch.images.index_select(0, index), filter, {}, 8).relu(),
      [&](const torch::Tensor& x) {
        return torch::matmul(x.mean({2, 3}), weight.t());
      });
  const auto lc = F::cross_entropy(seen.logits, target);
  const auto loss = balance != nullptr
      ? guide.loss(lc, seen, target, boxes, *balance)
      : guide.loss(lc, seen, target, boxes);
  loss.backward();
  return {filter.grad(), weight.grad()};
}

/// The means over the processes of their gradients.
std::vector<torch::Tensor> of_team(
    const Batch& batch,
    const std::vector<std::vector<int64_t>>& shares,
    bool balanced,
    double& weight) {
  Team team(static_cast<int64_t>(shares.size()));
  std::vector<std::vector<torch::Tensor>> all(shares.size());
  std::vector<double> weights(shares.size());
  care_test::in_threads(shares.size(), [&](size_t i) {
    care::Balance balance;
    all[i] = gradients(
        batch,
        shares[i],
        [&](const torch::Tensor& x) { return team.sum(x); },
        balanced ? &balance : nullptr);
    weights[i] = balance.weight().item<double>();
  });
  weight = weights[0];
  for (size_t i = 1; i < shares.size(); ++i) {
    CHECK(weights[i] == weight);
    for (size_t p = 0; p < all[0].size(); ++p) {
      all[0][p] = all[0][p] + all[i][p];
    }
  }
  for (auto& gradient : all[0]) {
    gradient = gradient / static_cast<double>(shares.size());
  }
  return all[0];
}

} // namespace

TEST_CASE("ranks: shares of a batch give the whole batch's gradients") {
  const Batch batch;
  for (const bool balanced : {false, true}) {
    care::Balance balance;
    const auto whole =
        gradients(batch, {0, 1, 2, 3, 4, 5}, {}, balanced ? &balance : nullptr);
    for (const auto& shares : std::vector<std::vector<std::vector<int64_t>>>{
             {{0, 1, 2}, {3, 4, 5}}, // guided: 2 and 1
             {{1, 2, 3}, {0, 4, 5}}, // 3 and none
             {{0, 1}, {2, 3}, {4, 5}}}) { // 1, 2 and none
      CAPTURE(balanced, shares.size());
      double weight = 0;
      const auto parts = of_team(batch, shares, balanced, weight);
      const double rtol = balanced ? 1e-4 : 1e-6; // its norms are in float
      for (size_t p = 0; p < whole.size(); ++p) {
        CHECK(care_test::allclose(parts[p], whole[p], 1e-10, rtol));
      }
      if (balanced) {
        CHECK(weight == Approx(balance.weight().item<double>()));
      }
    }
  }
}

TEST_CASE("ranks: no guided image anywhere hangs nobody") {
  const Batch batch;
  double weight = 0;
  const auto whole = gradients(batch, {0, 4}, {}, nullptr);
  const auto parts = of_team(batch, {{0}, {4}}, false, weight);
  CHECK(care_test::allclose(parts[0], whole[0], 1e-10, 1e-6));
  of_team(batch, {{0}, {4}}, true, weight);
  CHECK(weight == 0);
}

TEST_CASE("ranks: a sum of another shape is refused") {
  const Batch batch;
  const auto wrong = [](const torch::Tensor& x) { return x.sum(); };
  CARE_REQUIRE_THROWS_AS(
      gradients(batch, {0, 1}, wrong, nullptr),
      c10::ValueError,
      "expected sum_over_ranks to return a tensor of the shape it got, [2]");
}
