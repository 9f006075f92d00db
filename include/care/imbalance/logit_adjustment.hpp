// Logit adjustment, in training (balanced softmax) and post hoc.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_IMBALANCE_LOGIT_ADJUSTMENT_HPP
#define CARE_IMBALANCE_LOGIT_ADJUSTMENT_HPP

#include <care/detail/at_least_float.hpp>
#include <care/imbalance/detail/classes.hpp>

#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <ostream>
#include <utility>
#include <vector>

namespace care {

/// Options of `logit_adjusted_loss` and `LogitAdjustedLoss`.
struct LogitAdjustmentOptions {
  using reduction_t = detail::reduction_t;

  /// How much of the class frequencies is taken out, at least 0; 1 is the
  /// balanced softmax, 0 is cross-entropy. Default: 1.
  TORCH_ARG(double, tau) = 1.0;
  /// [K], a weight for each class. Default: none.
  TORCH_ARG(torch::Tensor, weight) = {};
  /// torch::kMean (over the weights), torch::kSum or torch::kNone.
  TORCH_ARG(reduction_t, reduction) = torch::kMean;
};

namespace detail {

inline void check_tau(const char* where, double tau) {
  TORCH_CHECK_VALUE(
      std::isfinite(tau) && tau >= 0,
      where,
      ": expected tau of at least 0, but got ",
      tau);
}

/// tau log(n_k / N), [K], beside the logits.
inline torch::Tensor log_prior(
    double tau,
    const std::vector<int64_t>& counts,
    const torch::Tensor& logits) {
  auto n = as_doubles(counts);
  return beside(tau * (n / n.sum()).log(), logits);
}

} // namespace detail

/// Logits with the class frequencies of training taken out, for a network that
/// was trained with plain cross-entropy: z_k - tau log(n_k / N).
///
/// Shapes: logits [N, K], any floating dtype; counts [K] of at least 1 -> [N,
/// K], float32 (float64 for double logits). Gradient: reaches the logits.
/// Throws c10::ValueError for wrong shapes or counts, or a negative tau. Never
/// after training with `logit_adjusted_loss`: that would take them out twice.
/// Source: Menon et al. 2021, section 4.
///
///   auto predicted = care::adjust_logits(logits, {900, 90, 10}).argmax(1);
inline torch::Tensor adjust_logits(
    const torch::Tensor& logits,
    const std::vector<int64_t>& counts,
    double tau = 1.0) {
  const char* where = "care::adjust_logits";
  detail::check_tau(where, tau);
  TORCH_CHECK_VALUE(
      logits.defined() && logits.dim() == 2,
      where,
      ": expected logits of shape [N, K], but got ",
      detail::sizes_of(logits));
  detail::check_floating(where, "logits", logits);
  detail::check_per_class(where, "counts", counts, logits);
  detail::check_counts(where, counts);
  auto wide = detail::at_least_float(logits);
  return wide - detail::log_prior(tau, counts, wide);
}

/// Cross-entropy of logits to which the class frequencies were added, so that
/// the network itself need not learn them; at tau 1 the balanced softmax.
///
///   L = -w_y log softmax(z + tau log(n / N))_y
///     = -w_y log(n_y^tau e^z_y / sum_k n_k^tau e^z_k)
///
/// Shapes: logits [N, K] raw, any floating dtype; target [N] integers; counts
/// [K], the images of each class in training, at least 1 -> a scalar, or [N]
/// with torch::kNone; float32 (float64 for double logits). Of an empty batch
/// the mean is 0. Gradient: reaches the logits. Throws c10::ValueError for
/// wrong shapes, counts or options, c10::IndexError for a class outside [0, K)
/// (host targets). At test time use the plain logits. Source: Menon et al. 2021
/// eq. 10; Ren et al. 2020 eq. 4 for tau 1.
inline torch::Tensor logit_adjusted_loss(
    const torch::Tensor& logits,
    const torch::Tensor& target,
    const std::vector<int64_t>& counts,
    const LogitAdjustmentOptions& options = {}) {
  const char* where = "care::logit_adjusted_loss";
  detail::check_tau(where, options.tau());
  detail::check_logits(where, logits, target);
  detail::check_per_class(where, "counts", counts, logits);
  detail::check_counts(where, counts);
  detail::check_weight(where, options.weight(), logits.size(1));
  auto wide = detail::at_least_float(logits);
  auto index = detail::as_index(target, wide);
  auto raised = wide + detail::log_prior(options.tau(), counts, wide);
  return detail::reduce_by_class(
      detail::nll(raised, index), index, options.weight(), options.reduction());
}

/// `logit_adjusted_loss` as a module without parameters; it keeps the counts.
///
///   const std::vector<int64_t> counts{900, 90, 10};
///   care::LogitAdjustedLoss balanced_softmax(counts);
///   auto loss = balanced_softmax(logits, target);
class LogitAdjustedLossImpl
    : public torch::nn::Cloneable<LogitAdjustedLossImpl> {
 public:
  explicit LogitAdjustedLossImpl(
      std::vector<int64_t> counts_,
      const LogitAdjustmentOptions& options_ = {})
      : counts(std::move(counts_)),
        options(options_) {
    reset();
  }

  void reset() override {
    detail::check_counts("care::LogitAdjustedLoss", counts);
    detail::check_tau("care::LogitAdjustedLoss", options.tau());
  }

  void pretty_print(std::ostream& stream) const override {
    stream << "care::LogitAdjustedLoss(classes=" << counts.size()
           << ", tau=" << options.tau() << ")";
  }

  torch::Tensor forward(
      const torch::Tensor& logits,
      const torch::Tensor& target) const {
    return logit_adjusted_loss(logits, target, counts, options);
  }

  std::vector<int64_t> counts;
  LogitAdjustmentOptions options;
};

/// See `LogitAdjustedLossImpl` and `logit_adjusted_loss`.
TORCH_MODULE(LogitAdjustedLoss);

} // namespace care

#endif // CARE_IMBALANCE_LOGIT_ADJUSTMENT_HPP
