// Sees what the operators of this thread return, while it lives.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_OBSERVER_HPP
#define CARE_DETAIL_OBSERVER_HPP

#include <care/capture/layer.hpp>

#include <ATen/record_function.h>
#include <c10/util/Exception.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace care::detail {

/// Collects every 4-D result with more than one cell and a gradient history,
/// from construction to destruction, in this thread. Observers may nest.
class Observer {
 public:
  Observer()
      : outer_(current()),
        optimise_(torch::jit::getGraphExecutorOptimize()) {
    current() = this;
    // The executor of TorchScript fuses operators, which are then not seen.
    torch::jit::setGraphExecutorOptimize(false);
    if (outer_ == nullptr) {
      // Only outputs: RecordFunction::inputs() is not safe in a Debug build
      // against a release LibTorch.
      handle_ =
          at::addThreadLocalCallback(at::RecordFunctionCallback(&begin, &end)
                                         .needsOutputs(true)
                                         .scopes({at::RecordScope::FUNCTION}));
    }
  }
  ~Observer() {
    if (outer_ == nullptr) {
      at::removeCallback(handle_);
    }
    torch::jit::setGraphExecutorOptimize(optimise_);
    current() = outer_;
  }
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  /// In the order of calls; an operator that calls another comes after it.
  const std::vector<Candidate>& maps() const {
    return maps_;
  }
  /// How many 4-D results had no gradient history, and the last one of them.
  int64_t without_history() const {
    return without_history_;
  }
  const std::string& last_without_history() const {
    return last_without_history_;
  }

 private:
  static Observer*& current() {
    thread_local Observer* observer = nullptr;
    return observer;
  }

  static std::unique_ptr<at::ObserverContext> begin(
      const at::RecordFunction& /*unused*/) {
    return nullptr;
  }

  static void end(
      const at::RecordFunction& function,
      at::ObserverContext* /*unused*/) {
    for (const auto& value : function.outputs()) {
      if (value.isTensor()) {
        offer(value.toTensor(), function);
      } else if (value.isTensorList()) { // of split, chunk, unbind
        for (const auto& x : value.toTensorVector()) {
          offer(x, function);
        }
      }
    }
  }

  static void offer(
      const torch::Tensor& x,
      const at::RecordFunction& function) {
    if (!x.defined() || x.dim() != 4 || x.size(2) * x.size(3) <= 1) {
      return;
    }
    for (auto* observer = current(); observer; observer = observer->outer_) {
      observer->add(x, function.name());
    }
  }

  void add(const torch::Tensor& x, const char* operation) {
    if (x.requires_grad()) {
      maps_.push_back({x, operation, ++counts_[operation]});
    } else {
      ++without_history_;
      last_without_history_ = c10::str(operation, " ", x.sizes());
    }
  }

  Observer* outer_;
  bool optimise_;
  at::CallbackHandle handle_ = 0;
  std::vector<Candidate> maps_;
  std::unordered_map<std::string, int64_t> counts_;
  int64_t without_history_ = 0;
  std::string last_without_history_;
};

} // namespace care::detail

#endif // CARE_DETAIL_OBSERVER_HPP
