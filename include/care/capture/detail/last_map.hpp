// The search for the last map before the pooling that leads to the logits.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_DETAIL_LAST_MAP_HPP
#define CARE_CAPTURE_DETAIL_LAST_MAP_HPP

#include <care/capture/detail/layouts.hpp>
#include <care/capture/detail/node.hpp>
#include <care/capture/detail/tokens.hpp>

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
///
/// What is a map lies [N, C, h, w], or with `channels_last` [N, h, w, C]. Of
/// the latter the user's word counts where the layout cannot be told.
class LastMapSearch {
 public:
  LastMapSearch(Layouts& layouts, bool channels_last)
      : layouts_(layouts),
        channels_last_(channels_last),
        rows_(channels_last ? 1 : 2) {}

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

  /// Laid out as asked for.
  const std::set<Place>& maps() const {
    return maps_;
  }
  /// Laid out otherwise, or in a way that cannot be told.
  const std::set<Place>& doubtful() const {
    return doubtful_;
  }
  /// Whether the last ones are volumes [N, C, D, h, w].
  bool found_volumes() const {
    return found_volumes_;
  }
  /// Whether tokens are mixed between the last maps and the logits.
  bool found_attention() const {
    return found_attention_;
  }
  /// The last node of a user's own that was passed, empty if there was none.
  const std::string& passed() const {
    return passed_;
  }

 private:
  /// What a pooled value went through after its sum over cells, and which step
  /// before that sum it thus undoes.
  enum class Undone { kNothing, kPower, kBase, kExponential, kExponent };

  enum class Kind {
    kNone, ///< no map
    kMap, ///< laid out as asked for
    kOdd ///< laid out otherwise, or in a way that cannot be told
  };

  using Key = std::tuple<Place, Place, Place, Undone, bool>;
  struct Step {
    Place place{};
    Place view{}; ///< the same numbers later on, laid out as asked for
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
    found_attention_ = found_attention_ || mixes_tokens(name);
    const auto kind = kind_of(here.place, name);
    const bool seen_on_the_way = here.view.first || here.odd.first;
    auto next = here;
    next.summed = name == "Sum" || name == "Mean" || is_pooling(name);
    // The order of the questions matters, so two answers are alike.
    // NOLINTNEXTLINE(bugprone-branch-clone)
    if (is_pooling(name)) {
      next.view = next.odd = {};
    } else if (is_rearranging(name)) {
      next.summed = here.summed;
      if (kind == Kind::kMap) {
        next.view = here.place;
        next.odd = {};
      } else if (kind == Kind::kOdd && !is_tokens(here.place)) {
        next.odd = here.place;
      }
    } else if (const auto* values = weighted(here, name)) {
      next.view = next.odd = {};
      follow(next, *values);
      return;
    } else if (kind == Kind::kMap && undoes(here.undone, name, node, next)) {
      next.view = next.odd = {};
    } else if (kind != Kind::kNone || seen_on_the_way) {
      take(here, kind);
      return;
    } else if (is_volume(here.place)) {
      found_volumes_ = true;
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
  void take(const Step& here, Kind kind) {
    const bool has_view = here.view.first != nullptr;
    if (kind == Kind::kMap) {
      const bool same = !has_view ||
          (layouts_.sizes(here.view) == layouts_.sizes(here.place) &&
           layouts_.of(here.view) == layouts_.of(here.place));
      maps_.insert(same ? here.place : here.view);
    } else if (has_view) {
      maps_.insert(here.view);
    } else {
      doubtful_.insert(kind == Kind::kOdd ? here.place : here.odd);
    }
  }

  Kind kind_of(const Place& place, const std::string& name) {
    const auto sizes = layouts_.sizes(place);
    if (sizes.size() != 4) {
      return Kind::kNone;
    }
    const auto& axes = layouts_.of(place);
    const auto h = axes ? find_axis(*axes, Role::kH) : -1;
    const auto w = axes ? find_axis(*axes, Role::kW) : -1;
    const bool known = h >= 0 && w >= 0;
    const auto rows = sizes[known ? static_cast<size_t>(h) : rows_];
    const auto columns = sizes[known ? static_cast<size_t>(w) : rows_ + 1];
    const bool fits = !axes ||
        (channels_last_ ? may_be_channels_last(*axes) : is_image_layout(*axes));
    if (rows > 1 && columns > 1) {
      return fits ? Kind::kMap : Kind::kOdd;
    }
    return fits && rows * columns > 1 && !reduces(place, name)
        ? Kind::kMap
        : Kind::kNone; // such as the tokens of one query
  }

  /// Whether the rows or columns of a map became the only one, but not by a
  /// convolution: that is pooling.
  bool reduces(const Place& place, const std::string& name) {
    const auto to = layouts_.sizes(place);
    const auto& edges = place.first->next_edges();
    return !is_convolution(name) &&
        std::any_of(edges.begin(), edges.end(), [&](const auto& edge) {
          if (is_leaf(edge.function.get())) {
            return false;
          }
          const auto from = layouts_.sizes(place_of(edge));
          const auto is_reduced = [&](size_t axis) {
            return to[axis] == 1 && from[axis] > 1;
          };
          return from.size() == 4 &&
              (is_reduced(rows_) || is_reduced(rows_ + 1));
        });
  }

  /// Rows and columns are one axis, or there are none.
  bool is_tokens(const Place& place) {
    const auto& axes = layouts_.of(place);
    return axes && std::none_of(axes->begin(), axes->end(), is_unknown) &&
        (find_axis(*axes, Role::kH) < 0 || find_axis(*axes, Role::kW) < 0);
  }

  bool is_volume(const Place& place) {
    if (layouts_.sizes(place).size() != 5) {
      return false;
    }
    const auto& axes = layouts_.of(place);
    return axes && find_axis(*axes, Role::kH) == 3 &&
        find_axis(*axes, Role::kW) == 4;
  }

  // The steps of a pooling.

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
      Step& next) {
    if (undone == Undone::kPower && name == "Pow") {
      next.undone = Undone::kBase;
      return true;
    }
    if (undone == Undone::kExponential && name == "Exp") {
      next.undone = Undone::kExponent;
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
  bool channels_last_;
  size_t rows_; // the axis they run along
  std::vector<Step> open_;
  std::set<Key> visited_;
  std::set<Place> maps_;
  std::set<Place> doubtful_;
  bool found_volumes_ = false, found_attention_ = false;
  std::string passed_;
};

} // namespace care::detail

#endif // CARE_CAPTURE_DETAIL_LAST_MAP_HPP
