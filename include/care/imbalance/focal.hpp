// Focal loss: cross-entropy that looks away from what is right already.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_IMBALANCE_FOCAL_HPP
#define CARE_IMBALANCE_FOCAL_HPP

#include <care/detail/at_least_float.hpp>
#include <care/imbalance/detail/classes.hpp>

#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cmath>
#include <limits>
#include <ostream>

namespace care {

/// Options of `focal_loss` and `FocalLoss`.
struct FocalLossOptions {
  using reduction_t = detail::reduction_t;

  /// How strongly images that are right already are left alone, at least 0;
  /// 0 is cross-entropy. Default: 2.
  TORCH_ARG(double, gamma) = 2.0;
  /// [K], a weight for each class. Default: none.
  TORCH_ARG(torch::Tensor, weight) = {};
  /// torch::kMean (over the weights), torch::kSum or torch::kNone.
  TORCH_ARG(reduction_t, reduction) = torch::kMean;
};

namespace detail {

inline void check_options(const char* where, const FocalLossOptions& options) {
  TORCH_CHECK_VALUE(
      std::isfinite(options.gamma()) && options.gamma() >= 0,
      where,
      ": expected gamma of at least 0, but got ",
      options.gamma());
}

} // namespace detail

/// The focal loss over a softmax.
///
///   L = -w_y (1 - p_y)^gamma log p_y
///
/// Shapes: logits [N, K] raw, any floating dtype, K of at least 2; target [N]
/// integers -> a scalar, or [N] with torch::kNone; float32 (float64 for double
/// logits). Equals F::cross_entropy at gamma 0, also in how weights enter the
/// mean; of an empty batch the mean is 0. Gradient: reaches the logits; 1 - p_y
/// is taken in logarithms, so that it is right, and finite for every gamma,
/// however sure the network is. Throws c10::ValueError for wrong shapes or
/// options, c10::IndexError for a class outside [0, K) (host targets).
/// Source: Lin et al. 2017 (theirs is over a sigmoid). With
/// `effective_number_weights` it weighs the classes as Cui et al. 2019 do
/// (their focal loss is over a sigmoid too, and divided by the images):
///
///   auto weight = care::effective_number_weights({900, 90, 10}, 0.999);
///   care::FocalLoss criterion(care::FocalLossOptions().weight(weight));
inline torch::Tensor focal_loss(
    const torch::Tensor& logits,
    const torch::Tensor& target,
    const FocalLossOptions& options = {}) {
  const char* where = "care::focal_loss";
  detail::check_options(where, options);
  detail::check_logits(where, logits, target);
  detail::check_weight(where, options.weight(), logits.size(1));
  auto wide = detail::at_least_float(logits);
  auto index = detail::as_index(target, wide);
  auto loss = detail::nll(wide, index);
  if (options.gamma() > 0) {
    // Finite, for logsumexp's gradient where all others are masked by -inf.
    auto others = wide.scatter(1, index, std::numeric_limits<float>::lowest());
    auto log_rest = others.logsumexp({1}) - wide.logsumexp({1}); // log(1 - p)
    loss = (options.gamma() * log_rest).exp() * loss;
  }
  return detail::reduce_by_class(
      loss, index, options.weight(), options.reduction());
}

/// `focal_loss` as a module without parameters.
///
///   care::FocalLoss criterion(care::FocalLossOptions().gamma(1.5));
///   auto loss = criterion(logits, target);
class FocalLossImpl : public torch::nn::Cloneable<FocalLossImpl> {
 public:
  explicit FocalLossImpl(const FocalLossOptions& options_ = {})
      : options(options_) {
    reset();
  }

  void reset() override {
    detail::check_options("care::FocalLoss", options);
  }

  void pretty_print(std::ostream& stream) const override {
    stream << "care::FocalLoss(gamma=" << options.gamma() << ")";
  }

  torch::Tensor forward(
      const torch::Tensor& logits,
      const torch::Tensor& target) const {
    return focal_loss(logits, target, options);
  }

  FocalLossOptions options;
};

/// See `FocalLossImpl` and `focal_loss`.
TORCH_MODULE(FocalLoss);

} // namespace care

#endif // CARE_IMBALANCE_FOCAL_HPP
