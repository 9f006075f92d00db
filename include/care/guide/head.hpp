// Heads handed over as functions or modules, and how their statistics freeze.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_HEAD_HPP
#define CARE_GUIDE_HEAD_HPP

#include <care/detail/main_output.hpp>
#include <care/detail/run_module.hpp>

#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/types.h>

#include <algorithm>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace care::detail {

/// The scores of a head, in whatever form, in float32.
template <class Head>
torch::Tensor run_head(Head& head, const torch::Tensor& features) {
  const char* where = "care::Guide::watch";
  return in_float(main_output(where, run_module(where, head, features)));
}

/// `head` to be called later. A holder, a pointer and a function are copied; a
/// module itself is kept alive where a shared_ptr owns it. That of another, and
/// what cannot be copied, must outlive the call.
template <class Head>
auto kept_head(Head& head) {
  if constexpr (std::is_base_of_v<torch::nn::Module, Head>) {
    return [&head, owner = head.weak_from_this().lock()](
               const torch::Tensor& x) { return run_head(head, x); };
  } else if constexpr (!std::is_copy_constructible_v<Head>) {
    return [&head](const torch::Tensor& x) { return run_head(head, x); };
  } else {
    return [head](const torch::Tensor& x) mutable { return run_head(head, x); };
  }
}

/// The running statistics of a module's BatchNorms, as they are now. Keeps the
/// module alive where a shared_ptr owns it; it must else outlive this.
class FrozenStatistics {
 public:
  explicit FrozenStatistics(torch::nn::Module& module)
      : parts_(parts_of(module)) {
    for (const auto& part : parts_) {
      add_if<torch::nn::BatchNorm1dImpl>(*part);
      add_if<torch::nn::BatchNorm2dImpl>(*part);
      add_if<torch::nn::BatchNorm3dImpl>(*part);
    }
  }

  torch::nn::Module& module() const {
    return *parts_.front();
  }

  /// Puts them in place of the live ones, or the live ones back.
  void swap() {
    for (auto& [live, frozen] : pairs_) {
      std::swap(*live, frozen);
    }
  }

 private:
  /// A module that is registered twice is met twice.
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

  std::vector<std::shared_ptr<torch::nn::Module>> parts_;
  std::vector<std::pair<torch::Tensor*, torch::Tensor>> pairs_;
};

/// A module in evaluation mode with statistics of its own, while this lives;
/// then each part is as it was.
class FrozenMode {
 public:
  explicit FrozenMode(FrozenStatistics& statistics)
      : mode_(statistics.module()),
        statistics_(statistics) {
    statistics_.swap();
  }
  ~FrozenMode() {
    statistics_.swap();
  }
  FrozenMode(const FrozenMode&) = delete;
  FrozenMode& operator=(const FrozenMode&) = delete;

 private:
  const EvaluationMode<torch::nn::Module> mode_;
  FrozenStatistics& statistics_;
};

} // namespace care::detail

#endif // CARE_GUIDE_HEAD_HPP
