// Boxes from maps: threshold, components, and how far each is to be trusted.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_FIND_BOXES_HPP
#define CARE_FIND_BOXES_HPP

#include <care/boxes.hpp>
#include <care/find_boxes/detail/regions.hpp>
#include <care/find_boxes/options.hpp>
#include <care/find_boxes/threshold.hpp>

#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace care {

/// What `find_boxes` found.
struct FoundBoxes {
  Boxes boxes; ///< image after image, the most certain first; weighted by it
  torch::Tensor confidence; ///< [M] float32 in [0, 1], the boxes' weights
  torch::Tensor threshold; ///< [N] float32, where each map was cut
  torch::Tensor whole; ///< [N] int64, boxes dropped: nearly the whole image
  torch::Tensor unsure; ///< [N] int64, boxes dropped: below min_confidence
};

/// Boxes round what stands out in each map.
///
/// Each map is weighed by the priors, cut by the threshold, and split into
/// 8-connected components on the host; small ones are left out, near ones
/// merged, nearly whole images dropped and counted in `whole`, then unsure
/// ones in `unsure`, and of the rest the `max_boxes` most certain are kept.
/// Their confidence, in [0, 1], is also the boxes' weight, so that the loss
/// counts an unsure box less:
///
///   confidence = contrast * compactness * border * room
///   contrast    = mean of the map over the component's pixels
///                 - mean over the pixels below the threshold, at least 0
///   compactness = min(1, pixels / (pi/4 of the box)): 1 for an ellipse or more
///   border      = 1 - share of the box's outline on the image's border
///   room        = min(1, (1 - share of the image) / (1 - max_area / 2))
///
/// Shapes: maps [N, H, W] in [0, 1], any dtype and device -> boxes on images of
/// H x W, on the host. A map of one value gives no box. Throws c10::ValueError
/// for other shapes, values outside [0, 1] (also NaN) and options out of range.
/// The formula is ours. Cost: linear in the pixels, and n log n in what is left
/// of the components (see min_area).
///
///   auto found = care::find_boxes(care::frequency_tuned(images));
///   auto regions = care::rasterize(found.boxes, {7, 7});
inline FoundBoxes find_boxes(
    const torch::Tensor& maps,
    const BoxFinderOptions& options = {}) {
  const char* where = "care::find_boxes";
  detail::check_options(where, options);
  torch::NoGradGuard no_grad;
  auto wide = detail::checked_maps(where, maps);
  const auto n = wide.size(0), h = wide.size(1), w = wide.size(2);
  const Size size{h, w};
  // A map of one value says nothing about where, whatever the priors say.
  auto says = wide.amax({1, 2}) > wide.amin({1, 2});
  if (options.centre_prior() > 0 || options.border_prior() > 0) {
    wide = wide * detail::map_prior(wide, options);
  }
  const auto threshold = detail::map_thresholds(wide, options);
  auto above =
      (wide >= threshold.view({n, 1, 1})) & (wide > 0) & says.view({n, 1, 1});

  const auto host_above = above.to(torch::kCPU).contiguous();
  const auto host_map = wide.to(torch::kCPU).contiguous();
  const auto pixels = static_cast<double>(h * w);
  const auto gap = options.merge_gap() * static_cast<double>(std::max(h, w));
  std::vector<std::vector<std::array<double, 4>>> lists;
  std::vector<float> confidence;
  std::vector<int64_t> whole, unsure;
  for (int64_t i = 0; i < n; ++i) {
    auto [regions, background] = detail::regions_of(
        host_above.data_ptr<bool>() + i * h * w,
        host_map.data_ptr<float>() + i * h * w,
        size,
        options.min_area() * pixels);
    if (options.merge_gap() >= 0) {
      detail::merge_regions(regions, gap);
    }
    auto& list = lists.emplace_back();
    whole.push_back(0);
    unsure.push_back(0);
    std::vector<detail::FoundRegion> kept;
    for (auto& region : regions) {
      if (detail::padded_area(region, size, options) >
          options.max_area() * pixels) {
        ++whole.back();
        continue;
      }
      region.confidence =
          detail::region_confidence(region, background, size, options);
      if (region.confidence < options.min_confidence()) {
        ++unsure.back();
        continue;
      }
      kept.push_back(region);
    }
    std::stable_sort(
        kept.begin(), kept.end(), [](const auto& a, const auto& b) {
          return a.confidence > b.confidence;
        });
    if (static_cast<int64_t>(kept.size()) > options.max_boxes()) {
      kept.resize(static_cast<size_t>(options.max_boxes()));
    }
    for (const auto& region : kept) {
      list.push_back({region.x0, region.y0, region.x1, region.y1});
      confidence.push_back(static_cast<float>(region.confidence));
    }
  }
  FoundBoxes result;
  result.boxes = Boxes::from_lists(lists, size, BoxUnit::kPixels)
                     .with_weights(torch::tensor(confidence, torch::kFloat))
                     .dilate(options.padding())
                     .clip();
  result.confidence = result.boxes.weights();
  result.threshold = threshold.to(torch::kCPU, torch::kFloat);
  result.whole = torch::tensor(whole, torch::kLong);
  result.unsure = torch::tensor(unsure, torch::kLong);
  return result;
}

} // namespace care

#endif // CARE_FIND_BOXES_HPP
