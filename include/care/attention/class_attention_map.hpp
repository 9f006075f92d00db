// The class attention map of any policy: what every kind of map shares.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_ATTENTION_CLASS_ATTENTION_MAP_HPP
#define CARE_ATTENTION_CLASS_ATTENTION_MAP_HPP

#include <care/attention/scores.hpp>
#include <care/detail/at_least_float.hpp>
#include <care/detail/check.hpp>

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include <type_traits>

namespace care {

namespace detail {

/// What a map policy is called with: features and gradients [N, C, h, w].
inline void check_gradients(
    const char* where,
    const torch::Tensor& features,
    const torch::Tensor& gradients) {
  check_features(where, features);
  check_shape(where, "gradients", gradients, features.sizes());
  check_floating(where, "gradients", gradients);
}

/// The features as they stand inside a channel weight: constants, unless the
/// gradients have a history (full order).
inline torch::Tensor features_in_weight(
    const torch::Tensor& features,
    const torch::Tensor& gradients) {
  return gradients.requires_grad() ? features : features.detach();
}

/// A map as a policy returns it: cut or signed.
inline torch::Tensor finished(const torch::Tensor& map, bool relu) {
  return relu ? map.relu() : map;
}

/// features [N, C, P], weights [N, C] -> [N, P]. A matrix product reads the
/// features once; its own backward pass would also be one, of vectors, where a
/// plain product writes their gradient faster. Autocast, which would do it in
/// half precision, is left out.
struct WeightedChannels : torch::autograd::Function<WeightedChannels> {
  static torch::Tensor forward(
      torch::autograd::AutogradContext* context,
      const torch::Tensor& features,
      const torch::Tensor& weights) {
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(
        c10::autocast_dispatch_keyset);
    context->save_for_backward({features, weights});
    return torch::bmm(weights.unsqueeze(1), features).squeeze(1);
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context,
      torch::autograd::variable_list gradients) {
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(
        c10::autocast_dispatch_keyset);
    const auto saved = context->get_saved_variables();
    const auto& gradient = gradients[0];
    torch::Tensor to_features, to_weights;
    if (context->needs_input_grad(0)) {
      to_features = saved[1].unsqueeze(2) * gradient.unsqueeze(1);
    }
    if (context->needs_input_grad(1)) {
      to_weights = torch::bmm(saved[0], gradient.unsqueeze(2)).squeeze(2);
    }
    return {to_features, to_weights};
  }
};

/// sum_c weights[n, c] features[n, c], with `weights` [N, C], in float32 at
/// least: half precision holds no sum over a map.
inline torch::Tensor weighted_channels(
    const torch::Tensor& features,
    const torch::Tensor& weights) {
  const auto wide = at_least_float(features);
  return WeightedChannels::apply(
             wide.flatten(2), weights.to(wide.scalar_type()))
      .view({features.size(0), features.size(2), features.size(3)});
}

/// The mean over h and w of gradients [N, C, h, w]: [N, C], in
/// float32 at least.
inline torch::Tensor channel_weights(const torch::Tensor& gradients) {
  // An expanded constant has one value for all places.
  const bool same = !gradients.requires_grad() && gradients.stride(2) == 0 &&
      gradients.stride(3) == 0;
  return same ? at_least_float(gradients.select(3, 0).select(2, 0))
              : at_least_float(gradients).mean({2, 3});
}

} // namespace detail

/// The class attention map of one score per image, by any policy.
///
///   A = map(features, d scores / d features)
///
/// `map` is callable as (features [N, C, h, w], gradients [N, C, h, w]) ->
/// [N, h, w]: `GradCam`, `GradCamPlusPlus`, `HiResCam`, `XGradCam`, `LayerCam`,
/// `ElementWiseCam`, or your own.
/// Shapes: features [N, C, h, w], scores [N] (see `class_scores`) -> [N, h, w],
/// raw; by the library's policies float32 (float64 for double features), as
/// half precision would call the map of a large layer flat. Gradient: to the
/// features; with kFull also to what the gradients depend on. Errors: see
/// `score_gradients`; c10::ValueError for a policy whose result has another
/// shape. Cost: one backward pass through the part of the network behind the
/// features, and what the policy does.
///
///   auto map = care::class_attention_map(
///       features, care::class_scores(logits, target), care::LayerCam());
template <class Map>
torch::Tensor class_attention_map(
    const torch::Tensor& features,
    const torch::Tensor& scores,
    const Map& map,
    GradientOrder order = GradientOrder::kFirst) {
  static_assert(
      std::is_invocable_r_v<
          torch::Tensor,
          const Map&,
          const torch::Tensor&,
          const torch::Tensor&>,
      "care::class_attention_map: Map must be callable as "
      "torch::Tensor(features [N,C,h,w], gradients [N,C,h,w]); see "
      "docs/attention.md");
  torch::Tensor result =
      map(features, score_gradients(features, scores, order));
  TORCH_CHECK_VALUE(
      result.defined() && result.dim() == 3 &&
          result.size(0) == features.size(0),
      "care::class_attention_map: expected the map policy to return [",
      features.size(0),
      ", h, w], but got ",
      detail::sizes_of(result));
  return result;
}

} // namespace care

#endif // CARE_ATTENTION_CLASS_ATTENTION_MAP_HPP
