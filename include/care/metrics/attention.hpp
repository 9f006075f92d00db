// Attention metrics: how much of a map lies in the region it should.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_METRICS_ATTENTION_HPP
#define CARE_METRICS_ATTENTION_HPP

#include <care/detail/check.hpp>
#include <care/detail/flat_share.hpp>
#include <care/detail/mask_ranges.hpp>

#include <torch/types.h>

#include <limits>
#include <tuple>

namespace care {

namespace detail {

inline void check_maps(const char* where, const torch::Tensor& maps) {
  check_floating(where, "maps", maps);
  TORCH_CHECK_VALUE(
      maps.dim() == 3 && maps.size(1) > 0 && maps.size(2) > 0,
      where,
      ": expected maps of shape [N, h, w], but got ",
      maps.sizes());
  const auto ok = maps.detach().flatten(1).isfinite().all(1).to(torch::kCPU);
  const auto bad = first_false(ok);
  TORCH_CHECK_VALUE(
      bad < 0, where, ": expected finite maps, but map ", bad, " is not");
}

/// max(A, 0) / max(A), `[N, 1, h, w]` double; 0 where no cell is positive.
inline torch::Tensor positive_maps(const torch::Tensor& maps) {
  const auto positive = maps.detach().to(torch::kDouble).clamp_min(0);
  const auto top = positive.amax({1, 2}, /*keepdim=*/true);
  return (positive / torch::where(top > 0, top, torch::ones_like(top)))
      .unsqueeze(1);
}

/// The positive maps at the size of `masks`, `[N, H, W]` double.
inline torch::Tensor maps_at_masks(
    const char* where,
    const torch::Tensor& maps,
    const torch::Tensor& masks) {
  check_maps(where, maps);
  TORCH_CHECK_VALUE(
      masks.defined() && masks.dim() == 3 && masks.size(0) == maps.size(0) &&
          masks.size(1) > 0 && masks.size(2) > 0,
      where,
      ": expected masks of shape [",
      maps.size(0),
      ", H, W], but got ",
      sizes_of(masks));
  check_same_device(where, "maps and masks", maps, masks);
  check_mask_ranges(where, mask_ranges(where, masks).to(torch::kCPU));
  if (maps.size(0) == 0) {
    return torch::empty_like(masks, torch::kDouble);
  }
  return torch::upsample_bilinear2d(
             positive_maps(maps),
             {masks.size(1), masks.size(2)},
             /*align_corners=*/false)
      .squeeze(1);
}

/// The pixels of a region, `[N, H, W]` bool: those that it covers by half, or,
/// if it is so small that it covers none by half, all that it touches.
inline torch::Tensor region_pixels(const torch::Tensor& masks) {
  const auto half = masks >= 0.5;
  return half |
      (half.flatten(1).any(1).logical_not().view({-1, 1, 1}) & (masks > 0));
}

inline torch::Tensor nan_unless(
    const torch::Tensor& defined,
    const torch::Tensor& value) {
  return torch::where(
      defined,
      value.to(torch::kDouble),
      torch::full_like(
          value, std::numeric_limits<double>::quiet_NaN(), torch::kDouble));
}

/// Whether the range of positive maps is more than noise: what rounding, and
/// the interpolation of a flat map, leave is no attention.
inline torch::Tensor stands_out(
    const torch::Tensor& range,
    const torch::Tensor& largest,
    const torch::Tensor& maps) {
  return range > largest * flat_share(maps.scalar_type());
}

} // namespace detail

/// The share of attention that lies inside a region:
/// <A+, inside> / (<A+, inside> + <A+, outside>) with A+ = max(A, 0).
///
/// `maps`, `inside` and `outside` are `[N, h, w]` of one size; the weights are
/// at least 0 and need no normalisation. With flat weights brought down by the
/// adjoint of bilinear up-sampling (a margin of 0, a start of 1) this is
/// `energy_pointing_game` at a fraction of its work. Returns `[N]` double, NaN
/// where the map has no positive cell under a weight. No gradient. Throws
/// c10::ValueError for wrong shapes and for maps that are not finite.
inline torch::Tensor energy_share(
    const torch::Tensor& maps,
    const torch::Tensor& inside,
    const torch::Tensor& outside) {
  const char* where = "care::energy_share";
  detail::check_maps(where, maps);
  detail::check_shape(where, "inside", inside, maps.sizes());
  detail::check_shape(where, "outside", outside, maps.sizes());
  detail::check_same_device(where, "maps and inside", maps, inside);
  detail::check_same_device(where, "maps and outside", maps, outside);
  TORCH_CHECK_VALUE(
      ((inside >= 0) & (outside >= 0)).all().item<bool>(),
      where,
      ": expected weights of at least 0, but got negative ones or NaN");
  const auto map = detail::positive_maps(maps).squeeze(1);
  const auto in = (map * inside.detach()).sum({1, 2});
  const auto all = in + (map * outside.detach()).sum({1, 2});
  return detail::nan_unless(all > 0, in / all);
}

/// Energy-based pointing game (EPG): the share of the positive attention that
/// lies inside the region.
///
/// Raw maps `[N, h, w]` lose their negative cells, are brought to the masks'
/// size by bilinear interpolation (align_corners=false), and summed:
/// sum(M * U(A+)) / sum(U(A+)). Masks `[N, H, W]` hold 0 to 1, any dtype.
/// Returns `[N]` double on the maps' device; no gradient. NaN for an image
/// without a region and for a map without a positive cell: average over the
/// images with a region, and count the maps that are NaN there apart, as
/// dropping them in silence would reward a network that looks nowhere. Throws
/// c10::ValueError for wrong shapes, for masks outside [0, 1] and for maps that
/// are not finite. Score-CAM (Wang et al. 2020) names the measure; the ReLU
/// before the interpolation is as in Model Guidance (Rao et al. 2023).
inline torch::Tensor energy_pointing_game(
    const torch::Tensor& maps,
    const torch::Tensor& image_masks) {
  const auto map =
      detail::maps_at_masks("care::energy_pointing_game", maps, image_masks);
  const auto in = (map * detail::unit_masks(image_masks)).sum({1, 2});
  const auto all = map.sum({1, 2});
  const auto region = image_masks.flatten(1).gt(0).any(1);
  return detail::nan_unless((all > 0) & region, in / all);
}

/// The energy pointing game less what chance gives: EPG - |M| / (H W), the
/// share of the picture that the region covers. 0 for a map that is the same
/// everywhere, above 0 for one that prefers the region; at most 1 - |M| / (H
/// W). So small and large regions compare. Arguments, NaN and errors as in
/// `energy_pointing_game`. *Ours*.
inline torch::Tensor chance_adjusted_energy(
    const torch::Tensor& maps,
    const torch::Tensor& image_masks) {
  return energy_pointing_game(maps, image_masks) -
      detail::unit_masks(image_masks).mean({1, 2});
}

/// How much more a pixel inside the region is attended to than one outside: the
/// mean of the positive attention inside over the mean outside. 1 by chance,
/// infinite where nothing outside is attended to (so take the median over
/// images). NaN also for a region that fills the picture; else arguments, NaN
/// and errors as in `energy_pointing_game`.
inline torch::Tensor inside_outside_ratio(
    const torch::Tensor& maps,
    const torch::Tensor& image_masks) {
  const auto map =
      detail::maps_at_masks("care::inside_outside_ratio", maps, image_masks);
  const auto in = detail::unit_masks(image_masks), out = 1 - in;
  const auto mean = [&](const torch::Tensor& weights) {
    return (map * weights).sum({1, 2}) / weights.sum({1, 2});
  };
  const auto defined =
      (map.sum({1, 2}) > 0) & (in.sum({1, 2}) > 0) & (out.sum({1, 2}) > 0);
  return detail::nan_unless(defined, mean(in) / mean(out));
}

/// Pointing game: 1 where a maximum of the positive attention lies inside the
/// region (masks of at least 0.5; of a region smaller than that, every pixel it
/// touches), else 0. Arguments, NaN and errors as in `energy_pointing_game`; a
/// flat map, which points nowhere, is NaN too; of equal maxima one inside is
/// enough.
inline torch::Tensor pointing_game(
    const torch::Tensor& maps,
    const torch::Tensor& image_masks) {
  const auto map =
      detail::maps_at_masks("care::pointing_game", maps, image_masks);
  const auto inside = detail::region_pixels(image_masks);
  const auto top = map.amax({1, 2});
  const auto best = map.masked_fill(inside.logical_not(), -1).amax({1, 2});
  const auto region = inside.flatten(1).any(1);
  // Interpolation moves equal maxima apart by rounding.
  const auto defined =
      region & detail::stands_out(top - map.amin({1, 2}), top, maps);
  return detail::nan_unless(defined, best >= top * (1 - 1e-12));
}

/// Intersection over union of the region (its pixels as in `pointing_game`) and
/// the pixels where the positive attention, scaled to [0, 1] by its minimum and
/// maximum at the masks' size, is above `threshold` (0 to 1, 1 excluded).
/// Arguments, NaN and errors as in `energy_pointing_game`; a flat map is NaN
/// too.
inline torch::Tensor iou_at(
    const torch::Tensor& maps,
    const torch::Tensor& image_masks,
    double threshold) {
  TORCH_CHECK_VALUE(
      threshold >= 0 && threshold < 1,
      "care::iou_at: expected a threshold in [0, 1), but got ",
      threshold);
  const auto map = detail::maps_at_masks("care::iou_at", maps, image_masks);
  const auto low = map.amin({1, 2}, true);
  const auto range = map.amax({1, 2}, true) - low;
  const auto region = detail::region_pixels(image_masks);
  const auto seen = map - low > threshold * range;
  const auto both = (seen & region).sum({1, 2}).to(torch::kDouble);
  const auto defined = region.flatten(1).any(1) &
      detail::stands_out(range.view(-1), map.amax({1, 2}), maps);
  return detail::nan_unless(defined, both / (seen | region).sum({1, 2}));
}

/// The best `iou_at` over all thresholds in [0, 1): how well the region could
/// be cut out of the map, however strong the map is. Arguments, NaN and errors
/// as in `iou_at`. Cost: one sort of each map at the masks' size.
inline torch::Tensor best_iou(
    const torch::Tensor& maps,
    const torch::Tensor& image_masks) {
  const auto map = detail::maps_at_masks("care::best_iou", maps, image_masks);
  const auto values = map.flatten(1);
  const auto region = detail::region_pixels(image_masks).flatten(1);
  const auto range = values.amax(1) - values.amin(1);
  // Above a threshold lie the first pixels in falling order, up to the last of
  // equal ones; the lowest are above none.
  const auto sorted = values.sort(1, /*descending=*/true);
  const auto& falling = std::get<0>(sorted);
  const auto both = region.gather(1, std::get<1>(sorted))
                        .cumsum(1, torch::kLong)
                        .to(torch::kDouble)
                        .slice(1, 0, -1);
  const auto seen =
      torch::arange(1, values.size(1), both.options()).unsqueeze(0);
  const auto iou = both / (seen + region.sum(1, /*keepdim=*/true) - both);
  const auto last_of_equal = falling.slice(1, 0, -1) > falling.slice(1, 1);
  const auto defined =
      region.any(1) & detail::stands_out(range, values.amax(1), maps);
  return detail::nan_unless(
      defined,
      values.size(1) > 1 ? iou.masked_fill(~last_of_equal, 0).amax(1)
                         : torch::zeros_like(range));
}

} // namespace care

#endif // CARE_METRICS_ATTENTION_HPP
