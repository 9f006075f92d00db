// All that this library takes from TorchScript's headers.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_TORCHSCRIPT_HPP
#define CARE_DETAIL_TORCHSCRIPT_HPP

#include <ATen/core/ivalue.h>
#include <torch/types.h>

#include <utility>
#include <vector>

// TorchScript is deprecated since LibTorch 2.11: one without it, or
// CARE_NO_TORCHSCRIPT defined, and everything else still compiles.
#if !defined(CARE_NO_TORCHSCRIPT) && \
    __has_include(<torch/csrc/jit/api/function_impl.h>) &&    \
    __has_include(<torch/csrc/jit/python/update_graph_executor_opt.h>) && \
    __has_include(<torch/csrc/jit/runtime/interpreter.h>)
#define CARE_HAS_TORCHSCRIPT 1
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/csrc/jit/runtime/interpreter.h>
#else
#define CARE_HAS_TORCHSCRIPT 0
#endif

namespace care::detail {

#if CARE_HAS_TORCHSCRIPT

/// While it lives, TorchScript's executor fuses no operators in this thread.
class UnfusedScripts {
 public:
  UnfusedScripts() : before_(torch::jit::getGraphExecutorOptimize()) {
    torch::jit::setGraphExecutorOptimize(false);
  }
  ~UnfusedScripts() {
    torch::jit::setGraphExecutorOptimize(before_);
  }
  UnfusedScripts(const UnfusedScripts&) = delete;
  UnfusedScripts& operator=(const UnfusedScripts&) = delete;

 private:
  bool before_;
};

/// The forward of a TorchScript module, operator by operator. Its own executor
/// keeps a plan of fused operators once it has run unwatched.
template <class Module>
c10::IValue run_unfused(Module& module, const torch::Tensor& images) {
  auto& function =
      torch::jit::toGraphFunction(module.get_method("forward").function());
  std::vector<c10::IValue> stack{module._ivalue(), images};
  function.getSchema().checkAndNormalizeInputs(stack, {});
  const torch::jit::Code code(function.optimized_graph(), "forward");
  torch::jit::InterpreterState(code).run(stack);
  return stack.back();
}

#else

class UnfusedScripts {
 public:
  UnfusedScripts() {} // not trivial: an unused one is no mistake
};

template <class Module>
c10::IValue run_unfused(Module& module, const torch::Tensor& images) {
  return module.forward({images});
}

#endif

} // namespace care::detail

#endif // CARE_DETAIL_TORCHSCRIPT_HPP
