// LDAM: a margin for each class, wider the rarer it is, and its linear head.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_IMBALANCE_LDAM_HPP
#define CARE_IMBALANCE_LDAM_HPP

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

/// Options of `ldam_loss` and `LdamLoss`.
struct LdamLossOptions {
  using reduction_t = detail::reduction_t;

  /// The margin of the rarest class, above 0. Default: 0.5.
  TORCH_ARG(double, max_margin) = 0.5;
  /// What the logits are multiplied by, above 0. Default: 30.
  TORCH_ARG(double, scale) = 30.0;
  /// [K], a weight for each class (see `deferred_weights`). Default: none.
  TORCH_ARG(torch::Tensor, weight) = {};
  /// torch::kMean (over the weights), torch::kSum or torch::kNone.
  TORCH_ARG(reduction_t, reduction) = torch::kMean;
};

namespace detail {

inline void check_options(const char* where, const LdamLossOptions& options) {
  TORCH_CHECK_VALUE(
      std::isfinite(options.max_margin()) && options.max_margin() > 0 &&
          std::isfinite(options.scale()) && options.scale() > 0,
      where,
      ": expected max_margin and scale above 0, but got ",
      options.max_margin(),
      " and ",
      options.scale());
}

/// Logits of a plain linear layer, times the scale, make the margin nothing.
inline void warn_unless_cosines(
    const char* where,
    const torch::Tensor& logits) {
  if (!logits.device().is_cpu() || logits.numel() == 0) {
    return; // a device is not waited for
  }
  const auto most = logits.detach().max().item<double>();
  if (most > 1.01) { // rounded in half precision
    TORCH_WARN_ONCE(
        where,
        ": expected cosines as logits, of a care::NormalisedLinear, but got "
        "values up to ",
        most);
  }
}

} // namespace detail

/// The label-distribution-aware margin loss.
///
///   L = -w_y log softmax(s (z - m_y e_y))_y,   m_k = C n_k^(-1/4)
///
/// with C such that the rarest class has `max_margin`; e_y is 1 at the true
/// class. The logits z are cosines, from `NormalisedLinear`.
///
/// Shapes: logits [N, K] in [-1, 1] (on the host a warning, once, above it),
/// any floating dtype; target [N] integers; counts [K], the images of each
/// class in training, at least 1 -> a scalar, or [N] with torch::kNone; float32
/// (float64 for double logits). Of an empty batch the mean is 0. Gradient:
/// reaches the logits. Throws c10::ValueError for wrong shapes, counts or
/// options, c10::IndexError for a class outside [0, K) (host targets). At test
/// time use the plain logits. Source: Cao et al. 2019 eq. 13; the scale is in
/// their code.
inline torch::Tensor ldam_loss(
    const torch::Tensor& logits,
    const torch::Tensor& target,
    const std::vector<int64_t>& counts,
    const LdamLossOptions& options = {}) {
  const char* where = "care::ldam_loss";
  detail::check_options(where, options);
  detail::check_logits(where, logits, target);
  detail::check_per_class(where, "counts", counts, logits);
  detail::check_counts(where, counts);
  detail::check_weight(where, options.weight(), logits.size(1));
  auto wide = detail::at_least_float(logits);
  detail::warn_unless_cosines(where, wide);
  auto index = detail::as_index(target, wide);
  auto n = detail::as_doubles(counts);
  auto margins = options.max_margin() * (n.min() / n).pow(0.25);
  auto of_image =
      detail::beside(margins, wide).index_select(0, index.squeeze(1));
  auto lowered = wide.scatter_add(1, index, -of_image.unsqueeze(1));
  return detail::reduce_by_class(
      detail::nll(options.scale() * lowered, index),
      index,
      options.weight(),
      options.reduction());
}

/// `ldam_loss` as a module without parameters; it keeps the counts.
///
///   care::NormalisedLinear head(512, 3);
///   care::LdamLoss criterion(std::vector<int64_t>{900, 90, 10});
///   auto loss = criterion(head(features), target);
class LdamLossImpl : public torch::nn::Cloneable<LdamLossImpl> {
 public:
  explicit LdamLossImpl(
      std::vector<int64_t> counts_,
      const LdamLossOptions& options_ = {})
      : counts(std::move(counts_)),
        options(options_) {
    reset();
  }

  void reset() override {
    detail::check_counts("care::LdamLoss", counts);
    detail::check_options("care::LdamLoss", options);
  }

  void pretty_print(std::ostream& stream) const override {
    stream << "care::LdamLoss(classes=" << counts.size()
           << ", max_margin=" << options.max_margin()
           << ", scale=" << options.scale() << ")";
  }

  torch::Tensor forward(
      const torch::Tensor& logits,
      const torch::Tensor& target) const {
    return ldam_loss(logits, target, counts, options);
  }

  std::vector<int64_t> counts;
  LdamLossOptions options;
};

/// See `LdamLossImpl` and `ldam_loss`.
TORCH_MODULE(LdamLoss);

/// A linear head whose logits are cosines between features and class vectors.
///
///   z_k = <x, w_k> / (|x| |w_k|)
///
/// Shapes: x [N, in_features] -> [N, out_features] in [-1, 1]. One parameter,
/// `weight` [out_features, in_features], drawn uniformly in direction with
/// length 1; there is no bias. Lengths below 1e-6 count as 1e-6, so that
/// features of 0 give logits of 0 and bounded gradients of every order. Throws
/// c10::ValueError for sizes below 1 and wrong shapes. Source: the head of Cao
/// et al. 2019's code; Wang et al. 2018 (CosFace).
class NormalisedLinearImpl : public torch::nn::Cloneable<NormalisedLinearImpl> {
 public:
  NormalisedLinearImpl(int64_t in_features_, int64_t out_features_)
      : in_features(in_features_),
        out_features(out_features_) {
    reset();
  }

  void reset() override {
    TORCH_CHECK_VALUE(
        in_features > 0 && out_features > 0,
        "care::NormalisedLinear: expected sizes of at least 1, but got ",
        in_features,
        " and ",
        out_features);
    weight = register_parameter(
        "weight", unit_rows(torch::randn({out_features, in_features})));
  }

  void pretty_print(std::ostream& stream) const override {
    stream << "care::NormalisedLinear(in_features=" << in_features
           << ", out_features=" << out_features << ")";
  }

  torch::Tensor forward(const torch::Tensor& features) const {
    TORCH_CHECK_VALUE(
        features.defined() && features.dim() == 2 &&
            features.size(1) == in_features,
        "care::NormalisedLinear: expected features of shape [N, ",
        in_features,
        "], but got ",
        detail::sizes_of(features));
    return torch::matmul(
        unit_rows(features), unit_rows(weight).t().to(features.scalar_type()));
  }

  int64_t in_features;
  int64_t out_features;
  torch::Tensor weight;

 private:
  /// In float32 for half precision, where squares overflow.
  static torch::Tensor unit_rows(const torch::Tensor& rows) {
    auto wide = detail::at_least_float(rows);
    // Not `norm`: its second derivative at 0 is NaN.
    auto square = wide.square().sum(1, /*keepdim=*/true);
    return (wide / square.clamp_min(1e-12).sqrt()).to(rows.scalar_type());
  }
};

/// See `NormalisedLinearImpl`.
TORCH_MODULE(NormalisedLinear);

} // namespace care

#endif // CARE_IMBALANCE_LDAM_HPP
