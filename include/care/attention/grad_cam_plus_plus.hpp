// Grad-CAM++: channels weighted by their positive gradients, cell by cell.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_ATTENTION_GRAD_CAM_PLUS_PLUS_HPP
#define CARE_ATTENTION_GRAD_CAM_PLUS_PLUS_HPP

#include <care/attention/class_attention_map.hpp>
#include <care/detail/at_least_float.hpp>

#include <torch/types.h>

#include <limits>

namespace care {

/// Grad-CAM++ as a function of features and their gradients.
///
///   A[n] = sum_c w[n, c] features[n, c]
///   w = sum over space of alpha * max(gradients, 0)
///   alpha = 1 / (2 + S * gradients),  S = sum over space of the features
///
/// This alpha is the paper's g^2 / (2 g^2 + S g^3), divided by g^2. Only cells
/// with g > 0 count, and there the denominator is at least 2 for features that
/// are not negative: no epsilon is needed. For signed features, for which the
/// paper does not say, a negative S counts as 0, so alpha is at most 1/2.
///
/// Shapes: features, gradients [N, C, h, w] -> [N, h, w] float32 (float64 for
/// double), raw: signed unless `relu` (only signed features make it negative),
/// not normalised. Gradient: reaches the features; constant gradients (first
/// order) make w a constant, the features in it included, and gradients with a
/// history (full order) are followed through all of w.
/// Throws c10::ValueError for wrong shapes.
/// The scores are logits: their exponential, which the paper differentiates,
/// only scales each map.
/// Source: Chattopadhay et al. 2018, eq. 19.
struct GradCamPlusPlus {
  bool relu = false;

  torch::Tensor operator()(
      const torch::Tensor& features,
      const torch::Tensor& gradients) const {
    detail::check_gradients("care::GradCamPlusPlus", features, gradients);
    const auto inside =
        detail::at_least_float(detail::features_in_weight(features, gradients));
    const auto positive = detail::at_least_float(gradients).relu();
    // An overflow of the sum must not meet a gradient of 0.
    const auto sum = inside.sum({2, 3}, /*keepdim=*/true)
                         .clamp(0, std::numeric_limits<float>::max());
    const auto weights = (positive / (2 + sum * positive)).sum({2, 3});
    return detail::finished(detail::weighted_channels(features, weights), relu);
  }
};

} // namespace care

#endif // CARE_ATTENTION_GRAD_CAM_PLUS_PLUS_HPP
