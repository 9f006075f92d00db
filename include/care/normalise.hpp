// Normalisation of attention maps that survives flat, huge and broken ones.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_NORMALISE_HPP
#define CARE_NORMALISE_HPP

#include <care/detail/at_least_float.hpp>
#include <care/detail/check.hpp>
#include <care/detail/flat_share.hpp>

#include <torch/types.h>

namespace care {

/// What an attention map is divided by.
enum class Normalisation {
  kMinMax, ///< (A - min A) / (max A - min A), signed maps (CARE)
  kMax, ///< max(A, 0) / max(A)
  kSum, ///< max(A, 0) / sum of max(A, 0)
};

/// The range (or maximum) at and below which a map of this dtype counts as
/// flat; 1 over it bounds the gradient of the normalisation. So small, because
/// a Grad-CAM map before a mean over h w cells is divided by their number.
inline double flat_range(torch::Dtype dtype) {
  // In half precision 1 / range shall be finite.
  return dtype == torch::kHalf ? 1e-4 : 1e-12;
}

/// Maps brought to [0, 1], and which of them had nothing to say.
struct NormalisedMaps {
  torch::Tensor maps; ///< [N, h, w] float32 or float64; 0 for a flat map
  torch::Tensor flat; ///< [N] bool
};

/// Normalises each map for itself.
///
/// `maps` [N, h, w]: raw, any floating dtype; half and bfloat16 are computed in
/// float32. Flat is a map that holds a NaN or an infinity. By kMinMax so is one
/// whose range is at most `flat_range`, or at most 2^-13 of its largest
/// absolute value (double 2^-40, half 2^-9, bfloat16 2^-6): noise, as rounding
/// leaves it of features that are the same everywhere. By kMax and kSum one
/// whose largest positive value is at most `flat_range`, or the rounding of its
/// largest absolute value. A flat map becomes 0 with gradient 0. Elsewhere the
/// gradient is bounded by 1 / flat_range; tied extremes share it equally. Huge
/// values are scaled first, so nothing overflows. Throws c10::ValueError unless
/// maps is [N, h, w] with at least one cell.
inline NormalisedMaps normalise(
    const torch::Tensor& maps,
    Normalisation how = Normalisation::kMinMax) {
  const char* where = "care::normalise";
  detail::check_planes(where, "maps of shape [N, h, w]", maps);
  detail::check_floating(where, "maps", maps);

  const auto dtype = maps.scalar_type();
  auto wide = detail::at_least_float(maps);
  auto n = maps.size(0);
  auto per_image = [&](const torch::Tensor& x) { return x.view({n, 1, 1}); };

  auto broken = torch::isfinite(wide).flatten(1).all(1).logical_not();
  auto zero = torch::zeros({}, wide.options());
  wide = torch::where(per_image(broken), zero, wide);

  auto scale = wide.detach().abs().amax({1, 2});
  auto divisor = torch::where(scale > 0, scale, torch::ones_like(scale));
  wide = wide / per_image(divisor);
  if (how == Normalisation::kMinMax) {
    wide = wide - per_image(wide.amin({1, 2}));
  } else {
    wide = wide.relu();
  }
  auto high = wide.amax({1, 2}); // the range, or the largest positive value

  const double noise = how == Normalisation::kMinMax
      ? detail::flat_share(dtype)
      : 2 * detail::rounding_of(dtype);
  auto range = high.detach();
  auto flat = broken | (range <= noise) | (range * scale <= flat_range(dtype));
  auto total = how == Normalisation::kSum ? wide.sum({1, 2}) : high;
  total = torch::where(flat, torch::ones_like(total), total);
  wide = torch::where(per_image(flat), zero, wide / per_image(total));
  return {wide, flat};
}

} // namespace care

#endif // CARE_NORMALISE_HPP
