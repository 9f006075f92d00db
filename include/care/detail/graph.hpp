// Finds, among the maps seen in a forward, those from which the logits come.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_GRAPH_HPP
#define CARE_DETAIL_GRAPH_HPP

#include <care/capture/layer.hpp>
#include <care/detail/observer.hpp>

#include <c10/util/Exception.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace care::detail {

/// One tensor of the autograd graph: the node that made it, and which of the
/// node's outputs it is.
using Place = std::pair<const torch::autograd::Node*, uint32_t>;

inline Place place_of(const torch::Tensor& x) {
  return {x.grad_fn().get(), static_cast<uint32_t>(x.output_nr())};
}

/// A map seen in a forward, under every operator's name that returned it
/// (aten::conv2d returns what aten::convolution returned to it).
struct SeenMap {
  size_t order = 0; // of calls
  std::vector<const Candidate*> names;

  const Candidate& inner() const {
    return *names.front();
  }
  /// Under the name the network's code is likely to use.
  const Candidate& outer() const {
    return *names.back();
  }
  const torch::Tensor& result() const {
    return names.front()->result;
  }

  template <size_t N>
  bool has_name_like(const std::array<const char*, N>& parts) const {
    return std::any_of(names.begin(), names.end(), [&](const auto* name) {
      return std::any_of(parts.begin(), parts.end(), [&](const char* part) {
        return name->operation.find(part) != std::string::npos;
      });
    });
  }

  /// Not a map of its own: the same one, made smaller or copied. (A cast with
  /// nothing to do returns its argument: one name among others, and no copy.)
  bool is_pooled_or_copied() const {
    return has_name_like(std::array<const char*, 1>{"pool"}) ||
        std::all_of(names.begin(), names.end(), [](const auto* name) {
             const std::array<const char*, 5> copies{
                 "aten::to",
                 "aten::_to_copy",
                 "aten::contiguous",
                 "aten::clone",
                 "aten::alias"};
             return std::find(copies.begin(), copies.end(), name->operation) !=
                 copies.end();
           });
  }

  /// Made by an operator of attention or layout: [N, heads, T, d] and
  /// [N, h, w, C] look like maps and are none.
  bool is_doubtful() const {
    return has_name_like(std::array<const char*, 14>{
        "transpose",
        "permute",
        "view",
        "reshape",
        "flatten",
        "squeeze", // and unsqueeze
        "expand",
        "matmul",
        "bmm",
        "aten::linear",
        "einsum",
        "softmax",
        "attention",
        "layer_norm"});
  }

  std::string str() const {
    return c10::str(outer().operation, " ", result().sizes());
  }
};

/// The maps of a forward by their place in the graph, read when the forward is
/// over: an in-place operator changes a tensor's place.
class SeenMaps {
 public:
  explicit SeenMaps(const std::vector<Candidate>& candidates) {
    for (const auto& candidate : candidates) {
      const auto place = place_of(candidate.result);
      if (place.first != nullptr) {
        auto& map = maps_[place];
        if (map.names.empty()) {
          map.order = order_.size();
          order_.push_back(place);
        }
        map.names.push_back(&candidate);
      }
    }
  }

  /// On every way back from `from` through the graph, the first map that
  /// `wanted` accepts.
  template <class Wanted>
  std::vector<const SeenMap*> behind(const torch::Tensor& from, Wanted wanted)
      const {
    std::vector<const SeenMap*> found;
    std::set<Place> visited;
    std::set<const torch::autograd::Node*> expanded;
    std::vector<Place> open{place_of(from)};
    while (!open.empty()) {
      const auto place = open.back();
      open.pop_back();
      if (place.first == nullptr || !visited.insert(place).second) {
        continue;
      }
      const auto here = maps_.find(place);
      if (here != maps_.end() && wanted(here->second)) {
        found.push_back(&here->second);
      } else if (expanded.insert(place.first).second) {
        TORCH_CHECK_VALUE(
            place.first->name().find("DifferentiableGraph") ==
                std::string::npos,
            "care::capture: expected to see each operator, but an earlier "
            "forward made TorchScript fuse them; hand over the module and its "
            "images: capture(net, images)");
        for (const auto& edge : place.first->next_edges()) {
          open.emplace_back(edge.function.get(), edge.input_nr);
        }
      }
    }
    return found;
  }

  /// The last map that `wanted` accepts and through which every way back from
  /// `from` to an earlier map leads; null if there is none. Of two branches
  /// that start at one map, it is that map.
  template <class Wanted>
  const SeenMap* gate(const torch::Tensor& from, Wanted wanted) const {
    for (auto place = order_.rbegin(); place != order_.rend(); ++place) {
      const auto& map = maps_.at(*place);
      if (wanted(map)) {
        const auto reached = behind(from, [&](const SeenMap& other) {
          return other.order <= map.order;
        });
        if (reached.size() == 1 && reached[0] == &map) {
          return &map;
        }
      }
    }
    return nullptr;
  }

  /// The last ones, a line each, for an error message.
  std::string str() const {
    constexpr size_t kMost = 12;
    std::string text;
    for (size_t i = order_.size() > kMost ? order_.size() - kMost : 0;
         i < order_.size();
         ++i) {
      text += "\n  " + maps_.at(order_[i]).str();
    }
    return text.empty() ? "\n  none" : text;
  }

 private:
  std::map<Place, SeenMap> maps_;
  std::vector<Place> order_; // of calls
};

} // namespace care::detail

#endif // CARE_DETAIL_GRAPH_HPP
