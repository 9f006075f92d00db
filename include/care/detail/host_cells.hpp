// Boxes on the host to the cells of a map, in plain loops.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_HOST_CELLS_HPP
#define CARE_DETAIL_HOST_CELLS_HPP

#include <care/boxes.hpp>
#include <care/detail/cell_axis.hpp>

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

/// An axis cut along the edges of an image's boxes.
template <class T>
class CutAxis {
 public:
  explicit CutAxis(const CellAxis& axis)
      : axis_(axis),
        stride_(axis.cells() + 1),
        given_(stride_) {}

  /// Cuts along the two sides of each box, `sides[side]` and `sides[side + 2]`.
  void cut(const std::vector<std::array<double, 4>>& boxes, size_t side) {
    cuts_ = {0, axis_.pixels()};
    for (const auto& box : boxes) {
      cuts_.push_back(box[side]);
      cuts_.push_back(box[side + 2]);
    }
    std::sort(cuts_.begin(), cuts_.end());
    cuts_.erase(std::unique(cuts_.begin(), cuts_.end()), cuts_.end());
    parts_.resize(intervals() * stride_);
    spans_.resize(intervals());
    auto from = axis_.edge(cuts_[0]);
    for (size_t i = 0; i < intervals(); ++i) {
      const auto to = axis_.edge(cuts_[i + 1]);
      axis_.between(from, to, given_.data());
      spans_[i] = {from.cell, std::min(to.cell + 2, axis_.cells())};
      for (size_t c = spans_[i].first; c < spans_[i].end; ++c) {
        parts_[i * stride_ + c] = static_cast<T>(given_[c]);
      }
      from = to;
    }
  }

  size_t intervals() const {
    return cuts_.size() - 1;
  }
  /// The interval that begins at an edge (of a box that was cut along).
  size_t interval_at(double edge) const {
    return static_cast<size_t>(
        std::lower_bound(cuts_.begin(), cuts_.end(), edge) - cuts_.begin());
  }

  struct Span {
    size_t first, end;
  };
  /// The cells that get something from an interval, and what they get.
  Span span(size_t interval) const {
    return spans_[interval];
  }
  const T* parts(size_t interval) const {
    return parts_.data() + interval * stride_;
  }

 private:
  const CellAxis& axis_;
  size_t stride_;
  std::vector<double> given_;
  std::vector<double> cuts_; // sorted, from 0 to the length
  std::vector<T> parts_; // [intervals, cells + 1], outside its span undefined
  std::vector<Span> spans_;
};

/// The boxes of one image to cells: the image is cut along every edge of its
/// boxes into rectangles that lie wholly inside or wholly outside, and each is
/// an outer product of two short vectors. The same sums as `ElementaryGrid`.
template <class T>
class HostCells {
 public:
  HostCells(const CellAxis& rows, const CellAxis& columns)
      : y_(rows),
        x_(columns),
        width_(columns.cells()),
        in_(width_),
        out_(width_) {}

  /// Adds to `inside` and `outside` [h, w] (where not null) what lies inside
  /// the boxes (x0, y0, x1, y1, cut at the border), by the largest of their
  /// weights, and `flat` times what lies outside them.
  void add(
      const std::vector<std::array<double, 4>>& boxes,
      const std::vector<T>& weights,
      T* inside,
      T* outside,
      T flat) {
    x_.cut(boxes, 0);
    y_.cut(boxes, 1);
    cover(boxes, weights);
    for (size_t i = 0; i < y_.intervals(); ++i) {
      const auto any = sum_row(i, flat);
      if (inside != nullptr && any.in) {
        add_rows(i, in_.data(), inside);
      }
      if (outside != nullptr && any.out) {
        add_rows(i, out_.data(), outside);
      }
    }
  }

 private:
  static constexpr T kNoBox = -1;
  struct Any {
    bool in, out;
  };

  /// The largest weight over each rectangle, or kNoBox.
  void cover(
      const std::vector<std::array<double, 4>>& boxes,
      const std::vector<T>& weights) {
    cover_.assign(y_.intervals() * x_.intervals(), kNoBox);
    for (size_t k = 0; k < boxes.size(); ++k) {
      const auto left = x_.interval_at(boxes[k][0]);
      const auto right = x_.interval_at(boxes[k][2]);
      const auto bottom = y_.interval_at(boxes[k][3]);
      for (auto i = y_.interval_at(boxes[k][1]); i < bottom; ++i) {
        for (auto j = left; j < right; ++j) {
          auto& most = cover_[i * x_.intervals() + j];
          most = std::max(most, weights[k]);
        }
      }
    }
  }

  /// One row of rectangles, summed along x: what is inside, what is outside.
  Any sum_row(size_t i, T flat) {
    std::fill(in_.begin(), in_.end(), T(0));
    std::fill(out_.begin(), out_.end(), T(0));
    Any any{false, false};
    const T* cover = cover_.data() + i * x_.intervals();
    for (size_t j = 0; j < x_.intervals(); ++j) {
      const bool covered = cover[j] != kNoBox;
      (covered ? any.in : any.out) = true;
      T* sum = covered ? in_.data() : out_.data();
      const T factor = covered ? cover[j] : flat;
      const T* part = x_.parts(j);
      const auto columns = x_.span(j);
      for (size_t c = columns.first; c < columns.end; ++c) {
        sum[c] += factor * part[c];
      }
    }
    return any;
  }

  void add_rows(size_t i, const T* row, T* cells) const {
    const auto rows = y_.span(i);
    const T* parts = y_.parts(i);
    const auto width = width_;
    for (size_t r = rows.first; r < rows.end; ++r) {
      const T share = parts[r];
      T* to = cells + r * width;
      for (size_t c = 0; c < width; ++c) {
        to[c] += share * row[c];
      }
    }
  }

  CutAxis<T> y_, x_;
  size_t width_;
  std::vector<T> cover_; // [intervals of y, intervals of x]
  std::vector<T> in_, out_; // [w]
};

/// The same for an image of one box, where the rectangles are not needed: an
/// outer product inside, and outside what is beside the box or above and below.
template <class T>
class HostCell {
 public:
  HostCell(const CellAxis& rows, const CellAxis& columns)
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

/// That every box, on the host, has an area on its image.
inline void check_on_image(const char* where, const Boxes& boxes) {
  const auto xyxy = host_coordinates(boxes);
  const auto* box = xyxy.data_ptr<double>();
  const auto size = boxes.size();
  const auto width = static_cast<double>(size.width);
  const auto height = static_cast<double>(size.height);
  for (int64_t m = 0; m < boxes.count(); ++m, box += 4) {
    TORCH_CHECK_VALUE(
        box[2] > 0 && box[3] > 0 && box[0] < width && box[1] < height,
        where,
        ": expected boxes on images of ",
        size,
        ", but box ",
        m,
        " (image ",
        boxes.image()[m].item<int64_t>(),
        ") lies wholly outside; Boxes::clip drops such boxes");
  }
}

/// Writes inside and outside `[N, h, w]` and the image's weight `[N]` of boxes
/// of dtype T.
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
  const auto sorted = by_image(boxes.image(), boxes.images());
  const auto area = rows.cells() * columns.cells();
  HostCells<T> several(rows, columns);
  HostCell<T> single(rows, columns);
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
      several.add(near, weights, inside, beside, flat);
      if (margin > 0) {
        several.add(grown, weights, nullptr, outside, flat);
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
    bool bilinear,
    double flat,
    double margin) {
  const auto like = boxes.xyxy().options().requires_grad(false);
  const auto n = boxes.images();
  auto inside = torch::empty({n, map_size.height, map_size.width}, like);
  auto outside = torch::empty({n, map_size.height, map_size.width}, like);
  auto weight = torch::empty({n}, like);
  const CellAxis rows(boxes.size().height, map_size.height, bilinear);
  const CellAxis columns(boxes.size().width, map_size.width, bilinear);
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

#endif // CARE_DETAIL_HOST_CELLS_HPP
