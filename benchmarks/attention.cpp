// What the attention part costs: map, loss, and the gradient to the features.
// SPDX-License-Identifier: Apache-2.0
//
//   attention [--rounds 15] [--authors-rounds 2] [--threads 1]
//
// Every image is guided by one box. "given": the channel weights are there.
// "whole": the score's gradient through a pooled linear head included. Against
//   authors  one image at a time, at the input's size (authors_way.hpp)
//   batched  the same for the whole batch at once
//   clone    a copy of the features, which reads and writes as many bytes once:
//            the floor
// The program ends with an error if the three do not find the same loss and the
// same gradient.
#include "authors_way.hpp"
#include "bench.hpp"

#include <care/attention.hpp>
#include <care/boxes.hpp>
#include <care/loss.hpp>
#include <care/rasterize.hpp>

#include <fmt/format.h>
#include <torch/autograd.h>
#include <torch/nn/functional/linear.h>

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

namespace {

namespace F = torch::nn::functional;
constexpr double kTau = 0.5;
constexpr int64_t kInput = 224;

/// The authors' way and what is compared with it, on one set of features.
class Parts {
 public:
  Parts(int64_t n, int64_t c, int64_t side)
      : features_(torch::randn({n, c, side, side}).requires_grad_()),
        head_(torch::randn({7, c}) / 8),
        target_(torch::arange(n, torch::kLong) % 7),
        boxes_(some_boxes(n)),
        masks_(boxes_) {
    // The network's own part, which every training step has.
    logits_ = F::linear(features_.mean({2, 3}), head_.requires_grad_());
    given_ = head_.detach().index_select(0, target_) /
        static_cast<double>(side * side);
  }

  enum class Weights { kGiven, kWhole };
  using Result = std::array<torch::Tensor, 2>; // loss, gradient

  Result ours(Weights weights) const {
    const care::Size map_size{features_.size(2), features_.size(3)};
    const auto map = weights == Weights::kGiven
        ? care::detail::weighted_channels(features_, given_)
        : care::grad_cam(features_, care::class_scores(logits_, target_));
    return with_gradient(care::attention_loss(
        map,
        care::rasterize(boxes_, map_size),
        care::AttentionLossOptions().tau(kTau).reduction(torch::kSum)));
  }
  Result authors(Weights weights) const {
    return with_gradient(
        bench::authors_loss(features_, channel_weights(weights), masks_, kTau));
  }
  Result batched(Weights weights) const {
    return with_gradient(
        bench::batched_loss(features_, channel_weights(weights), masks_, kTau));
  }
  torch::Tensor clone() const {
    torch::NoGradGuard no_grad;
    return features_.clone();
  }

 private:
  static care::Boxes some_boxes(int64_t n) {
    auto corner = torch::randint(0, kInput / 2, {n, 2}).to(torch::kFloat);
    auto extent = torch::randint(20, kInput / 2, {n, 2}).to(torch::kFloat);
    return {
        torch::cat({corner, corner + extent}, 1),
        torch::arange(n, torch::kLong),
        n,
        {kInput, kInput}};
  }

  torch::Tensor channel_weights(Weights weights) const {
    if (weights == Weights::kGiven) {
      return given_;
    }
    const auto score = logits_.gather(1, target_.unsqueeze(1)).sum();
    return torch::autograd::grad({score}, {features_}, {}, true)[0].mean(
        {2, 3});
  }

  Result with_gradient(const torch::Tensor& loss) const {
    return {
        loss.detach(), torch::autograd::grad({loss}, {features_}, {}, true)[0]};
  }

  torch::Tensor features_, head_, target_;
  care::Boxes boxes_;
  bench::PixelMasks masks_;
  torch::Tensor logits_, given_;
};

void check_same(const Parts::Result& a, const Parts::Result& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    const auto scale = a[i].abs().max().item<double>();
    const auto error = (a[i] - b[i]).abs().max().item<double>() / scale;
    TORCH_CHECK(error < 1e-4, "the ways differ by ", error, " of ", scale);
  }
}

} // namespace

int main(int argc, char** argv) {
  const auto rounds = bench::option(argc, argv, "--rounds", 15);
  const auto authors_rounds = bench::option(argc, argv, "--authors-rounds", 2);
  const auto threads = bench::set_threads(argc, argv, 1);
  torch::manual_seed(0);
  bench::Report report(
      "attention",
      fmt::format(
          "input {}x{}, {} threads, {} rounds ({} of the authors' way)",
          kInput,
          kInput,
          threads,
          rounds,
          authors_rounds));
  struct Shape {
    int64_t n, c, side;
  };
  for (const auto& x : {Shape{96, 2048, 7}, Shape{32, 512, 14}}) {
    const Parts parts(x.n, x.c, x.side);
    for (const auto weights :
         {Parts::Weights::kGiven, Parts::Weights::kWhole}) {
      check_same(parts.ours(weights), parts.batched(weights));
      check_same(parts.ours(weights), parts.authors(weights));
      const std::function<void()> ours = [&] { parts.ours(weights); };
      const auto contest = bench::in_turns(
          rounds,
          {ours, [&] { parts.batched(weights); }, [&] { parts.clone(); }});
      const auto slow = bench::in_turns(
          authors_rounds, {ours, [&] { parts.authors(weights); }});
      report.add(
          {{"features",
            fmt::format("[{}, {}, {}, {}]", x.n, x.c, x.side, x.side)},
           {"weights", weights == Parts::Weights::kGiven ? "given" : "whole"},
           {"ours_ms", 1e3 * contest.median(0)},
           {"clone_ms", 1e3 * contest.median(2)},
           {"ours/clone", contest.ratio(0, 2)},
           {"batched/ours", contest.ratio(1, 0)},
           {"authors_ms", 1e3 * slow.median(1)},
           {"authors/ours", slow.ratio(1, 0)}});
    }
  }
  report.print();
}
