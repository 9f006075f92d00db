// Watches the forward of an untouched network, and keeps the features behind
// its logits.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_HPP
#define CARE_CAPTURE_HPP

#include <care/capture/detail/graph.hpp>
#include <care/capture/detail/observer.hpp>
#include <care/capture/outputs.hpp>
#include <care/capture/tap.hpp>
#include <care/capture/target_layer.hpp>
#include <care/detail/check.hpp>
#include <care/seen.hpp>
#include <care/size.hpp>

#include <c10/util/Exception.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/runtime/interpreter.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace care {

namespace detail {

/// What can be told of a map without its tensor: size, stride, operator.
inline bool may_fulfil(
    const SeenMap& map,
    const TargetLayer& layer,
    const torch::optional<Size>& input) {
  const Size size{map.sizes[2], map.sizes[3]};
  return (!layer.map_size() || size == *layer.map_size()) &&
      (!layer.stride() || !input ||
       is_at_stride(size, *input, *layer.stride())) &&
      (layer.operation().empty() ||
       std::any_of(map.names.begin(), map.names.end(), [&](const auto& name) {
         return name.operation == layer.operation();
       }));
}

inline bool fulfils(
    const SeenMap& map,
    const TargetLayer& layer,
    const torch::optional<Size>& input) {
  return may_fulfil(map, layer, input) &&
      (!layer.where() ||
       std::any_of(map.names.begin(), map.names.end(), [&](const auto& name) {
         return (layer.operation().empty() ||
                 name.operation == layer.operation()) &&
             layer.where()({map.result, name.operation, name.count});
       }));
}

/// The one result that `layer` names by operator and count.
inline const SeenMap* counted(
    const std::vector<SeenMap>& maps,
    const TargetLayer& layer) {
  std::map<int64_t, const SeenMap*> named;
  for (const auto& map : maps) {
    for (const auto& name : map.names) {
      if (name.operation == layer.operation()) {
        named[name.count] = &map;
      }
    }
  }
  const auto size = static_cast<int64_t>(named.size());
  const auto count =
      layer.count() > 0 ? layer.count() : size + layer.count() + 1;
  TORCH_CHECK_VALUE(
      count >= 1 && count <= size,
      "care::capture: expected result ",
      layer.count(),
      " of ",
      layer.operation(),
      ", but the forward has ",
      size,
      " of them");
  return named[count];
}

/// The map that `layer` asks for.
inline torch::Tensor find_map(
    const Observer& observer,
    const torch::Tensor& logits,
    const TargetLayer& layer,
    const torch::optional<Size>& input) {
  const char* where = "care::capture";
  TORCH_CHECK_VALUE(
      !layer.stride() || input,
      where,
      ": expected to see the network's input, of which the stride is counted; "
      "hand over the module and its images (capture(net, images)), or choose "
      "by TargetLayer::map_size");
  const SeenMaps maps(observer.maps());
  std::vector<const SeenMap*> found;
  if (layer.is_default()) {
    // A row or column is a map only where there is nothing wider.
    for (const int64_t least : {int64_t{2}, int64_t{1}}) {
      if (found.empty()) {
        found = maps.behind(
            logits, [&](const SeenMap& map) { return map.is_map(least); });
      }
    }
  } else {
    const auto* chosen =
        layer.count() != 0 ? counted(observer.maps(), layer) : nullptr;
    const auto wanted = [&](const SeenMap& map) {
      return (chosen == nullptr || chosen->place() == map.place()) &&
          fulfils(map, layer, input);
    };
    found = maps.behind(logits, wanted);
    if (found.size() > 1) { // a block that makes the map smaller has branches
      if (const auto* gate = maps.gate(logits, wanted)) {
        found = {gate};
      }
    }
  }
  const auto list = [](const std::vector<const SeenMap*>& several) {
    std::string text;
    for (const auto* map : several) {
      text += "\n  " + map->str();
    }
    return text;
  };
  TORCH_CHECK_VALUE(
      !found.empty(),
      where,
      ": expected a spatial map [N, C, h, w] ",
      layer.is_default() ? "" : "that the TargetLayer asks for ",
      "behind the logits, but there is none",
      observer.without_history() == 0
          ? ""
          : c10::str(
                " (",
                observer.without_history(),
                " maps have no gradient history, the last one is ",
                observer.last_without_history(),
                ": is the backbone frozen, or detached from its head?)"),
      ". Seen with a gradient history:",
      maps.str());
  TORCH_CHECK_VALUE(
      found.size() == 1,
      where,
      ": expected one spatial map behind the logits, but got ",
      found.size(),
      "; choose by a TargetLayer, or pass features by hand:",
      list(found));
  TORCH_CHECK_VALUE(
      !layer.is_default() || !found[0]->is_doubtful(),
      where,
      ": expected a spatial map [N, C, h, w] behind the logits, but what comes "
      "first there may be tokens or another layout: ",
      found[0]->str(),
      "; choose by a TargetLayer, or pass features by hand. Seen:",
      maps.str());
  TORCH_CHECK_VALUE(
      found[0]->sizes[0] == logits.size(0),
      where,
      ": expected a map of ",
      logits.size(0),
      " images, but got ",
      found[0]->str());
  TORCH_CHECK_VALUE(
      found[0]->result.defined(),
      where,
      ": expected the network to keep its last map, but it went on to another "
      "one and let go of ",
      found[0]->str(),
      "; choose it by a TargetLayer, which keeps it: "
      "TargetLayer().operation(\"",
      found[0]->names.back().operation,
      "\", ",
      found[0]->names.back().count,
      ")");
  return found[0]->result;
}

template <class Forward>
auto capture(
    Forward&& forward,
    const TargetLayers& layers,
    const torch::optional<Size>& input) {
  const char* where = "care::capture";
  check_layers(where, layers);
  using Output = std::decay_t<decltype(forward())>;
  const Observer observer([&](const SeenMap& map) {
    return std::any_of(
        layers.begin(), layers.end(), [&](const TargetLayer& layer) {
          return !layer.is_default() && may_fulfil(map, layer, input);
        });
  });
  auto output = std::forward<Forward>(forward)();
  Seen seen{logits_of(output), {}};
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
      torch::GradMode::is_enabled()
          ? "they have none: detached, or every parameter is frozen"
          : "torch::NoGradGuard is on: leave it off while watching (or put "
            "torch::AutoGradMode enable(true) before the watch)");
  seen.features = find_map(observer, logits, layers[0], input);
  for (size_t i = 1; i < layers.size(); ++i) {
    seen.more.push_back(find_map(observer, logits, layers[i], input));
  }
  if constexpr (std::is_same_v<Output, torch::Tensor>) {
    return seen;
  } else {
    return SeenOutput<Output>{std::move(seen), std::move(output)};
  }
}

template <class Module, class = void>
struct IsHolder : std::false_type {};
template <class Module>
struct IsHolder<
    Module,
    std::void_t<decltype(std::declval<Module&>()->forward(
        std::declval<torch::Tensor>()))>> : std::true_type {};

template <class Module, class = void>
struct IsModule : std::false_type {};
template <class Module>
struct IsModule<
    Module,
    std::void_t<decltype(std::declval<Module&>().forward(
        std::declval<torch::Tensor>()))>> : std::true_type {};

/// The forward of a TorchScript module, operator by operator. Its own executor
/// keeps a plan of fused operators once it has run unwatched, and those are not
/// seen.
template <class Module>
c10::IValue run_script(Module& module, const torch::Tensor& images) {
  auto& function =
      torch::jit::toGraphFunction(module.get_method("forward").function());
  std::vector<c10::IValue> stack{module._ivalue(), images};
  function.getSchema().checkAndNormalizeInputs(stack, {});
  const torch::jit::Code code(function.optimized_graph(), "forward");
  torch::jit::InterpreterState(code).run(stack);
  return stack.back();
}

/// Runs any kind of module: a holder or pointer, a module itself, a TorchScript
/// module.
template <class Module>
auto run_module(Module& module, const torch::Tensor& images) {
  if constexpr (IsHolder<Module>::value) {
    return module->forward(images);
  } else if constexpr (IsModule<Module>::value) {
    return module.forward(images);
  } else {
    return run_script(module, images);
  }
}

} // namespace detail

/// Runs `forward` (no arguments) and finds the feature maps behind the logits
/// it returns. The network needs no change and no hook.
///
/// While `forward` runs, a callback of this thread sees what each operator
/// returns. The features are then found by walking the autograd graph back from
/// the logits, never by the order of calls: the first 4-D result with more than
/// one cell, but past what pooling operators returned and past copies (a cast
/// of autocast). `layers` asks for others. Nothing is kept but what is
/// returned, nor meanwhile what the network lets go of on its way (but for maps
/// that `layers` may mean); the callback is gone when the function ends, also
/// by an exception.
/// TorchScript modules run without their graph optimiser meanwhile (it hides
/// operators).
///
/// What `forward` may return: see `logits_of`. If it is not a tensor, the
/// result is a SeenOutput, whose `output` is all of it.
///
/// Throws c10::ValueError when the logits have no gradient history
/// (torch::NoGradGuard, detached, everything frozen), when there is no such map
/// behind them, when there are several, when the first one found may not be a
/// spatial map (made by an operator of attention or layout, as in a
/// transformer), and when the network let go of it early. Each error lists what
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
  return detail::capture(
      std::forward<Forward>(forward), layers, torch::nullopt);
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
  TORCH_CHECK_VALUE(
      images.defined() && images.dim() == 4,
      "care::capture: expected images of shape [N, C, H, W], but got ",
      detail::sizes_of(images));
  return detail::capture(
      [&] { return detail::run_module(module, images); },
      layers,
      Size{images.size(2), images.size(3)});
}

} // namespace care

#endif // CARE_CAPTURE_HPP
