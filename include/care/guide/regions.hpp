// Where a batch's regions are: boxes, masks, or weights for the maps' cells.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_REGIONS_HPP
#define CARE_GUIDE_REGIONS_HPP

#include <care/boxes.hpp>
#include <care/detail/check.hpp>
#include <care/detail/mask_ranges.hpp>
#include <care/rasterize.hpp>
#include <care/region_weights.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <utility>
#include <variant>

namespace care {

/// The regions of N images, as a `Guide` takes them: an argument that is made
/// from whatever is at hand.
///
///   Boxes               in pixels of the network's input
///   masks [N, H, W]     bool, or soft ones of 0 to 1; any H and W, over the
///                       whole picture; a mask of zeros is no region
///   RegionWeights       [N, h, w] of the maps' size (of several layers, the
///                       finest); no region where weight or inside is all 0
///
/// Best kept on the host: a device is waited for, once for masks and weights,
/// several times for boxes. Masks and weights speak for every class of their
/// image. Throws, in `Guide`, c10::ValueError for shapes that do not fit, for
/// masks outside [0, 1], for weights that are negative or not finite, and for
/// NaN, by the image's number.
class Regions {
 public:
  using Form = std::variant<Boxes, torch::Tensor, RegionWeights>;

  // Made unasked: an argument, not a type to think about.
  // NOLINTNEXTLINE(google-explicit-constructor)
  Regions(Boxes boxes) : form_(std::move(boxes)) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  Regions(torch::Tensor masks) : form_(std::move(masks)) {}
  // NOLINTNEXTLINE(google-explicit-constructor)
  Regions(RegionWeights weights) : form_(std::move(weights)) {}

  const Form& form() const {
    return form_;
  }

 private:
  Form form_;
};

namespace detail {

// What the guide asks of each form.

inline int64_t num_images(const char* /*where*/, const Boxes& boxes) {
  return boxes.num_images();
}
inline int64_t num_images(const char* where, const torch::Tensor& masks) {
  check_planes(where, "masks of shape [N, H, W]", masks);
  return masks.size(0);
}
inline int64_t num_images(const char* where, const RegionWeights& weights) {
  const auto& inside = weights.inside;
  check_planes(where, "regions.inside of shape [N, h, w]", inside);
  check_shape(where, "regions.outside", weights.outside, inside.sizes());
  check_shape(where, "regions.weight", weights.weight, {inside.size(0)});
  return inside.size(0);
}

/// What the errors call them.
inline const char* name_of(const Regions& regions) {
  const char* names[] = {"boxes", "masks", "regions"};
  return names[regions.form().index()];
}

/// What tells, of classes [N] on the host, which images have a region that
/// speaks for theirs: [N] bool on the host.
using Speaking = std::function<torch::Tensor(const torch::Tensor&)>;

inline Speaking speaking(const char* /*where*/, const Boxes& boxes) {
  return [boxes](const torch::Tensor& classes) {
    auto those = boxes.for_classes(classes).counting();
    if (!those.device().is_cpu()) { // where `rasterize` refuses none
      const auto size = those.image_size();
      those =
          those.filter(lies_on(those.xyxy().detach(), size.height, size.width));
    }
    return those.boxes_per_image().to(torch::kCPU) > 0;
  };
}
inline Speaking speaking(const char* where, const torch::Tensor& masks) {
  const auto ranges = mask_ranges(where, masks).to(torch::kCPU);
  check_mask_ranges(where, ranges);
  auto any = ranges[1] > 0;
  return [any](const torch::Tensor& /*classes*/) { return any; };
}
inline Speaking speaking(const char* where, const RegionWeights& weights) {
  const auto low = [](const torch::Tensor& x) {
    return x.detach().to(torch::kDouble).flatten(1).amin(1);
  };
  const auto high = [](const torch::Tensor& x) {
    return x.detach().to(torch::kDouble).flatten(1).amax(1);
  };
  const auto weight = weights.weight.detach().to(torch::kDouble);
  const auto range = torch::stack({low(weights.inside),
                                   high(weights.inside),
                                   low(weights.outside),
                                   high(weights.outside),
                                   weight,
                                   weight})
                         .to(torch::kCPU);
  const char* names[] = {"regions.inside", "regions.outside", "regions.weight"};
  for (int64_t i = 0; i < 3; ++i) {
    const auto& least = range[2 * i];
    const auto& most = range[2 * i + 1];
    const auto bad = first_false(
        torch::isfinite(least) & torch::isfinite(most) & (least >= 0));
    TORCH_CHECK_VALUE(
        bad < 0,
        where,
        ": expected finite weights of at least 0, but got values from ",
        least[bad].item<double>(),
        " to ",
        most[bad].item<double>(),
        " in ",
        names[i],
        "[",
        bad,
        "]");
  }
  auto any = (range[1] > 0) & (range[4] > 0);
  return [any](const torch::Tensor& /*classes*/) { return any; };
}

inline int64_t num_images(const char* where, const Regions& regions) {
  return std::visit(
      [&](const auto& form) { return num_images(where, form); },
      regions.form());
}
inline Speaking speaking(const char* where, const Regions& regions) {
  return std::visit(
      [&](const auto& form) { return speaking(where, form); }, regions.form());
}

/// That no box speaks for a class beyond those of the logits.
inline void check_box_labels(
    const char* where,
    const Regions& regions,
    int64_t classes) {
  const auto* boxes = std::get_if<Boxes>(&regions.form());
  if (boxes != nullptr && boxes->has_labels()) {
    check_in_range(
        where,
        "box labels (-1: every class)",
        "labels",
        boxes->labels().to(torch::kCPU),
        -1,
        classes);
  }
}

/// Boxes of which there are none: nothing more need be asked.
inline bool are_none(const Regions& regions) {
  const auto* boxes = std::get_if<Boxes>(&regions.form());
  return boxes != nullptr && boxes->num_boxes() == 0;
}

} // namespace detail

} // namespace care

#endif // CARE_GUIDE_REGIONS_HPP
