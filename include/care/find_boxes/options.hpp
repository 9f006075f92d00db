// What a finder of boxes can be told.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_FIND_BOXES_OPTIONS_HPP
#define CARE_FIND_BOXES_OPTIONS_HPP

#include <c10/util/Exception.h>
#include <torch/arg.h>

#include <cmath>
#include <cstdint>

namespace care {

/// Where a map is cut into what stands out and what does not.
enum class MapThreshold {
  kOtsu, ///< where the two parts differ most (`otsu_threshold`)
  kMean, ///< `level` times the map's mean (Achanta et al. 2009 take 2)
  kQuantile, ///< the `level` quantile of the map: 0.9 keeps a tenth
  kFixed, ///< `level` itself, for masks and probabilities
};

/// Options of `find_boxes`. Shares are of the image's area unless said.
struct BoxFinderOptions {
  /// Default: MapThreshold::kOtsu.
  TORCH_ARG(MapThreshold, threshold) = MapThreshold::kOtsu;
  /// See `MapThreshold`; Otsu has none. Default: 2.
  TORCH_ARG(double, level) = 2.0;
  /// Components smaller than this are left out. Default: 0.005.
  TORCH_ARG(double, min_area) = 0.005;
  /// Boxes larger than this, padded, are (nearly) the whole image: dropped and
  /// counted. Default: 0.9.
  TORCH_ARG(double, max_area) = 0.9;
  /// At most so many boxes for an image, the most certain ones. Default: 1.
  TORCH_ARG(int64_t, max_boxes) = 1;
  /// Boxes that overlap, or lie no further apart than this share of the longer
  /// side, become one; below 0 none do. Default: 0.02.
  TORCH_ARG(double, merge_gap) = 0.02;
  /// Each box is scaled by this about its centre, and cut at the border, when
  /// all else is done: thresholds cut into the flanks of a map. Default: 1.1.
  TORCH_ARG(double, padding) = 1.1;
  /// Boxes less certain than this are dropped. Default: 0.1.
  TORCH_ARG(double, min_confidence) = 0.1;
  /// Weighs the map by exp(-r^2 / (2 c^2)), with r the distance from the centre
  /// as a share of the shorter side; 0 for no such prior. Default: 0.
  TORCH_ARG(double, centre_prior) = 0.0;
  /// Weighs the map down to 0 at the border, linearly within this share of the
  /// shorter side; 0 for no such prior. Default: 0.
  TORCH_ARG(double, border_prior) = 0.0;
};

namespace detail {

inline void check_options(const char* where, const BoxFinderOptions& options) {
  auto check = [where](bool ok, const char* expected, double value) {
    TORCH_CHECK_VALUE(ok, where, ": expected ", expected, ", but got ", value);
  };
  const auto level = options.level();
  const auto kind = options.threshold();
  check(
      kind != MapThreshold::kMean || (level > 0 && std::isfinite(level)),
      "a level above 0 (multiples of the mean)",
      level);
  check(
      kind != MapThreshold::kQuantile || (level >= 0 && level < 1),
      "a level in [0, 1) (a quantile)",
      level);
  check(
      kind != MapThreshold::kFixed || (level > 0 && level <= 1),
      "a level in (0, 1] (a value of the map)",
      level);
  check(
      options.min_area() >= 0 && options.min_area() < options.max_area(),
      "min_area from 0 to below max_area",
      options.min_area());
  check(options.max_area() <= 1, "max_area up to 1", options.max_area());
  check(
      options.max_boxes() >= 1,
      "max_boxes of at least 1",
      static_cast<double>(options.max_boxes()));
  check(
      std::isfinite(options.merge_gap()),
      "a finite merge_gap",
      options.merge_gap());
  check(
      options.padding() >= 0.01 && std::isfinite(options.padding()),
      "a padding of at least 0.01",
      options.padding());
  check(
      options.min_confidence() >= 0 && options.min_confidence() <= 1,
      "min_confidence in [0, 1]",
      options.min_confidence());
  check(
      options.centre_prior() >= 0 && std::isfinite(options.centre_prior()),
      "centre_prior of at least 0",
      options.centre_prior());
  check(
      options.border_prior() >= 0 && options.border_prior() <= 0.5,
      "border_prior in [0, 0.5]",
      options.border_prior());
}

} // namespace detail

} // namespace care

#endif // CARE_FIND_BOXES_OPTIONS_HPP
