// The colour steps in plain loops: a pass a step over an image that stays in
// the cache, where tensor operations take thirty.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_DETAIL_COLOUR_ON_HOST_HPP
#define CARE_AUGMENT_DETAIL_COLOUR_ON_HOST_HPP

#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace care::detail {

template <typename Number>
Number cut_to_unit(Number x) {
  x = x < 0 ? 0 : x;
  return x > 1 ? 1 : x;
}

/// The mean of `count` numbers; in parts that need not wait for one another.
template <typename Number>
double mean_of(const Number* numbers, int64_t count) {
  double a = 0, b = 0, c = 0, d = 0;
  const auto whole = count - count % 4;
  for (int64_t i = 0; i < whole; i += 4) {
    a += static_cast<double>(numbers[i]);
    b += static_cast<double>(numbers[i + 1]);
    c += static_cast<double>(numbers[i + 2]);
    d += static_cast<double>(numbers[i + 3]);
  }
  for (auto i = whole; i < count; ++i) {
    a += static_cast<double>(numbers[i]);
  }
  return (a + b + c + d) / static_cast<double>(count);
}

/// Planes of red, green and blue, their hue turned by `sixths` of the circle,
/// -3 to 3; see `turn_hue`.
template <typename Number>
void turn_hue_on_host(
    Number* red,
    Number* green,
    Number* blue,
    int64_t pixels,
    Number sixths) {
  for (int64_t i = 0; i < pixels; ++i) {
    const auto r = red[i], g = green[i], b = blue[i];
    const auto least = std::min(std::min(r, g), b);
    const auto chroma = std::max(std::max(r, g), b) - least;
    // Of grey 0 over something small, wherever that lies.
    const auto divisor = chroma + Number(1e-30);
    const auto from_red = (g + b - r - least) / divisor + 1;
    const auto turned = std::copysign(from_red, g - b) + sixths;
    // In [0, 6]; without a branch, so that compilers take four at a time.
    const auto place = turned + (3 - std::copysign(Number(3), turned));
    const auto ramp = [&](Number share) { // of chroma, cut to all or nothing
      return std::min(std::max(share * chroma, Number(0)), chroma) + least;
    };
    red[i] = ramp(std::abs(place - 3) - 1);
    green[i] = ramp(2 - std::abs(place - 2));
    blue[i] = ramp(2 - std::abs(place - 4));
  }
}

/// `change_colours_by` of one image of `channels` (1 or 3) planes of `pixels`
/// numbers, one after the other: brightness, contrast, saturation, hue.
template <typename Number>
void colour_on_host(
    Number* planes,
    int64_t channels,
    int64_t pixels,
    const std::array<double, 4>& factors) {
  const auto all = channels * pixels;
  if (factors[0] != 1) {
    const auto brightness = static_cast<Number>(factors[0]);
    for (int64_t i = 0; i < all; ++i) {
      planes[i] = cut_to_unit(planes[i] * brightness);
    }
  }
  auto *red = planes, *green = planes + pixels, *blue = planes + 2 * pixels;
  if (factors[1] != 1) {
    const double grey = channels == 1 ? mean_of(planes, pixels)
                                      : 0.2989 * mean_of(red, pixels) +
            0.587 * mean_of(green, pixels) + 0.114 * mean_of(blue, pixels);
    const auto contrast = static_cast<Number>(factors[1]);
    const auto added = static_cast<Number>(grey * (1 - factors[1]));
    for (int64_t i = 0; i < all; ++i) {
      planes[i] = cut_to_unit(planes[i] * contrast + added);
    }
  }
  if (factors[2] != 1 && channels == 3) {
    const auto saturation = static_cast<Number>(factors[2]);
    for (int64_t i = 0; i < pixels; ++i) {
      const auto grey = (red[i] * Number(0.2989) + green[i] * Number(0.587) +
                         blue[i] * Number(0.114)) *
          (1 - saturation);
      red[i] = cut_to_unit(red[i] * saturation + grey);
      green[i] = cut_to_unit(green[i] * saturation + grey);
      blue[i] = cut_to_unit(blue[i] * saturation + grey);
    }
  }
  if (factors[3] != 0 && channels == 3) {
    turn_hue_on_host(
        red, green, blue, pixels, static_cast<Number>(factors[3] * 6));
  }
}

} // namespace care::detail

#endif // CARE_AUGMENT_DETAIL_COLOUR_ON_HOST_HPP
