// Finds, among the maps seen in a forward, those from which the logits come.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_DETAIL_GRAPH_HPP
#define CARE_CAPTURE_DETAIL_GRAPH_HPP

#include <care/capture/detail/axes.hpp>
#include <care/capture/detail/layouts.hpp>
#include <care/capture/detail/node.hpp>
#include <care/capture/detail/observer.hpp>
#include <care/capture/detail/seen_map.hpp>
#include <care/capture/detail/tokens.hpp>
#include <care/map_layout.hpp>

#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <deque>
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
  SeenMaps(const Observer& observer, Layouts& layouts) : layouts_(layouts) {
    for (const auto& map : observer.maps()) {
      const auto place = map.place();
      if (place.first != nullptr && maps_.emplace(place, &map).second) {
        order_.push_back(&map);
      }
    }
  }

  /// The map at a place where there is one, told from the graph if no operator
  /// returned it, or if it was overwritten.
  const SeenMap* at(const Place& place) {
    const auto here = maps_.find(place);
    if (here != maps_.end()) {
      return here->second;
    }
    hidden_.emplace_back(layouts_.sizes(place), place.first->name());
    return maps_.emplace(place, &hidden_.back()).first->second;
  }

  /// On every way back from `from` through the graph, the first map that
  /// `wanted` accepts.
  template <class Wanted>
  std::vector<const SeenMap*> behind(const torch::Tensor& from, Wanted wanted) {
    std::vector<const SeenMap*> found;
    std::set<Place> visited;
    std::vector<Place> open{place_of(from)};
    while (!open.empty()) {
      const auto place = open.back();
      open.pop_back();
      if (place.first == nullptr || !visited.insert(place).second) {
        continue;
      }
      const auto* here = is_map(place) ? at(place) : nullptr;
      if (here != nullptr && wanted(*here)) {
        found.push_back(here);
        continue;
      }
      check_unfused(place.first->name());
      const bool convolves = is_convolution(operator_of(*place.first));
      const auto& edges = place.first->next_edges();
      for (size_t i = 0; i < edges.size(); ++i) {
        const auto next = place_of(edges[i]);
        // Weights in another dtype, or normalised, may have a map's size.
        const bool is_weight = convolves && i > 0 && !layouts_.of(next);
        if (!is_weight) {
          open.push_back(next);
        }
      }
    }
    return found;
  }

  /// The last map that `wanted` accepts and through which every way back from
  /// `from` to an earlier map of as many images leads; null if there is none.
  /// Of two branches that start at one map, it is that map.
  template <class Wanted>
  const SeenMap* gate(const torch::Tensor& from, Wanted wanted) {
    for (auto map = order_.rbegin(); map != order_.rend(); ++map) {
      if (wanted(**map)) {
        const auto reached = behind(from, [&](const SeenMap& other) {
          return is_no_later(other, **map) &&
              other.sizes[0] == (*map)->sizes[0]; // no table of positions
        });
        if (reached.size() == 1 && reached[0] == *map) {
          return *map;
        }
      }
    }
    return nullptr;
  }

  /// Whether cells among the tokens of `map` reach `from`, and not the prefix
  /// alone: by a way back on which nothing takes the prefix out, or on which
  /// attention mixes the tokens before that.
  bool cells_reach(
      const torch::Tensor& from,
      const SeenMap& map,
      const MapLayout& layout) {
    using Step = std::pair<Place, bool>; // the second: of the prefix alone
    std::set<Step> visited;
    std::vector<Step> open{{place_of(from), false}};
    while (!open.empty()) {
      const auto step = open.back();
      open.pop_back();
      const auto& place = step.first;
      if (is_leaf(place.first) || !visited.insert(step).second) {
        continue;
      }
      const auto here = maps_.find(place);
      if (here != maps_.end() && is_no_later(*here->second, map)) {
        if (here->second == &map && !step.second) {
          return true;
        }
        continue;
      }
      const auto name = operator_of(*place.first);
      for (const auto& edge : place.first->next_edges()) {
        const auto next = place_of(edge);
        const bool prefix_alone = !mixes_tokens(name) &&
            (step.second ||
             (!is_leaf(next.first) && picks(name) &&
              takes_prefix(
                  layouts_.sizes(next), layouts_.sizes(place), layout)));
        open.emplace_back(next, prefix_alone);
      }
    }
    return false;
  }

  /// The last ones, a line each, for an error message; copies and changes of
  /// layout are left out.
  std::string str() const {
    constexpr size_t kMost = 12;
    std::vector<std::string> lines; // each once: blocks repeat themselves
    for (auto map = order_.rbegin(); map != order_.rend(); ++map) {
      const auto line = "\n  " + (*map)->str();
      if (lines.size() < kMost &&
          !is_rearranging(operator_of(*(*map)->place().first)) &&
          std::find(lines.begin(), lines.end(), line) == lines.end()) {
        lines.push_back(line);
      }
    }
    std::string text;
    for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
      text += *line;
    }
    return text.empty() ? "\n  none" : text;
  }

 private:
  static bool is_no_later(const SeenMap& map, const SeenMap& other) {
    return !map.hidden && &map <= &other; // they lie in the order of calls
  }

  /// Seen, or of a node that no operator is known to have made.
  bool is_map(const Place& place) {
    if (maps_.count(place) > 0) {
      return true;
    }
    if (is_leaf(place.first) || layouts_.was_noted(place) ||
        is_rearranging(operator_of(*place.first))) {
      return false;
    }
    return is_map_size(layouts_.sizes(place));
  }

  Layouts& layouts_;
  std::map<Place, const SeenMap*> maps_;
  std::vector<const SeenMap*> order_; // of calls
  std::deque<SeenMap> hidden_;
};

} // namespace care::detail

#endif // CARE_CAPTURE_DETAIL_GRAPH_HPP
