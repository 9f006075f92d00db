// Class weights from class counts, and when to begin with them.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_IMBALANCE_CLASS_WEIGHTS_HPP
#define CARE_IMBALANCE_CLASS_WEIGHTS_HPP

#include <care/imbalance/detail/classes.hpp>

#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace care {

/// How many images each of the classes 0 to `classes` - 1 has. Throws
/// c10::IndexError for a target outside.
///
///   auto counts = care::class_counts({0, 0, 0, 1}, 2); // {3, 1}
inline std::vector<int64_t> class_counts(
    const std::vector<int64_t>& targets,
    int64_t classes) {
  const char* where = "care::class_counts";
  TORCH_CHECK_VALUE(
      classes > 0, where, ": expected at least 1 class, but got ", classes);
  std::vector<int64_t> counts(static_cast<size_t>(classes));
  for (size_t i = 0; i < targets.size(); ++i) {
    TORCH_CHECK_INDEX(
        targets[i] >= 0 && targets[i] < classes,
        where,
        ": expected classes in [0, ",
        classes,
        "), but targets[",
        i,
        "] is ",
        targets[i]);
    ++counts[static_cast<size_t>(targets[i])];
  }
  return counts;
}

/// N / (K n_k): every class weighs the same in sum, and the mean over the
/// images is 1. `counts` [K] of at least 1 -> [K] float32 on the host, for the
/// `weight` of any loss here or of F::cross_entropy. Throws c10::ValueError for
/// a class without images. Source: King and Zeng 2001; scikit-learn's
/// "balanced".
inline torch::Tensor inverse_frequency_weights(
    const std::vector<int64_t>& counts) {
  detail::check_counts("care::inverse_frequency_weights", counts);
  auto n = detail::as_doubles(counts);
  return (n.mean() / n).to(torch::kFloat);
}

/// median(n) / n_k: the class in the middle weighs 1; of an even number of
/// classes the median is the mean of the two in the middle. Arguments, result
/// and errors as `inverse_frequency_weights`. Source: Eigen and Fergus 2015.
inline torch::Tensor median_frequency_weights(
    const std::vector<int64_t>& counts) {
  detail::check_counts("care::median_frequency_weights", counts);
  auto n = detail::as_doubles(counts);
  return (n.quantile(0.5) / n).to(torch::kFloat);
}

/// (1 - beta) / (1 - beta^n_k), scaled so that the weights' mean is 1: of n_k
/// images that overlap in what they show, (1 - beta^n_k) / (1 - beta) are
/// counted as new. `beta` in [0, 1); 0 gives ones, towards 1 it nears the
/// inverse frequency. Arguments, result and errors as
/// `inverse_frequency_weights`. Source: Cui et al. 2019 eq. 4, who take beta of
/// 0.9 to 0.9999.
inline torch::Tensor effective_number_weights(
    const std::vector<int64_t>& counts,
    double beta = 0.999) {
  const char* where = "care::effective_number_weights";
  detail::check_counts(where, counts);
  TORCH_CHECK_VALUE(
      beta >= 0 && beta < 1,
      where,
      ": expected beta in [0, 1), but got ",
      beta);
  if (beta == 0) {
    return torch::ones({static_cast<int64_t>(counts.size())});
  }
  // expm1: 1 - beta^n with beta next to 1 would lose its digits.
  auto weights = 1 / -torch::expm1(detail::as_doubles(counts) * std::log(beta));
  return (weights / weights.mean()).to(torch::kFloat);
}

/// Deferred re-weighting (DRW): ones before epoch `start`, then `weights` [K].
/// The network first learns features from the data as they are. Of the epoch
/// alone, so that a resumed run goes on alike; set it anew in each epoch:
///
///   criterion->options.weight(care::deferred_weights(weights, epoch, 160));
///
/// Throws c10::ValueError for a negative epoch or start. Source: Cao et al.
/// 2019, who start after 80 % of the epochs, with a lower learning rate.
inline torch::Tensor deferred_weights(
    const torch::Tensor& weights,
    int64_t epoch,
    int64_t start) {
  TORCH_CHECK_VALUE(
      weights.defined() && weights.dim() == 1,
      "care::deferred_weights: expected weights of shape [K], but got ",
      detail::sizes_of(weights));
  TORCH_CHECK_VALUE(
      epoch >= 0 && start >= 0,
      "care::deferred_weights: expected epoch and start of at least 0, but "
      "got ",
      epoch,
      " and ",
      start);
  return epoch < start ? torch::ones_like(weights) : weights;
}

} // namespace care

#endif // CARE_IMBALANCE_CLASS_WEIGHTS_HPP
