// What lies outside of the regions exchanged: whose images, and for what.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_OUTSIDE_HPP
#define CARE_AUGMENT_OUTSIDE_HPP

#include <care/augment/detail/checks.hpp>
#include <care/augment/detail/draw.hpp>
#include <care/augment/detail/outside_pixels.hpp>
#include <care/boxes.hpp>
#include <care/detail/at_least_float.hpp>
#include <care/detail/to_device.hpp>

#include <torch/arg.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace care {

/// What takes the place of what lies outside of an image's region.
enum class Outside {
  kKeep, ///< nothing: the image stays as it is
  kColour, ///< one colour
  kBlur, ///< a blur of itself, into which nothing of the region goes
  kOther, ///< the outside of another image of the batch
  kOtherClass, ///< the outside of an image of another class
};

/// What the regions of a donor are filled with, so that no lesion travels.
enum class RegionFill {
  kMean, ///< the mean colour of its outside
  kBlur, ///< its outside blurred in
};

/// Options of `replace_outside`.
struct OutsideOptions {
  /// What takes the outside's place. Default: Outside::kOtherClass.
  TORCH_ARG(Outside, source) = Outside::kOtherClass;
  /// Share of the images that get it, of those with a region. Default: 0.5.
  TORCH_ARG(double, share) = 0.5;
  /// Classes whose images get it; empty for all. Default: empty.
  TORCH_ARG(std::vector<int64_t>, classes) = {};
  /// What is taken where no image of the batch can give its outside (a batch of
  /// one class, say); not kOtherClass. Such images are counted. Default:
  /// Outside::kKeep.
  TORCH_ARG(Outside, fallback) = Outside::kKeep;
  /// What fills the donor's regions. Default: RegionFill::kMean.
  TORCH_ARG(RegionFill, fill) = RegionFill::kMean;
  /// The colour of Outside::kColour in all channels. Default: 0.5, mid-grey.
  TORCH_ARG(double, colour) = 0.5;
  /// Deviation of the blurs as a share of the image's shorter side. Default:
  /// 0.05.
  TORCH_ARG(double, blur) = 0.05;
  /// Pixels beyond the region within which the one turns into the other; 0 for
  /// a hard edge, which is a cue of its own. Default: 0.
  TORCH_ARG(int64_t, soft_edge) = 0;
};

/// Whose outside each image of a batch gets.
struct OutsideDraw {
  std::vector<Outside> source; ///< [N], kKeep where the image stays as it is
  std::vector<int64_t> donor; ///< [N], for kOther and kOtherClass the place in
                              ///< the batch of the image that gives; else -1
  int64_t fallbacks = 0; ///< images for which there was none to give
};

namespace detail {

inline void check_options(const char* where, const OutsideOptions& options) {
  check_in_range(where, "share", options.share(), 0, 1);
  check_in_range(where, "colour", options.colour(), 0, 1);
  check_in_range(where, "blur", options.blur(), 0.001, 1);
  TORCH_CHECK_VALUE(
      options.soft_edge() >= 0,
      where,
      ": expected soft_edge of at least 0 pixels, but got ",
      options.soft_edge());
  TORCH_CHECK_VALUE(
      options.fallback() != Outside::kOtherClass,
      where,
      ": expected a fallback that needs no other class, but got kOtherClass");
}

} // namespace detail

/// Draws which images of a batch get another outside, and whose.
///
/// An image is chosen, with probability `share`, if it has a box and its target
/// is among `classes`; a number drawn from (seed, epoch, index) says so. The
/// donor is another image of the batch (of another target for kOtherClass)
/// whose boxes leave some outside: of these the one whose index, scrambled with
/// the drawn number, comes out largest. So neither the order of the batch nor
/// what else is in it changes the draw among the same candidates; with other
/// batches (more ranks, another order) donors are other ones, since they must
/// be there.
///
/// `targets` [N] integers, may be undefined where neither kOtherClass nor
/// `classes` asks for them; `index` [N] integers, each image's number in the
/// dataset. Boxes, targets and index on a device are waited for. Throws
/// c10::ValueError for other shapes and options out of range.
/// Cost: N^2 scrambles.
inline OutsideDraw draw_outside(
    const Boxes& boxes,
    const torch::Tensor& targets,
    const torch::Tensor& index,
    int64_t epoch,
    uint64_t seed,
    const OutsideOptions& options = {}) {
  const char* where = "care::draw_outside";
  detail::check_options(where, options);
  const auto images = boxes.num_images();
  const auto n = static_cast<size_t>(images);
  OutsideDraw draw{
      std::vector<Outside>(n, Outside::kKeep), std::vector<int64_t>(n, -1), 0};
  if (options.source() == Outside::kKeep || images == 0) {
    return draw;
  }
  const auto number = detail::host_numbers(where, "index", index, images);
  const bool by_class = options.source() == Outside::kOtherClass;
  std::vector<int64_t> target(n, 0);
  if (by_class || !options.classes().empty()) {
    target = detail::host_numbers(where, "targets", targets, images);
  }
  const auto count = detail::host_numbers(
      where, "boxes", boxes.clip().boxes_per_image(), images);
  const auto whole = detail::touched_pixels(boxes).flatten(1).all(1);
  const auto* covered = whole.data_ptr<bool>();
  const auto& classes = options.classes();

  for (size_t i = 0; i < n; ++i) {
    const bool chosen = classes.empty() ||
        std::find(classes.begin(), classes.end(), target[i]) != classes.end();
    detail::Draw random(seed, epoch, number[i], detail::DrawFor::kOutside);
    if (!random.chance(options.share()) || !chosen || count[i] == 0) {
      continue;
    }
    const auto key = random.next();
    const auto find_donor = [&](bool other_class) {
      int64_t donor = -1;
      uint64_t highest = 0;
      for (size_t j = 0; j < n; ++j) {
        if (number[j] == number[i] || covered[j] ||
            (other_class && target[j] == target[i])) {
          continue;
        }
        const auto rank = detail::scrambled(
            key ^ detail::scrambled(static_cast<uint64_t>(number[j])));
        if (donor < 0 || rank > highest) {
          donor = static_cast<int64_t>(j);
          highest = rank;
        }
      }
      return donor;
    };
    const auto needs_donor = [](Outside source) {
      return source == Outside::kOther || source == Outside::kOtherClass;
    };
    auto source = options.source();
    if (needs_donor(source)) {
      draw.donor[i] = find_donor(by_class);
      if (draw.donor[i] < 0) {
        ++draw.fallbacks;
        source = options.fallback();
        if (needs_donor(source)) {
          draw.donor[i] = find_donor(false);
          source = draw.donor[i] < 0 ? Outside::kKeep : source;
        }
      }
    }
    draw.source[i] = source;
  }
  return draw;
}

/// Images with the outside of their regions replaced as `draw` says.
///
/// The region of an image is what its boxes touch; with masks it is the mask
/// (above 0.5), where that has a pixel. An image without a box is left alone,
/// whatever its mask. What a donor gives is itself with its region filled.
///
/// `images` [N, C, H, W] floating, any device -> a new tensor of the same kind;
/// `boxes` on N images of that size, best on the host; `masks` [N, H, W], bool
/// or numbers, or undefined. Labels and boxes stay what they were. No gradient.
/// Nothing waits for the device. Throws c10::ValueError for other shapes.
/// Source: the idea is that of Mixed-Rand, Xiao et al., "Noise or Signal",
/// ICLR 2021 (there for evaluation), and of Sagawa et al.'s Waterbirds.
///
///   const auto draw = care::draw_outside(boxes, targets, index, epoch, seed);
///   images = care::replace_outside(images, boxes, draw);
inline torch::Tensor replace_outside(
    const torch::Tensor& images,
    const Boxes& boxes,
    const OutsideDraw& draw,
    const OutsideOptions& options = {},
    const torch::Tensor& masks = {}) {
  const char* where = "care::replace_outside";
  detail::check_options(where, options);
  detail::check_images(where, images);
  detail::check_batch(where, images, boxes, masks);
  detail::check_one_each(where, "sources", draw.source.size(), images.size(0));
  detail::check_one_each(where, "donors", draw.donor.size(), images.size(0));
  for (size_t n = 0; n < draw.donor.size(); ++n) {
    const bool given = draw.source[n] == Outside::kOther ||
        draw.source[n] == Outside::kOtherClass;
    TORCH_CHECK_INDEX(
        !given || (draw.donor[n] >= 0 && draw.donor[n] < images.size(0)),
        where,
        ": expected donors in [0, ",
        images.size(0),
        "), but donor[",
        n,
        "] is ",
        draw.donor[n]);
  }
  const torch::NoGradGuard no_grad;
  const auto device = images.device();
  const auto wide = detail::at_least_float(images);

  auto region =
      detail::to_device(detail::touched_pixels(boxes), device).unsqueeze(1);
  if (masks.defined()) {
    const auto mask = detail::to_device(
        (masks.scalar_type() == torch::kBool ? masks : masks > 0.5)
            .unsqueeze(1),
        device);
    region =
        torch::where(mask.flatten(1).any(1).view({-1, 1, 1, 1}), mask, region);
  }

  const auto on_image = boxes.clip().boxes_per_image().to(torch::kCPU);
  const auto result = wide.clone();
  for (const auto source :
       {Outside::kColour,
        Outside::kBlur,
        Outside::kOther,
        Outside::kOtherClass}) {
    std::vector<int64_t> own, donor;
    for (size_t n = 0; n < draw.source.size(); ++n) {
      if (draw.source[n] == source && on_image.data_ptr<int64_t>()[n] > 0) {
        own.push_back(static_cast<int64_t>(n));
        donor.push_back(draw.donor[n]);
      }
    }
    // On the host image by image, which then stay in the cache.
    const auto step = device.is_cpu() ? size_t{1} : own.size();
    for (size_t first = 0; first < own.size(); first += step) {
      const auto some_of = [&](const std::vector<int64_t>& rows) {
        return detail::to_device(
            torch::tensor(torch::ArrayRef<int64_t>(rows).slice(first, step)),
            device);
      };
      const auto rows = some_of(own);
      const auto image = wide.index_select(0, rows);
      const auto inside = region.index_select(0, rows);
      torch::Tensor other;
      if (source == Outside::kColour) {
        other = torch::full_like(image, options.colour());
      } else if (source == Outside::kBlur) {
        other = detail::blurred_outside(image, inside, options.blur());
      } else {
        const auto from = some_of(donor);
        other = detail::without_region(
            wide.index_select(0, from),
            region.index_select(0, from),
            options.fill() == RegionFill::kBlur ? options.blur() : 0);
      }
      if (options.soft_edge() > 0) {
        const auto weight = detail::softened(inside, options.soft_edge());
        other += (image - other).mul_(weight);
      }
      result.index_copy_(0, rows, torch::where(inside, image, other));
    }
  }
  return result.to(images.scalar_type());
}

} // namespace care

#endif // CARE_AUGMENT_OUTSIDE_HPP
