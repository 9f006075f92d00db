// Sees what the operators of this thread return, until it is told to stop.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_DETAIL_OBSERVER_HPP
#define CARE_CAPTURE_DETAIL_OBSERVER_HPP

#include <care/capture/detail/axes.hpp>
#include <care/capture/detail/layouts.hpp>
#include <care/capture/detail/node.hpp>
#include <care/capture/detail/seen_map.hpp>
#include <care/detail/torchscript.hpp>

#include <ATen/record_function.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace care::detail {

/// Collects every 4-D result with more than one cell and a gradient history, on
/// request also every 3-D one (tokens), and how each result with a history lies
/// in memory, from construction to `stop`, in this thread. Observers may nest.
///
/// The result of a torch::autograd::Function gets its history when its
/// operators have returned: what has none is looked at again at the next
/// operator.
///
/// What the network has let go of is let go of here too, so that a watched
/// forward needs no more memory than another: a result that nobody else holds
/// any more, and from which another map was made. (Such a one comes before that
/// map on the way back from the logits.) `keep` says which are kept all the
/// same; it is called while the forward runs.
class Observer {
 public:
  Observer(bool tokens, std::function<bool(const SeenMap&)> keep)
      : tokens_(tokens),
        keep_(std::move(keep)),
        outer_(current()) {
    current() = this;
    if (outer_ == nullptr) {
      // Only outputs: RecordFunction::inputs() is not safe in a Debug build
      // against a release LibTorch.
      handle_ =
          at::addThreadLocalCallback(at::RecordFunctionCallback(&begin, &end)
                                         .needsOutputs(true)
                                         .scopes({at::RecordScope::FUNCTION}));
    }
  }
  ~Observer() { // after `stop`, or because the forward threw
    detach();
  }
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;

  /// The forward is over: what runs from here on is not seen.
  void stop() {
    if (!watching_) {
      return;
    }
    detach();
    const Unseen unseen; // by the observers around this one
    look_again();
    for (const auto& map : maps_) { // those that were edited in place
      if (map.result.defined() && map.result.grad_fn()) { // not by detach_
        geometries_.note(map.result, map.place());
      }
    }
  }

  /// In the order in which they were first returned.
  const std::vector<SeenMap>& maps() const {
    return maps_;
  }
  const Geometries& geometries() const {
    return geometries_;
  }
  /// The last result of a convolution that had no gradient history.
  const std::string& frozen() const {
    return frozen_;
  }
  /// Whether there was any: a frozen backbone, also with others behind it.
  bool saw_frozen() const {
    return frozen_before_ || !frozen_.empty();
  }
  /// Whether gradients were off there, as within an autograd::Function.
  bool frozen_without_gradients() const {
    return frozen_without_gradients_;
  }
  /// The last result [N, C, D, h, w].
  const std::string& volume() const {
    return volume_;
  }
  /// How many results without a history are still looked at again.
  size_t waiting() const {
    return without_history_.size();
  }

 private:
  void detach() {
    if (!watching_) {
      return;
    }
    watching_ = false;
    if (outer_ == nullptr) {
      at::removeCallback(handle_);
    }
    current() = outer_;
  }

  static constexpr std::array<const char*, 4> kConvolutions{
      "aten::conv2d",
      "aten::conv_transpose2d",
      "aten::convolution",
      "aten::_convolution"};

  using Weak = c10::weak_intrusive_ptr<c10::TensorImpl>;
  // A node that is gone may leave its address to another.
  using Numbered = std::pair<Place, uint64_t>;
  static Numbered numbered(const Place& place) {
    return {place, place.first->sequence_nr()};
  }

  static Observer*& current() {
    thread_local Observer* observer = nullptr;
    return observer;
  }

  /// While it lives, what operators do is not looked at: to ask for a history
  /// may need some. (at::DisableRecordFunctionGuard sorts the thread's
  /// callbacks anew, twice, which costs more than the look.)
  class Unseen {
   public:
    Unseen() : first_(!std::exchange(is_on(), true)) {}
    ~Unseen() {
      is_on() = !first_;
    }
    Unseen(const Unseen&) = delete;
    Unseen& operator=(const Unseen&) = delete;

    /// Whether there is no other: the operator is the network's.
    bool first() const {
      return first_;
    }

   private:
    static bool& is_on() {
      thread_local bool on = false;
      return on;
    }
    bool first_;
  };

  static std::unique_ptr<at::ObserverContext> begin(
      const at::RecordFunction& /*unused*/) {
    const Unseen unseen;
    for (auto* observer = current(); unseen.first() && observer;
         observer = observer->outer_) {
      observer->look_again();
    }
    return nullptr;
  }

  static void end(
      const at::RecordFunction& function,
      at::ObserverContext* /*unused*/) {
    const Unseen unseen;
    if (!unseen.first()) {
      return;
    }
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
    for (auto* observer = current(); x.defined() && observer;
         observer = observer->outer_) {
      observer->add(x, function.name());
    }
  }

  void add(const torch::Tensor& x, const std::string& operation) {
    if (!x.requires_grad() || !x.grad_fn()) {
      if (may_get_a_history(x)) {
        without_history_.emplace_back(x.getIntrusivePtr());
      }
      if (is_one_of(operation, kConvolutions)) {
        frozen_before_ = frozen_before_ ||
            (!frozen_.empty() &&
             x.unsafeGetTensorImpl() != frozen_result_->_unsafe_get_target());
        frozen_ = c10::str(operation, " ", x.sizes());
        frozen_without_gradients_ = !torch::GradMode::is_enabled();
        frozen_result_ = Weak(x.getIntrusivePtr());
      }
      return;
    }
    if (frozen_result_ && // within an operator
        x.unsafeGetTensorImpl() == frozen_result_->_unsafe_get_target()) {
      frozen_.clear();
    }
    const auto place = place_of(x);
    geometries_.note(x, place);
    if (is_map_size(x.sizes()) || (tokens_ && x.dim() == 3)) {
      add_map(x, place, operation);
    } else if (x.dim() == 5) {
      volume_ = c10::str(operation, " ", x.sizes());
    }
  }

  void add_map(
      const torch::Tensor& x,
      const Place& place,
      const std::string& operation) {
    drop_what_nobody_holds();
    const auto [known, is_new] =
        known_.try_emplace(x.unsafeGetTensorImpl(), maps_.size());
    const auto index = known->second;
    if (is_new) {
      maps_.emplace_back(x);
      held_.push_back(index);
    }
    auto& names = maps_[index].names;
    // Under autocast an operator returns what it called itself for.
    if (is_new || names.back().operation != operation ||
        names.back().place != place) {
      names.push_back({operation, ++counts_[{operation, x.dim()}], place});
    }
    if (ends_the_search(x, *place.first)) {
      for (const auto& edge : place.first->next_edges()) {
        if (edge.is_valid()) {
          shadowed_.insert(numbered(place_of(edge)));
        }
      }
    }
  }

  /// What may yet become a map, or a step to one: within an autograd::Function,
  /// or as a buffer that is filled through its views. Statistics of BatchNorms,
  /// indices of poolings and the like, which the graph keeps, would be looked
  /// at again by each operator to come.
  static bool may_get_a_history(const torch::Tensor& x) {
    return !c10::isIntegralType(x.scalar_type(), /*includeBool=*/true) &&
        (x.dim() >= 3 || !torch::GradMode::is_enabled());
  }

  /// What had no history and has one now, but not from an operator.
  void look_again() {
    if (without_history_.empty()) {
      return;
    }
    auto waiting = std::move(without_history_);
    without_history_.clear();
    for (auto& weak : waiting) {
      const auto impl = weak.lock();
      if (!impl) {
        continue;
      }
      const torch::Tensor x(impl);
      if (!x.requires_grad() || !x.grad_fn()) {
        without_history_.push_back(std::move(weak));
      } else if (geometries_.find(place_of(x)) == nullptr) {
        add(x, x.grad_fn()->name());
      }
    }
  }

  /// Whether the search for the last map never goes past `x`, made by `node`.
  static bool ends_the_search(const torch::Tensor& x, const Node& node) {
    const auto name = operator_of(node);
    return x.size(-2) > 1 && x.size(-1) > 1 && !is_pooling(name) &&
        !is_rearranging(name) && name != "Pow" && name != "Exp";
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
      if (!map.result.grad_fn()) {
        return true; // detached in place: no place to remember
      }
      if (shadowed_.count(numbered(map.place())) == 0) {
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

  bool tokens_;
  std::function<bool(const SeenMap&)> keep_;
  Observer* outer_;
  const UnfusedScripts unfused_; // fused operators are not seen
  bool watching_ = true;
  at::CallbackHandle handle_ = 0;
  std::vector<SeenMap> maps_;
  std::unordered_map<const c10::TensorImpl*, size_t> known_; // not dropped
  std::vector<size_t> held_; // those that may still be dropped
  std::set<Numbered> shadowed_; // behind another map, where the search ends
  Geometries geometries_;
  std::vector<Weak> without_history_;
  std::map<std::pair<std::string, int64_t>, int64_t> counts_; // by their axes
  std::string frozen_;
  bool frozen_without_gradients_ = false, frozen_before_ = false;
  torch::optional<Weak> frozen_result_; // nothing else gets its address
  std::string volume_;
};

} // namespace care::detail

#endif // CARE_CAPTURE_DETAIL_OBSERVER_HPP
