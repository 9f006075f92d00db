// Regions of a map: components, merged, and how far each is to be trusted.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_FIND_BOXES_DETAIL_REGIONS_HPP
#define CARE_FIND_BOXES_DETAIL_REGIONS_HPP

#include <care/detail/components.hpp>
#include <care/find_boxes/options.hpp>
#include <care/size.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace care::detail {

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

/// The regions of one map, and what lies between them.
struct FoundRegions {
  std::vector<FoundRegion> regions;
  double background = 0; ///< mean of the map over the other pixels
};

/// The components of `above` of at least `least` pixels: their boxes, and the
/// sums of `map` over them; both [size], row by row.
inline FoundRegions regions_of(
    const bool* above,
    const float* map,
    Size size,
    double least) {
  const auto components = connected_components(above, size.height, size.width);
  std::vector<double> sums(components.found.size(), 0.0);
  double rest = 0, rest_pixels = 0;
  for (size_t p = 0; p < components.label.size(); ++p) {
    const auto label = components.label[p];
    const auto value = static_cast<double>(map[p]);
    if (label >= 0) {
      sums[static_cast<size_t>(label)] += value;
    } else {
      rest += value;
      rest_pixels += 1;
    }
  }
  FoundRegions result;
  result.background = rest_pixels > 0 ? rest / rest_pixels : 0.0;
  for (size_t c = 0; c < components.found.size(); ++c) {
    const auto& box = components.found[c];
    const auto count = static_cast<double>(box.pixels);
    if (count >= least) {
      result.regions.push_back(
          {static_cast<double>(box.x0),
           static_cast<double>(box.y0),
           static_cast<double>(box.x1),
           static_cast<double>(box.y1),
           count,
           sums[c]});
    }
  }
  return result;
}

/// Merges regions whose boxes are no more than `gap` pixels apart (at least 0)
/// until none are; each stands where the first of its parts stood.
///
/// A sweep from left to right keeps the boxes met so far by their upper edges,
/// pairwise more than `gap` apart along y; a new one can be near those alone
/// that lie beside it there, and swallows them or finds them left behind. A box
/// grown upwards or downwards may be near one left behind earlier: sweeps are
/// repeated until one merges nothing. Cost: n log n a sweep, of which there are
/// a few.
inline void merge_regions(std::vector<FoundRegion>& regions, double gap) {
  struct Entry {
    FoundRegion region;
    size_t first;
    bool merged;
  };
  std::vector<Entry> entries;
  for (size_t i = 0; i < regions.size(); ++i) {
    entries.push_back({regions[i], i, false});
  }
  for (bool again = true; again;) {
    again = false;
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
      return a.region.x0 < b.region.x0;
    });
    std::map<double, Entry*> met; // by y0
    for (auto& entry : entries) {
      auto& b = entry.region;
      for (;;) {
        auto beside = met.upper_bound(b.y1 + gap);
        if (beside == met.begin()) {
          break;
        }
        --beside;
        auto& other = *beside->second;
        const auto& a = other.region;
        if (b.y0 - a.y1 > gap) {
          break;
        }
        if (b.x0 - a.x1 <= gap) {
          b = {
              std::min(a.x0, b.x0),
              std::min(a.y0, b.y0),
              std::max(a.x1, b.x1),
              std::max(a.y1, b.y1),
              a.pixels + b.pixels,
              a.inside + b.inside};
          entry.first = std::min(entry.first, other.first);
          other.merged = again = true;
        }
        met.erase(beside);
      }
      met.emplace(b.y0, &entry);
    }
    entries.erase(
        std::remove_if(
            entries.begin(),
            entries.end(),
            [](const Entry& entry) { return entry.merged; }),
        entries.end());
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return a.first < b.first;
  });
  regions.clear();
  for (const auto& entry : entries) {
    regions.push_back(entry.region);
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

} // namespace care::detail

#endif // CARE_FIND_BOXES_DETAIL_REGIONS_HPP
