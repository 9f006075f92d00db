// How operators take tokens apart, and mix them.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_DETAIL_TOKENS_HPP
#define CARE_CAPTURE_DETAIL_TOKENS_HPP

#include <care/capture/detail/node.hpp>
#include <care/map_layout.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace care::detail {

/// What it returns of each token depends on other tokens too: attention, by its
/// own operator or by products of matrices.
inline bool mixes_tokens(const std::string& name) {
  return name == "Bmm" || name == "Baddbmm" || is_of_family(name, "Attention");
}

/// Returns some of what it is given.
inline bool picks(const std::string& name) {
  return is_one_of(
      name,
      std::array<const char*, 8>{
          "Select",
          "Slice",
          "Split",
          "SplitWithSizes",
          "Unbind",
          "Index",
          "IndexSelect",
          "AsStrided"});
}

/// Whether of an axis of T tokens no more than the prefix is left, and the
/// other axes are as they were.
inline bool takes_prefix(
    const std::vector<int64_t>& from,
    const std::vector<int64_t>& to,
    const MapLayout& layout) {
  for (size_t axis = 0; axis < from.size(); ++axis) {
    if (from[axis] != layout.num_tokens()) {
      continue;
    }
    auto rest = to;
    if (rest.size() + 1 == from.size()) { // one token, without its axis
      rest.insert(rest.begin() + static_cast<int64_t>(axis), 1);
    }
    if (rest.size() == from.size() && rest[axis] <= layout.prefix()) {
      rest[axis] = from[axis];
      if (rest == from) {
        return true;
      }
    }
  }
  return false;
}

} // namespace care::detail

#endif // CARE_CAPTURE_DETAIL_TOKENS_HPP
