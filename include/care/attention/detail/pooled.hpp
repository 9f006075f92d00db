// Finds the spatial mean through which features reach their scores.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_ATTENTION_DETAIL_POOLED_HPP
#define CARE_ATTENTION_DETAIL_POOLED_HPP

#include <torch/csrc/autograd/edge.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/types.h>

#include <set>
#include <string>
#include <vector>

namespace care::detail {

/// Whether a mean with a result of this shape is the mean over h and w of
/// `features` [N, C, h, w], and can be no other.
inline bool is_spatial_mean(
    const torch::Tensor& mean,
    const torch::Tensor& features) {
  const auto n = features.size(0), c = features.size(1);
  if (mean.device() != features.device()) {
    return false;
  }
  if (mean.dim() == 4) {
    return mean.sizes() == torch::IntArrayRef({n, c, 1, 1});
  }
  return mean.sizes() == torch::IntArrayRef({n, c}) && c != features.size(2) &&
      c != features.size(3);
}

/// Stands for the spatial mean of `features` in the graph of `scores`, to take
/// gradients of: [N, C] or [N, C, 1, 1], its values are not those of the mean.
/// Undefined unless the features reach the scores by that mean alone, as they
/// do in most classifiers; a copy of them in another dtype stands for them. The
/// graph's nodes are known by their names, the axes of the mean by the shape of
/// its result; a node with another name is not taken for a mean.
inline torch::Tensor spatial_mean_behind(
    const torch::Tensor& scores,
    const torch::Tensor& features) {
  const auto wanted = torch::autograd::impl::gradient_edge(features);
  const auto is_wanted = [&](const torch::autograd::Edge& edge) {
    return edge == wanted ||
        (edge.is_valid() && edge.function->name() == "ToCopyBackward0" &&
         edge.function->next_edge(0) == wanted);
  };
  torch::autograd::Edge mean;
  std::set<const torch::autograd::Node*> visited;
  std::vector<torch::autograd::Edge> open{
      torch::autograd::impl::gradient_edge(scores)};
  while (!open.empty()) {
    const auto here = open.back();
    open.pop_back();
    if (!here.is_valid() || !visited.insert(here.function.get()).second) {
      continue;
    }
    for (const auto& edge : here.function->next_edges()) {
      if (!is_wanted(edge)) {
        open.push_back(edge);
      } else if (mean.is_valid() || here.function->name() != "MeanBackward1") {
        return {};
      } else {
        mean = torch::autograd::Edge(here.function, 0);
      }
    }
  }
  if (!mean.is_valid()) {
    return {};
  }
  const auto like = mean.function->input_metadata(0).zeros_like();
  return is_spatial_mean(like, features)
      ? torch::autograd::make_variable(like, mean)
      : torch::Tensor();
}

} // namespace care::detail

#endif // CARE_ATTENTION_DETAIL_POOLED_HPP
