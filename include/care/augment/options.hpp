// What a batch may be changed by, and how far.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_OPTIONS_HPP
#define CARE_AUGMENT_OPTIONS_HPP

#include <care/augment/detail/checks.hpp>
#include <care/augment/outside.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>

#include <cstdint>
#include <string>

namespace care {

/// What may be changed, and how far; by default nothing is. A range r means a
/// number drawn evenly between -r and r, or a factor between 1 - r and 1 + r.
struct AugmentOptions {
  /// "none"; "flips": both flips; "strong": these, quarter turns, a crop of at
  /// least 0.7, and a little of rotation, shear, scale and colours. Throws
  /// c10::ValueError for another name.
  static AugmentOptions preset(const std::string& name);

  /// From which, with the epoch and the image's number, all is drawn. Default:
  /// 0.
  TORCH_ARG(uint64_t, seed) = 0;
  /// Mirror left to right, and top to bottom, half of the time. Default: false.
  TORCH_ARG(bool, hflip) = false;
  TORCH_ARG(bool, vflip) = false;
  /// Quarter turns; half turns where images are not square. Default: false.
  TORCH_ARG(bool, rot90) = false;
  /// Least share of the image's area that a resized crop keeps, .01 to 1, in a
  /// shape up to 4:3 wider or taller; 1 for no crop. Default: 1.
  TORCH_ARG(double, crop) = 1.0;
  /// Least share of the area of the image's boxes that a crop keeps. Of ten
  /// crops the first that does is taken, or else the whole image. Default: 0.
  TORCH_ARG(double, crop_keeps) = 0.0;
  /// Degrees, at most 180. Default: 0.
  TORCH_ARG(double, rotate) = 0.0;
  /// Degrees, at most 60. Default: 0.
  TORCH_ARG(double, shear) = 0.0;
  /// Factor on all lengths: 1 +- this, at most 0.9. Default: 0.
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
  /// A box of which less is left by crop and affine map is dropped, and so is
  /// a mask: it becomes 0. Default: 0.25.
  TORCH_ARG(double, min_visible) = 0.25;
  /// What takes the place of the outside, before anything moves. Default:
  /// nothing.
  TORCH_ARG(OutsideOptions, outside) = OutsideOptions().source(Outside::kKeep);
};

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

/// Whether something may come in from beyond the border.
inline bool bends(const AugmentOptions& options) {
  return options.rotate() > 0 || options.shear() > 0 || options.scale() > 0 ||
      options.translate() > 0;
}

/// Whether images move by more than flips and quarter turns.
inline bool warps(const AugmentOptions& options) {
  return options.crop() < 1 || bends(options);
}

/// Whether colours change.
inline bool colours(const AugmentOptions& options) {
  return options.brightness() > 0 || options.contrast() > 0 ||
      options.saturation() > 0 || options.hue() > 0;
}

} // namespace detail

} // namespace care

#endif // CARE_AUGMENT_OPTIONS_HPP
