// The regions of guided images as weights for the cells of their maps.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_REGION_CELLS_HPP
#define CARE_GUIDE_REGION_CELLS_HPP

#include <care/boxes.hpp>
#include <care/detail/to_device.hpp>
#include <care/guide/guided.hpp>
#include <care/guide/regions.hpp>
#include <care/rasterize.hpp>
#include <care/rasterize/detail/host_cells.hpp>
#include <care/region_weights.hpp>
#include <care/size.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

namespace care::detail {

/// What the loss and the figures know of the regions of G guided images.
struct RegionCells {
  RegionWeights weights;
  torch::Tensor inside; // [G, h, w] the regions' share of each cell, flat
  torch::Tensor whole; // [G, h, w] the whole image's
};

/// The boxes that speak for the guided images, on those images in their order.
/// Throws, by their numbers in the batch, for boxes on the host that lie wholly
/// outside their image.
inline Boxes guided_boxes(
    const char* where,
    const Boxes& boxes,
    const Guided& guided) {
  const bool all =
      static_cast<int64_t>(guided.images.size()) == boxes.num_images();
  if (all && !boxes.has_labels()) {
    return boxes; // whose numbers the rasterizer knows
  }
  std::vector<int64_t> class_of(static_cast<size_t>(boxes.num_images()), -1);
  for (size_t i = 0; i < guided.images.size(); ++i) {
    class_of[static_cast<size_t>(guided.images[i])] = guided.classes[i];
  }
  const auto wanted = torch::tensor(class_of, torch::kLong)
                          .to(boxes.device())
                          .index_select(0, boxes.image_index());
  auto speaks = wanted >= 0;
  if (boxes.has_labels()) {
    const auto labels = boxes.labels();
    speaks = speaks & ((labels == wanted) | (labels < 0));
  }
  if (boxes.device().is_cpu()) {
    check_on_image(where, boxes, speaks);
  }
  const auto kept = boxes.filter(speaks);
  return all ? kept : kept.select(torch::tensor(guided.images, torch::kLong));
}

/// What `x` [N, ...] has of the guided images.
inline torch::Tensor guided_part(const torch::Tensor& x, const Guided& guided) {
  const auto images = torch::tensor(guided.images, torch::kLong);
  return images.size(0) == x.size(0) // in order: nothing to copy
      ? x
      : x.index_select(0, to_device(images, x.device()));
}

/// The whole image's share of each cell, beside `inside` [G, h, w].
inline torch::Tensor whole_image(
    Size image_size,
    const torch::Tensor& inside,
    RasterMode mode,
    bool is_mask) {
  const Size map_size{inside.size(1), inside.size(2)};
  const auto image = image_to_cells(image_size, map_size, mode, is_mask);
  return to_device(image.to(inside.scalar_type()), inside.device())
      .expand_as(inside);
}

inline RegionCells cells_of(
    const char* where,
    const Boxes& boxes,
    const Guided& guided,
    Size map_size,
    const RasterizeOptions& raster,
    torch::Device device) {
  const auto chosen = guided_boxes(where, boxes, guided);
  RegionCells cells;
  cells.weights = rasterize(chosen, map_size, raster).to(device);
  cells.inside = cells.weights.inside;
  if (chosen.has_weights()) {
    cells.inside =
        rasterize(chosen.counting(), map_size, raster).to(device).inside;
  }
  cells.whole = whole_image(
      boxes.image_size(), cells.inside, raster.mode(), /*is_mask=*/false);
  return cells;
}

/// Masks are brought to cells where they lie: what goes to the device is small.
inline RegionCells cells_of(
    const char* where,
    const torch::Tensor& masks,
    const Guided& guided,
    Size map_size,
    const RasterizeOptions& raster,
    torch::Device device) {
  const auto chosen = guided_part(masks, guided);
  const auto largest = chosen.detach().flatten(1).amax(1);
  RegionCells cells;
  cells.weights =
      rasterize_masks(where, chosen, largest, map_size, raster).to(device);
  cells.inside = cells.weights.inside;
  cells.whole = whole_image(
      {masks.size(1), masks.size(2)},
      cells.inside,
      raster.mode(),
      /*is_mask=*/true);
  return cells;
}

/// Of weights the whole image is what lies inside and outside.
inline RegionCells cells_of(
    const char* where,
    const RegionWeights& weights,
    const Guided& guided,
    Size map_size,
    const RasterizeOptions& /*raster*/,
    torch::Device device) {
  const auto& inside = weights.inside;
  TORCH_CHECK_VALUE(
      inside.size(1) == map_size.height && inside.size(2) == map_size.width,
      where,
      ": expected regions.inside of the maps' size, ",
      map_size,
      ", but got ",
      inside.sizes());
  RegionCells cells;
  cells.weights =
      RegionWeights{
          guided_part(inside, guided),
          guided_part(weights.outside, guided),
          guided_part(weights.weight, guided)}
          .to(device);
  cells.inside = cells.weights.inside;
  cells.whole = cells.inside + cells.weights.outside;
  return cells;
}

inline RegionCells region_cells(
    const char* where,
    const Regions& regions,
    const Guided& guided,
    Size map_size,
    const RasterizeOptions& raster,
    torch::Device device) {
  return std::visit(
      [&](const auto& form) {
        return cells_of(where, form, guided, map_size, raster, device);
      },
      regions.form());
}

} // namespace care::detail

#endif // CARE_GUIDE_REGION_CELLS_HPP
