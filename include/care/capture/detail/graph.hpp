// Finds, among the maps seen in a forward, those from which the logits come.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_DETAIL_GRAPH_HPP
#define CARE_CAPTURE_DETAIL_GRAPH_HPP

#include <care/capture/detail/seen_map.hpp>

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

/// The maps of a forward by their place in the graph, read when the forward is
/// over: an in-place operator changes a tensor's place.
class SeenMaps {
 public:
  explicit SeenMaps(const std::vector<SeenMap>& maps) {
    for (const auto& map : maps) {
      const auto place = map.place();
      if (place.first != nullptr && maps_.emplace(place, &map).second) {
        order_.push_back(&map);
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
      if (here != maps_.end() && wanted(*here->second)) {
        found.push_back(here->second);
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
    for (auto map = order_.rbegin(); map != order_.rend(); ++map) {
      if (wanted(**map)) {
        const auto reached = behind(from, [&](const SeenMap& other) {
          return &other <= *map; // seen no later
        });
        if (reached.size() == 1 && reached[0] == *map) {
          return *map;
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
      text += "\n  " + order_[i]->str();
    }
    return text.empty() ? "\n  none" : text;
  }

 private:
  std::map<Place, const SeenMap*> maps_;
  std::vector<const SeenMap*> order_; // of calls
};

} // namespace care::detail

#endif // CARE_CAPTURE_DETAIL_GRAPH_HPP
