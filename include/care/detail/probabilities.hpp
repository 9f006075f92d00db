// Tells logits from probabilities by the operator that made them.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_PROBABILITIES_HPP
#define CARE_DETAIL_PROBABILITIES_HPP

#include <torch/csrc/autograd/function.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <string>

namespace care::detail {

/// "softmax", "log_softmax" or "sigmoid" where `logits` came from that; copies
/// and changes of shape behind it do not count. Empty for all else, and without
/// a gradient history. Reads the graph, no values: no device is waited for.
inline std::string probabilities_by(const torch::Tensor& logits) {
  constexpr std::array<const char*, 9> kSteppedPast = {
      "ToCopyBackward0",
      "ViewBackward0",
      "ReshapeAliasBackward0",
      "UnsafeViewBackward0",
      "SqueezeBackward0",
      "SqueezeBackward1",
      "UnsqueezeBackward0",
      "SelectBackward0",
      "SliceBackward0"};
  auto node = logits.grad_fn();
  while (node && node->num_outputs() > 0 &&
         std::find(kSteppedPast.begin(), kSteppedPast.end(), node->name()) !=
             kSteppedPast.end()) {
    node = node->next_edge(0).function;
  }
  const auto name = node ? node->name() : std::string();
  return name == "SoftmaxBackward0"   ? "softmax"
      : name == "LogSoftmaxBackward0" ? "log_softmax"
      : name == "SigmoidBackward0"    ? "sigmoid"
                                      : "";
}

} // namespace care::detail

#endif // CARE_DETAIL_PROBABILITIES_HPP
