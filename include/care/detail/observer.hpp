// Sees what the operators of this thread return, while it lives.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_OBSERVER_HPP
#define CARE_DETAIL_OBSERVER_HPP

#include <ATen/record_function.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

namespace care::detail {

/// A spatial map that an operator returned.
struct Observed {
  torch::Tensor result; // [N, C, h, w] with a gradient history
  std::string operation; // "aten::relu"

  bool is_pooling() const {
    return operation.find("pool") != std::string::npos;
  }
};

/// Appends every 4-D result with more than one cell and a gradient history to
/// a list, from construction to destruction, in this thread.
class Observer {
 public:
  explicit Observer(std::vector<Observed>& list)
      : outer_(current()),
        list_(&list),
        optimise_(torch::jit::getGraphExecutorOptimize()) {
    current() = this;
    torch::jit::setGraphExecutorOptimize(false);
    // Only outputs: RecordFunction::inputs() is not safe in a Debug build
    // against a release LibTorch.
    handle_ =
        at::addThreadLocalCallback(at::RecordFunctionCallback(&begin, &end)
                                       .needsOutputs(true)
                                       .scopes({at::RecordScope::FUNCTION}));
  }
  ~Observer() {
    at::removeCallback(handle_);
    torch::jit::setGraphExecutorOptimize(optimise_);
    current() = outer_;
  }
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

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
    if (current() == nullptr) {
      return;
    }
    for (const auto& value : function.outputs()) {
      if (!value.isTensor()) {
        continue;
      }
      const auto& x = value.toTensor();
      if (x.defined() && x.dim() == 4 && x.size(2) * x.size(3) > 1 &&
          x.requires_grad()) {
        current()->list_->push_back({x, function.name()});
      }
    }
  }

  Observer* outer_;
  std::vector<Observed>* list_;
  bool optimise_;
  at::CallbackHandle handle_ = 0;
};

} // namespace care::detail

#endif // CARE_DETAIL_OBSERVER_HPP
