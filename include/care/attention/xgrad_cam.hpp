// XGrad-CAM: channels weighted by the feature-weighted mean gradient.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_ATTENTION_XGRAD_CAM_HPP
#define CARE_ATTENTION_XGRAD_CAM_HPP

#include <care/attention/class_attention_map.hpp>
#include <care/detail/at_least_float.hpp>

#include <torch/types.h>

namespace care {

/// XGrad-CAM as a function of features and their gradients.
///
///   A[n] = sum_c w[n, c] features[n, c]
///   w = sum over space of gradients * features / sum over space of features
///
/// Shapes: features, gradients [N, C, h, w] -> [N, h, w] float32 (float64 for
/// double), raw: signed unless `relu`, not normalised. Gradient: reaches the
/// features; constant gradients (first order) make w a constant, the features
/// in it included, and gradients with a history (full order) are followed
/// through all of w. Throws c10::ValueError for wrong shapes.
/// A channel whose features sum to no more than a millionth (of half 1e-4, of
/// bfloat16 1e-3) of the sum of their absolute values (an empty one, or a
/// signed one that cancels out) has weight 0: the quotient would be 0/0 or
/// noise. Source: Fu et al. 2020.
struct XGradCam {
  bool relu = false;

  torch::Tensor operator()(
      const torch::Tensor& features,
      const torch::Tensor& gradients) const {
    detail::check_gradients("care::XGradCam", features, gradients);
    const auto inside =
        detail::at_least_float(detail::features_in_weight(features, gradients));
    const auto sum = inside.sum({2, 3});
    // The smallest sums are left out too, before a quotient of them overflows.
    const auto dtype = features.scalar_type();
    const double share = dtype == torch::kHalf ? 1e-4
        : dtype == torch::kBFloat16            ? 1e-3
                                               : 1e-6;
    const auto least = share * inside.abs().sum({2, 3}).clamp_min(1e-24);
    const auto empty = sum.abs() <= least;
    const auto weights = (gradients * inside).sum({2, 3}) /
        torch::where(empty, torch::ones_like(sum), sum);
    return detail::finished(
        detail::weighted_channels(features, weights.masked_fill(empty, 0)),
        relu);
  }
};

} // namespace care

#endif // CARE_ATTENTION_XGRAD_CAM_HPP
