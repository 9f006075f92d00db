// Balance: sets the attention loss's strength by the gradients, while training.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_BALANCE_HPP
#define CARE_GUIDE_BALANCE_HPP

#include <care/detail/check.hpp>
#include <care/guide/gradients.hpp>
#include <care/guide/ranks.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/autograd.h>
#include <torch/serialize/archive.h>
#include <torch/types.h>

#include <cmath>
#include <vector>

namespace care {

/// Options of `Balance`.
struct BalanceOptions {
  /// How large La's gradient shall be beside Lc's, at least 0: with 1 both pull
  /// alike at the features. Default: 1.
  TORCH_ARG(double, ratio) = 1.0;
  /// What the running means keep of themselves with each guided batch, in
  /// [0, 1): at 0.95 they look back about 20 batches. Default: 0.95.
  TORCH_ARG(double, decay) = 0.95;
  /// The weight is at most this, above 0: where tau is reached, La has nearly
  /// no gradient left, and would get any weight. Default: 10.
  TORCH_ARG(double, limit) = 10.0;
};

/// The weight of the attention loss, so that nobody need tune it by hand.
///
///   w = ratio mean|dLc / dF| / mean|dLa / dF|,   L = Lc + s w La
///
/// with F the features the map is made from, |.| the 2-norm over the batch, and
/// running means over the guided batches. Behind the features there is only Lc;
/// before them both gradients pass through the same layers, so that the ratio
/// at the features is the one the backbone is trained with. Taking the two
/// gradients costs a pass through the head.
///
///   care::Balance balance;
///   auto loss = guide.loss(Lc, seen, target, boxes, balance);
///
/// Lc's gradient fades when the training images are learnt, and the weight with
/// it. Throws c10::ValueError for options out of range. The numbers stay on the
/// network's device; nothing waits for them. `torch::save` and `torch::load`
/// keep them. The idea is that of Chen et al. 2018 (GradNorm, who learn the
/// weights) and Esser et al. 2021 (eq. 7, at a network's last layer); the place
/// and the running means are ours.
class Balance {
 public:
  explicit Balance(const BalanceOptions& options = {}) : options_(options) {
    const char* where = "care::Balance";
    TORCH_CHECK_VALUE(
        std::isfinite(options.ratio()) && options.ratio() >= 0,
        where,
        ": expected a ratio of at least 0, but got ",
        options.ratio());
    TORCH_CHECK_VALUE(
        options.decay() >= 0 && options.decay() < 1,
        where,
        ": expected a decay in [0, 1), but got ",
        options.decay());
    TORCH_CHECK_VALUE(
        std::isfinite(options.limit()) && options.limit() > 0,
        where,
        ": expected a limit above 0, but got ",
        options.limit());
  }

  /// Takes both gradients at `features` into the means. A batch in which one of
  /// them is 0 or not finite changes nothing, nor does one under
  /// torch::NoGradGuard. Both losses are scalars with a history that leads to
  /// the features (to some of them: those that only one of the losses depends
  /// on are fine); c10::ValueError for one that has none, detached or of
  /// another forward. Of several processes (`sum`, see
  /// `GuideOptions::sum_over_ranks`) each hands over its share of the batch;
  /// `attention` is undefined where that has no guided image.
  void update(
      const torch::Tensor& classification,
      const torch::Tensor& attention,
      const std::vector<torch::Tensor>& features,
      const SumOverRanks& sum = {}) {
    if (!torch::GradMode::is_enabled()) {
      return;
    }
    auto c = square_of("classification", classification, features);
    auto a = sum && !attention.defined()
        ? torch::zeros_like(c)
        : square_of("attention", attention, features);
    if (sum) { // each process's gradients are too large by the same factor
      const auto sums = sum(torch::stack({c, a}));
      detail::check_shape("care::Balance", "what sum returns", sums, {2});
      c = sums[0];
      a = sums[1];
    }
    c = c.sqrt();
    a = a.sqrt();
    const auto usable = (c > 0) & (a > 0) & c.isfinite() & a.isfinite();
    // Both start at 0 and have seen the same batches: what they lack of the
    // true means is the same share, and cancels in their ratio.
    classification_ = running(classification_, c, usable);
    attention_ = running(attention_, a, usable);
  }

  /// w, a scalar on the network's device; 0 before the first guided batch.
  torch::Tensor weight() const {
    if (!attention_.defined()) {
      return torch::zeros({});
    }
    const auto ratio = options_.ratio() * classification_ / attention_;
    return torch::where(attention_ > 0, ratio, torch::zeros_like(ratio))
        .clamp_max(options_.limit());
  }

  const BalanceOptions& options() const {
    return options_;
  }

  /// The options are not saved, as with every LibTorch module.
  void save(torch::serialize::OutputArchive& archive) const {
    const auto zero = torch::zeros({});
    archive.write(
        "classification",
        classification_.defined() ? classification_ : zero,
        /*is_buffer=*/true);
    archive.write(
        "attention",
        attention_.defined() ? attention_ : zero,
        /*is_buffer=*/true);
  }
  void load(torch::serialize::InputArchive& archive) {
    torch::Tensor classification, attention; // a copy shares the old tensors
    archive.read("classification", classification, /*is_buffer=*/true);
    archive.read("attention", attention, /*is_buffer=*/true);
    classification_ = classification;
    attention_ = attention;
  }

  friend torch::serialize::OutputArchive& operator<<(
      torch::serialize::OutputArchive& archive,
      const Balance& balance) {
    balance.save(archive);
    return archive;
  }
  friend torch::serialize::InputArchive& operator>>(
      torch::serialize::InputArchive& archive,
      Balance& balance) {
    balance.load(archive);
    return archive;
  }

 private:
  static torch::Tensor square_of(
      const char* name,
      const torch::Tensor& loss,
      const std::vector<torch::Tensor>& features) {
    TORCH_CHECK_VALUE(
        loss.requires_grad(),
        "care::Balance: expected the ",
        name,
        " loss with a gradient history, but it has none (detached?)");
    torch::Tensor sum;
    for (const auto& gradient :
         detail::gradients_of(loss, features, features)) {
      if (gradient.defined()) {
        const auto square = gradient.square().sum();
        sum = sum.defined() ? sum + square : square;
      }
    }
    TORCH_CHECK_VALUE(
        sum.defined(),
        "care::Balance: expected a ",
        name,
        " loss of these features, but no path leads from it to them");
    return sum;
  }

  torch::Tensor running(
      const torch::Tensor& mean,
      const torch::Tensor& value,
      const torch::Tensor& usable) const {
    const auto old =
        mean.defined() ? mean.to(value.device()) : torch::zeros_like(value);
    const auto next = options_.decay() * old + (1 - options_.decay()) * value;
    return torch::where(usable, next, old);
  }

  BalanceOptions options_;
  torch::Tensor classification_; // running means, scalars
  torch::Tensor attention_;
};

} // namespace care

#endif // CARE_GUIDE_BALANCE_HPP
