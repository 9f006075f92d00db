// Heads handed over as functions or modules, and how their statistics freeze.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_HEAD_HPP
#define CARE_GUIDE_HEAD_HPP

#include <care/amp.hpp>
#include <care/detail/main_output.hpp>
#include <care/detail/run_module.hpp>
#include <care/guide/batch.hpp>
#include <care/guide/options.hpp>
#include <care/seen.hpp>

#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <map>
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
      TORCH_CHECK_VALUE(
          norm->options.track_running_stats(),
          "care::Guide::watch: expected BatchNorms with running statistics, "
          "because of frozen_statistics, but got ",
          *norm);
      for (auto* live : {&norm->running_mean, &norm->running_var}) {
        if (live->defined() && pairs_.count(live) == 0) {
          pairs_[live] = live->detach().clone();
        }
      }
    }
  }

  std::vector<std::shared_ptr<torch::nn::Module>> parts_;
  std::map<torch::Tensor*, torch::Tensor> pairs_; // live: frozen
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

/// That nothing is asked of a function which only a module can give.
inline void check_not_frozen(const GuideOptions& options) {
  TORCH_CHECK_VALUE(
      !options.frozen_statistics(),
      "care::Guide::watch: expected the head as a module, because of "
      "frozen_statistics, but got a whole network or a function; use "
      "watch(features, module) or watch(features, function, module)");
}

/// Runs `head` on `features` and keeps both, recording also where gradients are
/// off.
template <class Head>
Seen watch_head(
    const GuideOptions& options,
    const torch::Tensor& features,
    Head& head) {
  TORCH_CHECK_VALUE(
      !c10::InferenceMode::is_enabled(),
      "care::Guide::watch: expected to record the head, but "
      "c10::InferenceMode is on, which no guard undoes: use "
      "torch::NoGradGuard");
  const auto& layers = options.target_layers();
  TORCH_CHECK_VALUE(
      layers.size() == 1 && layers[0].is_default(),
      "care::Guide::watch: expected a forward to choose a map from, because "
      "of target_layers, but got features by hand");
  const bool recording = torch::GradMode::is_enabled();
  torch::AutoGradMode record(true);
  // Not the leaf itself: a head may begin in place.
  const auto known =
      recording ? features : features.detach().requires_grad_().clone();
  return laid_out({run_head(head, known), known}, options);
}

/// The same, with a frozen head of the statistics that `module` has before it,
/// which runs later under the autocast of now.
template <class Head>
Seen watch_head(
    const GuideOptions& options,
    const torch::Tensor& features,
    Head& head,
    torch::nn::Module& module) {
  if (!options.frozen_statistics()) {
    return watch_head(options, features, head);
  }
  FrozenStatistics statistics(module); // before this batch moves them
  // Both passes begin with the same features: a head may edit what it is given.
  const auto live_head = [&head](const torch::Tensor& x) {
    return run_head(head, x.clone());
  };
  auto seen = watch_head(options, features, live_head);
  const auto device = features.device();
  const bool has_autocast = AutocastState::is_available(device.type());
  const auto watched =
      has_autocast ? AutocastState::of(device.type()) : AutocastState();
  seen.frozen_head =
      [call = kept_head(head), statistics, device, has_autocast, watched](
          const torch::Tensor& x) mutable {
        const FrozenMode frozen(statistics);
        if (!has_autocast) {
          return call(x.clone());
        }
        const auto dtype = watched.enabled ? watched.dtype : torch::kBFloat16;
        const Autocast as_watched(device, dtype, watched.enabled);
        return call(x.clone());
      };
  return seen;
}

} // namespace care::detail

#endif // CARE_GUIDE_HEAD_HPP
