// Heads handed over as functions or modules, and how their statistics freeze.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_HEAD_HPP
#define CARE_GUIDE_HEAD_HPP

#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace care::detail {

/// A module itself, or what points to one (a holder such as torch::nn::Linear).
template <class Head, class = void>
struct IsModuleLike
    : std::is_base_of<torch::nn::Module, std::remove_reference_t<Head>> {};
template <class Head>
struct IsModuleLike<Head, std::void_t<decltype(*std::declval<Head&>())>>
    : std::is_base_of<
          torch::nn::Module,
          std::remove_reference_t<decltype(*std::declval<Head&>())>> {};

template <class Head>
torch::nn::Module& module_of(Head& head) {
  if constexpr (std::is_base_of_v<torch::nn::Module, Head>) {
    return head;
  } else {
    return *head;
  }
}

template <class Head>
torch::Tensor call_head(Head& head, const torch::Tensor& features) {
  if constexpr (std::is_base_of_v<torch::nn::Module, Head>) {
    return head.forward(features);
  } else if constexpr (IsModuleLike<Head>::value) {
    return head->forward(features);
  } else {
    return head(features);
  }
}

/// `head` to be called later: a module itself by reference, what points to one
/// and a function by copy.
template <class Head>
auto kept_head(Head& head) {
  if constexpr (std::is_base_of_v<torch::nn::Module, Head>) {
    return [&head](const torch::Tensor& x) { return head.forward(x); };
  } else {
    return
        [head](const torch::Tensor& x) mutable { return call_head(head, x); };
  }
}

/// The running statistics of a module's BatchNorms, as they are now.
class FrozenStatistics {
 public:
  explicit FrozenStatistics(torch::nn::Module& module) {
    add(module);
    for (const auto& part : module.modules(/*include_self=*/false)) {
      add(*part);
    }
  }

  /// Puts them in place of the live ones, or the live ones back.
  void swap() {
    for (auto& [live, frozen] : pairs_) {
      std::swap(*live, frozen);
    }
  }

 private:
  /// A module that is registered twice is met twice.
  void add(torch::nn::Module& module) {
    add_if<torch::nn::BatchNorm1dImpl>(module);
    add_if<torch::nn::BatchNorm2dImpl>(module);
    add_if<torch::nn::BatchNorm3dImpl>(module);
  }

  template <class Norm>
  void add_if(torch::nn::Module& module) {
    if (auto* norm = dynamic_cast<Norm*>(&module)) {
      for (auto* live : {&norm->running_mean, &norm->running_var}) {
        const bool met =
            std::any_of(pairs_.begin(), pairs_.end(), [&](const auto& pair) {
              return pair.first == live;
            });
        if (live->defined() && !met) {
          pairs_.emplace_back(live, live->detach().clone());
        }
      }
    }
  }

  std::vector<std::pair<torch::Tensor*, torch::Tensor>> pairs_;
};

/// A module in evaluation mode with statistics of its own, while this lives;
/// then each part is as it was.
class FrozenMode {
 public:
  FrozenMode(torch::nn::Module& module, FrozenStatistics& statistics)
      : module_(module),
        statistics_(statistics),
        was_training_(module.is_training()),
        parts_(module.modules(/*include_self=*/false)) {
    for (const auto& part : parts_) {
      part_was_training_.push_back(part->is_training());
    }
    module.eval();
    statistics.swap();
  }
  ~FrozenMode() {
    statistics_.swap();
    module_.train(was_training_);
    for (size_t i = 0; i < parts_.size(); ++i) { // parents come first
      parts_[i]->train(part_was_training_[i]);
    }
  }
  FrozenMode(const FrozenMode&) = delete;
  FrozenMode& operator=(const FrozenMode&) = delete;

 private:
  torch::nn::Module& module_;
  FrozenStatistics& statistics_;
  bool was_training_;
  std::vector<std::shared_ptr<torch::nn::Module>> parts_;
  std::vector<bool> part_was_training_;
};

} // namespace care::detail

#endif // CARE_GUIDE_HEAD_HPP
