// One way to run anything with a forward.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_RUN_MODULE_HPP
#define CARE_DETAIL_RUN_MODULE_HPP

#include <ATen/core/ivalue.h>
#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace care::detail {

// ------------------------------------------ the forms a network may have ---

/// A torch::jit::Module. (No torch::nn::Module is asked for its forward with
/// other arguments than a tensor: it may be a template that takes no others.)
template <
    class Model,
    bool = std::is_base_of_v<torch::nn::Module, std::decay_t<Model>>,
    class = void>
struct IsScript : std::false_type {};
template <class Model>
struct IsScript<
    Model,
    false,
    std::enable_if_t<std::is_same_v<
        c10::IValue,
        decltype(std::declval<std::decay_t<Model>&>().forward(
            std::declval<std::vector<c10::IValue>>()))>>> : std::true_type {};

/// A holder or a pointer: `model->forward(x)`.
template <class Model, class = void>
struct IsPointer : std::false_type {};
template <class Model>
struct IsPointer<
    Model,
    std::void_t<decltype(std::declval<Model&>()->forward(
        std::declval<torch::Tensor&>()))>> : std::true_type {};

/// A module itself: `model.forward(x)`.
template <class Model, class = void>
struct IsModule : std::false_type {};
template <class Model>
struct IsModule<
    Model,
    std::void_t<decltype(std::declval<Model&>().forward(
        std::declval<torch::Tensor&>()))>> : std::true_type {};

template <class Model>
constexpr bool has_forward_v =
    IsScript<Model>::value || IsPointer<Model>::value ||
    IsModule<Model>::value || std::is_invocable_v<Model&, torch::Tensor&>;

/// Has none of these forms by reason of its const, as a holder that is const: a
/// copy of the handle, not of the network, has.
template <class Model>
constexpr bool is_const_handle_v =
    std::is_const_v<Model>&& std::is_copy_constructible_v<Model> &&
    !std::is_base_of_v<torch::nn::Module, Model> &&
    (IsScript<Model>::value ||
     (!has_forward_v<Model> && has_forward_v<std::remove_const_t<Model>>));

/// What `model` makes of `x`. `where` names the caller in errors.
template <class Model>
auto run_module(const char* where, Model& model, torch::Tensor x) {
  if constexpr (is_const_handle_v<Model>) {
    auto handle = model;
    return run_module(where, handle, x);
  } else if constexpr (IsScript<Model>::value) {
    return model.forward({x});
  } else if constexpr (IsPointer<Model>::value) {
    TORCH_CHECK_VALUE(
        static_cast<bool>(model),
        where,
        ": expected a model, but got an empty one");
    return model->forward(x);
  } else if constexpr (IsModule<Model>::value) {
    return model.forward(x);
  } else {
    static_assert(
        has_forward_v<Model>,
        "care: expected a network: a torch::nn module, a holder or pointer to "
        "one, with forward(torch::Tensor); a torch::jit::Module; or a callable "
        "that takes a torch::Tensor");
    if constexpr (has_forward_v<Model>) {
      return model(x);
    } else {
      return x; // so that nothing else is complained of
    }
  }
}

template <class Forward, class = void>
struct ReturnsSomething : std::false_type {};
template <class Forward>
struct ReturnsSomething<
    Forward,
    std::enable_if_t<!std::is_void_v<std::invoke_result_t<Forward&>>>>
    : std::true_type {};

/// What a callable without arguments returns.
template <class Forward>
auto run_forward(Forward& forward) {
  if constexpr (ReturnsSomething<Forward>::value) {
    return forward();
  } else {
    static_assert(
        ReturnsSomething<Forward>::value,
        "care: expected a callable without arguments that runs the forward and "
        "returns the logits, or a network and its images: capture(net, "
        "images). Is a `return` missing?");
    return torch::Tensor();
  }
}

// ---------------------------------------------------------- its mode -------

/// A torch::nn::AnyModule.
template <class Model, class = void>
struct HoldsAny : std::false_type {};
template <class Model>
struct HoldsAny<
    Model,
    std::enable_if_t<std::is_same_v<
        std::shared_ptr<torch::nn::Module>,
        decltype(std::declval<Model&>().ptr())>>> : std::true_type {};

/// The torch::nn::Module that a model is, points to or holds; null where it is
/// another thing.
template <class Model>
torch::nn::Module* module_in(Model& model) {
  using torch::nn::Module;
  if constexpr (is_const_handle_v<Model>) {
    auto handle = model;
    return module_in(handle);
  } else if constexpr (std::is_base_of_v<Module, Model>) {
    return &model;
  } else if constexpr (IsPointer<Model>::value) {
    using Pointed = std::remove_reference_t<decltype(*model)>;
    if constexpr (std::is_base_of_v<Module, Pointed>) {
      return model ? &*model : nullptr;
    }
  } else if constexpr (HoldsAny<Model>::value) {
    return model.ptr().get();
  }
  return nullptr;
}

/// `module` and every module in it, parents first. They are kept alive, but for
/// `module` itself where no shared_ptr owns it.
inline std::vector<std::shared_ptr<torch::nn::Module>> parts_of(
    torch::nn::Module& module) {
  auto self = module.weak_from_this().lock();
  if (!self) {
    self = {self, &module}; // owns nothing
  }
  std::vector<std::shared_ptr<torch::nn::Module>> parts{self};
  for (auto& part : module.modules(/*include_self=*/false)) {
    parts.push_back(std::move(part));
  }
  return parts;
}

/// The same of a torch::jit::Module, which is a handle.
template <class Script, std::enable_if_t<IsScript<Script>::value, int> = 0>
std::vector<std::shared_ptr<Script>> parts_of(Script& script) {
  std::vector<std::shared_ptr<Script>> parts;
  for (const auto& part : script.modules()) {
    parts.push_back(std::make_shared<Script>(part));
  }
  return parts;
}

/// Puts modules into evaluation mode while it lives, and then each back into
/// its own. `Module`: torch::nn::Module or torch::jit::Module.
template <class Module>
class EvaluationMode {
 public:
  explicit EvaluationMode(Module& module) : parts_(parts_of(module)) {
    for (const auto& part : parts_) {
      training_.push_back(part->is_training());
    }
    for (const auto& part : parts_) {
      part->train(false);
    }
  }
  ~EvaluationMode() {
    for (size_t i = 0; i < parts_.size(); ++i) { // train() reaches children too
      parts_[i]->train(training_[i]);
    }
  }
  EvaluationMode(const EvaluationMode&) = delete;
  EvaluationMode& operator=(const EvaluationMode&) = delete;

 private:
  std::vector<std::shared_ptr<Module>> parts_;
  std::vector<bool> training_;
};

} // namespace care::detail

#endif // CARE_DETAIL_RUN_MODULE_HPP
