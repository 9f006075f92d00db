// What every imbalance method needs: checked counts, logits and reductions.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_IMBALANCE_DETAIL_CLASSES_HPP
#define CARE_IMBALANCE_DETAIL_CLASSES_HPP

#include <care/detail/at_least_float.hpp>
#include <care/detail/check.hpp>
#include <care/detail/probabilities.hpp>
#include <care/detail/to_device.hpp>

#include <torch/enum.h>
#include <torch/nn/options/loss.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace care::detail {

/// At least one class, and at least one image of each.
inline void check_counts(
    const char* where,
    const std::vector<int64_t>& counts) {
  TORCH_CHECK_VALUE(
      !counts.empty(),
      where,
      ": expected the count of each class, but got none");
  for (size_t k = 0; k < counts.size(); ++k) {
    TORCH_CHECK_VALUE(
        counts[k] > 0,
        where,
        ": expected counts of at least 1, but counts[",
        k,
        "] is ",
        counts[k]);
  }
}

/// Class labels of a training set: none negative.
inline void check_labels(
    const char* where,
    const std::vector<int64_t>& targets) {
  for (size_t i = 0; i < targets.size(); ++i) {
    TORCH_CHECK_INDEX(
        targets[i] >= 0,
        where,
        ": expected classes of at least 0, but targets[",
        i,
        "] is ",
        targets[i]);
  }
}

/// `[K]` double of the counts.
inline torch::Tensor as_doubles(const std::vector<int64_t>& counts) {
  return torch::tensor(counts, torch::kLong).to(torch::kDouble);
}

/// `logits` [N, K] floating and `target` [N] integers; a target on the host
/// must lie in [0, K), one on a device is left to the gather there.
inline void check_logits(
    const char* where,
    const torch::Tensor& logits,
    const torch::Tensor& target) {
  TORCH_CHECK_VALUE(
      logits.defined() && logits.dim() == 2 && logits.size(1) > 1,
      where,
      ": expected logits of shape [N, K] with K of at least 2, but got ",
      sizes_of(logits));
  check_floating(where, "logits", logits);
  check_shape(where, "target", target, {logits.size(0)});
  check_integral(where, "target", target);
  if (const auto end = probabilities_by(logits);
      end == "softmax" || end == "sigmoid") {
    TORCH_WARN_ONCE(
        where,
        ": the logits come from a ",
        end,
        ", which this loss would take again; hand over what it is taken of");
  }
  if (!target.device().is_cpu()) {
    return;
  }
  check_in_range(where, "classes", "target", target, 0, logits.size(1));
}

/// One value per class, of a loss on logits of K classes.
template <typename T>
void check_per_class(
    const char* where,
    const char* name,
    const std::vector<T>& values,
    const torch::Tensor& logits) {
  TORCH_CHECK_VALUE(
      static_cast<int64_t>(values.size()) == logits.size(1),
      where,
      ": expected ",
      logits.size(1),
      " ",
      name,
      " for logits of shape ",
      logits.sizes(),
      ", but got ",
      values.size());
}

/// Undefined, or `[K]` floating; on the host finite and at least 0.
inline void check_weight(
    const char* where,
    const torch::Tensor& weight,
    int64_t classes) {
  if (weight.defined()) {
    check_shape(where, "weight", weight, {classes});
    check_floating(where, "weight", weight);
    if (weight.device().is_cpu()) {
      check_all(
          weight.isfinite() & (weight >= 0),
          (std::string(where) +
           ": expected weights that are finite and at least 0, but got ")
              .c_str(),
          weight);
    }
  }
}

/// `values` [K] at the logits' device and dtype.
inline torch::Tensor beside(
    const torch::Tensor& values,
    const torch::Tensor& logits) {
  return to_device(values.to(logits.scalar_type()), logits.device());
}

/// `target` as gather wants it: `[N, 1]` int64 on the logits' device.
inline torch::Tensor as_index(
    const torch::Tensor& target,
    const torch::Tensor& logits) {
  return to_device(target, logits.device()).to(torch::kLong).unsqueeze(1);
}

/// -log softmax of the true class: `[N]`.
inline torch::Tensor nll(
    const torch::Tensor& logits,
    const torch::Tensor& index) {
  return -logits.log_softmax(1).gather(1, index).squeeze(1);
}

using reduction_t = torch::nn::CrossEntropyLossOptions::reduction_t;

/// Reduces `[N]` losses, each times the weight of its class (if there are
/// weights). The mean is over the weights, as in F::cross_entropy; of no image
/// it is 0.
inline torch::Tensor reduce_by_class(
    const torch::Tensor& per_image,
    const torch::Tensor& index,
    const torch::Tensor& weight,
    const reduction_t& reduction) {
  auto each = weight.defined()
      ? beside(weight, per_image).index_select(0, index.squeeze(1))
      : torch::ones_like(per_image);
  auto weighted = per_image * each;
  const auto kind = torch::enumtype::reduction_get_enum(reduction);
  if (kind == torch::Reduction::None) {
    return weighted;
  }
  if (kind == torch::Reduction::Sum) {
    return weighted.sum();
  }
  auto total = each.sum();
  return weighted.sum() /
      torch::where(total > 0, total, torch::ones_like(total));
}

} // namespace care::detail

#endif // CARE_IMBALANCE_DETAIL_CLASSES_HPP
