// Element-wise Grad-CAM: the positive parts of gradient times feature.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_ATTENTION_ELEMENT_WISE_HPP
#define CARE_ATTENTION_ELEMENT_WISE_HPP

#include <care/attention/class_attention_map.hpp>
#include <care/detail/at_least_float.hpp>

#include <torch/types.h>

namespace care {

/// Element-wise Grad-CAM as a function of features and their gradients.
///
///   A[n] = sum_c max(gradients[n, c] * features[n, c], 0)
///
/// HiResCAM in which no channel speaks against the class.
/// Shapes: features, gradients [N, C, h, w] -> [N, h, w] float32 (float64 for
/// double), raw: at least 0, not normalised. Gradient: reaches the features,
/// and what the gradients' own history reaches. Throws c10::ValueError for
/// wrong shapes. Source: GradCAMElementWise of pytorch-grad-cam; no paper.
struct ElementWiseCam {
  torch::Tensor operator()(
      const torch::Tensor& features,
      const torch::Tensor& gradients) const {
    detail::check_gradients("care::ElementWiseCam", features, gradients);
    const auto products = detail::at_least_float(gradients) * features;
    return products.relu().sum(1);
  }
};

} // namespace care

#endif // CARE_ATTENTION_ELEMENT_WISE_HPP
