// Half precision widened to float32, in which sums and logarithms hold, and how
// gradients pass through it.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_AT_LEAST_FLOAT_HPP
#define CARE_DETAIL_AT_LEAST_FLOAT_HPP

#include <torch/types.h>

namespace care::detail {

/// float32, or float64 if it is that.
inline torch::Dtype at_least_float(torch::Dtype dtype) {
  return dtype == torch::kDouble ? torch::kDouble : torch::kFloat;
}

/// `x` in float32, or in float64 if it is in that.
inline torch::Tensor at_least_float(const torch::Tensor& x) {
  return x.to(at_least_float(x.scalar_type()));
}

/// By what a gradient that runs through tensors of `dtype` is multiplied at its
/// start, and divided at its end: in half precision what is below 6e-8 on the
/// way would be lost. (What is above 64 then overflows.)
inline double gradient_factor(torch::Dtype dtype) {
  return dtype == torch::kHalf ? 1024 : 1;
}

} // namespace care::detail

#endif // CARE_DETAIL_AT_LEAST_FLOAT_HPP
