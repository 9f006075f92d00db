// Sees the maps that the operators of this thread return, while it lives.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_DETAIL_OBSERVER_HPP
#define CARE_CAPTURE_DETAIL_OBSERVER_HPP

#include <care/capture/detail/seen_map.hpp>

#include <ATen/record_function.h>
#include <c10/util/Exception.h>
#include <torch/csrc/jit/python/update_graph_executor_opt.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace care::detail {

/// Collects every 4-D result with more than one cell and a gradient history,
/// from construction to destruction, in this thread. Observers may nest.
///
/// What the network has let go of is let go of here too, so that a watched
/// forward needs no more memory than another: a result that nobody else holds
/// any more, and from which another map was made. (Such a one comes before that
/// map on the way back from the logits.) `keep` says which are kept all the
/// same; it is called while the forward runs.
class Observer {
 public:
  explicit Observer(std::function<bool(const SeenMap&)> keep)
      : keep_(std::move(keep)),
        outer_(current()),
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

  /// In the order in which they were first returned.
  const std::vector<SeenMap>& maps() const {
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
    if (!x.requires_grad()) {
      ++without_history_;
      last_without_history_ = c10::str(operation, " ", x.sizes());
      return;
    }
    drop_what_nobody_holds();
    const auto [place, is_new] =
        known_.try_emplace(x.unsafeGetTensorImpl(), maps_.size());
    const auto index = place->second;
    if (is_new) {
      maps_.emplace_back(x);
      held_.push_back(index);
    }
    maps_[index].names.push_back({operation, ++counts_[operation]});
    if (x.grad_fn()) {
      for (const auto& edge : x.grad_fn()->next_edges()) {
        made_from_[{edge.function.get(), edge.input_nr}].push_back(index);
      }
    }
  }

  void drop_what_nobody_holds() {
    const auto is_settled = [&](size_t index) {
      auto& map = maps_[index];
      if (map.result.use_count() > 1) {
        return false; // the network may go on with it
      }
      if (!map.result.has_storage() || map.result.storage().use_count() > 1) {
        return true; // the graph has saved it for the backward pass: no cost
      }
      const auto made = made_from_.find(map.place());
      if (made == made_from_.end() ||
          std::none_of(
              made->second.begin(), made->second.end(), [&](size_t other) {
                return maps_[other].is_map(2);
              })) {
        return false; // it may be the last map
      }
      if (!keep_(map)) {
        known_.erase(map.result.unsafeGetTensorImpl());
        map.drop();
      }
      return true;
    };
    held_.erase(
        std::remove_if(held_.begin(), held_.end(), is_settled), held_.end());
  }

  std::function<bool(const SeenMap&)> keep_;
  Observer* outer_;
  bool optimise_;
  at::CallbackHandle handle_ = 0;
  std::vector<SeenMap> maps_;
  std::unordered_map<const c10::TensorImpl*, size_t> known_; // not dropped
  std::vector<size_t> held_; // those that may still be dropped
  std::map<Place, std::vector<size_t>> made_from_; // the maps made from it
  std::unordered_map<std::string, int64_t> counts_;
  int64_t without_history_ = 0;
  std::string last_without_history_;
};

} // namespace care::detail

#endif // CARE_CAPTURE_DETAIL_OBSERVER_HPP
