// Boxes on the host to the cells of a map, in plain loops.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_RASTERIZE_DETAIL_HOST_CELLS_HPP
#define CARE_RASTERIZE_DETAIL_HOST_CELLS_HPP

#include <care/boxes.hpp>
#include <care/rasterize/detail/cell_axis.hpp>
#include <care/rasterize/mode.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <tuple>
#include <vector>

namespace care::detail {

/// The union of an image's boxes to cells. The image is cut into rows along the
/// upper and lower edges of its boxes; along such a row, boxes and gaps take
/// turns; and each is an outer product of two short vectors.
template <class T>
class UnionCells {
 public:
  UnionCells(const CellAxis& rows, const CellAxis& columns)
      : y_(rows),
        x_(columns),
        given_(std::max(rows.cells(), columns.cells()) + 1),
        in_(columns.cells() + 1),
        out_(columns.cells() + 1) {}

  /// Adds `in` times what lies in the union of the boxes (x0, y0, x1, y1, cut
  /// at the border) to `inside` [h, w], and `out` times what does not to
  /// `outside`, where these are not null.
  void add(
      const std::vector<std::array<double, 4>>& boxes,
      T in,
      T* inside,
      T out,
      T* outside) {
    sort(boxes);
    auto from = y_.edge(0);
    for (size_t i = 0; i + 1 < cuts_.size(); ++i) {
      const auto to = y_.edge(cuts_[i + 1]);
      sum_row(cuts_[i], cuts_[i + 1]);
      y_.between(from, to, given_.data());
      const auto end = std::min(to.cell + 2, y_.cells());
      for (size_t r = from.cell; r < end; ++r) {
        const auto share = static_cast<T>(given_[r]);
        if (inside != nullptr) {
          add_row(in * share, in_.data(), inside + r * x_.cells());
        }
        if (outside != nullptr) {
          add_row(out * share, out_.data(), outside + r * x_.cells());
        }
      }
      from = to;
    }
  }

 private:
  struct Sides {
    double x0, y0, x1, y1;
    CellAxis::Edge left, right;
  };

  void sort(const std::vector<std::array<double, 4>>& boxes) {
    cuts_ = {0, y_.pixels()};
    sides_.clear();
    for (const auto& [x0, y0, x1, y1] : boxes) {
      cuts_.push_back(y0);
      cuts_.push_back(y1);
      sides_.push_back({x0, y0, x1, y1, x_.edge(x0), x_.edge(x1)});
    }
    std::sort(cuts_.begin(), cuts_.end());
    cuts_.erase(std::unique(cuts_.begin(), cuts_.end()), cuts_.end());
    std::sort(sides_.begin(), sides_.end(), [](const auto& a, const auto& b) {
      return a.x0 < b.x0;
    });
  }

  /// What boxes (in_) and gaps (out_) give to each column of cells, along a row
  /// of the image from `top` to `bottom` that no edge cuts.
  void sum_row(double top, double bottom) {
    std::fill(in_.begin(), in_.end(), T(0));
    std::fill(out_.begin(), out_.end(), T(0));
    double reach = 0;
    auto reached = x_.edge(0);
    for (const auto& box : sides_) {
      if (box.y0 > top || box.y1 < bottom || box.x1 <= reach) {
        continue;
      }
      if (box.x0 > reach) {
        add_between(reached, box.left, out_);
        reached = box.left;
      }
      add_between(reached, box.right, in_);
      reach = box.x1;
      reached = box.right;
    }
    if (reach < x_.pixels()) {
      add_between(reached, x_.edge(x_.pixels()), out_);
    }
  }

  void add_between(
      const CellAxis::Edge& a,
      const CellAxis::Edge& b,
      std::vector<T>& sum) {
    x_.between(a, b, given_.data());
    for (size_t c = a.cell; c < b.cell + 2; ++c) {
      sum[c] += static_cast<T>(given_[c]);
    }
  }

  void add_row(T factor, const T* row, T* cells) const {
    const auto width = x_.cells();
    for (size_t c = 0; c < width; ++c) {
      cells[c] += factor * row[c];
    }
  }

  const CellAxis& y_;
  const CellAxis& x_;
  std::vector<double> cuts_; // of y, sorted, from 0 to the height
  std::vector<Sides> sides_; // from left to right
  std::vector<double> given_;
  std::vector<T> in_, out_; // [w + 1], the last of no cell
};

/// The same for one box: an outer product inside, and outside what is beside
/// the box or above and below it.
template <class T>
class BoxCells {
 public:
  BoxCells(const CellAxis& rows, const CellAxis& columns)
      : y_(rows),
        x_(columns) {}

  /// Writes `inside` if not null, and `outside` if not null.
  void write(
      const std::array<double, 4>& box,
      T weight,
      T* inside,
      T* outside,
      T flat) {
    y_.split(box[1], box[3]);
    x_.split(box[0], box[2]);
    const auto width = x_.given.size();
    const T* given = x_.given.data();
    const T* rest = x_.rest.data();
    const T* all = x_.all.data();
    for (size_t r = 0; r < y_.given.size(); ++r) {
      if (inside != nullptr) {
        const T share = weight * y_.given[r];
        for (size_t c = 0; c < width; ++c) {
          inside[c] = share * given[c];
        }
        inside += width;
      }
      if (outside != nullptr) {
        const T beside = flat * y_.given[r];
        const T above = flat * y_.rest[r];
        for (size_t c = 0; c < width; ++c) {
          outside[c] = above * all[c] + beside * rest[c];
        }
        outside += width;
      }
    }
  }

 private:
  struct Axis {
    explicit Axis(const CellAxis& axis)
        : cells(axis),
          given(axis.cells()),
          rest(axis.cells()) {
      for (size_t c = 0; c < axis.cells(); ++c) {
        all.push_back(static_cast<T>(axis.all(c)));
      }
    }
    void split(double from, double to) {
      cells.split(from, to, given.data(), rest.data());
    }

    const CellAxis& cells;
    std::vector<T> given, rest, all; // [cells]
  };
  Axis y_, x_;
};

/// The rows of `boxes`, image after image, and where each image's end.
struct ByImage {
  std::vector<int64_t> rows; // [M]
  std::vector<size_t> end; // [N]
};

inline ByImage by_image(const torch::Tensor& image, int64_t images) {
  const auto host = image.contiguous();
  const auto* image_of = host.data_ptr<int64_t>();
  ByImage result;
  result.rows.resize(static_cast<size_t>(host.numel()));
  result.end.resize(static_cast<size_t>(images) + 1);
  for (int64_t m = 0; m < host.numel(); ++m) {
    ++result.end[static_cast<size_t>(image_of[m]) + 1];
  }
  std::partial_sum(result.end.begin(), result.end.end(), result.end.begin());
  for (int64_t m = 0; m < host.numel(); ++m) {
    result.rows[result.end[static_cast<size_t>(image_of[m])]++] = m;
  }
  result.end.pop_back();
  return result;
}

/// `[M, 4]` doubles on the host, one box after another.
inline torch::Tensor host_coordinates(const Boxes& boxes) {
  return boxes.xyxy().detach().to(torch::kDouble).contiguous();
}

/// That every box, on the host, has an area on its image; or every one for
/// which `which` ([M] bool) is true.
inline void check_on_image(
    const char* where,
    const Boxes& boxes,
    const torch::Tensor& which = {}) {
  const auto xyxy = host_coordinates(boxes);
  const auto* box = xyxy.data_ptr<double>();
  const auto size = boxes.image_size();
  const auto width = static_cast<double>(size.width);
  const auto height = static_cast<double>(size.height);
  const auto* asked = which.defined() ? which.data_ptr<bool>() : nullptr;
  for (int64_t m = 0; m < boxes.num_boxes(); ++m, box += 4) {
    TORCH_CHECK_VALUE(
        (asked != nullptr && !asked[m]) ||
            (box[2] > 0 && box[3] > 0 && box[0] < width && box[1] < height),
        where,
        ": expected boxes on images of ",
        size,
        ", but box ",
        m,
        " (image ",
        boxes.image_index()[m].item<int64_t>(),
        ") lies wholly outside; Boxes::clip drops such boxes");
  }
}

/// Adds the largest weight of the boxes over each place to `inside` [h, w]: the
/// union of all boxes times the smallest weight, that of the heavier ones times
/// how much the next weight is larger, and so on.
template <class T>
void add_weighted(
    UnionCells<T>& cells,
    std::vector<std::array<double, 4>> boxes,
    std::vector<T> weights,
    T* inside) {
  T level = 0;
  while (!boxes.empty()) {
    const T next = *std::min_element(weights.begin(), weights.end());
    cells.add(boxes, next - level, inside, T(0), nullptr);
    level = next;
    size_t kept = 0;
    for (size_t k = 0; k < boxes.size(); ++k) {
      if (weights[k] > level) {
        boxes[kept] = boxes[k];
        weights[kept++] = weights[k];
      }
    }
    boxes.resize(kept);
    weights.resize(kept);
  }
}

/// Writes inside and outside `[N, h, w]` and the image's weight `[N]`, its
/// heaviest box's, of boxes of dtype T; inside is relative to it.
template <class T>
void write_host_cells(
    const Boxes& boxes,
    const CellAxis& rows,
    const CellAxis& columns,
    T flat,
    double margin,
    T* inside,
    T* outside,
    T* image_weight) {
  const auto xyxy = host_coordinates(boxes);
  const auto weight = boxes.weights().detach().contiguous();
  const auto sorted = by_image(boxes.image_index(), boxes.num_images());
  const auto area = rows.cells() * columns.cells();
  UnionCells<T> several(rows, columns);
  BoxCells<T> single(rows, columns);
  std::vector<std::array<double, 4>> near, grown;
  std::vector<T> weights;
  size_t next = 0;
  for (const auto end : sorted.end) {
    near.clear();
    grown.clear();
    weights.clear();
    for (; next < end; ++next) {
      const auto m = sorted.rows[next];
      const auto* box = xyxy.data_ptr<double>() + 4 * m;
      const auto cut = [&](double by) -> std::array<double, 4> {
        return {
            columns.clamp(box[0] - by),
            rows.clamp(box[1] - by),
            columns.clamp(box[2] + by),
            rows.clamp(box[3] + by)};
      };
      near.push_back(cut(0));
      grown.push_back(cut(margin));
      weights.push_back(weight.data_ptr<T>()[m]);
    }
    *image_weight = weights.empty()
        ? T(0)
        : *std::max_element(weights.begin(), weights.end());
    for (auto& one : weights) {
      one = *image_weight > 0 ? one / *image_weight : T(0);
    }
    auto* beside = margin > 0 ? nullptr : outside; // in the same pass
    if (weights.size() == 1) {
      single.write(near[0], weights[0], inside, beside, flat);
      if (margin > 0) {
        single.write(grown[0], weights[0], nullptr, outside, flat);
      }
    } else {
      std::fill_n(inside, area, T(0));
      std::fill_n(outside, area, T(0));
    }
    if (weights.size() > 1) {
      const auto lightest = *std::min_element(weights.begin(), weights.end());
      if (beside != nullptr && lightest == T(1)) {
        several.add(near, T(1), inside, flat, outside);
      } else {
        add_weighted(several, near, weights, inside);
        several.add(grown, T(1), nullptr, flat, outside);
      }
    }
    inside += area;
    outside += area;
    ++image_weight;
  }
}

/// `rasterize` for boxes on the host that need no gradient, with a flat
/// outside: inside, outside `[N, h, w]` and weight `[N]`.
inline std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> host_cells(
    const Boxes& boxes,
    Size map_size,
    RasterMode mode,
    double flat,
    double margin) {
  const auto like = boxes.xyxy().options().requires_grad(false);
  const auto n = boxes.num_images();
  auto inside = torch::empty({n, map_size.height, map_size.width}, like);
  auto outside = torch::empty({n, map_size.height, map_size.width}, like);
  auto weight = torch::empty({n}, like);
  const CellAxis rows(boxes.image_size().height, map_size.height, mode);
  const CellAxis columns(boxes.image_size().width, map_size.width, mode);
  const auto write = [&](auto zero) {
    using T = decltype(zero);
    write_host_cells<T>(
        boxes,
        rows,
        columns,
        static_cast<T>(flat),
        margin,
        inside.data_ptr<T>(),
        outside.data_ptr<T>(),
        weight.data_ptr<T>());
  };
  if (like.dtype() == torch::kDouble) {
    write(0.0);
  } else {
    write(0.0F);
  }
  return {inside, outside, weight};
}

} // namespace care::detail

#endif // CARE_RASTERIZE_DETAIL_HOST_CELLS_HPP
