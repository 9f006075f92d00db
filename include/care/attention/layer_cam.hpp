// LayerCAM: every cell weighted by its own positive gradient.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_ATTENTION_LAYER_CAM_HPP
#define CARE_ATTENTION_LAYER_CAM_HPP

#include <care/attention/class_attention_map.hpp>
#include <care/detail/at_least_float.hpp>

#include <torch/types.h>

namespace care {

/// LayerCAM as a function of features and their gradients.
///
///   A[n] = sum_c max(gradients[n, c], 0) * features[n, c]
///
/// Made for early layers too, where channels mean little as a whole.
/// Shapes: features, gradients [N, C, h, w] -> [N, h, w] float32 (float64 for
/// double), raw: signed unless `relu` (only signed features make it negative),
/// not normalised. Gradient: reaches the features, and what the gradients' own
/// history reaches. Throws c10::ValueError for wrong shapes.
/// Source: Jiang et al. 2021; the ReLU there is `relu`, and its scaling of
/// shallow layers by tanh (eq. 9) is left to the user.
struct LayerCam {
  bool relu = false;

  torch::Tensor operator()(
      const torch::Tensor& features,
      const torch::Tensor& gradients) const {
    detail::check_gradients("care::LayerCam", features, gradients);
    const auto products = detail::at_least_float(gradients).relu() * features;
    return detail::finished(products.sum(1), relu);
  }
};

} // namespace care

#endif // CARE_ATTENTION_LAYER_CAM_HPP
