// Several processes that train one network: a sum over all of them.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_RANKS_HPP
#define CARE_GUIDE_RANKS_HPP

#include <care/detail/check.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>

namespace care {

/// Adds a tensor up over the processes that train together, and returns the sum
/// to each of them: c10d's allreduce. All call it equally often.
using SumOverRanks = std::function<torch::Tensor(const torch::Tensor&)>;

namespace detail {

/// The mean of a number over the processes; itself where there is no `sum`.
inline double mean_over_ranks(const SumOverRanks& sum, int64_t number) {
  const auto here = static_cast<double>(number);
  if (!sum) {
    return here;
  }
  const auto sums = sum(torch::tensor({here, 1.0}, torch::kDouble));
  TORCH_CHECK_VALUE(
      sums.defined() && sums.numel() == 2,
      "care::Guide: expected sum_over_ranks to return a tensor of the shape "
      "it got, [2], but got ",
      sizes_of(sums));
  const auto host = sums.to(torch::kCPU, torch::kDouble);
  return host[0].item<double>() / host[1].item<double>();
}

} // namespace detail

} // namespace care

#endif // CARE_GUIDE_RANKS_HPP
