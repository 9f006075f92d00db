// Masks and polygons as regions: masks -> boxes, polygons -> masks.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_MASKS_HPP
#define CARE_MASKS_HPP

#include <care/boxes.hpp>
#include <care/detail/check.hpp>
#include <care/detail/components.hpp>

#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <tuple>
#include <vector>

namespace care {

/// Which boxes are drawn round a mask.
enum class MaskBoxes {
  kComponents, ///< one round each 8-connected component
  kTight, ///< one round everything
};

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
    const auto components = detail::connected_components(
        host.data_ptr<bool>() + n * height * width, height, width);
    for (const auto& c : components.found) {
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
  return Boxes::from_lists(lists, {height, width}, BoxUnit::kPixels);
}

/// The pixels whose centre lies in a polygon (even-odd rule): [H, W] bool. Of a
/// polygon so small or thin that it holds no centre, the pixels in which its
/// points lie.
///
/// `points` [P, 2]: x, y in pixels (the image's corner is 0, 0), P >= 3; the
/// last joins the first. Throws c10::ValueError for other shapes, for points
/// that are not finite, for a polygon wholly beside the image or so thin that
/// it holds no centre and has no point on it, and, as `Boxes` does, where all
/// lie within [0, 1] and no `unit` says what they are or fractions lie beyond
/// [-2, 2]. Cost: W times the rows that each edge spans.
inline torch::Tensor polygon_mask(
    const torch::Tensor& points,
    Size size,
    torch::optional<BoxUnit> unit = torch::nullopt) {
  const char* where = "care::polygon_mask";
  TORCH_CHECK_VALUE(
      points.defined() && points.dim() == 2 && points.size(0) >= 3 &&
          points.size(1) == 2,
      where,
      ": expected points of shape [P, 2] with P >= 3, but got ",
      detail::sizes_of(points));
  detail::check_size(where, size);
  auto host = points.detach().to(torch::kCPU, torch::kDouble);
  detail::check_all(
      torch::isfinite(host).all(1),
      "care::polygon_mask: expected finite points, but got ",
      host);
  if (!unit) {
    detail::check_not_fractions(where, "points", host, size);
  }
  const auto whole = torch::tensor({size.width, size.height}, torch::kDouble);
  if (unit == BoxUnit::kFractions) {
    detail::check_fractions(where, "points", host);
    host = host * whole;
  }
  const auto low = std::get<0>(host.min(0)), high = std::get<0>(host.max(0));
  TORCH_CHECK_VALUE(
      ((high > 0) & (low < whole)).all().item<bool>(),
      where,
      ": expected a polygon that meets the image of ",
      size,
      ", but its points reach from x ",
      low[0].item<double>(),
      ", y ",
      low[1].item<double>(),
      " to ",
      high[0].item<double>(),
      ", ",
      high[1].item<double>());
  auto x = torch::arange(size.width, torch::kDouble).unsqueeze(0) + 0.5;
  const auto y = torch::arange(size.height, torch::kDouble).unsqueeze(1) + 0.5;
  const auto rows = static_cast<double>(size.height);
  auto inside = torch::zeros({size.height, size.width}, torch::kBool);
  const auto p = host.size(0);
  for (int64_t i = 0; i < p; ++i) {
    const auto j = (i + 1) % p;
    const auto x0 = host[i][0].item<double>(), y0 = host[i][1].item<double>();
    const auto x1 = host[j][0].item<double>(), y1 = host[j][1].item<double>();
    if (y0 == y1) {
      continue;
    }
    // The rows whose middle the edge passes: those at its upper end and below.
    const auto row_from = [&](double end) {
      return static_cast<int64_t>(std::clamp(std::ceil(end - 0.5), 0.0, rows));
    };
    const auto top = row_from(std::min(y0, y1));
    const auto bottom = row_from(std::max(y0, y1));
    const auto passed = y.slice(0, top, bottom); // [h, 1]
    const auto crossing = x0 + (passed - y0) * ((x1 - x0) / (y1 - y0));
    inside.slice(0, top, bottom).logical_xor_(x < crossing);
  }
  if (!inside.any().item<bool>()) {
    for (int64_t i = 0; i < p; ++i) {
      const auto u = std::floor(host[i][0].item<double>());
      const auto v = std::floor(host[i][1].item<double>());
      if (u >= 0 && v >= 0 && u < static_cast<double>(size.width) &&
          v < static_cast<double>(size.height)) {
        inside[static_cast<int64_t>(v)][static_cast<int64_t>(u)] = true;
      }
    }
    TORCH_CHECK_VALUE(
        inside.any().item<bool>(),
        where,
        ": expected a polygon over the middle of a pixel of the image of ",
        size,
        " or with a point on it, but got one that has neither");
  }
  return inside.to(points.device());
}

} // namespace care

#endif // CARE_MASKS_HPP
