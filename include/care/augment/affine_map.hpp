// Affine maps of the image plane: flips, turns, crops and the like as numbers.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_AFFINE_MAP_HPP
#define CARE_AUGMENT_AFFINE_MAP_HPP

#include <care/size.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/types.h>

#include <array>
#include <cmath>
#include <cstdint>

namespace care {

/// {a, b, c, d, e, f}: a place x, y in the image goes to x' = a x + b y + c and
/// y' = d x + e y + f. In pixels; the corner of the image is 0, 0 (OpenCV
/// counts from the first pixel's centre). `Boxes::affine` takes the same.
using AffineMap = std::array<double, 6>;

/// The map that leaves everything where it is.
inline constexpr AffineMap kIdentityMap{1, 0, 0, 0, 1, 0};

/// `first`, and then `second`.
inline AffineMap compose(const AffineMap& first, const AffineMap& second) {
  const auto& [a, b, c, d, e, f] = second;
  const auto& [p, q, r, s, t, u] = first;
  return {
      a * p + b * s,
      a * q + b * t,
      a * r + b * u + c,
      d * p + e * s,
      d * q + e * t,
      d * r + e * u + f};
}

namespace detail {

/// Whether a map is finite and leaves the plane a plane.
inline bool can_be_turned_back(const AffineMap& map) {
  const auto& [a, b, c, d, e, f] = map;
  const double area = a * e - b * d; // infinite or NaN where an entry is
  return std::isfinite(area) && std::isfinite(1 / area) && std::isfinite(c + f);
}

} // namespace detail

/// The map back. Throws c10::ValueError for one that is not finite or takes the
/// plane to a line.
inline AffineMap inverse(const AffineMap& map) {
  TORCH_CHECK_VALUE(
      detail::can_be_turned_back(map),
      "care::inverse: expected a finite map that can be turned back, but got ",
      torch::ArrayRef<double>(map.data(), map.size()));
  const auto& [a, b, c, d, e, f] = map;
  const double scale = 1 / (a * e - b * d);
  return {
      e * scale,
      -b * scale,
      (b * f - e * c) * scale,
      -d * scale,
      a * scale,
      (d * c - a * f) * scale};
}

/// One of the eight ways to lay a square down: mirrored or not, then turned.
struct Orientation {
  bool hflip = false; ///< mirrored left to right
  bool vflip = false; ///< mirrored top to bottom
  int64_t turns = 0; ///< and then quarter turns, counter-clockwise

  /// Mirrored top to bottom is mirrored left to right and turned twice.
  bool mirrored() const {
    return hflip != vflip;
  }
  /// Quarter turns after `mirrored`, 0 to 3.
  int64_t turned() const {
    return (((turns + (vflip ? 2 : 0)) % 4) + 4) % 4;
  }
};

/// The map of an orientation. `size` is the image's before it.
inline AffineMap orientation_map(const Orientation& orientation, Size size) {
  const auto w = static_cast<double>(size.width);
  const auto h = static_cast<double>(size.height);
  auto map =
      orientation.mirrored() ? AffineMap{-1, 0, w, 0, 1, 0} : kIdentityMap;
  for (int64_t i = 0; i < orientation.turned(); ++i) {
    const double width = i % 2 == 0 ? w : h; // of what is turned
    map = compose(map, {0, 1, 0, -1, 0, width});
  }
  return map;
}

/// Rotation, scale, shear and shift about the image's centre, with
/// torchvision's names and signs.
struct AffineParameters {
  /// Degrees, clockwise. Default: 0.
  TORCH_ARG(double, angle) = 0.0;
  /// Pixels to the right, and down. Default: 0.
  TORCH_ARG(double, translate_x) = 0.0;
  TORCH_ARG(double, translate_y) = 0.0;
  /// Above 0; 2 doubles every length. Default: 1.
  TORCH_ARG(double, scale) = 1.0;
  /// Degrees along each axis, less than 90. Default: 0.
  TORCH_ARG(double, shear_x) = 0.0;
  TORCH_ARG(double, shear_y) = 0.0;
};

/// The map of these parameters on an image of `size`:
///
///   translate . centre . rotate(angle) scale shear_y shear_x . centre^-1
///
/// as torchvision.transforms.functional.affine has it. Throws c10::ValueError
/// for parameters that are not finite or out of their range.
inline AffineMap affine_map(const AffineParameters& parameters, Size size) {
  const auto check = [](const char* name, double value, bool fits) {
    TORCH_CHECK_VALUE(
        fits && std::isfinite(value),
        "care::affine_map: expected ",
        name,
        ", but got ",
        value);
  };
  const auto slants = [](double degrees) { return std::abs(degrees) < 90; };
  check("a finite angle", parameters.angle(), true);
  check("a finite translate_x", parameters.translate_x(), true);
  check("a finite translate_y", parameters.translate_y(), true);
  check("a scale above 0", parameters.scale(), parameters.scale() > 0);
  check(
      "a shear_x below 90", parameters.shear_x(), slants(parameters.shear_x()));
  check(
      "a shear_y below 90", parameters.shear_y(), slants(parameters.shear_y()));
  constexpr double kDegree = 3.14159265358979323846 / 180;
  const double turn = parameters.angle() * kDegree;
  const double lean_x = std::tan(parameters.shear_x() * kDegree);
  const double lean_y = parameters.shear_y() * kDegree;
  const double cos =
      parameters.scale() * std::cos(turn - lean_y) / std::cos(lean_y);
  const double sin =
      parameters.scale() * std::sin(turn - lean_y) / std::cos(lean_y);
  const AffineMap about_origin{
      cos,
      -cos * lean_x - parameters.scale() * std::sin(turn),
      0,
      sin,
      -sin * lean_x + parameters.scale() * std::cos(turn),
      0};
  const double x = static_cast<double>(size.width) / 2;
  const double y = static_cast<double>(size.height) / 2;
  return compose(
      compose({1, 0, -x, 0, 1, -y}, about_origin),
      {1, 0, x + parameters.translate_x(), 0, 1, y + parameters.translate_y()});
}

/// A part of an image, in pixels; fractions are allowed.
struct Window {
  double left = 0, top = 0, width = 0, height = 0;
};

/// The map that blows a window up to a whole image of `size`: a resized crop.
/// Throws c10::ValueError for a window without an area.
inline AffineMap crop_map(const Window& window, Size size) {
  TORCH_CHECK_VALUE(
      window.width > 0 && window.height > 0,
      "care::crop_map: expected a window with an area, but got one of width ",
      window.width,
      " and height ",
      window.height);
  const double x = static_cast<double>(size.width) / window.width;
  const double y = static_cast<double>(size.height) / window.height;
  return {x, 0, -window.left * x, 0, y, -window.top * y};
}

} // namespace care

#endif // CARE_AUGMENT_AFFINE_MAP_HPP
