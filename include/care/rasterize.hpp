// Boxes or masks -> inside and outside weights at the resolution of a map.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_RASTERIZE_HPP
#define CARE_RASTERIZE_HPP

#include <care/boxes.hpp>
#include <care/detail/at_least_float.hpp>
#include <care/detail/check.hpp>
#include <care/detail/mask_ranges.hpp>
#include <care/detail/to_device.hpp>
#include <care/rasterize/detail/coverage.hpp>
#include <care/rasterize/detail/distance.hpp>
#include <care/rasterize/detail/host_cells.hpp>
#include <care/rasterize/mode.hpp>
#include <care/region_weights.hpp>

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <ostream>

namespace care {

/// Distance from a pixel to the nearest box, in whole pixels beside the border.
enum class Distance { kCityblock, kEuclidean };

/// Options of `rasterize` and `BoxMaskRasterizer`.
struct RasterizeOptions {
  /// How pixels are brought down to cells. Default: kAdjoint.
  TORCH_ARG(RasterMode, mode) = RasterMode::kAdjoint;
  /// Weight of an outside pixel: start + delta * distance to the nearest box.
  /// Default: 1 and 0, a flat weight.
  TORCH_ARG(double, start) = 1.0;
  TORCH_ARG(double, delta) = 0.0;
  /// Default: kCityblock, as the authors'.
  TORCH_ARG(Distance, distance) = Distance::kCityblock;
  /// Pixels around each box that count neither as inside nor as outside.
  /// Default: 0.
  TORCH_ARG(double, margin) = 0.0;
};

namespace detail {

inline void check_options(const char* where, const RasterizeOptions& options) {
  TORCH_CHECK_VALUE(
      std::isfinite(options.start()) && std::isfinite(options.delta()) &&
          options.start() >= 0 && options.delta() >= 0 &&
          options.start() + options.delta() > 0,
      where,
      ": expected start and delta of at least 0, not both 0, but got ",
      options.start(),
      " and ",
      options.delta());
  TORCH_CHECK_VALUE(
      std::isfinite(options.margin()) && options.margin() >= 0,
      where,
      ": expected a margin of at least 0 pixels, but got ",
      options.margin());
}

inline void check_map_size(const char* where, Size map_size) {
  TORCH_CHECK_VALUE(
      map_size.height > 0 && map_size.width > 0,
      where,
      ": expected a map size of at least 1x1, but got ",
      map_size);
}

/// Into how many parts a mask's pixels are divided along an axis: larger than
/// two cells, they would pass cells by, as bilinear sampling from the map at
/// their centres does, and these would weigh nothing.
inline int64_t parts_of(int64_t pixels, int64_t cells, RasterMode mode) {
  const auto parts = (cells + pixels - 1) / pixels;
  return mode == RasterMode::kAdjoint && parts > 2 ? parts : 1;
}

/// Pixels `[N, H, W]` so divided, each part with its share of the weight.
inline torch::Tensor divided(
    torch::Tensor pixels,
    Size map_size,
    RasterMode mode) {
  const auto along = [&](int64_t axis, int64_t cells) {
    const auto parts = parts_of(pixels.size(axis), cells, mode);
    if (parts > 1) {
      auto sizes = pixels.sizes().vec();
      sizes.insert(sizes.begin() + axis + 1, parts);
      pixels =
          pixels.unsqueeze(axis + 1).expand(sizes).flatten(axis, axis + 1) /
          static_cast<double>(parts);
    }
  };
  along(1, map_size.height);
  along(2, map_size.width);
  return pixels;
}

/// Brings pixel weights `[N, H, W]` down to cells `[N, h, w]`.
inline torch::Tensor pixels_to_cells(
    const torch::Tensor& pixels,
    Size map_size,
    RasterMode mode) {
  auto rows = pixel_weights(pixels.size(1), map_size.height, mode, pixels);
  auto columns = pixel_weights(pixels.size(2), map_size.width, mode, pixels);
  return torch::matmul(torch::matmul(rows.t(), pixels), columns);
}

/// What the whole image gives to each cell of a map: `[h, w]` double, host.
/// `is_mask`: of a mask's size, whose pixels may be divided.
inline torch::Tensor image_to_cells(
    Size image_size,
    Size map_size,
    RasterMode mode,
    bool is_mask) {
  const auto all = [&](int64_t pixels, int64_t cells) {
    const auto parts = is_mask ? parts_of(pixels, cells, mode) : 1;
    const CellAxis axis(pixels * parts, cells, mode);
    auto given = torch::empty({cells}, torch::kDouble);
    for (int64_t c = 0; c < cells; ++c) {
      given.data_ptr<double>()[c] =
          axis.all(static_cast<size_t>(c)) / static_cast<double>(parts);
    }
    return given;
  };
  return torch::outer(
      all(image_size.height, map_size.height),
      all(image_size.width, map_size.width));
}

/// `rasterize` for any boxes: on a device, with a gradient, with distances.
inline RegionWeights rasterize_by_tensors(
    const Boxes& boxes,
    Size map_size,
    const RasterizeOptions& options) {
  const auto size = boxes.image_size();
  const auto n = boxes.num_images();
  auto slots = slots_of(boxes.image_index(), n);
  if (!boxes.device().is_cpu()) {
    auto on = lies_on(boxes.xyxy().detach(), size.height, size.width);
    slots.used = to_slots(on, slots);
  }
  torch::Tensor shares, heaviest; // of the image's heaviest box, and that
  if (boxes.has_weights()) {
    const auto weights = to_slots(boxes.weights(), slots) * slots.used;
    heaviest = weights.amax(1);
    shares = weights /
        torch::where(heaviest > 0, heaviest, torch::ones_like(heaviest))
            .unsqueeze(1);
  }
  const auto padded = to_slots(boxes.xyxy(), slots);

  auto grid = ElementaryGrid(padded, size.height, size.width);
  auto cells = grid.cells(options.mode(), map_size.height, map_size.width);
  RegionWeights result;
  result.inside = cells(grid.covered(shares));

  auto has_region = slots.used.any(1);
  if (options.margin() > 0) {
    auto grown = to_slots(boxes.pad(options.margin()).xyxy(), slots) *
        slots.used.unsqueeze(2); // none round a box that is off the image
    grid = ElementaryGrid(grown, size.height, size.width);
    cells = grid.cells(options.mode(), map_size.height, map_size.width);
  }
  if (options.delta() == 0) {
    result.outside = cells(1 - grid.covered({})) * options.start();
  } else {
    auto pixels = grid.cells(
        RasterMode::kCoverage, size.height, size.width)(1 - grid.covered({}));
    auto distance = distance_to_boxes(
        padded.detach(),
        slots.used,
        size.height,
        size.width,
        options.distance() == Distance::kEuclidean);
    result.outside = pixels_to_cells(
        pixels * (options.start() + options.delta() * distance),
        map_size,
        options.mode());
  }
  result.outside = result.outside * has_region.view({-1, 1, 1});
  result.weight = heaviest.defined()
      ? heaviest
      : has_region.to(result.inside.scalar_type());
  return result;
}

} // namespace detail

/// Weights of the cells inside and outside the boxes of each image.
///
///   inside = A_y^T m A_x,  outside = A_y^T ((1 - m') (start + delta d)) A_x
///
/// m is the union of the image's boxes in pixels (a pixel counts by its covered
/// share, overlapping boxes once), m' that of the boxes grown by the margin, d
/// the distance to the nearest box, A the map from pixels to cells
/// (RasterMode). With box weights the image's `weight` is the largest of its
/// boxes', and m the largest of the boxes over a place, divided by it: 1 where
/// the heaviest lies.
///
/// Shapes: N = boxes.num_images(); inside and outside [N, h, w], weight [N]; on
/// the boxes' device, in their dtype (float32 or float64; `to` makes others).
/// Gradient: reaches the box coordinates (piecewise, in both modes), but not
/// through the distances, which count as constants.
/// Throws c10::ValueError for a box wholly outside its image (boxes on the
/// host; on a device such a box counts for nothing). Boxes partly outside are
/// cut. An image without boxes gets zeros.
/// Cost: with K boxes on the fullest image O(N K (K^2 + K (h + w) + h w)), no
/// image-sized tensor; with delta > 0, O(N K H W) for the distances. Boxes on
/// the host that need no gradient, with a flat outside, take a path of plain
/// loops, O(H + W + N (K^2 + K w + h w)). Boxes on a device are waited for.
/// Source: P19 eq. 2-3 for the masks; the adjoint and the union are ours.
///
///   auto boxes = care::Boxes::from_lists({{{32, 32, 96, 96}}}, {224, 224});
///   auto weights = care::rasterize(boxes, {7, 7});
inline RegionWeights rasterize(
    const Boxes& boxes,
    Size map_size,
    const RasterizeOptions& options = {}) {
  const char* where = "care::rasterize";
  detail::check_options(where, options);
  detail::check_map_size(where, map_size);
  // Autocast would take the products to half precision.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(
      c10::autocast_dispatch_keyset);

  const auto n = boxes.num_images();
  if (boxes.num_boxes() == 0) {
    auto like = boxes.xyxy().options().requires_grad(false);
    auto zero = torch::zeros({n, map_size.height, map_size.width}, like);
    return {zero, zero.clone(), torch::zeros({n}, like)};
  }
  if (!boxes.device().is_cpu()) {
    return detail::rasterize_by_tensors(boxes, map_size, options);
  }
  detail::check_on_image(where, boxes);
  if (boxes.requires_grad() || options.delta() > 0) {
    return detail::rasterize_by_tensors(boxes, map_size, options);
  }
  const auto [inside, outside, weight] = detail::host_cells(
      boxes, map_size, options.mode(), options.start(), options.margin());
  return {inside, outside, weight};
}

/// The union of each image's boxes as a mask at the image's own resolution:
/// `[N, H, W]`, 0 to 1, a pixel by its covered share. Whatever their weights,
/// boxes count in full, but those of weight 0 do not count.
inline torch::Tensor pixel_mask(const Boxes& boxes) {
  return rasterize(
             boxes.counting(),
             boxes.image_size(),
             RasterizeOptions().mode(RasterMode::kCoverage))
      .inside;
}

namespace detail {

/// `rasterize` for masks that were checked, `largest` [N] their largest values.
inline RegionWeights rasterize_masks(
    const char* where,
    const torch::Tensor& masks,
    const torch::Tensor& largest,
    Size map_size,
    const RasterizeOptions& options) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      options.delta() == 0 || options.distance() == Distance::kCityblock,
      where,
      ": expected Distance::kCityblock for masks, but got kEuclidean");
  // Autocast would take the products to half precision.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(
      c10::autocast_dispatch_keyset);
  const auto inside = at_least_float(masks).clamp(0, 1); // rounded beyond
  const auto longer = std::max(masks.size(1), masks.size(2));
  const auto margin = static_cast<int64_t>(
      std::min(std::ceil(options.margin()), static_cast<double>(longer)));
  auto outside = 1 - dilate_mask(inside, margin);
  const auto has_region = largest > 0;
  if (options.delta() == 0) {
    outside = outside * options.start();
  } else {
    const auto most = largest.to(inside.scalar_type());
    const auto level = torch::where(
        most > 0.5, torch::full_like(most, 0.5), torch::zeros_like(most));
    const auto distance = cityblock_to_mask(inside > level.view({-1, 1, 1}));
    outside = outside * (options.start() + options.delta() * distance);
  }
  const auto cells = [&](const torch::Tensor& pixels) {
    const auto mode = options.mode();
    return pixels_to_cells(divided(pixels, map_size, mode), map_size, mode);
  };
  return {
      cells(inside),
      cells(outside * has_region.view({-1, 1, 1})),
      has_region.to(inside.scalar_type())};
}

} // namespace detail

/// Weights from masks instead of boxes: the mask itself is the region.
///
/// `masks`: [N, H, W], bool or numbers in [0, 1] (checked on the host only).
/// The rest as for boxes, but only the city-block distance is available, and
/// the margin is rounded up to whole pixels. Distances are taken to the nearest
/// pixel above 0.5, or, in a mask without one, above 0. A mask of zeros is no
/// region.
inline RegionWeights rasterize(
    const torch::Tensor& masks,
    Size map_size,
    const RasterizeOptions& options = {}) {
  const char* where = "care::rasterize";
  detail::check_options(where, options);
  detail::check_map_size(where, map_size);
  const auto ranges = detail::mask_ranges(where, masks);
  if (masks.device().is_cpu()) {
    detail::check_mask_ranges(where, ranges);
  }
  return detail::rasterize_masks(where, masks, ranges[1], map_size, options);
}

/// The rasterizer as a module without parameters.
///
///   care::BoxMaskRasterizer rasterizer(care::RasterizeOptions().margin(4));
///   auto weights = rasterizer(boxes, care::Size{7, 7});
class BoxMaskRasterizerImpl
    : public torch::nn::Cloneable<BoxMaskRasterizerImpl> {
 public:
  explicit BoxMaskRasterizerImpl(const RasterizeOptions& options_ = {})
      : options(options_) {
    reset();
  }

  void reset() override {
    detail::check_options("care::BoxMaskRasterizer", options);
  }

  void pretty_print(std::ostream& stream) const override {
    stream << "care::BoxMaskRasterizer("
           << (options.mode() == RasterMode::kAdjoint ? "adjoint" : "coverage")
           << ", start=" << options.start() << ", delta=" << options.delta()
           << (options.distance() == Distance::kEuclidean ? ", euclidean" : "")
           << ", margin=" << options.margin() << ")";
  }

  RegionWeights forward(const Boxes& boxes, Size map_size) const {
    return rasterize(boxes, map_size, options);
  }

  /// The same for masks. (A second `forward` would hide the holder's call
  /// operator: LibTorch looks for one `forward` only.)
  RegionWeights from_masks(const torch::Tensor& masks, Size map_size) const {
    return rasterize(masks, map_size, options);
  }

  RasterizeOptions options;
};

/// See `BoxMaskRasterizerImpl` and `rasterize`.
TORCH_MODULE(BoxMaskRasterizer);

} // namespace care

#endif // CARE_RASTERIZE_HPP
