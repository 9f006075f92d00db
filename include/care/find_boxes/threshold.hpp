// Where a map is cut into what stands out and what does not.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_FIND_BOXES_THRESHOLD_HPP
#define CARE_FIND_BOXES_THRESHOLD_HPP

#include <care/detail/check.hpp>
#include <care/find_boxes/options.hpp>

#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <tuple>

namespace care {

namespace detail {

/// `maps` as float32 in [0, 1] if they are [N, H, W] of finite numbers there,
/// but for rounding.
inline torch::Tensor checked_maps(
    const char* where,
    const torch::Tensor& maps,
    const char* name = "maps") {
  check_planes(where, "maps of shape [N, H, W]", maps);
  auto wide = maps.detach().to(torch::kFloat);
  auto flat = wide.flatten(1);
  auto ok = ((flat >= -kUnitRounding) & (flat <= 1 + kUnitRounding)).all(1);
  const auto bad = first_false(ok.to(torch::kCPU));
  TORCH_CHECK_VALUE(
      bad < 0,
      where,
      ": expected ",
      name,
      " in [0, 1], but ",
      name,
      "[",
      bad,
      "] reaches from ",
      flat[bad].min().item<float>(),
      " to ",
      flat[bad].max().item<float>());
  return wide.clamp(0, 1);
}

} // namespace detail

/// Otsu's threshold of each map: of all cuts at a multiple of 1/256, the one
/// that leaves the most variance between the two parts and the least within.
///
/// `maps` [N, H, W] in [0, 1] -> [N] float32 in (0, 1); values at or above it
/// are the upper part. Where a gap separates the parts, its middle; of several
/// that are as good, the lowest; 1/2 for a map whose values all fall into one
/// 256th. Throws c10::ValueError for other shapes and values. Source: Otsu
/// 1979, eq. 18.
inline torch::Tensor otsu_threshold(const torch::Tensor& maps) {
  auto wide = detail::checked_maps("care::otsu_threshold", maps);
  constexpr int64_t kBins = 256;
  const auto n = wide.size(0);
  auto options = wide.options().dtype(torch::kDouble);
  // Counted in whole numbers, along one axis: so a GPU can do it in any order.
  auto whole = wide.options().dtype(torch::kLong);
  auto bin = (wide.flatten(1) * static_cast<double>(kBins))
                 .to(torch::kLong)
                 .clamp_max(kBins - 1);
  const auto pixels = static_cast<double>(bin.size(1));
  auto place = (bin + torch::arange(n, whole).unsqueeze(1) * kBins).flatten();
  auto counts = torch::zeros({n * kBins}, whole)
                    .scatter_add(0, place, torch::ones_like(place))
                    .view({n, kBins});
  auto twice_value = torch::arange(kBins, whole) * 2 + 1; // of 2 kBins
  // The cut after bin k, for all but the last.
  auto below = counts.cumsum(1).to(torch::kDouble) / pixels;
  auto mass = (counts * twice_value).cumsum(1).to(torch::kDouble) /
      (pixels * 2 * kBins);
  auto mean = mass.slice(1, kBins - 1);
  below = below.slice(1, 0, kBins - 1);
  mass = mass.slice(1, 0, kBins - 1);
  auto spread = below * (1 - below);
  auto between = mean * below - mass;
  between = torch::where(
      spread > 1e-12,
      between * between / spread.clamp_min(1e-12),
      torch::zeros_like(spread));
  const auto most = between.amax(1, true);
  auto best = (between >= most * (1 - 1e-9)).to(torch::kDouble);
  auto cut = torch::arange(1, kBins, options);
  auto first = (1e9 - best * (1e9 - cut)).amin(1);
  // Over a gap nothing is added below; another best cut, beyond, is another.
  auto index = first.to(torch::kLong).unsqueeze(1) - 1;
  auto gap = ((below == below.gather(1, index)) | (most == 0)) // one bin
                 .to(torch::kDouble);
  auto last = (gap * cut).amax(1);
  return ((first + last) / (2 * kBins)).to(torch::kFloat);
}

namespace detail {

/// [h, w] weights of the centre and border priors; see `BoxFinderOptions`.
inline torch::Tensor map_prior(
    const torch::Tensor& maps,
    const BoxFinderOptions& options) {
  const auto h = maps.size(1), w = maps.size(2);
  const auto shorter = static_cast<double>(std::min(h, w));
  auto y = torch::arange(h, maps.options()).view({h, 1}) + 0.5;
  auto x = torch::arange(w, maps.options()).view({1, w}) + 0.5;
  auto prior = torch::ones({h, w}, maps.options());
  if (options.centre_prior() > 0) {
    auto dy = (y - static_cast<double>(h) / 2) / shorter;
    auto dx = (x - static_cast<double>(w) / 2) / shorter;
    const auto c = options.centre_prior();
    prior = prior * torch::exp((dy * dy + dx * dx) / (-2 * c * c));
  }
  if (options.border_prior() > 0) {
    auto to_border = torch::min(torch::min(y, h - y), torch::min(x, w - x));
    prior =
        prior * (to_border / (shorter * options.border_prior())).clamp_max(1);
  }
  return prior;
}

/// `[N]` where each of `maps` [N, H, W] is cut, by `options.threshold()`.
inline torch::Tensor map_thresholds(
    const torch::Tensor& maps,
    const BoxFinderOptions& options) {
  const auto flat = maps.flatten(1);
  switch (options.threshold()) {
    case MapThreshold::kMean:
      return flat.mean(1) * options.level();
    case MapThreshold::kQuantile: {
      const auto below = static_cast<int64_t>(
          options.level() * static_cast<double>(flat.size(1)));
      return std::get<0>(flat.kthvalue(below + 1, 1));
    }
    case MapThreshold::kFixed:
      return torch::full({maps.size(0)}, options.level(), maps.options());
    case MapThreshold::kOtsu:
      break;
  }
  return otsu_threshold(maps);
}

} // namespace detail

} // namespace care

#endif // CARE_FIND_BOXES_THRESHOLD_HPP
