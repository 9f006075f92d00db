// Brightness, contrast, saturation and hue, of each image its own.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_COLOUR_HPP
#define CARE_AUGMENT_COLOUR_HPP

#include <care/augment/detail/checks.hpp>
#include <care/augment/detail/colour_on_host.hpp>
#include <care/augment/detail/colour_tensors.hpp>
#include <care/detail/at_least_float.hpp>
#include <care/detail/to_device.hpp>

#include <c10/util/StringUtil.h>
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

namespace detail {

inline void check_factors(
    const char* where,
    const std::vector<ColourFactors>& factors,
    const torch::Tensor& images) {
  TORCH_CHECK_VALUE(
      images.size(1) == 3 || images.size(1) == 1,
      where,
      ": expected images of 3 channels or 1, but got ",
      images.sizes());
  check_one_each(where, "factors", factors.size(), images.size(0));
  constexpr double kMost = 1e6;
  for (size_t n = 0; n < factors.size(); ++n) {
    const auto check = [&](const char* name,
                           double value,
                           double low,
                           double high) {
      check_in_range(
          where, c10::str("factors[", n, "].", name).c_str(), value, low, high);
    };
    const auto& f = factors[n];
    check("brightness", f.brightness(), 0, kMost);
    check("contrast", f.contrast(), 0, kMost);
    check("saturation", f.saturation(), 0, kMost);
    check("hue", f.hue(), -0.5, 0.5);
  }
}

inline std::array<double, 4> numbers_of(const ColourFactors& f) {
  return {f.brightness(), f.contrast(), f.saturation(), f.hue()};
}

/// `change_colours` by operations on all images at once, for devices.
inline void change_colours_at_once(
    const torch::Tensor& images,
    const std::vector<ColourFactors>& factors,
    int64_t first,
    int64_t last) {
  std::vector<double> numbers;
  std::array<bool, 4> changes{};
  for (auto n = first; n < last; ++n) {
    const auto four = numbers_of(factors[static_cast<size_t>(n)]);
    for (size_t i = 0; i < four.size(); ++i) {
      changes[i] = changes[i] || four[i] != (i < 3 ? 1 : 0);
      numbers.push_back(four[i]);
    }
  }
  const auto table = torch::tensor(numbers, torch::kDouble)
                         .to(images.scalar_type())
                         .view({last - first, 4, 1, 1, 1});
  change_colours_by(
      images.slice(0, first, last), to_device(table, images.device()), changes);
}

/// `adjust_colour` of the images [first, last), float or double and contiguous,
/// in place.
inline void change_colours(
    const torch::Tensor& images,
    const std::vector<ColourFactors>& factors,
    int64_t first,
    int64_t last) {
  if (!images.device().is_cpu()) {
    change_colours_at_once(images, factors, first, last);
    return;
  }
  const auto channels = images.size(1);
  const auto pixels = images.size(2) * images.size(3);
  for (auto n = first; n < last; ++n) {
    const auto four = numbers_of(factors[static_cast<size_t>(n)]);
    const auto at = n * channels * pixels;
    if (images.scalar_type() == torch::kDouble) {
      colour_on_host(images.data_ptr<double>() + at, channels, pixels, four);
    } else {
      colour_on_host(images.data_ptr<float>() + at, channels, pixels, four);
    }
  }
}

} // namespace detail

/// Each image with its own factors: brightness, contrast, saturation, hue, in
/// this order, cut to [0, 1] after each.
///
///   brightness: f x
///   contrast:   f x + (1 - f) (mean grey of the image)
///   saturation: f x + (1 - f) (grey of the pixel)
///   hue:        turned in HSV; grey is .2989 R + .587 G + .114 B
///
/// `images` [N, 3, H, W] floating in [0, 1], before any mean and deviation are
/// taken off -> a new tensor of the same shape, dtype and device. With one
/// channel, [N, 1, H, W], saturation and hue change nothing. Half precision is
/// computed in float32. No gradient.
/// Throws c10::ValueError for other shapes, negative factors, a hue beyond
/// [-0.5, 0.5], and images on the host that are not in [0, 1].
/// Source: torchvision's adjust_brightness, adjust_contrast, adjust_saturation
/// and adjust_hue; each step alone is the same.
///
///   images = care::adjust_colour(
///       images, {care::ColourFactors().brightness(1.2), {}});
inline torch::Tensor adjust_colour(
    const torch::Tensor& images,
    const std::vector<ColourFactors>& factors) {
  const char* where = "care::adjust_colour";
  detail::check_images(where, images);
  detail::check_factors(where, factors, images);
  detail::check_unit_range(where, images);
  const torch::NoGradGuard no_grad;
  const auto changed = images.to(
      detail::at_least_float(images.scalar_type()),
      /*non_blocking=*/false,
      /*copy=*/true,
      torch::MemoryFormat::Contiguous);
  detail::change_colours(changed, factors, 0, changed.size(0));
  return changed.to(images.scalar_type());
}

} // namespace care

#endif // CARE_AUGMENT_COLOUR_HPP
