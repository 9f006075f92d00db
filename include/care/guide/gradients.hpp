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
/// The graph is kept. `features` are what lies on the way: see
/// `gradient_factor`. (A step's own gradients are kept by `GradScaler`.)
inline std::vector<torch::Tensor> gradients_of(
    const torch::Tensor& loss,
    const std::vector<torch::Tensor>& inputs,
    const std::vector<torch::Tensor>& features) {
  double factor = 1;
  for (const auto& x : features) {
    factor = std::max(factor, gradient_factor(x.scalar_type()));
  }
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
