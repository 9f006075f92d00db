// Boxes from maps: threshold, components, and how far each is to be trusted.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_FIND_BOXES_HPP
#define CARE_FIND_BOXES_HPP

#include <care/boxes.hpp>
#include <care/detail/check.hpp>
#include <care/detail/components.hpp>

#include <torch/arg.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

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

/// What `find_boxes` found.
struct FoundBoxes {
  Boxes boxes; ///< image after image, the most certain first; weighted by it
  torch::Tensor confidence; ///< [M] float32 in [0, 1], the boxes' weights
  torch::Tensor threshold; ///< [N] float32, where each map was cut
  torch::Tensor whole; ///< [N] int64, boxes dropped: nearly the whole image
  torch::Tensor unsure; ///< [N] int64, boxes dropped: below min_confidence
};

namespace detail {

/// `maps` as float32 if they are [N, H, W] of finite numbers in [0, 1].
inline torch::Tensor checked_maps(
    const char* where,
    const torch::Tensor& maps,
    const char* name = "maps") {
  check_planes(where, "maps of shape [N, H, W]", maps);
  auto wide = maps.detach().to(torch::kFloat);
  auto flat = wide.flatten(1);
  auto ok = (torch::isfinite(flat) & (flat >= 0) & (flat <= 1)).all(1);
  const auto bad = first_false(ok.to(torch::kCPU));
  if (bad >= 0) {
    TORCH_CHECK_VALUE(
        false,
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
  }
  return wide;
}

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
      options.padding() > 0 && std::isfinite(options.padding()),
      "padding above 0",
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

/// One component, or several merged ones.
struct FoundRegion {
  double x0, y0, x1, y1;
  double pixels; ///< of the component
  double inside; ///< sum of the map over them
  double confidence = 0;

  double area() const {
    return (x1 - x0) * (y1 - y0);
  }
};

/// Merges regions whose boxes are no more than `gap` pixels apart until none
/// are.
inline void merge_regions(std::vector<FoundRegion>& regions, double gap) {
  for (bool merged = true; merged;) {
    merged = false;
    for (size_t i = 0; i < regions.size(); ++i) {
      for (size_t j = i + 1; j < regions.size();) {
        auto& a = regions[i];
        const auto& b = regions[j];
        if (std::max(a.x0, b.x0) - std::min(a.x1, b.x1) > gap ||
            std::max(a.y0, b.y0) - std::min(a.y1, b.y1) > gap) {
          ++j;
          continue;
        }
        a = {
            std::min(a.x0, b.x0),
            std::min(a.y0, b.y0),
            std::max(a.x1, b.x1),
            std::max(a.y1, b.y1),
            a.pixels + b.pixels,
            a.inside + b.inside};
        regions.erase(regions.begin() + static_cast<std::ptrdiff_t>(j));
        merged = true;
      }
    }
  }
}

/// The area of a region's box after padding, cut at the border.
inline double padded_area(
    const FoundRegion& region,
    Size size,
    const BoxFinderOptions& options) {
  const auto side = [&](double low, double high, int64_t end) {
    const auto centre = (low + high) / 2;
    const auto half = (high - low) / 2 * options.padding();
    return std::min(static_cast<double>(end), centre + half) -
        std::max(0.0, centre - half);
  };
  return side(region.x0, region.x1, size.width) *
      side(region.y0, region.y1, size.height);
}

/// The confidence documented at `find_boxes`.
inline double region_confidence(
    const FoundRegion& region,
    double background,
    Size size,
    const BoxFinderOptions& options) {
  const auto h = static_cast<double>(size.height);
  const auto w = static_cast<double>(size.width);
  const auto area = region.area();
  const auto contrast =
      std::max(0.0, region.inside / region.pixels - background);
  constexpr double kEllipse = 3.14159265358979323846 / 4;
  const auto compactness = std::min(1.0, region.pixels / (area * kEllipse));
  const auto width = region.x1 - region.x0, height = region.y1 - region.y0;
  const auto touching = (region.x0 <= 0 ? height : 0) +
      (region.x1 >= w ? height : 0) + (region.y0 <= 0 ? width : 0) +
      (region.y1 >= h ? width : 0);
  const auto border = 1 - touching / (2 * (width + height));
  const auto share = area / (h * w);
  const auto room = (1 - share) / (1 - 0.5 * options.max_area());
  return contrast * compactness * border * std::min(1.0, room);
}

} // namespace detail

/// Otsu's threshold of each map: of all cuts at a multiple of 1/256, the one
/// that leaves the most variance between the two parts and the least within.
///
/// `maps` [N, H, W] in [0, 1] -> [N] float32 in (0, 1); values at or above it
/// are the upper part. Where a gap separates the parts, its middle; 1/2 for a
/// map whose values all fall into one 256th. Throws c10::ValueError for other
/// shapes and values. Source: Otsu 1979, eq. 18.
inline torch::Tensor otsu_threshold(const torch::Tensor& maps) {
  auto wide = detail::checked_maps("care::otsu_threshold", maps);
  constexpr int64_t kBins = 256;
  const auto n = wide.size(0);
  auto options = wide.options().dtype(torch::kDouble);
  auto bin = (wide.flatten(1) * static_cast<double>(kBins))
                 .to(torch::kLong)
                 .clamp_max(kBins - 1);
  auto counts = torch::zeros({n, kBins}, options)
                    .scatter_add(1, bin, torch::ones(bin.sizes(), options));
  auto share = counts / static_cast<double>(bin.size(1));
  auto value = (torch::arange(kBins, options) + 0.5) / kBins;
  // The cut after bin k, for all but the last.
  auto below = share.cumsum(1), mass = (share * value).cumsum(1);
  auto mean = mass.slice(1, kBins - 1);
  below = below.slice(1, 0, kBins - 1);
  mass = mass.slice(1, 0, kBins - 1);
  auto spread = below * (1 - below);
  auto between = mean * below - mass;
  between = torch::where(
      spread > 1e-12,
      between * between / spread.clamp_min(1e-12),
      torch::zeros_like(spread));
  auto best =
      (between >= between.amax(1, true) * (1 - 1e-9)).to(torch::kDouble);
  auto cut = torch::arange(1, kBins, options);
  auto first = (1e9 - best * (1e9 - cut)).amin(1);
  auto last = (best * cut).amax(1);
  return ((first + last) / (2 * kBins)).to(torch::kFloat);
}

/// Boxes round what stands out in each map.
///
/// Each map is weighed by the priors, cut by the threshold, and split into
/// 8-connected components on the host; small ones are left out, near ones
/// merged, nearly whole images dropped and counted in `whole`, then unsure
/// ones in `unsure`, and of the rest the `max_boxes` most certain are kept.
/// Their confidence, in [0, 1], is also the boxes' weight, so that the loss
/// counts an unsure box less:
///
///   confidence = contrast * compactness * border * room
///   contrast    = mean of the map over the component's pixels
///                 - mean over the pixels below the threshold, at least 0
///   compactness = min(1, pixels / (pi/4 of the box)): 1 for an ellipse or more
///   border      = 1 - share of the box's outline on the image's border
///   room        = min(1, (1 - share of the image) / (1 - max_area / 2))
///
/// Shapes: maps [N, H, W] in [0, 1], any dtype and device -> boxes on images of
/// H x W, on the host. A map of one value gives no box. Throws c10::ValueError
/// for other shapes, values outside [0, 1] (also NaN) and options out of range.
/// The formula is ours. Cost: linear in the pixels.
///
///   auto found = care::find_boxes(care::frequency_tuned(images));
///   auto regions = care::rasterize(found.boxes, {7, 7});
inline FoundBoxes find_boxes(
    const torch::Tensor& maps,
    const BoxFinderOptions& options = {}) {
  const char* where = "care::find_boxes";
  detail::check_options(where, options);
  torch::NoGradGuard no_grad;
  auto wide = detail::checked_maps(where, maps);
  const auto n = wide.size(0), h = wide.size(1), w = wide.size(2);
  const Size size{h, w};
  if (options.centre_prior() > 0 || options.border_prior() > 0) {
    wide = wide * detail::map_prior(wide, options);
  }
  auto flat = wide.flatten(1);
  torch::Tensor threshold;
  switch (options.threshold()) {
    case MapThreshold::kOtsu:
      threshold = otsu_threshold(wide);
      break;
    case MapThreshold::kMean:
      threshold = flat.mean(1) * options.level();
      break;
    case MapThreshold::kQuantile: {
      const auto rank = std::ceil(options.level() * static_cast<double>(h * w));
      const auto k = std::max<int64_t>(1, static_cast<int64_t>(rank));
      threshold = std::get<0>(flat.kthvalue(k, 1));
      break;
    }
    case MapThreshold::kFixed:
      threshold = torch::full({n}, options.level(), wide.options());
      break;
  }
  // A map of one value says nothing about where.
  auto says = flat.amax(1) > flat.amin(1);
  auto above =
      (wide >= threshold.view({n, 1, 1})) & (wide > 0) & says.view({n, 1, 1});

  const auto host_above = above.to(torch::kCPU).contiguous();
  const auto host_map = wide.to(torch::kCPU).contiguous();
  const auto pixels = static_cast<double>(h * w);
  const auto gap = options.merge_gap() * static_cast<double>(std::max(h, w));
  std::vector<std::vector<std::array<double, 4>>> lists;
  std::vector<float> confidence;
  std::vector<int64_t> whole, unsure;
  for (int64_t i = 0; i < n; ++i) {
    const auto* map = host_map.data_ptr<float>() + i * h * w;
    const auto components = detail::connected_components(
        host_above.data_ptr<bool>() + i * h * w, h, w);
    std::vector<double> sums(components.found.size(), 0.0);
    double rest = 0, rest_pixels = 0;
    for (int64_t p = 0; p < h * w; ++p) {
      const auto label = components.label[static_cast<size_t>(p)];
      if (label >= 0) {
        sums[static_cast<size_t>(label)] += static_cast<double>(map[p]);
      } else {
        rest += static_cast<double>(map[p]);
        rest_pixels += 1;
      }
    }
    const auto background = rest_pixels > 0 ? rest / rest_pixels : 0.0;
    std::vector<detail::FoundRegion> regions;
    for (size_t c = 0; c < components.found.size(); ++c) {
      const auto& box = components.found[c];
      const auto count = static_cast<double>(box.pixels);
      if (count >= options.min_area() * pixels) {
        regions.push_back(
            {static_cast<double>(box.x0),
             static_cast<double>(box.y0),
             static_cast<double>(box.x1),
             static_cast<double>(box.y1),
             count,
             sums[c]});
      }
    }
    if (options.merge_gap() >= 0) {
      detail::merge_regions(regions, gap);
    }
    auto& list = lists.emplace_back();
    whole.push_back(0);
    unsure.push_back(0);
    std::vector<detail::FoundRegion> kept;
    for (auto& region : regions) {
      if (detail::padded_area(region, size, options) >
          options.max_area() * pixels) {
        ++whole.back();
        continue;
      }
      region.confidence =
          detail::region_confidence(region, background, size, options);
      if (region.confidence < options.min_confidence()) {
        ++unsure.back();
        continue;
      }
      kept.push_back(region);
    }
    std::stable_sort(
        kept.begin(), kept.end(), [](const auto& a, const auto& b) {
          return a.confidence > b.confidence;
        });
    if (static_cast<int64_t>(kept.size()) > options.max_boxes()) {
      kept.resize(static_cast<size_t>(options.max_boxes()));
    }
    for (const auto& region : kept) {
      list.push_back({region.x0, region.y0, region.x1, region.y1});
      confidence.push_back(static_cast<float>(region.confidence));
    }
  }
  FoundBoxes result;
  result.confidence = torch::tensor(confidence, torch::kFloat);
  result.boxes = Boxes::from_lists(lists, size)
                     .with_weights(result.confidence)
                     .dilate(options.padding())
                     .clip();
  result.threshold = threshold.to(torch::kCPU, torch::kFloat);
  result.whole = torch::tensor(whole, torch::kLong);
  result.unsure = torch::tensor(unsure, torch::kLong);
  return result;
}

} // namespace care

#endif // CARE_FIND_BOXES_HPP
