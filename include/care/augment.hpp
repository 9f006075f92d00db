// Images, boxes and masks changed together, from seed, epoch and image number.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_HPP
#define CARE_AUGMENT_HPP

#include <care/augment/affine_map.hpp>
#include <care/augment/colour.hpp>
#include <care/augment/detail/draw.hpp>
#include <care/augment/geometry.hpp>
#include <care/augment/outside.hpp>
#include <care/boxes.hpp>
#include <care/detail/check.hpp>

#include <torch/arg.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace care {

/// What may be changed, and how far; by default nothing is. A range r means a
/// number drawn evenly between -r and r, or a factor between 1 - r and 1 + r.
struct AugmentOptions {
  /// "none"; "flips": both flips; "strong": these, quarter turns, a crop of at
  /// least 0.7, and a little of everything else. Throws c10::ValueError for
  /// another name.
  static AugmentOptions preset(const std::string& name);

  /// From which, with the epoch and the image's number, all is drawn. Default:
  /// 0.
  TORCH_ARG(uint64_t, seed) = 0;
  /// Mirror left to right, and top to bottom, half of the time. Default: false.
  TORCH_ARG(bool, hflip) = false;
  TORCH_ARG(bool, vflip) = false;
  /// Quarter turns; half turns where images are not square. Default: false.
  TORCH_ARG(bool, rot90) = false;
  /// Least share of the image's area that a resized crop keeps, up to 1, in a
  /// shape up to 4:3 wider or taller; 1 for no crop. Default: 1.
  TORCH_ARG(double, crop) = 1.0;
  /// Least share of the area of the image's boxes that a crop keeps. Of ten
  /// crops the first that does is taken, or else the whole image. Default: 0.
  TORCH_ARG(double, crop_keeps) = 0.0;
  /// Degrees, at most 180. Default: 0.
  TORCH_ARG(double, rotate) = 0.0;
  /// Degrees, at most 60. Default: 0.
  TORCH_ARG(double, shear) = 0.0;
  /// Factor on all lengths, below 1. Default: 0.
  TORCH_ARG(double, scale) = 0.0;
  /// Share of the width, and of the height, at most 1. Default: 0.
  TORCH_ARG(double, translate) = 0.0;
  /// Factors (see `adjust_colour`), at most 1. Default: 0.
  TORCH_ARG(double, brightness) = 0.0;
  TORCH_ARG(double, contrast) = 0.0;
  TORCH_ARG(double, saturation) = 0.0;
  /// Share of the colour circle, at most 0.5. Default: 0.
  TORCH_ARG(double, hue) = 0.0;
  /// What comes in from beyond the border, in all channels. A mirrored lesion
  /// would have no box. Default: 0.5, mid-grey.
  TORCH_ARG(double, fill) = 0.5;
  /// A box of which less is left by crop and affine map is dropped. Default:
  /// 0.25.
  TORCH_ARG(double, min_visible) = 0.25;
  /// What takes the place of the outside, before anything moves. Default:
  /// nothing.
  TORCH_ARG(OutsideOptions, outside) = OutsideOptions().source(Outside::kKeep);
};

/// What `augment` made of a batch.
struct Augmented {
  torch::Tensor images; ///< [N, C, H, W], of the dtype and on the device given
  Boxes boxes; ///< on these N images
  torch::Tensor masks; ///< [N, H, W]; undefined where none were given
  torch::Tensor dropped; ///< [N] int64, boxes of which too little was left
  OutsideDraw outside; ///< who got whose outside, and who found none
};

namespace detail {

inline void check_options(const char* where, const AugmentOptions& options) {
  check_in_range(where, "crop", options.crop(), 0.01, 1);
  check_in_range(where, "crop_keeps", options.crop_keeps(), 0, 1);
  check_in_range(where, "rotate", options.rotate(), 0, 180);
  check_in_range(where, "shear", options.shear(), 0, 60);
  check_in_range(where, "scale", options.scale(), 0, 0.9);
  check_in_range(where, "translate", options.translate(), 0, 1);
  check_in_range(where, "brightness", options.brightness(), 0, 1);
  check_in_range(where, "contrast", options.contrast(), 0, 1);
  check_in_range(where, "saturation", options.saturation(), 0, 1);
  check_in_range(where, "hue", options.hue(), 0, 0.5);
  check_in_range(where, "fill", options.fill(), 0, 1);
  check_in_range(where, "min_visible", options.min_visible(), 0, 1);
  check_options(where, options.outside());
}

inline Orientation drawn_orientation(
    Draw random,
    Size size,
    const AugmentOptions& options) {
  const bool hflip = random.chance(0.5), vflip = random.chance(0.5);
  const auto turns = random.below(4);
  const bool square = size.height == size.width;
  return {
      options.hflip() && hflip,
      options.vflip() && vflip,
      !options.rot90() ? 0
          : square     ? turns
                       : turns / 2 * 2};
}

/// The share of the area of `boxes` ([K] of x0, y0, x1, y1) within a window; 1
/// without boxes.
inline double share_within(
    const Window& window,
    const std::vector<std::array<double, 4>>& boxes) {
  double all = 0, within = 0;
  for (const auto& [x0, y0, x1, y1] : boxes) {
    const double w =
        std::min(x1, window.left + window.width) - std::max(x0, window.left);
    const double h =
        std::min(y1, window.top + window.height) - std::max(y0, window.top);
    all += (x1 - x0) * (y1 - y0);
    within += std::max(w, 0.0) * std::max(h, 0.0);
  }
  return all > 0 ? within / all : 1;
}

inline Window drawn_window(
    Draw random,
    Size size,
    const std::vector<std::array<double, 4>>& boxes,
    const AugmentOptions& options) {
  const auto width = static_cast<double>(size.width);
  const auto height = static_cast<double>(size.height);
  constexpr int kTries = 10;
  for (int i = 0; i < kTries; ++i) {
    const double area = random.uniform(options.crop(), 1);
    const double limit = std::log(4.0 / 3.0);
    const double aspect = std::exp(random.uniform(-limit, limit));
    const double w = std::min(1.0, std::sqrt(area * aspect)) * width;
    const double h = std::min(1.0, std::sqrt(area / aspect)) * height;
    const double left = random.uniform(0, width - w);
    const double top = random.uniform(0, height - h);
    const Window window{left, top, w, h};
    if (share_within(window, boxes) >= options.crop_keeps()) {
      return window;
    }
  }
  return {0, 0, width, height};
}

inline AffineMap drawn_affine(
    Draw random,
    Size size,
    const AugmentOptions& options) {
  const auto within = [&](double range) {
    return random.uniform(-range, range);
  };
  AffineParameters parameters;
  parameters.angle(within(options.rotate()));
  parameters.shear_x(within(options.shear()));
  parameters.scale(1 + within(options.scale()));
  parameters.translate_x(
      within(options.translate()) * static_cast<double>(size.width));
  parameters.translate_y(
      within(options.translate()) * static_cast<double>(size.height));
  return affine_map(parameters, size);
}

inline ColourFactors drawn_colour(Draw random, const AugmentOptions& options) {
  const auto factor = [&](double range) {
    return 1 + random.uniform(-range, range);
  };
  ColourFactors factors;
  factors.brightness(factor(options.brightness()));
  factors.contrast(factor(options.contrast()));
  factors.saturation(factor(options.saturation()));
  factors.hue(random.uniform(-options.hue(), options.hue()));
  return factors;
}

/// The boxes of each image as numbers on the host.
inline std::vector<std::vector<std::array<double, 4>>> lists_of(
    const Boxes& boxes) {
  std::vector<std::vector<std::array<double, 4>>> lists(
      static_cast<size_t>(boxes.num_images()));
  const auto xyxy =
      boxes.xyxy().detach().to(torch::kCPU, torch::kDouble).contiguous();
  const auto image = boxes.image_index().to(torch::kCPU).contiguous();
  for (int64_t m = 0; m < boxes.num_boxes(); ++m) {
    const auto* box = xyxy.data_ptr<double>() + 4 * m;
    lists[static_cast<size_t>(image.data_ptr<int64_t>()[m])].push_back(
        {box[0], box[1], box[2], box[3]});
  }
  return lists;
}

} // namespace detail

inline AugmentOptions AugmentOptions::preset(const std::string& name) {
  TORCH_CHECK_VALUE(
      name == "none" || name == "flips" || name == "strong",
      "care::AugmentOptions::preset: expected none, flips or strong, but got ",
      name);
  AugmentOptions options;
  if (name != "none") {
    options.hflip(true).vflip(true);
  }
  if (name == "strong") {
    options.rot90(true).crop(0.7).rotate(15).shear(5).scale(0.1);
    options.brightness(0.2).contrast(0.2).saturation(0.2).hue(0.02);
  }
  return options;
}

/// A batch for one step of training, changed at random: images, boxes and masks
/// together.
///
/// In this order: the outside replaced (`replace_outside`); flips and quarter
/// turns, a resized crop, and rotation, shear, scale and shift about the
/// centre, all as one map and interpolated once (`warp`), or, where only flips
/// and turns are asked for, exactly (`orient`); brightness, contrast,
/// saturation, hue (`adjust_colour`).
///
/// All is drawn from (seed, epoch, index), whatever else is in the batch and in
/// whatever order: a resumed run repeats itself, two epochs do not, and the
/// number of workers or ranks changes nothing, but for which donors a batch
/// holds (`draw_outside`). Each kind of change has numbers of its own: asking
/// for colours, say, leaves the flips as they were. An image that comes twice
/// in an epoch is changed the same way twice: give copies indices of their own
/// (index + copy * images in the dataset).
///
/// `images` [N, C, H, W] floating in [0, 1], before mean and deviation are
/// taken off, on any device, which is not waited for; 3 channels or 1 where
/// colours change. `boxes` on N images of that size, best on the host.
/// `targets` [N] integers, may be undefined unless the outside asks for
/// classes; `index` [N] integers, each image's number in the dataset; both best
/// on the host. `masks` [N, H, W], may be undefined. What nothing is to be done
/// to is passed on as it is. No gradient reaches the images. Throws
/// c10::ValueError for other shapes, options out of range, and images on the
/// host that are not in [0, 1] where colours change.
///
///   const auto options = care::AugmentOptions::preset("strong").seed(1);
///   auto batch = care::augment(images, boxes, targets, index, epoch, options);
///   auto seen = guide.watch(net, (batch.images - 0.5) / 0.25);
inline Augmented augment(
    const torch::Tensor& images,
    const Boxes& boxes,
    const torch::Tensor& targets,
    const torch::Tensor& index,
    int64_t epoch,
    const AugmentOptions& options = {},
    const torch::Tensor& masks = {}) {
  const char* where = "care::augment";
  detail::check_options(where, options);
  detail::check_images(where, images);
  detail::check_batch(where, images, boxes, masks);
  const auto number =
      detail::host_numbers(where, "index", index, images.size(0));
  const Size size{images.size(2), images.size(3)};
  const auto draw = [&](size_t n, detail::DrawFor purpose) {
    return detail::Draw(options.seed(), epoch, number[n], purpose);
  };

  Augmented result;
  // Half precision is widened once for all steps.
  result.images = images.scalar_type() == torch::kDouble
      ? images
      : images.to(torch::kFloat);
  result.boxes = boxes;
  result.masks = masks;

  result.outside = draw_outside(
      boxes, targets, index, epoch, options.seed(), options.outside());
  if (options.outside().source() != Outside::kKeep) {
    result.images = replace_outside(
        result.images, boxes, result.outside, options.outside(), masks);
  }

  std::vector<Orientation> orientations;
  for (size_t n = 0; n < number.size(); ++n) {
    orientations.push_back(detail::drawn_orientation(
        draw(n, detail::DrawFor::kOrientation), size, options));
  }
  const bool crops = options.crop() < 1;
  const bool bends = options.rotate() > 0 || options.shear() > 0 ||
      options.scale() > 0 || options.translate() > 0;
  if (crops || bends) {
    const auto oriented = detail::lists_of(orient(boxes.clip(), orientations));
    std::vector<AffineMap> maps;
    for (size_t n = 0; n < number.size(); ++n) {
      auto map = orientation_map(orientations[n], size);
      if (crops) {
        const auto window = detail::drawn_window(
            draw(n, detail::DrawFor::kCrop), size, oriented[n], options);
        map = compose(map, crop_map(window, size));
      }
      if (bends) {
        map = compose(
            map,
            detail::drawn_affine(
                draw(n, detail::DrawFor::kAffine), size, options));
      }
      maps.push_back(map);
    }
    result.images = warp(result.images, maps, options.fill());
    result.boxes = warp(boxes, maps, options.min_visible());
    result.masks = masks.defined() ? warp_masks(masks, maps) : masks;
  } else if (options.hflip() || options.vflip() || options.rot90()) {
    result.images = orient(result.images, orientations);
    result.boxes = orient(boxes, orientations);
    result.masks = masks.defined() ? orient(masks, orientations) : masks;
  }
  result.dropped = boxes.boxes_per_image() - result.boxes.boxes_per_image();

  if (options.brightness() > 0 || options.contrast() > 0 ||
      options.saturation() > 0 || options.hue() > 0) {
    std::vector<ColourFactors> factors;
    for (size_t n = 0; n < number.size(); ++n) {
      factors.push_back(
          detail::drawn_colour(draw(n, detail::DrawFor::kColour), options));
    }
    result.images = adjust_colour(result.images, factors);
  }
  result.images = result.images.to(images.scalar_type());
  return result;
}

} // namespace care

#endif // CARE_AUGMENT_HPP
