// Cross-entropy with label smoothing class by class.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_IMBALANCE_LABEL_SMOOTHING_HPP
#define CARE_IMBALANCE_LABEL_SMOOTHING_HPP

#include <care/detail/at_least_float.hpp>
#include <care/imbalance/detail/classes.hpp>

#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ostream>
#include <utility>
#include <vector>

namespace care {

/// Options of `smoothed_cross_entropy` and `SmoothedCrossEntropy`.
struct LabelSmoothingOptions {
  using reduction_t = detail::reduction_t;

  /// [K], a weight for each class. Default: none.
  TORCH_ARG(torch::Tensor, weight) = {};
  /// torch::kMean (over the weights), torch::kSum or torch::kNone.
  TORCH_ARG(reduction_t, reduction) = torch::kMean;
};

namespace detail {

inline void check_smoothing(
    const char* where,
    const std::vector<double>& smoothing) {
  for (size_t k = 0; k < smoothing.size(); ++k) {
    TORCH_CHECK_VALUE(
        smoothing[k] >= 0 && smoothing[k] <= 1,
        where,
        ": expected smoothing in [0, 1], but smoothing[",
        k,
        "] is ",
        smoothing[k]);
  }
}

} // namespace detail

/// A smoothing for each class by its count: `rarest` for the class with the
/// fewest images, `commonest` for that with the most, in between along a
/// quarter of a sine; `commonest` for all if the counts are equal. The common
/// classes are those a network is too sure of. `counts` [K] of at least 1, both
/// ends in [0, 1] -> [K]. Source: Zhong et al. 2021 (MiSLAS), concave form;
/// they share the smoothed part among the other classes, we among all, as
/// LibTorch does.
inline std::vector<double> smoothing_by_count(
    const std::vector<int64_t>& counts,
    double commonest,
    double rarest = 0.0) {
  const char* where = "care::smoothing_by_count";
  detail::check_counts(where, counts);
  detail::check_smoothing(where, {commonest, rarest});
  const auto [low, high] = std::minmax_element(counts.begin(), counts.end());
  const auto range = static_cast<double>(*high - *low);
  std::vector<double> smoothing;
  for (const auto n : counts) {
    const double place =
        range > 0 ? static_cast<double>(n - *low) / range : 1.0;
    smoothing.push_back(
        rarest + (commonest - rarest) * std::sin(1.5707963267948966 * place));
  }
  return smoothing;
}

/// Cross-entropy against smoothed labels, each class with its own smoothing.
///
///   L = -w_y ((1 - e_y) log p_y + e_y / K sum_k log p_k)
///
/// Shapes: logits [N, K] raw, any floating dtype; target [N] integers;
/// smoothing [K] in [0, 1] -> a scalar, or [N] with torch::kNone; float32
/// (float64 for double logits). With one smoothing for all and no weights it
/// equals F::cross_entropy with label_smoothing. Of an empty batch the mean is
/// 0. Gradient: reaches the logits. Throws c10::ValueError for wrong shapes or
/// smoothing, c10::IndexError for a class outside [0, K) (host targets).
/// Source: Szegedy et al. 2016; by class: Zhong et al. 2021.
///
///   auto smoothing = care::smoothing_by_count({900, 90, 10}, 0.2);
///   auto loss = care::smoothed_cross_entropy(logits, target, smoothing);
inline torch::Tensor smoothed_cross_entropy(
    const torch::Tensor& logits,
    const torch::Tensor& target,
    const std::vector<double>& smoothing,
    const LabelSmoothingOptions& options = {}) {
  const char* where = "care::smoothed_cross_entropy";
  detail::check_logits(where, logits, target);
  detail::check_per_class(where, "smoothing values", smoothing, logits);
  detail::check_smoothing(where, smoothing);
  detail::check_weight(where, options.weight(), logits.size(1));
  auto wide = detail::at_least_float(logits);
  auto index = detail::as_index(target, wide);
  auto log_p = wide.log_softmax(1);
  auto share = detail::beside(torch::tensor(smoothing, torch::kDouble), wide)
                   .index_select(0, index.squeeze(1));
  auto mean = log_p.mean(1); // -inf where a class is masked by -inf
  mean = torch::where(share > 0, mean, torch::zeros_like(mean));
  auto loss = (share - 1) * log_p.gather(1, index).squeeze(1) - share * mean;
  return detail::reduce_by_class(
      loss, index, options.weight(), options.reduction());
}

/// `smoothed_cross_entropy` as a module without parameters; it keeps the
/// smoothing.
///
///   const std::vector<double> smoothing{0.2, 0.1, 0.0};
///   care::SmoothedCrossEntropy criterion(smoothing);
///   auto loss = criterion(logits, target);
class SmoothedCrossEntropyImpl
    : public torch::nn::Cloneable<SmoothedCrossEntropyImpl> {
 public:
  explicit SmoothedCrossEntropyImpl(
      std::vector<double> smoothing_,
      const LabelSmoothingOptions& options_ = {})
      : smoothing(std::move(smoothing_)),
        options(options_) {
    reset();
  }

  void reset() override {
    detail::check_smoothing("care::SmoothedCrossEntropy", smoothing);
  }

  void pretty_print(std::ostream& stream) const override {
    stream << "care::SmoothedCrossEntropy(classes=" << smoothing.size() << ")";
  }

  torch::Tensor forward(
      const torch::Tensor& logits,
      const torch::Tensor& target) const {
    return smoothed_cross_entropy(logits, target, smoothing, options);
  }

  std::vector<double> smoothing;
  LabelSmoothingOptions options;
};

/// See `SmoothedCrossEntropyImpl` and `smoothed_cross_entropy`.
TORCH_MODULE(SmoothedCrossEntropy);

} // namespace care

#endif // CARE_IMBALANCE_LABEL_SMOOTHING_HPP
