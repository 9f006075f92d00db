// Watches the forward of an untouched network, and keeps the features behind
// its logits.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_HPP
#define CARE_CAPTURE_HPP

#include <care/capture/detail/find_map.hpp>
#include <care/capture/detail/observer.hpp>
#include <care/capture/detail/seen_map.hpp>
#include <care/capture/outputs.hpp>
#include <care/capture/tap.hpp>
#include <care/capture/target_layer.hpp>
#include <care/detail/check.hpp>
#include <care/detail/main_output.hpp>
#include <care/detail/run_module.hpp>
#include <care/detail/torchscript.hpp>
#include <care/seen.hpp>
#include <care/size.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <type_traits>
#include <utility>

namespace care {

namespace detail {

template <class Forward>
auto capture(
    Forward& forward,
    const TargetLayers& layers,
    const torch::optional<Size>& input,
    Frozen frozen = Frozen::kRefuse) {
  const char* where = "care::capture";
  check_layers(where, layers);
  using Output = std::decay_t<decltype(run_forward(forward))>;
  const auto any_layer = [&](const auto& holds) {
    return std::any_of(layers.begin(), layers.end(), holds);
  };
  Observer observer(
      any_layer([](const auto& layer) { return layer.layout().is_tokens(); }),
      [&](const SeenMap& map) {
        return any_layer([&](const TargetLayer& layer) {
          return !layer.is_default() && may_fulfil(map, layer, input);
        });
      });
  auto output = run_forward(forward);
  observer.stop(); // the search may run operators: TargetLayer::where
  Seen seen{in_float(main_output(where, output)), {}};
  const auto& logits = seen.logits;
  TORCH_CHECK_VALUE(
      logits.defined() && (logits.dim() == 2 || logits.dim() == 1),
      where,
      ": expected the forward to return logits of shape [N, K] or [N], but "
      "got ",
      sizes_of(logits));
  TORCH_CHECK_VALUE(
      logits.requires_grad() && logits.grad_fn(),
      where,
      ": expected logits with a gradient history, but ",
      logits.is_inference()
          ? "c10::InferenceMode is on, which no guard undoes: leave it off "
            "while watching"
          : torch::GradMode::is_enabled()
          ? "they have none: detached, or every parameter is frozen"
          : "torch::NoGradGuard is on: leave it off while watching (or put "
            "torch::AutoGradMode enable(true) before the watch)");
  for (const auto& layer : layers) {
    auto features = find_map(observer, logits, layer, input, frozen);
    if (!features.defined()) { // of a frozen backbone
      seen.features.reset();
      seen.more.clear();
      seen.layouts.clear();
      break;
    }
    seen.layouts.push_back(layer.layout());
    if (seen.features.defined()) {
      seen.more.push_back(features);
    } else {
      seen.features = features;
    }
  }
  if constexpr (std::is_same_v<Output, torch::Tensor>) {
    return seen;
  } else {
    return SeenOutput<Output>{std::move(seen), std::move(output)};
  }
}

/// A module and its images; TorchScript modules operator by operator.
template <class Module>
auto capture_module(
    Module& module,
    const torch::Tensor& images,
    const TargetLayers& layers,
    Frozen frozen = Frozen::kRefuse) {
  const char* where = "care::capture";
  TORCH_CHECK_VALUE(
      images.defined() && images.dim() == 4,
      where,
      ": expected images of shape [N, C, H, W], but got ",
      sizes_of(images));
  const auto forward = [&] {
    if constexpr (IsScript<Module>::value) {
      auto handle = module; // it may be const
      return run_unfused(handle, images);
    } else {
      return run_module(where, module, images);
    }
  };
  return capture(forward, layers, Size{images.size(2), images.size(3)}, frozen);
}

} // namespace detail

/// Runs `forward` (no arguments) and finds the feature maps behind the logits
/// it returns. The network needs no change and no hook.
///
/// While `forward` runs, a callback of this thread sees what each operator
/// returns. The features are then found by walking the autograd graph back from
/// the logits, never by the order of calls: the first 4-D result with more than
/// one cell, but past what pooling operators returned, the steps of a pooling
/// written out, changes of layout and copies (a cast of autocast). `layers`
/// asks for others, and for tokens and maps laid out [N, h, w, C], which come
/// as they are with their `Seen::layouts`. Nothing is kept but what is
/// returned, nor meanwhile what the network lets go of on its way (but for maps
/// that `layers` may mean); the callback is gone when the function ends, also
/// by an exception. TorchScript modules run without their graph optimiser
/// meanwhile (it hides operators).
///
/// What `forward` may return: see `logits_of`. If it is not a tensor, the
/// result is a SeenOutput, whose `output` is all of it.
///
/// Throws c10::ValueError when the logits have no gradient history
/// (torch::NoGradGuard, detached, everything frozen), when there is no such map
/// behind them, when there are several, when the first one found may not be a
/// spatial map (by how its axes lie it may be tokens, as in a transformer),
/// and when the network let go of it early. Each error lists what
/// was seen.
/// Cost: a callback per operator. Source: ours (`at::RecordFunction`).
///
///   auto net = torch::nn::Sequential(
///       torch::nn::Conv2d(3, 8, 3), torch::nn::AdaptiveAvgPool2d(1),
///       torch::nn::Flatten(), torch::nn::Linear(8, 2));
///   auto seen = care::capture(
///       [&] { return net->forward(torch::rand({1, 3, 16, 16})); });
template <class Forward>
auto capture(Forward&& forward, const TargetLayers& layers = {TargetLayer()}) {
  return detail::capture(forward, layers, torch::nullopt);
}

/// The same for a module and its images [N, C, H, W]: a holder (`net`), a
/// module (`*net`), a torch::nn::Sequential, a torch::jit::Module. The layers
/// may then be chosen by stride.
///
///   auto seen = care::capture(net, images, {care::TargetLayer().stride(16)});
template <class Module>
auto capture(
    Module&& module,
    const torch::Tensor& images,
    const TargetLayers& layers = {TargetLayer()}) {
  return detail::capture_module(module, images, layers);
}

} // namespace care

#endif // CARE_CAPTURE_HPP
