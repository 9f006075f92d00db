// Connected components of binary masks, on the host.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_COMPONENTS_HPP
#define CARE_DETAIL_COMPONENTS_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace care::detail {

/// Bounding box (half-open) and pixel count of a connected set of pixels.
struct Component {
  int64_t x0, y0, x1, y1, pixels;
};

/// The components of one mask in the order of their first pixels, and for each
/// pixel the component it belongs to, row by row; -1 for none.
struct Components {
  std::vector<Component> found;
  std::vector<int64_t> label;
};

/// The 8-connected components of one mask, row by row with union-find.
inline Components connected_components(
    const bool* mask,
    int64_t height,
    int64_t width) {
  Components result;
  auto& found = result.found;
  auto& label = result.label;
  label.assign(static_cast<size_t>(height * width), -1);
  std::vector<int64_t> parent;
  auto root = [&](int64_t i) {
    while (parent[static_cast<size_t>(i)] != i) {
      auto& up = parent[static_cast<size_t>(i)];
      up = parent[static_cast<size_t>(up)];
      i = up;
    }
    return i;
  };
  auto at = [&](int64_t y, int64_t x) -> int64_t& {
    return label[static_cast<size_t>(y * width + x)];
  };
  constexpr std::array<std::pair<int, int>, 4> kBefore = {
      {{-1, -1}, {-1, 0}, {-1, 1}, {0, -1}}};
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      if (!mask[y * width + x]) {
        continue;
      }
      int64_t mine = -1;
      for (const auto& [dy, dx] : kBefore) {
        const auto v = y + dy, u = x + dx;
        if (v < 0 || u < 0 || u >= width || at(v, u) < 0) {
          continue;
        }
        const auto other = root(at(v, u));
        if (mine >= 0 && other != mine) {
          parent[static_cast<size_t>(std::max(mine, other))] =
              std::min(mine, other);
        }
        mine = mine < 0 ? other : std::min(mine, other);
      }
      if (mine < 0) {
        mine = static_cast<int64_t>(parent.size());
        parent.push_back(mine);
      }
      at(y, x) = mine;
    }
  }
  std::vector<int64_t> index(parent.size(), -1);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      if (at(y, x) < 0) {
        continue;
      }
      auto& slot = index[static_cast<size_t>(root(at(y, x)))];
      if (slot < 0) {
        slot = static_cast<int64_t>(found.size());
        found.push_back({x, y, x + 1, y + 1, 0});
      }
      at(y, x) = slot;
      auto& c = found[static_cast<size_t>(slot)];
      c.x0 = std::min(c.x0, x);
      c.x1 = std::max(c.x1, x + 1);
      c.y1 = y + 1;
      ++c.pixels;
    }
  }
  return result;
}

} // namespace care::detail

#endif // CARE_DETAIL_COMPONENTS_HPP
