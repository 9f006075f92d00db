// Finds the map that a TargetLayer asks for, or says why there is none.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_DETAIL_FIND_MAP_HPP
#define CARE_CAPTURE_DETAIL_FIND_MAP_HPP

#include <care/capture/detail/axes.hpp>
#include <care/capture/detail/graph.hpp>
#include <care/capture/detail/last_map.hpp>
#include <care/capture/detail/layouts.hpp>
#include <care/capture/detail/observer.hpp>
#include <care/capture/detail/seen_map.hpp>
#include <care/capture/target_layer.hpp>
#include <care/map_layout.hpp>
#include <care/size.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace care::detail {

/// What can be told of a map without its tensor: size, stride, operator.
inline bool may_fulfil(
    const SeenMap& map,
    const TargetLayer& layer,
    const torch::optional<Size>& input) {
  if (!layer.layout().fits(map.sizes)) {
    return false;
  }
  const auto size = layer.layout().map_size(map.sizes);
  return (!layer.map_size() || size == *layer.map_size()) &&
      (!layer.stride() || !input ||
       is_at_stride(size, *input, *layer.stride())) &&
      (layer.operation().empty() ||
       std::any_of(map.names.begin(), map.names.end(), [&](const auto& name) {
         return name.operation == layer.operation();
       }));
}

inline bool fulfils(
    const SeenMap& map,
    const TargetLayer& layer,
    const torch::optional<Size>& input) {
  return may_fulfil(map, layer, input) &&
      (!layer.where() ||
       (!map.hidden &&
        std::any_of(map.names.begin(), map.names.end(), [&](const auto& name) {
          return (layer.operation().empty() ||
                  name.operation == layer.operation()) &&
              layer.where()({map.result, name.operation, name.count});
        })));
}

/// The one result that `layer` names by operator and count.
inline const SeenMap* counted(
    const std::vector<SeenMap>& maps,
    const std::string& seen,
    const TargetLayer& layer) {
  std::map<int64_t, const SeenMap*> named;
  for (const auto& map : maps) {
    for (const auto& name : map.names) {
      if (name.operation == layer.operation() &&
          map.sizes.size() == layer.layout().rank()) {
        named[name.count] = &map;
      }
    }
  }
  const auto size = static_cast<int64_t>(named.size());
  const auto count =
      layer.count() > 0 ? layer.count() : size + layer.count() + 1;
  TORCH_CHECK_VALUE(
      count >= 1 && count <= size,
      "care::capture: expected result ",
      layer.count(),
      " of ",
      layer.operation(),
      ", but the forward has ",
      size,
      " of them. Seen:",
      seen);
  return named[count];
}

/// The maps that a search found, and what it has to say of them.
struct FoundMaps {
  std::vector<const SeenMap*> maps;
  std::string doubt; ///< of the first one that may be no map, empty if none
  std::string passed; ///< a user's own node on the way
  std::string prefix; ///< tokens whose cells do not reach the logits
};

/// Made by a convolution of what has no gradient history, as images have none.
inline bool is_of_input(const Place& place) {
  return is_convolution(operator_of(*place.first)) &&
      is_leaf(place.first->next_edge(0).function.get());
}

/// Warns where a map was cropped or padded: the guide lays the whole image over
/// it.
inline void warn_of_another_extent(
    const SeenMap& map,
    Layouts& layouts,
    const MapLayout& layout) {
  const auto place = map.place();
  const auto name = operator_of(*place.first);
  if (name != "Slice" && !is_of_family(name, "Pad")) {
    return;
  }
  const auto& edge = place.first->next_edge(0);
  const auto before = is_leaf(edge.function.get())
      ? std::vector<int64_t>()
      : layouts.sizes(place_of(edge));
  if (before.size() != 4 || map.sizes.size() != 4) {
    return;
  }
  const auto from = layout.map_size(before), to = layout.map_size(map.sizes);
  // Every second cell still shows the whole image.
  const auto is_cut = [](int64_t whole, int64_t left) {
    return whole != left && (left > whole || whole < 2 * left - 1);
  };
  if (is_cut(from.height, to.height) || is_cut(from.width, to.width)) {
    TORCH_WARN_ONCE(
        "care::capture: the last map was cropped or padded (",
        map.str(),
        "), and counts as one of the whole image all the same, so that boxes "
        "come to lie on other cells. Choose the map before by a TargetLayer.");
  }
}

/// The last maps before the pooling.
inline FoundMaps last_maps(
    SeenMaps& maps,
    const Observer& observer,
    Layouts& layouts,
    const torch::Tensor& logits,
    const MapLayout& layout) {
  FoundMaps found;
  LastMapSearch search(layouts, layout.is_channels_last());
  search.run(logits);
  found.passed = search.passed();
  for (const auto& place : search.doubtful()) {
    const auto& axes = layouts.of(place);
    found.doubt =
        maps.at(place)->str() + (axes ? ", laid out " + axes_text(*axes) : "");
  }
  for (const auto& place : search.maps()) {
    if (search.found_attention() && is_of_input(place) &&
        !observer.saw_frozen()) { // else a frozen backbone made its input
      found.doubt = maps.at(place)->str() +
          ", a patch embedding: made of what has no gradient history, with "
          "attention behind it";
    }
    if (!search.found_volumes()) {
      found.maps.push_back(maps.at(place));
    }
  }
  return found;
}

/// The maps that `layer` asks for. Of tokens only those whose cells reach the
/// logits.
inline FoundMaps chosen_maps(
    SeenMaps& maps,
    const Observer& observer,
    const torch::Tensor& logits,
    const TargetLayer& layer,
    const torch::optional<Size>& input) {
  const auto* chosen = layer.count() != 0
      ? counted(observer.maps(), maps.str(), layer)
      : nullptr;
  FoundMaps found;
  const auto& layout = layer.layout();
  const auto wanted = [&](const SeenMap& map) {
    const bool fits = (chosen == nullptr || chosen->place() == map.place()) &&
        fulfils(map, layer, input);
    if (!fits || !layout.is_tokens()) {
      return fits;
    }
    if (map.sizes[0] != logits.size(0)) {
      return false; // such as the rows of attention
    }
    const bool reach =
        layout.prefix() == 0 || maps.cells_reach(logits, map, layout);
    found.prefix = reach || !found.prefix.empty() ? found.prefix : map.str();
    return reach;
  };
  found.maps = maps.behind(logits, wanted);
  if (found.maps.size() >
      1) { // a block that makes the map smaller has branches
    if (const auto* gate = maps.gate(logits, wanted)) {
      found.maps = {gate};
    }
  }
  return found;
}

/// Whether maps were seen, but none from which the graph leads to the logits.
inline bool is_detached(
    const Observer& observer,
    const FoundMaps& found,
    const TargetLayer& layer) {
  return found.maps.empty() && layer.is_default() &&
      !layer.layout().is_tokens() && found.passed.empty() &&
      observer.volume().empty() && !observer.maps().empty();
}

/// Whether a frozen convolution is why. (Within an autograd::Function gradients
/// are off, as under a NoGradGuard: behind one it cannot be told.)
inline bool is_frozen(const Observer& observer, const FoundMaps& found) {
  return !observer.frozen().empty() &&
      (found.passed.empty() || !observer.frozen_without_gradients());
}

/// Why there may be no map, for an error message.
inline std::string why_none(
    const Observer& observer,
    const FoundMaps& found,
    const TargetLayer& layer) {
  const auto& layout = layer.layout();
  std::string text;
  if (!found.prefix.empty()) {
    text = "of " + found.prefix + " the prefix alone reaches the logits";
  } else if (is_frozen(observer, found)) {
    text = observer.frozen() +
        " has no gradient history: is the backbone frozen, or detached from "
        "its head?";
  } else if (!observer.volume().empty() && !layout.is_tokens()) {
    text = "maps are 2-D, and this network has volumes, such as " +
        observer.volume();
  } else if (!found.passed.empty()) {
    text = "what runs within " + found.passed + " is hidden" +
        (observer.frozen().empty()
             ? ""
             : ", or the backbone ran without gradients: " + observer.frozen());
  } else if (is_detached(observer, found, layer)) {
    text =
        "what the head was given has no gradient history: is the backbone "
        "detached from it?";
  }
  return text.empty() ? text : " (" + text + ")";
}

/// What a layer is chosen by, for an error message.
inline std::string criteria_of(const TargetLayer& layer) {
  std::string text;
  const auto add = [&](const std::string& criterion) {
    text += (text.empty() ? " (" : ", ") + criterion;
  };
  if (!layer.operation().empty()) {
    add("operation " + layer.operation());
  }
  if (layer.count() != 0) {
    add(c10::str("result ", layer.count()));
  }
  if (layer.stride()) {
    add(c10::str("stride ", *layer.stride()));
  }
  if (layer.map_size()) {
    add(c10::str(
        "size ", layer.map_size()->height, "x", layer.map_size()->width));
  }
  if (layer.where()) {
    add("a predicate");
  }
  return text.empty() ? text : text + ")";
}

/// What to do about a network whose backbone has no gradient history.
enum class Frozen { kRefuse, kNoFeatures };

/// The map that `layer` asks for; undefined if there is none and `frozen`
/// permits it.
inline torch::Tensor find_map(
    const Observer& observer,
    const torch::Tensor& logits,
    const TargetLayer& layer,
    const torch::optional<Size>& input,
    Frozen frozen) {
  const char* where = "care::capture";
  TORCH_CHECK_VALUE(
      !layer.stride() || input,
      where,
      ": expected to see the network's input, of which the stride is counted; "
      "hand over the module and its images (capture(net, images)), or choose "
      "by TargetLayer::map_size");
  Layouts layouts(observer.geometries());
  SeenMaps maps(observer, layouts);
  const auto& layout = layer.layout();
  const auto found = layer.is_default() && !layout.is_tokens()
      ? last_maps(maps, observer, layouts, logits, layout)
      : chosen_maps(maps, observer, logits, layer, input);
  TORCH_CHECK_VALUE(
      found.doubt.empty(),
      where,
      ": expected a spatial map ",
      layout.str(),
      " behind the logits, but what comes last there may be tokens or another "
      "layout: ",
      found.doubt,
      "; choose by a TargetLayer (channels_last, tokens, operation), or pass "
      "features by hand. Seen:",
      maps.str());
  if (found.maps.empty() && frozen == Frozen::kNoFeatures &&
      (!observer.frozen().empty() || is_detached(observer, found, layer))) {
    return {};
  }
  TORCH_CHECK_VALUE(
      !found.maps.empty(),
      where,
      ": expected a spatial map ",
      layout.str(),
      layer.is_default()
          ? ""
          : " that the TargetLayer asks for" + criteria_of(layer),
      " behind the logits, but there is none",
      why_none(observer, found, layer),
      ". Seen with a gradient history:",
      maps.str());
  std::string list;
  for (const auto* map : found.maps) {
    list += "\n  " + map->str();
  }
  TORCH_CHECK_VALUE(
      found.maps.size() == 1,
      where,
      ": expected one spatial map behind the logits, but got ",
      found.maps.size(),
      "; choose by a TargetLayer, or pass features by hand:",
      list);
  const auto& map = *found.maps[0];
  TORCH_CHECK_VALUE(
      !map.hidden,
      where,
      ": expected to see the last map, but no operator of this forward and "
      "thread returned it, or it was overwritten: ",
      map.str(),
      "; choose another by a TargetLayer, or pass features by hand. Seen:",
      maps.str());
  TORCH_CHECK_VALUE(
      map.sizes[0] == logits.size(0),
      where,
      ": expected a map of ",
      logits.size(0),
      " images, as the logits are, but got ",
      map.str(),
      " (where images share a row of logits, make a Seen with rows by hand)");
  TORCH_CHECK_VALUE(
      map.result.defined(),
      where,
      ": expected the network to keep its last map, but it went on to another "
      "one and let go of ",
      map.str(),
      "; choose it by a TargetLayer, which keeps it: "
      "TargetLayer().operation(\"",
      map.names.back().operation,
      "\", ",
      map.names.back().count,
      ")");
  if (layer.is_default()) {
    warn_of_another_extent(map, layouts, layout);
  }
  return map.result;
}

} // namespace care::detail

#endif // CARE_CAPTURE_DETAIL_FIND_MAP_HPP
