// HiResCAM: every cell of a channel weighted by its own gradient.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_ATTENTION_HIRES_CAM_HPP
#define CARE_ATTENTION_HIRES_CAM_HPP

#include <care/attention/class_attention_map.hpp>
#include <care/detail/at_least_float.hpp>

#include <torch/types.h>

namespace care {

/// HiResCAM as a function of features and their gradients.
///
///   A[n] = sum_c gradients[n, c] * features[n, c]
///
/// Where the head is linear in the features, a map of what each cell adds to
/// the score: its sum is the score without the bias.
/// Shapes: features, gradients [N, C, h, w] -> [N, h, w] float32 (float64 for
/// double), raw: signed unless `relu`, not normalised. Gradient: reaches the
/// features, and what the gradients' own history reaches.
/// Throws c10::ValueError for wrong shapes. Equal to Grad-CAM where gradients
/// do not vary over space, as behind global average pooling.
/// Source: Draelos and Carin 2020.
struct HiResCam {
  bool relu = false;

  torch::Tensor operator()(
      const torch::Tensor& features,
      const torch::Tensor& gradients) const {
    detail::check_gradients("care::HiResCam", features, gradients);
    const auto products = detail::at_least_float(gradients) * features;
    return detail::finished(products.sum(1), relu);
  }
};

} // namespace care

#endif // CARE_ATTENTION_HIRES_CAM_HPP
