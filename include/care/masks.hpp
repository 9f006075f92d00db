// Masks and polygons as regions: masks -> boxes, polygons -> masks.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_MASKS_HPP
#define CARE_MASKS_HPP

#include <care/boxes.hpp>
#include <care/detail/check.hpp>

#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace care {

/// Which boxes are drawn round a mask.
enum class MaskBoxes {
  kComponents, ///< one round each 8-connected component
  kTight, ///< one round everything
};

namespace detail {

/// Bounding box and pixel count of a connected set of pixels.
struct Component {
  int64_t x0, y0, x1, y1, pixels;
};

/// The 8-connected components of one mask, row by row with union-find, in the
/// order of their first pixels.
inline std::vector<Component> connected_components(
    const bool* mask,
    int64_t height,
    int64_t width) {
  std::vector<int64_t> label(static_cast<size_t>(height * width), -1);
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
  std::vector<Component> found;
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
      auto& c = found[static_cast<size_t>(slot)];
      c.x0 = std::min(c.x0, x);
      c.x1 = std::max(c.x1, x + 1);
      c.y1 = y + 1;
      ++c.pixels;
    }
  }
  return found;
}

} // namespace detail

/// Boxes round the true pixels of each mask.
///
/// `masks` [N, H, W]: bool, or numbers of which those above 0.5 are true; read
/// on the host. Components of fewer than `min_pixels` pixels are left out (also
/// of the tight box). A mask without a true pixel gives no box.
/// Throws c10::ValueError unless masks is [N, H, W]. Cost: linear in the
/// pixels.
inline Boxes boxes_from_masks(
    const torch::Tensor& masks,
    MaskBoxes kind = MaskBoxes::kComponents,
    int64_t min_pixels = 1) {
  const char* where = "care::boxes_from_masks";
  detail::check_planes(where, "masks of shape [N, H, W]", masks);
  auto host = masks.detach().to(torch::kCPU);
  host = (host.scalar_type() == torch::kBool ? host : host > 0.5).contiguous();
  const auto height = host.size(1), width = host.size(2);
  std::vector<std::vector<std::array<double, 4>>> lists;
  for (int64_t n = 0; n < host.size(0); ++n) {
    auto& list = lists.emplace_back();
    for (const auto& c : detail::connected_components(
             host.data_ptr<bool>() + n * height * width, height, width)) {
      if (c.pixels < min_pixels) {
        continue;
      }
      const std::array<double, 4> box = {
          static_cast<double>(c.x0),
          static_cast<double>(c.y0),
          static_cast<double>(c.x1),
          static_cast<double>(c.y1)};
      if (kind == MaskBoxes::kComponents || list.empty()) {
        list.push_back(box);
      } else {
        auto& all = list.front();
        all = {
            std::min(all[0], box[0]),
            std::min(all[1], box[1]),
            std::max(all[2], box[2]),
            std::max(all[3], box[3])};
      }
    }
  }
  return Boxes::from_lists(lists, {height, width});
}

/// The pixels whose centre lies in a polygon (even-odd rule): [H, W] bool.
///
/// `points` [P, 2]: x, y in pixels (the image's corner is 0, 0), P >= 3; the
/// last joins the first. Throws c10::ValueError for other shapes and for
/// points that are not finite. Cost: P H W.
inline torch::Tensor polygon_mask(const torch::Tensor& points, Size size) {
  const char* where = "care::polygon_mask";
  TORCH_CHECK_VALUE(
      points.defined() && points.dim() == 2 && points.size(0) >= 3 &&
          points.size(1) == 2,
      where,
      ": expected points of shape [P, 2] with P >= 3, but got ",
      detail::sizes_of(points));
  auto host = points.detach().to(torch::kCPU, torch::kDouble);
  detail::check_all(
      torch::isfinite(host).all(1),
      "care::polygon_mask: expected finite points, but got ",
      host);
  auto x = torch::arange(size.width, torch::kDouble).unsqueeze(0) + 0.5;
  auto y = torch::arange(size.height, torch::kDouble).unsqueeze(1) + 0.5;
  auto inside = torch::zeros({size.height, size.width}, torch::kBool);
  const auto p = host.size(0);
  for (int64_t i = 0; i < p; ++i) {
    const auto j = (i + 1) % p;
    const auto x0 = host[i][0].item<double>(), y0 = host[i][1].item<double>();
    const auto x1 = host[j][0].item<double>(), y1 = host[j][1].item<double>();
    if (y0 == y1) {
      continue;
    }
    auto spans = (y >= std::min(y0, y1)) & (y < std::max(y0, y1)); // [H, 1]
    auto crossing = x0 + (y - y0) * ((x1 - x0) / (y1 - y0)); // [H, 1]
    inside = inside.logical_xor(spans & (x < crossing));
  }
  return inside.to(points.device());
}

} // namespace care

#endif // CARE_MASKS_HPP
