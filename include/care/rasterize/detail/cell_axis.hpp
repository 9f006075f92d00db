// What the pixels of one axis of an image give to the cells of a map.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_RASTERIZE_DETAIL_CELL_AXIS_HPP
#define CARE_RASTERIZE_DETAIL_CELL_AXIS_HPP

#include <care/rasterize/mode.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace care::detail {

/// One axis: what the pixels before an edge give to each cell of the map.
///
/// Cells before `Edge::cell` have got all they get, those after the next have
/// got nothing; so two numbers say it all.
class CellAxis {
 public:
  struct Edge {
    size_t cell = 0;
    double at = 0; // what cell has got
    double next = 0; // what cell + 1 has got
  };

  CellAxis(int64_t pixels, int64_t cells, RasterMode mode)
      : pixels_(static_cast<double>(pixels)),
        ratio_(static_cast<double>(cells) / static_cast<double>(pixels)),
        all_(
            static_cast<size_t>(cells) + 1,
            mode == RasterMode::kAdjoint ? 0.0 : 1.0) {
    all_.back() = 0; // of no cell: stands behind the last one
    if (mode == RasterMode::kCoverage) {
      return;
    }
    pixel_.reserve(static_cast<size_t>(pixels));
    const auto last = static_cast<double>(cells - 1);
    for (int64_t p = 0; p < pixels; ++p) {
      const double centre = std::min(
          std::max((static_cast<double>(p) + 0.5) * ratio_ - 0.5, 0.0), last);
      const auto cell = static_cast<size_t>(centre);
      const double share = centre - static_cast<double>(cell);
      pixel_.push_back({{cell, all_[cell], all_[cell + 1]}, share});
      all_[cell] += 1 - share;
      all_[cell + 1] += share;
    }
  }

  size_t cells() const {
    return all_.size() - 1;
  }

  /// `at` in pixels, from 0 to the axis's length.
  Edge edge(double at) const {
    if (pixel_.empty()) {
      const auto end = static_cast<double>(cells());
      const double where = at < pixels_ ? std::min(at * ratio_, end) : end;
      const auto cell = std::min(static_cast<size_t>(where), cells() - 1);
      return {cell, where - static_cast<double>(cell), 0};
    }
    const auto p = std::min(static_cast<size_t>(at), pixel_.size() - 1);
    const double part = at - static_cast<double>(p);
    auto edge = pixel_[p].before;
    edge.at += part * (1 - pixel_[p].share);
    edge.next += part * pixel_[p].share;
    return edge;
  }

  /// What the pixels between two edges give to the cells from `a.cell` to
  /// `b.cell + 1`, written to those places of `given` [cells + 1].
  void between(const Edge& a, const Edge& b, double* given) const {
    std::copy(all_.data() + a.cell, all_.data() + b.cell, given + a.cell);
    given[b.cell] = b.at;
    given[b.cell + 1] = b.next;
    given[a.cell] -= a.at;
    given[a.cell + 1] -= a.next;
  }

  /// The same for every cell: `given` [cells], and beside it `rest`, what the
  /// other pixels give. Both are at least 0, and exactly 0 where nothing is.
  template <class T>
  void split(double from, double to, T* given, T* rest) const {
    const auto a = edge(from), b = edge(to);
    const auto at = [](const Edge& e, size_t c, double all) {
      return c < e.cell     ? all
          : c == e.cell     ? e.at
          : c == e.cell + 1 ? e.next
                            : 0.0;
    };
    for (size_t c = 0; c < cells(); ++c) {
      const double left = at(a, c, all_[c]), upto = at(b, c, all_[c]);
      given[c] = static_cast<T>(upto - left);
      rest[c] = static_cast<T>(left + (all_[c] - upto));
    }
  }

  /// What the whole axis gives to a cell.
  double all(size_t cell) const {
    return all_[cell];
  }
  double clamp(double at) const {
    return std::min(std::max(at, 0.0), pixels_);
  }
  double pixels() const {
    return pixels_;
  }

 private:
  struct Pixel {
    Edge before;
    double share; // of its weight that goes to the next cell
  };

  double pixels_;
  double ratio_;
  std::vector<double> all_; // what each cell gets from the whole axis
  std::vector<Pixel> pixel_; // of kAdjoint only
};

} // namespace care::detail

#endif // CARE_RASTERIZE_DETAIL_CELL_AXIS_HPP
