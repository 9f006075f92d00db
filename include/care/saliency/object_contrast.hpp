// Saliency for spots on an object: what differs from the object it lies on.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_SALIENCY_OBJECT_CONTRAST_HPP
#define CARE_SALIENCY_OBJECT_CONTRAST_HPP

#include <care/detail/check.hpp>
#include <care/detail/image.hpp>
#include <care/find_boxes.hpp>
#include <care/saliency/detail/surface.hpp>
#include <care/saliency/robust_background.hpp>

#include <torch/arg.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace care {

/// Options of `object_contrast`. Pixels are those of the working size.
struct ObjectContrastOptions {
  /// The shorter side at which the method works, in pixels. Default: 160.
  TORCH_ARG(int64_t, size) = 160;
  /// Dark or bright lines thinner than this many pixels (veins, scratches) are
  /// filled from beside; odd, 1 for none. Default: 3.
  TORCH_ARG(int64_t, line_width) = 3;
  /// So many pixels inside its outline belong to the object's edge, which is
  /// not salient. Default: 4.
  TORCH_ARG(int64_t, margin) = 4;
  /// How much brightness counts beside colour. Default: 0.5.
  TORCH_ARG(double, brightness) = 0.5;
  /// Deviation of the blur of the map, in pixels. Default: 1.5.
  TORCH_ARG(double, sigma) = 1.5;
};

/// Object contrast (ours): the distance of each pixel's colour from the colour
/// that the object has there.
///
///   S = G * inside |Lab - ground|
///
/// The object is what `robust_background` sees, cut after Otsu, with holes
/// closed up to an eighth of the shorter side: a spot may stand out less than
/// the object does. `inside` is 1 on the object without its edge. `ground` is a
/// quadratic surface in x and y for each channel of Lab, fitted to the object
/// four times, each time with less weight where the last one was missed: it
/// follows the object's shading. Use it where the lesion lies on a thing that
/// itself stands out, as a spot on a leaf; the other methods find the leaf.
///
/// Shapes: images [N, 3, H, W], RGB in [0, 1], any device -> [N, H, W] float32
/// in [0, 1], each brought there by its own minimum and maximum. No gradient. A
/// flat image gives 0. Throws c10::ValueError for other shapes, values outside
/// [0, 1] (a device is waited for) and options out of range.
///
///   auto maps = care::object_contrast(torch::rand({2, 3, 96, 128}));
inline torch::Tensor object_contrast(
    const torch::Tensor& images,
    const ObjectContrastOptions& options = {}) {
  const char* where = "care::object_contrast";
  detail::check_at_least(where, "size", options.size(), 8);
  detail::check_at_least(where, "margin", options.margin(), 0);
  detail::check_odd(where, "line_width", options.line_width());
  detail::check_positive(where, "sigma", options.sigma());
  TORCH_CHECK_VALUE(
      options.brightness() >= 0 && std::isfinite(options.brightness()),
      where,
      ": expected brightness of at least 0, but got ",
      options.brightness());
  torch::NoGradGuard no_grad;
  auto rgb = detail::checked_images(where, images);
  if (rgb.size(0) == 0) {
    return torch::zeros({0, rgb.size(2), rgb.size(3)}, rgb.options());
  }
  const auto size = detail::working_size(rgb, options.size());
  auto x = detail::resized(rgb, size).clamp(0, 1); // it may be one ulp above

  auto stands_out = robust_background(x);
  auto cut = otsu_threshold(stands_out).view({-1, 1, 1});
  auto object = (stands_out >= cut).to(torch::kFloat).unsqueeze(1);
  const auto holes = std::min(size.height, size.width) / 8 / 2 * 2 + 1;
  object = detail::eroded(detail::dilated(object, holes), holes);
  auto inside = detail::eroded(object, 2 * options.margin() + 1);

  auto lab = detail::lab(detail::without_lines(x, options.line_width()));
  auto scale = torch::tensor({options.brightness(), 1.0, 1.0}, torch::kDouble)
                   .to(lab.options())
                   .view({1, 3, 1, 1});
  auto away = detail::above_surface(
      lab * scale, inside, 1.0, [](const torch::Tensor& residual) {
        return torch::sqrt((residual * residual).sum(1, /*keepdim=*/true));
      });
  auto map =
      detail::blurred(away * inside, detail::gaussian_kernel(options.sigma()));
  return detail::saliency_maps(map, rgb);
}

} // namespace care

#endif // CARE_SALIENCY_OBJECT_CONTRAST_HPP
