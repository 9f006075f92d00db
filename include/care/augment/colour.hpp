// Brightness, contrast, saturation and hue, of each image its own.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_COLOUR_HPP
#define CARE_AUGMENT_COLOUR_HPP

#include <care/augment/detail/checks.hpp>
#include <care/augment/detail/colour_tensors.hpp>
#include <care/detail/to_device.hpp>

#include <torch/arg.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace care {

/// How the colours of one image are changed, with torchvision's names.
struct ColourFactors {
  /// 0 is black, 2 twice as bright. Default: 1.
  TORCH_ARG(double, brightness) = 1.0;
  /// 0 is the image's mean grey all over. Default: 1.
  TORCH_ARG(double, contrast) = 1.0;
  /// 0 is grey. Default: 1.
  TORCH_ARG(double, saturation) = 1.0;
  /// A share of the colour circle, -0.5 to 0.5. Default: 0.
  TORCH_ARG(double, hue) = 0.0;
};

/// Each image with its own factors: brightness, contrast, saturation, hue, in
/// this order, cut to [0, 1] after each.
///
///   brightness: f x
///   contrast:   f x + (1 - f) (mean grey of the image)
///   saturation: f x + (1 - f) (grey of the pixel)
///   hue:        turned in HSV; grey is .2989 R + .587 G + .114 B
///
/// `images` [N, 3, H, W] floating in [0, 1], before any mean and deviation are
/// taken off -> the same shape, dtype and device. With one channel, [N, 1, H,
/// W], saturation and hue change nothing. Half precision is computed in
/// float32. No gradient. Throws c10::ValueError for other shapes, negative
/// factors, a hue beyond
/// [-0.5, 0.5], and images on the host that are not in [0, 1].
/// Source: torchvision's adjust_brightness, adjust_contrast, adjust_saturation
/// and adjust_hue, which are the same one by one.
///
///   images = care::adjust_colour(
///       images, {care::ColourFactors().brightness(1.2), {}});
inline torch::Tensor adjust_colour(
    const torch::Tensor& images,
    const std::vector<ColourFactors>& factors) {
  const char* where = "care::adjust_colour";
  detail::check_images(where, images);
  TORCH_CHECK_VALUE(
      images.size(1) == 3 || images.size(1) == 1,
      where,
      ": expected images of 3 channels or 1, but got ",
      images.sizes());
  detail::check_one_each(where, "factors", factors.size(), images.size(0));
  constexpr double kMost = 1e6;
  std::vector<double> numbers;
  numbers.reserve(factors.size() * 4);
  std::array<bool, 4> changes{};
  for (const auto& factor : factors) {
    detail::check_in_range(where, "brightness", factor.brightness(), 0, kMost);
    detail::check_in_range(where, "contrast", factor.contrast(), 0, kMost);
    detail::check_in_range(where, "saturation", factor.saturation(), 0, kMost);
    detail::check_in_range(where, "hue", factor.hue(), -0.5, 0.5);
    changes[0] = changes[0] || factor.brightness() != 1;
    changes[1] = changes[1] || factor.contrast() != 1;
    changes[2] = changes[2] || factor.saturation() != 1;
    changes[3] = changes[3] || factor.hue() != 0;
    numbers.insert(
        numbers.end(),
        {factor.brightness(),
         factor.contrast(),
         factor.saturation(),
         factor.hue()});
  }
  const torch::NoGradGuard no_grad;
  detail::check_unit_range(where, images);
  const bool twice = images.scalar_type() == torch::kDouble;
  const auto wide = twice ? images : images.to(torch::kFloat);
  const auto on_device = detail::to_device(
      torch::tensor(numbers, torch::kDouble).to(wide.scalar_type()),
      wide.device());
  return detail::colour_by_tensors(wide, on_device, changes)
      .to(images.scalar_type());
}

} // namespace care

#endif // CARE_AUGMENT_COLOUR_HPP
