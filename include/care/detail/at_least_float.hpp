// Half precision widened to float32, in which sums and logarithms hold.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_AT_LEAST_FLOAT_HPP
#define CARE_DETAIL_AT_LEAST_FLOAT_HPP

#include <torch/types.h>

namespace care::detail {

/// `x` in float32, or in float64 if it is in that.
inline torch::Tensor at_least_float(const torch::Tensor& x) {
  return x.scalar_type() == torch::kDouble ? x : x.to(torch::kFloat);
}

} // namespace care::detail

#endif // CARE_DETAIL_AT_LEAST_FLOAT_HPP
