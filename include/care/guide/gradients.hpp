// Gradients that are measured, not stepped by: none is lost in half precision.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_GRADIENTS_HPP
#define CARE_GUIDE_GRADIENTS_HPP

#include <care/detail/at_least_float.hpp>

#include <torch/autograd.h>
#include <torch/types.h>

#include <algorithm>
#include <vector>

namespace care::detail {

/// d `loss` / d `inputs`, in float32 or wider; undefined where no path leads.
/// The graph is kept. `features` are what lies on the way: where they are in
/// half precision, in which gradients below 6e-8 are lost, the gradient of 1024
/// times the loss is taken and divided. (A step's own gradients are kept by
/// `GradScaler`.)
inline std::vector<torch::Tensor> gradients_of(
    const torch::Tensor& loss,
    const std::vector<torch::Tensor>& inputs,
    const std::vector<torch::Tensor>& features) {
  const bool half =
      std::any_of(features.begin(), features.end(), [](const auto& x) {
        return x.scalar_type() == torch::kHalf;
      });
  const double factor = half ? 1024 : 1;
  auto gradients = torch::autograd::grad(
      {loss},
      inputs,
      {torch::full_like(loss, factor)},
      /*retain_graph=*/true,
      /*create_graph=*/false,
      /*allow_unused=*/true);
  for (auto& gradient : gradients) {
    if (gradient.defined()) {
      gradient = at_least_float(gradient) / factor;
    }
  }
  return gradients;
}

} // namespace care::detail

#endif // CARE_GUIDE_GRADIENTS_HPP
