// Images, masks and boxes moved together, each image by a move of its own.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_GEOMETRY_HPP
#define CARE_AUGMENT_GEOMETRY_HPP

#include <care/augment/affine_map.hpp>
#include <care/augment/detail/checks.hpp>
#include <care/augment/detail/orient_on_host.hpp>
#include <care/augment/detail/warp_by_grid.hpp>
#include <care/augment/detail/warp_on_host.hpp>
#include <care/boxes.hpp>
#include <care/detail/at_least_float.hpp>
#include <care/detail/check.hpp>
#include <care/detail/to_device.hpp>
#include <care/size.hpp>

#include <torch/types.h>
#include <torch/utils.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace care {

namespace detail {

/// The maps' numbers: [N, 6].
inline torch::Tensor numbers_of(
    const std::vector<AffineMap>& maps,
    torch::Dtype dtype) {
  std::vector<double> numbers;
  numbers.reserve(maps.size() * 6);
  for (const auto& map : maps) {
    numbers.insert(numbers.end(), map.begin(), map.end());
  }
  return torch::tensor(numbers, dtype)
      .view({static_cast<int64_t>(maps.size()), 6});
}

/// The box around each box's corners after its image's map: [M, 4] double.
inline torch::Tensor around_moved_corners(
    const Boxes& boxes,
    const std::vector<AffineMap>& maps) {
  const auto map = numbers_of(maps, torch::kDouble)
                       .to(boxes.device())
                       .index_select(0, boxes.image_index())
                       .unbind(1);
  const auto side = boxes.xyxy().to(torch::kDouble).unbind(1);
  const auto x = torch::stack({side[0], side[2], side[0], side[2]});
  const auto y = torch::stack({side[1], side[1], side[3], side[3]});
  const auto u = map[0] * x + map[1] * y + map[2]; // [4, M]
  const auto v = map[3] * x + map[4] * y + map[5];
  return torch::stack({u.amin(0), v.amin(0), u.amax(0), v.amax(0)}, 1);
}

/// Those of `boxes` that are to be kept ([M] bool) and whose new coordinates do
/// not round to nothing, with these, on images of `size`.
inline Boxes at_new_places(
    const Boxes& boxes,
    const torch::Tensor& new_xyxy,
    const torch::Tensor& keep,
    Size size) {
  const auto xyxy = new_xyxy.to(boxes.xyxy().scalar_type());
  const auto has_area = (xyxy.slice(1, 2) > xyxy.slice(1, 0, 2)).all(1);
  const auto left = (keep & has_area).detach();
  const auto kept = boxes.filter(left);
  Boxes moved(
      xyxy.index_select(0, left.nonzero().view(-1)),
      kept.image_index(),
      boxes.num_images(),
      size,
      BoxFormat::kXYXY,
      BoxUnit::kPixels);
  if (kept.has_weights()) {
    moved = moved.with_weights(kept.weights());
  }
  return kept.has_labels() ? moved.with_labels(kept.labels()) : moved;
}

/// `orient` of `images` into `moved`, a tensor of the same shape.
inline void orient_into(
    const torch::Tensor& moved,
    const torch::Tensor& images,
    const Orientation* orientations) {
  if (images.device().is_cpu()) {
    const auto planes = images.dim() == 3 ? images.unsqueeze(1) : images;
    switch (images.element_size()) {
      case 1:
        return orient_on_host<uint8_t>(moved, planes, orientations);
      case 2:
        return orient_on_host<uint16_t>(moved, planes, orientations);
      case 4:
        return orient_on_host<uint32_t>(moved, planes, orientations);
      case 8:
        return orient_on_host<uint64_t>(moved, planes, orientations);
      default: // complex double
        break;
    }
  }
  std::array<std::vector<int64_t>, 8> alike; // these move together
  for (int64_t n = 0; n < images.size(0); ++n) {
    const auto turned = static_cast<size_t>(orientations[n].turned());
    alike[turned + (orientations[n].mirrored() ? 4 : 0)].push_back(n);
  }
  for (size_t i = 0; i < alike.size(); ++i) {
    if (alike[i].empty()) {
      continue;
    }
    const auto oriented = [&](const torch::Tensor& part) {
      const auto mirrored = i >= 4 ? part.flip(-1) : part;
      const auto turns = static_cast<int64_t>(i % 4);
      return turns > 0 ? mirrored.rot90(turns, {-2, -1}) : mirrored;
    };
    if (static_cast<int64_t>(alike[i].size()) == images.size(0)) {
      moved.copy_(oriented(images));
    } else {
      const auto rows =
          to_device(torch::tensor(alike[i], torch::kLong), images.device());
      moved.index_copy_(0, rows, oriented(images.index_select(0, rows)));
    }
  }
}

/// `warp` of float or double images [N, C, H, W] into `warped` [N, C, h, w].
inline void warp_into(
    const torch::Tensor& warped,
    const torch::Tensor& images,
    const AffineMap* maps,
    double fill) {
  if (!images.device().is_cpu()) {
    const Size size{warped.size(2), warped.size(3)};
    warped.copy_(
        warp_by_grid(images, maps, size, fill, Interpolation::kBilinear));
  } else if (images.scalar_type() == torch::kDouble) {
    warp_on_host<double>(warped, images, maps, fill);
  } else {
    warp_on_host<float>(warped, images, maps, fill);
  }
}

} // namespace detail

/// Each image mirrored and turned by its own orientation: the same pixels at
/// other places, exactly.
///
/// `images` [N, C, H, W], or masks [N, H, W], of any dtype and device -> a new
/// tensor of the same shape. Throws c10::ValueError unless there is one
/// orientation for each image, and for an odd number of quarter turns of images
/// that are not square (a batch has one size).
///
///   images = care::orient(images, orientations);
///   boxes = care::orient(boxes, orientations);
inline torch::Tensor orient(
    const torch::Tensor& images,
    const std::vector<Orientation>& orientations) {
  const char* where = "care::orient";
  TORCH_CHECK_VALUE(
      images.defined() && (images.dim() == 3 || images.dim() == 4),
      where,
      ": expected images [N, C, H, W] or masks [N, H, W], but got ",
      detail::sizes_of(images));
  detail::check_orientations(
      where, orientations, images.size(0), {images.size(-2), images.size(-1)});
  const torch::NoGradGuard no_grad;
  auto moved = torch::empty_like(images, torch::MemoryFormat::Contiguous);
  detail::orient_into(moved, images, orientations.data());
  return moved;
}

/// The boxes after `orient` moved their images: exactly; none is cut or lost,
/// but for one so thin that its sides round to one number.
inline Boxes orient(
    const Boxes& boxes,
    const std::vector<Orientation>& orientations) {
  const auto size = boxes.image_size();
  detail::check_orientations(
      "care::orient", orientations, boxes.num_images(), size);
  std::vector<AffineMap> maps;
  maps.reserve(orientations.size());
  for (const auto& orientation : orientations) {
    maps.push_back(orientation_map(orientation, size));
  }
  const auto moved = detail::around_moved_corners(boxes, maps);
  return detail::at_new_places(
      boxes, moved, torch::ones_like(boxes.image_index(), torch::kBool), size);
}

/// Each image warped by its own map, interpolated once.
///
/// `images` [N, C, H, W] floating, any device -> [N, C, h, w] of the same
/// dtype, `size` h x w (default: unchanged). Bilinear; from beyond the border
/// comes `fill`, and at the border the two are mixed, as by torch::grid_sampler
/// with padding of zeros and align_corners = false: torchvision's `affine`,
/// bilinear and without fill, is the same. Half precision is computed in
/// float32. No gradient. Throws c10::ValueError for other shapes, and for maps
/// that are not finite or take the plane to a line.
///
///   const auto map = care::affine_map(
///       care::AffineParameters().angle(15).scale(1.1), {224, 224});
///   images = care::warp(images, {map, care::kIdentityMap});
inline torch::Tensor warp(
    const torch::Tensor& images,
    const std::vector<AffineMap>& maps,
    double fill = 0,
    Size size = {}) {
  const char* where = "care::warp";
  detail::check_images(where, images);
  detail::check_maps(where, maps, images.size(0));
  const torch::NoGradGuard no_grad;
  const auto wide = detail::at_least_float(images);
  const auto to = size == Size{} ? Size{images.size(2), images.size(3)} : size;
  detail::check_size(where, to);
  auto warped = torch::empty(
      {images.size(0), images.size(1), to.height, to.width}, wide.options());
  detail::warp_into(warped, wide, maps.data(), fill);
  return warped.to(images.scalar_type());
}

/// Each mask warped by its image's map: [N, H, W] -> [N, h, w], 0 beyond the
/// border. Floating masks bilinear, bool and integer ones by the nearest pixel,
/// as torchvision does. The rest as for images.
inline torch::Tensor warp_masks(
    const torch::Tensor& masks,
    const std::vector<AffineMap>& maps,
    Size size = {}) {
  const char* where = "care::warp_masks";
  detail::check_planes(where, "masks of shape [N, H, W]", masks);
  detail::check_maps(where, maps, masks.size(0));
  const auto to = size == Size{} ? Size{masks.size(1), masks.size(2)} : size;
  detail::check_size(where, to);
  const torch::NoGradGuard no_grad;
  const auto planes = masks.unsqueeze(1);
  if (masks.is_floating_point()) {
    // Rounding makes no mask larger than it was.
    const auto wide = detail::at_least_float(planes);
    const auto most = wide.amax({2, 3}, /*keepdim=*/true).clamp_min(0);
    return torch::minimum(warp(wide, maps, /*fill=*/0, to), most)
        .squeeze(1)
        .to(masks.scalar_type());
  }
  return detail::warp_by_grid(
             planes.to(torch::kFloat),
             maps.data(),
             to,
             /*fill=*/0,
             detail::Interpolation::kNearest)
      .squeeze(1)
      .to(masks.scalar_type());
}

namespace detail {

/// `warped`, in which those of `masks` are 0 of whose area less than `least` (0
/// to 1) came along: of each pixel of `masks` the share that did, as of a
/// square along the axes. (What lies in `warped` tells it but roughly, as it
/// was sampled anew.)
inline torch::Tensor visible_masks(
    const torch::Tensor& warped,
    const torch::Tensor& masks,
    const std::vector<AffineMap>& maps,
    double least) {
  const auto centres = [&](int64_t length) {
    return torch::arange(length, masks.device()).to(torch::kFloat) + 0.5;
  };
  const auto x = centres(masks.size(2)).view({1, 1, -1});
  const auto y = centres(masks.size(1)).view({1, -1, 1});
  const auto number = to_device(numbers_of(maps, torch::kFloat), masks.device())
                          .view({-1, 6, 1, 1})
                          .unbind(1);
  const auto share = [&](size_t first, int64_t length) {
    const auto &right = number[first], &down = number[first + 1];
    const auto side = right.abs() + down.abs();
    const auto from = right * x + down * y + number[first + 2] - side / 2;
    const auto before = (-from / side).clamp(0, 1);
    const auto behind = ((from + side - length) / side).clamp(0, 1);
    return (1 - before - behind).clamp_min(0);
  };
  const auto area = [](const torch::Tensor& mask) {
    return mask.sum({1, 2}, /*keepdim=*/true, torch::kDouble);
  };
  const auto visible =
      area(masks * share(0, warped.size(2)) * share(3, warped.size(1)));
  return warped * (visible >= (1 - 1e-4) * least * area(masks)); // rounding
}

} // namespace detail

/// The boxes after each image was warped by its own map.
///
/// A box becomes the box around its moved corners, cut at the border (`size`,
/// default: unchanged); it is dropped when nothing is left of it, or less than
/// `min_visible` (0 to 1) of its area. Boxes are cut at the border before they
/// move, too: what comes in from there is no lesion. Weights and labels go
/// along. Boxes on a device wait for it. Throws c10::ValueError as for images.
inline Boxes warp(
    const Boxes& boxes,
    const std::vector<AffineMap>& maps,
    double min_visible = 0.25,
    Size size = {}) {
  const char* where = "care::warp";
  detail::check_maps(where, maps, boxes.num_images());
  detail::check_in_range(where, "min_visible", min_visible, 0, 1);
  const auto to = size == Size{} ? boxes.image_size() : size;
  const auto on_image = boxes.clip();
  const auto around = detail::around_moved_corners(on_image, maps);
  const auto border = [](const torch::Tensor& x, int64_t length) {
    return x.clamp(0, length);
  };
  const auto side = around.unbind(1);
  const auto left = torch::stack(
      {border(side[0], to.width),
       border(side[1], to.height),
       border(side[2], to.width),
       border(side[3], to.height)},
      1);
  const auto area = [](const torch::Tensor& box) {
    return (box.select(1, 2) - box.select(1, 0)) *
        (box.select(1, 3) - box.select(1, 1));
  };
  return detail::at_new_places(
      on_image, left, area(left) >= min_visible * area(around), to);
}

} // namespace care

#endif // CARE_AUGMENT_GEOMETRY_HPP
