// How much of each cell of a map the union of an image's boxes covers.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_RASTERIZE_DETAIL_COVERAGE_HPP
#define CARE_RASTERIZE_DETAIL_COVERAGE_HPP

#include <care/boxes/detail/batch.hpp>
#include <care/detail/to_device.hpp>
#include <care/rasterize/mode.hpp>

#include <torch/types.h>

#include <cstdint>
#include <tuple>

namespace care::detail {

/// A place for each box: image n, slot k < K, K the count of the fullest image.
struct Slots {
  torch::Tensor flat; // [M] n * K + k
  torch::Tensor used; // [N, K] bool
};

inline Slots slots_of(const torch::Tensor& image, int64_t images) {
  auto counts = counts_of(image, images);
  const auto k = counts.max().item<int64_t>();
  auto order = std::get<1>(torch::sort(image, torch::optional<bool>(true), 0));
  auto first = counts.cumsum(0) - counts;
  auto sorted = image.index_select(0, order);
  auto rank = torch::arange(image.size(0), image.options()) -
      first.index_select(0, sorted);
  auto flat = torch::empty_like(image);
  flat.index_copy_(0, order, sorted * k + rank);
  auto used =
      torch::arange(k, image.options()).unsqueeze(0) < counts.unsqueeze(1);
  return {flat, used};
}

/// Spreads `[M, ...]` rows over their slots: `[N, K, ...]`, zeros elsewhere.
inline torch::Tensor to_slots(const torch::Tensor& rows, const Slots& slots) {
  auto sizes = rows.sizes().vec();
  sizes[0] = slots.used.numel();
  auto spread = torch::zeros(sizes, rows.options().requires_grad(false))
                    .index_copy(0, slots.flat, rows);
  sizes[0] = slots.used.size(1);
  sizes.insert(sizes.begin(), slots.used.size(0));
  return spread.view(sizes);
}

/// Which boxes of `[M, 4]` have an area on the image: `[M]` bool.
inline torch::Tensor lies_on(
    const torch::Tensor& xyxy,
    int64_t height,
    int64_t width) {
  auto side = xyxy.unbind(1);
  return (side[2] > 0) & (side[3] > 0) & (side[0] < width) & (side[1] < height);
}

/// What a pixel row (or column) gives to each cell of the map along one axis:
/// `[pixels, cells]`. The bilinear weights (rows sum to 1), or the share of the
/// cell that the pixel covers (columns sum to 1).
inline torch::Tensor pixel_weights(
    int64_t pixels,
    int64_t cells,
    RasterMode mode,
    const torch::Tensor& like) {
  auto options = like.options().dtype(torch::kDouble).requires_grad(false);
  auto pixel = torch::arange(pixels, options).unsqueeze(1);
  auto cell = torch::arange(cells, options);
  const auto ratio = static_cast<double>(cells) / static_cast<double>(pixels);
  torch::Tensor weight;
  if (mode == RasterMode::kAdjoint) {
    auto centre = ((pixel + 0.5) * ratio - 0.5).clamp(0, cells - 1);
    weight = (1 - (centre - cell).abs()).clamp_min(0);
  } else {
    auto upto = [&](const torch::Tensor& t) {
      return (t * ratio - cell).clamp(0, 1);
    };
    weight = upto(pixel + 1) - upto(pixel);
  }
  return weight.to(like.scalar_type());
}

/// Takes values of elementary rectangles [N, Py, Px] to cells [N, h, w].
struct CellSums {
  torch::Tensor rows; // [N, Py, h]
  torch::Tensor columns; // [N, Px, w]

  torch::Tensor operator()(const torch::Tensor& value) const {
    return torch::bmm(torch::bmm(rows.transpose(1, 2), value), columns);
  }
};

/// Images cut along every edge of their boxes. Each elementary rectangle is
/// either wholly inside a box or wholly outside, so sums over the union of
/// boxes become sums over rectangles, which are separable.
class ElementaryGrid {
 public:
  /// `boxes`: [N, K, 4] pixels; an unused slot holds an empty box.
  ElementaryGrid(const torch::Tensor& boxes, int64_t height, int64_t width)
      : x_(boxes.select(2, 0), boxes.select(2, 2), width),
        y_(boxes.select(2, 1), boxes.select(2, 3), height) {}

  /// [N, Py, Px]: 1 where a rectangle lies in a box (or, with `weights` [N, K],
  /// the largest weight of the boxes over it), else 0.
  torch::Tensor covered(const torch::Tensor& weights) const {
    if (!weights.defined()) {
      auto count = torch::bmm(y_.within.transpose(1, 2), x_.within);
      return (count > 0.5).to(x_.within.scalar_type());
    }
    auto n = x_.within.size(0);
    auto most = torch::zeros(
        {n, y_.within.size(2), x_.within.size(2)}, x_.within.options());
    for (int64_t k = 0; k < weights.size(1); ++k) {
      auto over = y_.within.select(1, k).unsqueeze(2) *
          x_.within.select(1, k).unsqueeze(1);
      most = torch::maximum(most, over * weights.select(1, k).view({n, 1, 1}));
    }
    return most;
  }

  /// How the rectangles fill the cells of a map.
  CellSums cells(RasterMode mode, int64_t height, int64_t width) const {
    return {y_.weights(mode, height), x_.weights(mode, width)};
  }

 private:
  struct Axis {
    Axis(const torch::Tensor& from, const torch::Tensor& to, int64_t length)
        : pixels(length) {
      auto low = from.clamp(0, length), high = to.clamp(0, length);
      auto border = torch::zeros({from.size(0), 1}, low.options());
      edges = std::get<0>(
          torch::sort(torch::cat({border, low, high, border + length}, 1), 1));
      auto cut = edges.detach();
      auto middle = (cut.slice(1, 1) + cut.slice(1, 0, -1)) / 2;
      within = ((low.detach().unsqueeze(2) <= middle.unsqueeze(1)) &
                (middle.unsqueeze(1) < high.detach().unsqueeze(2)))
                   .to(low.scalar_type());
    }

    /// [N, P, cells]: what each interval between two edges gives to each cell.
    torch::Tensor weights(RasterMode mode, int64_t cells) const {
      // In double: a small box far from the origin is a small difference.
      auto cut = edges.to(torch::kDouble);
      auto upto = mode == RasterMode::kCoverage ? area_upto(cut, cells)
                                                : adjoint_upto(cut, cells);
      return (upto.slice(1, 1) - upto.slice(1, 0, -1)).to(edges.scalar_type());
    }

    /// [N, P + 1, cells]: the share of each cell left of each edge.
    torch::Tensor area_upto(const torch::Tensor& cut, int64_t cells) const {
      const auto ratio =
          static_cast<double>(cells) / static_cast<double>(pixels);
      auto cell = torch::arange(cells, cut.options().requires_grad(false));
      return (cut.unsqueeze(2) * ratio - cell).clamp(0, 1);
    }

    /// The same sums of bilinear weights: a running sum over whole pixels plus
    /// the covered share of the pixel in which the edge lies.
    torch::Tensor adjoint_upto(const torch::Tensor& cut, int64_t cells) const {
      // On the host: a device's running sum may refuse to be deterministic.
      const auto table = pixel_weights(
          pixels,
          cells,
          RasterMode::kAdjoint,
          torch::empty({0}, torch::kDouble));
      const auto weight = to_device(table, cut.device());
      const auto before = to_device(table.cumsum(0) - table, cut.device());
      auto pixel = cut.detach().floor().clamp(0, pixels - 1);
      auto part = cut - pixel;
      auto row = pixel.to(torch::kLong).flatten();
      auto pick = [&](const torch::Tensor& sums) {
        return sums.index_select(0, row).view(
            {cut.size(0), cut.size(1), cells});
      };
      return pick(before) + part.unsqueeze(2) * pick(weight);
    }

    int64_t pixels;
    torch::Tensor edges; // [N, P + 1], sorted, from 0 to the length
    torch::Tensor within; // [N, K, P], 1 where interval p lies in box k
  };

  Axis x_, y_;
};

} // namespace care::detail

#endif // CARE_RASTERIZE_DETAIL_COVERAGE_HPP
