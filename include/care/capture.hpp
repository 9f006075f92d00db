// Watches the forward of an untouched network, and keeps the features behind
// its logits.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_HPP
#define CARE_CAPTURE_HPP

#include <care/boxes.hpp>
#include <care/detail/check.hpp>
#include <care/detail/observer.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace care {

/// A forward pass as the guide needs it: the logits [N, K] and the feature maps
/// [N, C, h, w] they were computed from. Make it by `capture` or
/// `Guide::watch`, or by hand.
struct Seen {
  torch::Tensor logits;
  torch::Tensor features;
};

/// Options of `capture`.
struct CaptureOptions {
  /// Take the last map of this size instead of the last map. Default: any size.
  TORCH_ARG(torch::optional<Size>, map_size) = torch::nullopt;
};

namespace detail {

inline std::string describe(const Observed& seen) {
  return c10::str(seen.operation, " ", seen.result.sizes());
}

inline std::string describe(const std::vector<const Observed*>& maps) {
  constexpr size_t kMost = 12;
  std::string text;
  for (size_t i = 0; i < maps.size(); ++i) {
    if (i + kMost >= maps.size()) { // the last ones are the likely ones
      text += "\n  " + describe(*maps[i]);
    }
  }
  return text.empty() ? "\n  none" : text;
}

/// The spatial maps from which the logits come: on every way back through the
/// autograd graph the first result that `wanted` accepts.
template <class Wanted>
std::vector<const Observed*> maps_behind(
    const torch::Tensor& logits,
    const std::vector<Observed>& observed,
    Wanted wanted) {
  // Read now, after the forward: an in-place operator replaces the node.
  std::unordered_map<const torch::autograd::Node*, const Observed*> made;
  for (const auto& seen : observed) {
    if (seen.result.grad_fn()) {
      made.emplace(seen.result.grad_fn().get(), &seen);
    }
  }
  std::vector<const Observed*> found;
  std::unordered_set<const torch::autograd::Node*> visited;
  std::vector<const torch::autograd::Node*> open{logits.grad_fn().get()};
  while (!open.empty()) {
    const auto* node = open.back();
    open.pop_back();
    if (node == nullptr || !visited.insert(node).second) {
      continue;
    }
    const auto here = made.find(node);
    if (here != made.end() && wanted(*here->second)) {
      found.push_back(here->second);
      continue;
    }
    for (const auto& edge : node->next_edges()) {
      open.push_back(edge.function.get());
    }
  }
  return found;
}

} // namespace detail

/// Runs `forward` (no arguments, returns the logits [N, K]) and finds the
/// feature maps behind them. The network needs no change and no hook.
///
/// While `forward` runs, a callback of this thread sees what each operator
/// returns. The features are then found by walking the autograd graph back from
/// the logits, never by the order of calls: the first 4-D result with more than
/// one cell, but past what pooling operators returned. With `map_size`, the
/// first of that size. Nothing is kept but what is returned; the callback is
/// gone when the function ends, also by an exception. TorchScript modules run
/// without their graph optimiser meanwhile (it hides operators).
///
/// Throws c10::ValueError when the logits have no gradient history
/// (torch::NoGradGuard, detached, everything frozen), when there is no spatial
/// map behind them, and when there are several (each listed: choose by
/// `map_size`, or pass features and logits by hand).
/// Cost: a callback per operator. Source: ours (`at::RecordFunction`).
///
///   auto net = torch::nn::Sequential(
///       torch::nn::Conv2d(3, 8, 3), torch::nn::AdaptiveAvgPool2d(1),
///       torch::nn::Flatten(), torch::nn::Linear(8, 2));
///   auto seen = care::capture(
///       [&] { return net->forward(torch::rand({1, 3, 16, 16})); });
template <class Forward>
Seen capture(Forward&& forward, const CaptureOptions& options = {}) {
  const char* where = "care::capture";
  std::vector<detail::Observed> observed;
  torch::Tensor logits;
  {
    const detail::Observer observer(observed);
    logits = std::forward<Forward>(forward)();
  }
  TORCH_CHECK_VALUE(
      logits.defined() && logits.dim() == 2,
      where,
      ": expected the forward to return logits of shape [N, K], but got ",
      detail::sizes_of(logits));
  TORCH_CHECK_VALUE(
      logits.requires_grad() && logits.grad_fn(),
      where,
      ": expected logits with a gradient history, but ",
      torch::GradMode::is_enabled()
          ? "they have none: detached, or every parameter is frozen"
          : "torch::NoGradGuard is on; leave it off while watching");

  const auto& size = options.map_size();
  const auto maps =
      detail::maps_behind(logits, observed, [&](const detail::Observed& seen) {
        const auto& x = seen.result;
        return size ? x.size(2) == size->height && x.size(3) == size->width
                    : !seen.is_pooling();
      });
  if (maps.size() != 1) {
    std::vector<const detail::Observed*> all;
    for (const auto& seen : observed) {
      all.push_back(&seen);
    }
    TORCH_CHECK_VALUE(
        !maps.empty(),
        where,
        ": expected a spatial map [N, C, h, w] ",
        size ? "of the wanted size " : "",
        "behind the logits, but there is none. Seen with a gradient history:",
        detail::describe(all));
    TORCH_CHECK_VALUE(
        false,
        where,
        ": expected one spatial map behind the logits, but got ",
        maps.size(),
        "; choose by CaptureOptions::map_size, or pass features by hand:",
        detail::describe(maps));
  }
  TORCH_CHECK_VALUE(
      maps[0]->result.size(0) == logits.size(0),
      where,
      ": expected a map of ",
      logits.size(0),
      " images, but got ",
      detail::describe(*maps[0]));
  return {logits, maps[0]->result};
}

} // namespace care

#endif // CARE_CAPTURE_HPP
