// Tells how the tensors of a forward are laid out, from its autograd graph.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_DETAIL_LAYOUTS_HPP
#define CARE_CAPTURE_DETAIL_LAYOUTS_HPP

#include <care/capture/detail/axes.hpp>
#include <care/capture/detail/node.hpp>

#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace care::detail {

/// Geometries by place, noted while the forward ran. A node that is gone may
/// leave its address to another: the two differ in their number.
class Geometries {
 public:
  void note(const torch::Tensor& x, const Place& place) {
    if (find(place) == nullptr) {
      noted_[place] = {
          place.first->sequence_nr(), {x.sizes().vec(), x.strides().vec()}};
    }
  }

  /// Null if none was noted.
  const Geometry* find(const Place& place) const {
    const auto found = noted_.find(place);
    return found == noted_.end() ||
            found->second.first != place.first->sequence_nr()
        ? nullptr
        : &found->second.second;
  }

 private:
  std::map<Place, std::pair<uint64_t, Geometry>> noted_;
};

/// The layout of each tensor behind the logits, as far as it can be told.
///
/// It follows the data: a convolution's result is [N, C, h, w]; a view deals
/// the axes out anew, a permutation moves them, a matrix product takes rows
/// from one side and columns from the other; what else keeps the number of axes
/// keeps the axes.
class Layouts {
 public:
  explicit Layouts(const Geometries& noted) : noted_(noted) {}

  bool was_noted(const Place& place) const {
    return noted_.find(place) != nullptr;
  }

  std::vector<int64_t> sizes(const Place& place) const {
    return geometry(place).sizes;
  }

  /// None where nothing speaks for or against [N, C, h, w]: what is behind it
  /// are parameters and data alone, and no operator that changed a layout.
  const torch::optional<Axes>& of(const Place& place) {
    // From the first input that is known: a deep network would else overflow
    // the stack.
    std::vector<Place> unknown;
    for (auto next = place; !is_leaf(next.first) && told_.count(next) == 0;
         next = first_input(*next.first)) {
      unknown.push_back(next);
      if (is_convolution(operator_of(*next.first))) {
        break;
      }
    }
    for (auto next = unknown.rbegin(); next != unknown.rend(); ++next) {
      told_.emplace(*next, tell(*next));
    }
    return told_[place]; // of a leaf: none
  }

 private:
  using Told = torch::optional<Axes>;

  static Place first_input(const Node& node) {
    for (const auto& edge : node.next_edges()) {
      if (!is_leaf(edge.function.get())) {
        return place_of(edge);
      }
    }
    return {};
  }

  /// A parameter tells its size. Of what else was not noted the node keeps the
  /// size, but no strides; it tells it by making a tensor of that size.
  Geometry geometry(const Place& place) const {
    if (const auto* noted = noted_.find(place)) {
      return *noted;
    }
    const auto& node = *place.first;
    if (const auto* leaf =
            dynamic_cast<const torch::autograd::AccumulateGrad*>(&node)) {
      return {leaf->variable.sizes().vec(), {}};
    }
    if (place.second >= node.num_inputs()) {
      return {};
    }
    return {node.input_metadata(place.second).zeros_like().sizes().vec(), {}};
  }

  Told tell(const Place& place) {
    const auto name = operator_of(*place.first);
    const auto out = geometry(place);
    const auto& edges = place.first->next_edges();
    if (is_convolution(name)) {
      return convolved(place_of(edges[0]), out.sizes);
    }
    if (is_matrix_product(name)) { // the last two inputs, after what is added
      const auto last = edges.size() - 1;
      return multiplied(edges[last - 1], edges[last], out.sizes);
    }
    if (is_regrouping(name) || is_permutation(name)) {
      return rearranged(name, place_of(edges[0]), out);
    }
    if (name == "Index") { // may pick cells in any order
      return unknown_axes(out.sizes);
    }
    auto axes = passed_on(edges, out.sizes);
    if (axes && is_of_images(name) &&
        std::any_of(axes->begin(), axes->end(), is_unknown)) {
      return image_axes(out.sizes);
    }
    return axes;
  }

  /// A convolution is sure of its axes. But one along a single axis slides
  /// along what its input has there: tokens stay tokens.
  Told convolved(const Place& input, const std::vector<int64_t>& sizes) {
    auto axes = image_axes(sizes);
    const bool single = sizes.size() == 3 ||
        (sizes.size() == 4 && (sizes[2] == 1 || sizes[3] == 1));
    if (!single || is_leaf(input.first) || !of(input)) {
      return axes;
    }
    const auto from = this->sizes(input);
    for (size_t i = 0; from.size() == sizes.size() && i < sizes.size(); ++i) {
      if (i != 1 && from[i] == sizes[i]) {
        axes[i] = (*of(input))[i];
      }
    }
    return axes;
  }

  /// What one factor of a matrix product gives the result. A parameter's axes
  /// count channels.
  Axis taken(
      const torch::autograd::Edge& edge,
      size_t from_last,
      int64_t size,
      Role otherwise) {
    if (edge.is_valid()) {
      const auto place = place_of(edge);
      const auto& axes = of(place);
      if (!axes) {
        return axis_of(Role::kC, size);
      }
      if (axes->size() >= from_last &&
          sizes(place)[axes->size() - from_last] == size) {
        return (*axes)[axes->size() - from_last];
      }
      return axis_of(Role::kUnknown, size);
    }
    return axis_of(otherwise, size);
  }

  Told multiplied(
      const torch::autograd::Edge& left,
      const torch::autograd::Edge& right,
      const std::vector<int64_t>& sizes) {
    const auto rank = sizes.size();
    auto axes = unknown_axes(sizes);
    if (rank == 3) {
      axes[0] = taken(left, 3, sizes[0], Role::kUnknown);
      if (is_unknown(axes[0]) || !left.is_valid() || !of(place_of(left))) {
        axes[0] = taken(right, 3, sizes[0], Role::kUnknown);
      }
    }
    axes[rank - 2] = taken(left, 2, sizes[rank - 2], Role::kUnknown);
    axes[rank - 1] = taken(right, 1, sizes[rank - 1], Role::kC);
    return axes;
  }

  Told rearranged(
      const std::string& name,
      const Place& input,
      const Geometry& out) {
    const auto& axes = of(input);
    const auto in = geometry(input);
    if (!axes) { // parameters, or perhaps data, of which one must know more
      return is_map_size(in.sizes) ? Told(unknown_axes(out.sizes)) : Told();
    }
    if (is_regrouping(name)) {
      return regrouped(*axes, out.sizes);
    }
    if (in.strides.empty() || out.strides.empty()) {
      return unknown_axes(out.sizes);
    }
    if (name != "AsStrided") {
      return permuted(*axes, in, out);
    }
    if (in.sizes.size() == out.sizes.size() && in.strides == out.strides) {
      return kept(*axes, in.sizes, out.sizes); // a slice
    }
    return in.is_contiguous() && out.is_contiguous()
        ? regrouped(*axes, out.sizes)
        : permuted(*axes, in, out);
  }

  /// The axes of an operator of which nothing else is known: those of its
  /// inputs of the same size, or if it has none, of the others.
  Told passed_on(
      const torch::autograd::edge_list& edges,
      const std::vector<int64_t>& sizes) {
    Told same, other;
    const auto add = [](Told& axes, const Axes& more) {
      for (size_t i = 0; axes && i < more.size(); ++i) {
        if (is_unknown((*axes)[i])) {
          (*axes)[i] = more[i];
        }
      }
      axes = axes ? axes : Told(more);
    };
    for (const auto& edge : edges) {
      const auto place = place_of(edge);
      if (is_leaf(place.first) || !of(place)) {
        continue;
      }
      const auto from = this->sizes(place);
      if (from == sizes) {
        add(same, *of(place));
        if (std::none_of(same->begin(), same->end(), is_unknown)) {
          break;
        }
      } else {
        add(other,
            from.size() == sizes.size() ? kept(*of(place), from, sizes)
                                        : embedded(*of(place), from, sizes));
      }
    }
    return same ? same : other;
  }

  const Geometries& noted_;
  std::map<Place, Told> told_;
};

} // namespace care::detail

#endif // CARE_CAPTURE_DETAIL_LAYOUTS_HPP
