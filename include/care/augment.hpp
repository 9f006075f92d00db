// Images, boxes and masks changed together, from seed, epoch and image number.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_HPP
#define CARE_AUGMENT_HPP

#include <care/augment/affine_map.hpp>
#include <care/augment/colour.hpp>
#include <care/augment/detail/checks.hpp>
#include <care/augment/detail/draw.hpp>
#include <care/augment/detail/drawn.hpp>
#include <care/augment/geometry.hpp>
#include <care/augment/options.hpp>
#include <care/augment/outside.hpp>
#include <care/boxes.hpp>
#include <care/detail/at_least_float.hpp>
#include <care/detail/mask_ranges.hpp>
#include <care/size.hpp>

#include <torch/types.h>
#include <torch/utils.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace care {

/// What `augment` made of a batch.
struct Augmented {
  torch::Tensor images; ///< [N, C, H, W], of the dtype given (bytes: float32)
                        ///< and on the device given
  Boxes boxes; ///< on these N images
  torch::Tensor masks; ///< [N, H, W], all 0 where too little was left;
                       ///< undefined where none were given
  torch::Tensor dropped; ///< [N] int64, boxes of which too little was left
  OutsideDraw outside; ///< who got whose outside, and who found none
};

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
/// in an epoch is changed the same way twice; where a sampler draws images
/// again, give the number of the step as `epoch`: then only a copy in the same
/// batch is changed alike.
///
/// `images` [N, C, H, W] floating in [0, 1], before mean and deviation are
/// taken off, or bytes, which become float32 in [0, 1] on the way (the quicker
/// road: the host then keeps no float copy of the batch); on any device, which
/// is not waited for; 3 channels or 1 where colours change. `boxes` on N images
/// of that size, best on the host. `targets` [N] integers, may be undefined
/// unless the outside asks for classes; `index` [N] integers, each image's
/// number in the dataset; both best on the host. `masks` [N, H, W], may be
/// undefined; the outside and `crop_keeps` go by the boxes, so give them
/// `boxes_from_masks` with the masks. What nothing is to be done to is passed
/// on as it is. No gradient reaches the images. Throws c10::ValueError for
/// other shapes, options out of range, masks of lesions without a box in the
/// batch where an option goes by boxes; on the host, of masks outside [0, 1],
/// and of images that are not in [0, 1] where colours change or what comes in
/// from beyond the border, or lies outside, gets one.
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
  const bool bytes = images.defined() && images.scalar_type() == torch::kByte;
  detail::check_images(where, images, /*bytes_too=*/true);
  detail::check_batch(where, images, boxes, masks);
  const bool fills =
      detail::bends(options) || options.outside().source() == Outside::kColour;
  if (!bytes && (fills || detail::colours(options))) {
    detail::check_unit_range(where, images);
  }
  if (masks.defined() && masks.device().is_cpu()) {
    detail::check_mask_ranges(where, detail::mask_ranges(where, masks));
  }
  const bool by_boxes =
      options.crop_keeps() > 0 || options.outside().source() != Outside::kKeep;
  TORCH_CHECK_VALUE(
      !by_boxes || !masks.defined() || boxes.num_boxes() > 0 ||
          !(masks > 0.5).any().item<bool>(),
      where,
      ": expected boxes beside the masks (care::boxes_from_masks; its "
      "min_pixels may have left them out), as the outside and crop_keeps go by "
      "them, but got none");
  const auto number =
      detail::host_numbers(where, "index", index, images.size(0));
  const Size size{images.size(2), images.size(3)};
  const auto draw = [&](size_t n, detail::DrawFor purpose) {
    return detail::Draw(options.seed(), epoch, number[n], purpose);
  };

  Augmented result;
  result.outside = draw_outside(
      boxes, targets, index, epoch, options.seed(), options.outside());

  std::vector<Orientation> orientations;
  for (size_t n = 0; n < number.size(); ++n) {
    orientations.push_back(detail::drawn_orientation(
        draw(n, detail::DrawFor::kOrientation), size, options));
  }
  const bool warps = detail::warps(options);
  const bool orients = options.hflip() || options.vflip() || options.rot90();
  std::vector<AffineMap> maps;
  if (warps) {
    const auto oriented = detail::lists_of(orient(boxes.clip(), orientations));
    for (size_t n = 0; n < number.size(); ++n) {
      const auto window = detail::drawn_window(
          draw(n, detail::DrawFor::kCrop), size, oriented[n], options);
      const auto bend = detail::drawn_affine(
          draw(n, detail::DrawFor::kAffine), size, options);
      maps.push_back(compose(
          compose(
              orientation_map(orientations[n], size), crop_map(window, size)),
          bend));
    }
  }
  result.boxes = boxes;
  result.masks = masks;
  if (warps) {
    result.boxes = warp(boxes, maps, options.min_visible());
    if (masks.defined()) {
      result.masks = detail::visible_masks(
          warp_masks(masks, maps), masks, maps, options.min_visible());
    }
  } else if (orients) {
    result.boxes = orient(boxes, orientations);
    result.masks = masks.defined() ? orient(masks, orientations) : masks;
  }
  result.dropped = boxes.boxes_per_image() - result.boxes.boxes_per_image();

  const bool colours = detail::colours(options);
  std::vector<ColourFactors> factors;
  if (colours) {
    for (size_t n = 0; n < number.size(); ++n) {
      factors.push_back(
          detail::drawn_colour(draw(n, detail::DrawFor::kColour), options));
    }
    detail::check_factors(where, factors, images);
  }

  const torch::NoGradGuard no_grad;
  const auto working = detail::at_least_float(images.scalar_type());
  const auto wanted = bytes ? working : images.scalar_type();
  // Bytes and half precision are widened once for all steps.
  const auto widened = [&](const torch::Tensor& part) {
    return part.scalar_type() == torch::kByte ? part.to(working).div_(255)
                                              : part.to(working);
  };
  auto from = images;
  if (options.outside().source() != Outside::kKeep) {
    from = replace_outside(
        widened(from), boxes, result.outside, options.outside(), masks);
  }
  if (!warps && !orients && !colours) {
    result.images = widened(from).to(wanted);
    return result;
  }
  const auto to = torch::empty_like(
      from, from.options().dtype(working), torch::MemoryFormat::Contiguous);
  // On the host image by image, which then stay in the cache.
  const auto step = from.device().is_cpu() ? 1 : from.size(0);
  for (int64_t n = 0; n < from.size(0); n += step) {
    const auto part = from.slice(0, n, n + step);
    const auto changed = to.slice(0, n, n + step);
    if (warps) {
      detail::warp_into(
          changed, widened(part), maps.data() + n, options.fill());
    } else if (orients) {
      detail::orient_into(changed, widened(part), orientations.data() + n);
    } else {
      changed.copy_(part);
      if (part.scalar_type() == torch::kByte) {
        changed.div_(255);
      }
    }
    if (colours) {
      detail::change_colours(to, factors, n, n + step);
    }
  }
  result.images = to.to(wanted);
  return result;
}

} // namespace care

#endif // CARE_AUGMENT_HPP
