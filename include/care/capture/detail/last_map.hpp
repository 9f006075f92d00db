// The search for the last map before the pooling that leads to the logits.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_DETAIL_LAST_MAP_HPP
#define CARE_CAPTURE_DETAIL_LAST_MAP_HPP

#include <care/capture/detail/layouts.hpp>
#include <care/capture/detail/node.hpp>

#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace care::detail {

/// Walks back from the logits to the first maps on every way.
///
/// Stepped past are copies, changes of layout, what pooling returned, and the
/// steps of a pooling that the graph gives away by their counterpart after it:
/// a power before a root (generalised mean), an exponential before a logarithm
/// (log-sum-exp), a product with a softmax over cells before a sum.
class LastMapSearch {
 public:
  /// A map has at least this many rows and columns.
  LastMapSearch(Layouts& layouts, int64_t least)
      : layouts_(layouts),
        least_(least) {}

  void run(const torch::Tensor& from) {
    Step first;
    first.place = place_of(from);
    open_.push_back(first);
    while (!open_.empty()) {
      const auto step = open_.back();
      open_.pop_back();
      if (!is_leaf(step.place.first) && visited_.insert(step.key()).second) {
        visit(step);
      }
    }
  }

  /// Laid out [N, C, h, w].
  const std::set<Place>& maps() const {
    return maps_;
  }
  /// Laid out otherwise, or in a way that cannot be told.
  const std::set<Place>& doubtful() const {
    return doubtful_;
  }
  /// The last node of a user's own that was passed, empty if there was none.
  const std::string& passed() const {
    return passed_;
  }

 private:
  /// What a pooled value went through after its sum over cells, and which step
  /// before that sum it thus undoes.
  enum class Undone { kNothing, kPower, kBase, kExponential, kExponent };

  using Key = std::tuple<Place, Place, Place, Undone, bool>;
  struct Step {
    Place place{};
    Place view{}; ///< the same numbers later on, laid out [N, C, h, w]
    Place odd{}; ///< the same, in another layout
    Undone undone = Undone::kNothing;
    bool summed = false; ///< goes into a sum or mean

    Key key() const {
      return Key(place, view, odd, undone, summed);
    }
  };

  void visit(const Step& here) {
    const auto& node = *here.place.first;
    const auto name = operator_of(node);
    check_unfused(name);
    const bool wide = is_wide(here.place);
    auto next = here;
    next.summed = name == "Sum" || name == "Mean" || is_pooling(name);
    if (is_pooling(name)) {
      next.view = next.odd = {};
    } else if (is_rearranging(name)) {
      next.summed = here.summed;
      if (wide && layouts_.is_image(here.place)) {
        next.view = here.place;
        next.odd = {};
      } else if (wide && is_odd(here.place)) {
        next.odd = here.place;
      }
    } else if (const auto* values = weighted(here, name)) {
      next.view = next.odd = {};
      follow(next, *values);
      return;
    } else if (wide && undoes(here.undone, name, node, next.undone)) {
      next.view = next.odd = {};
    } else if (wide || here.view.first || here.odd.first) {
      take(here, wide);
      return;
    } else {
      next.undone = undone_by(name, here.undone);
      if (name.find("CppNode") != std::string::npos) {
        passed_ = name;
      }
    }
    const auto& edges = node.next_edges();
    // A convolution's weights come from no map.
    const auto count = is_convolution(name) ? 1 : edges.size();
    for (size_t i = 0; i < count; ++i) {
      follow(next, edges[i]);
    }
  }

  void follow(Step step, const torch::autograd::Edge& edge) {
    step.place = place_of(edge);
    open_.push_back(step);
  }

  /// The search ends here: at this map, or at what was seen of it on the way.
  void take(const Step& here, bool wide) {
    const bool has_view = here.view.first != nullptr;
    if (wide && layouts_.is_image(here.place)) {
      const bool same = !has_view ||
          (layouts_.sizes(here.view) == layouts_.sizes(here.place) &&
           layouts_.of(here.view) == layouts_.of(here.place));
      maps_.insert(same ? here.place : here.view);
    } else if (has_view) {
      maps_.insert(here.view);
    } else {
      doubtful_.insert(wide ? here.place : here.odd);
    }
  }

  bool is_wide(const Place& place) {
    const auto sizes = layouts_.sizes(place);
    if (sizes.size() != 4 ||
        std::count_if(sizes.begin() + 1, sizes.end(), [&](int64_t size) {
          return size >= least_;
        }) < 2) {
      return false;
    }
    size_t rows = 2, columns = 3;
    if (const auto& axes = layouts_.of(place)) {
      const auto h = find_axis(*axes, Role::kH);
      const auto w = find_axis(*axes, Role::kW);
      if (h >= 0 && w >= 0) {
        rows = static_cast<size_t>(h);
        columns = static_cast<size_t>(w);
      }
    }
    return sizes[rows] >= least_ && sizes[columns] >= least_ &&
        sizes[rows] * sizes[columns] > 1;
  }

  /// Perhaps a map, but not laid out [N, C, h, w]. (Tokens, whose rows and
  /// columns are one axis, are none.)
  bool is_odd(const Place& place) {
    const auto& axes = layouts_.of(place);
    return axes &&
        (std::any_of(axes->begin(), axes->end(), is_unknown) ||
         (find_axis(*axes, Role::kH) >= 0 && find_axis(*axes, Role::kW) >= 0));
  }

  // ------------------------------------------------- the steps of a pooling
  // ---

  static Undone undone_by(const std::string& name, Undone before) {
    if (name == "Pow" || name == "Sqrt") {
      return Undone::kPower;
    }
    if (name == "Log") {
      return Undone::kExponential;
    }
    if (name == "Logsumexp") {
      return Undone::kExponent;
    }
    // What a layer of weights makes of it is undone no more.
    return is_convolution(name) || is_matrix_product(name) ? Undone::kNothing
                                                           : before;
  }

  /// Whether the map that `node` made is a step which a later one undoes, and
  /// what may belong to it before that.
  bool undoes(
      Undone undone,
      const std::string& name,
      const Node& node,
      Undone& next) {
    if (undone == Undone::kPower && name == "Pow") {
      next = Undone::kBase;
      return true;
    }
    if (undone == Undone::kExponential && name == "Exp") {
      next = Undone::kExponent;
      return true;
    }
    const auto& edges = node.next_edges();
    if (undone == Undone::kBase && (name == "Clamp" || name == "ClampMin")) {
      // Keeps the base off 0, or is the activation itself: that of a
      // convolution, a norm, a sum.
      return !is_leaf(edges[0].function.get()) &&
          is_activation(operator_of(*edges[0].function));
    }
    return undone == Undone::kExponent && (name == "Mul" || name == "Div") &&
        std::count_if(edges.begin(), edges.end(), [&](const auto& edge) {
          return edge.is_valid() && !is_number(place_of(edge));
        }) == 1;
  }

  static bool is_activation(const std::string& name) {
    return is_one_of(
        name,
        std::array<const char*, 14>{
            "Relu",
            "LeakyRelu",
            "Elu",
            "Gelu",
            "Silu",
            "Mish",
            "Hardtanh",
            "Hardswish",
            "Hardsigmoid",
            "Sigmoid",
            "Softplus",
            "Prelu",
            "PreluKernel",
            "Threshold"});
  }

  bool is_number(const Place& place) {
    if (!is_leaf(place.first)) {
      return false;
    }
    const auto sizes = layouts_.sizes(place);
    return std::all_of(
        sizes.begin(), sizes.end(), [](int64_t size) { return size == 1; });
  }

  /// Of a product that is summed, the factor beside a softmax over cells (which
  /// are one axis there); null if this is none.
  const torch::autograd::Edge* weighted(
      const Step& here,
      const std::string& name) {
    const auto& edges = here.place.first->next_edges();
    if (!here.summed || name != "Mul" || edges.size() != 2) {
      return nullptr;
    }
    for (size_t i = 0; i < 2; ++i) {
      auto place = place_of(edges[i]);
      while (!is_leaf(place.first) &&
             is_rearranging(operator_of(*place.first))) {
        place = place_of(place.first->next_edge(0));
      }
      if (!is_leaf(place.first) && operator_of(*place.first) == "Softmax" &&
          layouts_.sizes(place).size() < 4) {
        return &edges[1 - i];
      }
    }
    return nullptr;
  }

  Layouts& layouts_;
  int64_t least_;
  std::vector<Step> open_;
  std::set<Key> visited_;
  std::set<Place> maps_;
  std::set<Place> doubtful_;
  std::string passed_;
};

} // namespace care::detail

#endif // CARE_CAPTURE_DETAIL_LAST_MAP_HPP
