// Normalisation of attention maps that survives flat, huge and broken ones.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_NORMALISE_HPP
#define CARE_NORMALISE_HPP

#include <care/detail/at_least_float.hpp>
#include <care/detail/check.hpp>

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

/// The share of its largest absolute value at and below which the range of a
/// map of this dtype is noise: what rounding leaves of features that are the
/// same everywhere. A cell of the map is a sum over thousands of channels whose
/// signs differ, summed in another order from cell to cell, so this is more
/// than the rounding of the cell itself: up to 1e-5 was seen in float32.
inline double flat_share(torch::Dtype dtype) {
  return dtype == torch::kDouble  ? 0x1p-40
      : dtype == torch::kHalf     ? 0x1p-9
      : dtype == torch::kBFloat16 ? 0x1p-6
                                  : 0x1p-13;
}

/// Maps brought to [0, 1], and which of them had nothing to say.
struct NormalisedMaps {
  torch::Tensor maps; ///< [N, h, w] float32 or float64; 0 for a flat map
  torch::Tensor flat; ///< [N] bool
};

/// Normalises each map for itself.
///
/// `maps` [N, h, w]: raw, any floating dtype; half and bfloat16 are computed in
/// float32. A map is flat when its range (kMinMax) or its largest positive
/// value (kMax, kSum) is at most `flat_range` of its dtype; when its range is
/// at most `flat_share` of its largest absolute value, its largest positive
/// value no more than the rounding of that; or when it holds a NaN or an
/// infinity. A flat map becomes 0 with gradient 0. Elsewhere the gradient is
/// bounded by 1 / flat_range; tied extremes share it equally. Huge values are
/// scaled first, so nothing overflows.
/// Throws c10::ValueError unless maps is [N, h, w] with at least one cell.
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

  const double noise = how == Normalisation::kMinMax ? flat_share(dtype)
      : dtype == torch::kDouble                      ? 0x1p-51
      : dtype == torch::kFloat                       ? 0x1p-22
                                                     : flat_share(dtype);
  auto range = high.detach();
  auto flat = broken | (range <= noise) | (range * scale <= flat_range(dtype));
  auto total = how == Normalisation::kSum ? wide.sum({1, 2}) : high;
  total = torch::where(flat, torch::ones_like(total), total);
  wide = torch::where(per_image(flat), zero, wide / per_image(total));
  return {wide, flat};
}

} // namespace care

#endif // CARE_NORMALISE_HPP
