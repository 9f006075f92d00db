// Saliency from which regions are background: those that cling to the border.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_SALIENCY_ROBUST_BACKGROUND_HPP
#define CARE_SALIENCY_ROBUST_BACKGROUND_HPP

#include <care/detail/check.hpp>
#include <care/detail/image.hpp>

#include <torch/arg.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace care {

/// Options of `robust_background`.
struct RobustBackgroundOptions {
  /// Superpixels along the shorter side, before they move. Cost grows with the
  /// sixth power (the third of their number). Default: 12.
  TORCH_ARG(int64_t, cells) = 12;
  /// How much being near counts against being alike, in units of Lab, when
  /// pixels are gathered into superpixels. Default: 10.
  TORCH_ARG(double, compactness) = 10.0;
};

namespace detail {

/// A partition of images into about equal regions of like colour.
struct Superpixels {
  torch::Tensor label; ///< [N, h, w] int64, the region of each pixel
  torch::Tensor colour; ///< [N, K, 3] mean Lab
  torch::Tensor place; ///< [N, K, 2] mean y, x as fractions of the longer side
  torch::Tensor share; ///< [N, K] size, 1 for the mean size, 0 for an empty one
  torch::Tensor border; ///< [N, K] 1 for a region at the image's border
  torch::Tensor adjacent; ///< [N, K, K] 1 for two regions side by side
};

/// Sums of `values` [N, P, D] over the pixels of each of K labels [N, P].
inline torch::Tensor sums_by_label(
    const torch::Tensor& values,
    const torch::Tensor& label,
    int64_t k) {
  const auto d = values.size(2);
  return torch::zeros({values.size(0), k, d}, values.options())
      .scatter_add(1, label.unsqueeze(2).expand({-1, -1, d}), values);
}

/// SLIC on a grid of rows x columns: each pixel joins the most similar of the
/// nine regions round the cell it lies in; five rounds. Regions need not be
/// connected. Source: Achanta et al. 2012, with cells fixed, so that it is
/// batched.
inline Superpixels superpixels(
    const torch::Tensor& lab,
    int64_t rows,
    int64_t columns,
    double compactness) {
  const auto n = lab.size(0), h = lab.size(2), w = lab.size(3);
  const auto p = h * w, k = rows * columns;
  const auto index = lab.options().dtype(torch::kLong);
  auto y = torch::arange(h, index), x = torch::arange(w, index);
  auto row = torch::div(y * rows, h, "floor").view({h, 1});
  auto column = torch::div(x * columns, w, "floor").view({1, w});

  // The nine candidates of each pixel; at the border some come twice.
  std::vector<torch::Tensor> near;
  for (int64_t dy = -1; dy <= 1; ++dy) {
    for (int64_t dx = -1; dx <= 1; ++dx) {
      near.push_back(((row + dy).clamp(0, rows - 1) * columns +
                      (column + dx).clamp(0, columns - 1))
                         .flatten());
    }
  }
  auto candidates = torch::stack(near, 1); // [P, 9]
  // A step of one cell counts as `compactness` units of Lab.
  const auto step = static_cast<double>(h) / static_cast<double>(rows);
  auto where = torch::stack({y.view({h, 1}).expand({h, w}),
                             x.view({1, w}).expand({h, w})})
                   .flatten(1)
                   .to(lab.scalar_type());
  auto points =
      torch::cat(
          {lab.flatten(2),
           (where * (compactness / step)).unsqueeze(0).expand({n, 2, p})},
          1)
          .transpose(1, 2); // [N, P, 5]
  auto one = torch::ones({n, p, 1}, lab.options());
  auto label = (row * columns + column).flatten().expand({n, p}).contiguous();
  torch::Tensor centre, count;
  for (int round = 0; round <= 5; ++round) {
    auto sum = sums_by_label(points, label, k);
    count = sums_by_label(one, label, k);
    auto mean = sum / count.clamp_min(1);
    centre = round == 0 ? mean : torch::where(count > 0, mean, centre);
    if (round < 5) {
      auto to =
          centre.index_select(1, candidates.flatten()).view({n, p, 9, 5}) -
          points.unsqueeze(2);
      auto best = (to * to).sum(3).argmin(2, /*keepdim=*/true); // [N, P, 1]
      label =
          candidates.unsqueeze(0).expand({n, p, 9}).gather(2, best).squeeze(2);
    }
  }

  Superpixels result;
  result.label = label.view({n, h, w});
  result.colour = centre.slice(2, 0, 3).contiguous();
  result.place = centre.slice(2, 3, 5) *
      (step / (compactness * static_cast<double>(std::max(h, w))));
  result.share =
      count.squeeze(2) * (static_cast<double>(k) / static_cast<double>(p));
  auto edge = torch::zeros({h, w}, lab.options());
  edge.select(0, 0).fill_(1);
  edge.select(0, h - 1).fill_(1);
  edge.select(1, 0).fill_(1);
  edge.select(1, w - 1).fill_(1);
  result.border =
      sums_by_label(edge.flatten().expand({n, p}).unsqueeze(2), label, k)
          .squeeze(2)
          .clamp_max(1);
  auto adjacent = torch::zeros({n, k * k}, lab.options());
  auto link = [&](const torch::Tensor& a, const torch::Tensor& b) {
    auto u = a.flatten(1), v = b.flatten(1);
    auto both = torch::cat({u * k + v, v * k + u}, 1);
    adjacent.scatter_(1, both, 1.0);
  };
  const auto& l = result.label;
  link(l.slice(1, 1), l.slice(1, 0, -1));
  link(l.slice(2, 1), l.slice(2, 0, -1));
  result.adjacent =
      adjacent.view({n, k, k}) * (1 - torch::eye(k, lab.options()));
  return result;
}

/// The distances between all pairs of `points` [N, K, D]: [N, K, K].
inline torch::Tensor distances(const torch::Tensor& points) {
  auto to = points.unsqueeze(2) - points.unsqueeze(1);
  return torch::sqrt((to * to).sum(3));
}

/// The shortest ways between all pairs, given the lengths of single steps
/// [N, K, K]: Floyd and Warshall, batched.
inline torch::Tensor shortest_ways(torch::Tensor length) {
  for (int64_t via = 0; via < length.size(1); ++via) {
    length = torch::min(
        length,
        length.select(2, via).unsqueeze(2) +
            length.select(1, via).unsqueeze(1));
  }
  return length;
}

} // namespace detail

/// Robust background saliency: regions that do not cling to the border, and
/// differ from those that do.
///
/// With superpixels p, d(p, q) the distance of their mean colours in Lab and
/// g(p, q) the shortest way between them over neighbours (all border regions
/// are neighbours of each other):
///
///   area(p)   = sum_q exp(-g(p, q)^2 / (2 10^2))
///   border(p) = the same sum over border regions
///   wbg(p)    = 1 - exp(-(border / sqrt(area))^2 / 2)
///   wfg(p)    = sum_q d(p, q) exp(-away(p, q)^2 / (2 0.25^2)) wbg(q)
///
/// and s minimises
///
///   sum wbg s^2 + sum wfg (s - 1)^2 + sum_pq a(p, q) (s_p - s_q)^2
///   a(p, q) = exp(-d^2 / (2 10^2)) + 0.1 for neighbours, else 0
///
/// Ours: superpixels by a batched SLIC, each counting by its size in the sums
/// of area, border and wfg; a step of g costs only what it exceeds the image's
/// usual step by, so that texture does not cut the background up; wfg divided
/// by its largest value; 1e-4 s^2 more, so that there is one solution.
///
/// Shapes: images [N, 3, H, W], RGB in [0, 1], any device -> [N, H, W] float32
/// in [0, 1], each brought there by its own minimum and maximum; as coarse as
/// the superpixels. No gradient. A flat image gives 0. Throws c10::ValueError
/// for other shapes, values outside [0, 1] (a device is waited for) and options
/// out of range. Source: Zhu et al. 2014, sections 3 and 4.
///
///   auto maps = care::robust_background(torch::rand({2, 3, 96, 128}));
inline torch::Tensor robust_background(
    const torch::Tensor& images,
    const RobustBackgroundOptions& options = {}) {
  const char* where = "care::robust_background";
  detail::check_at_least(where, "cells", options.cells(), 3);
  detail::check_positive(where, "compactness", options.compactness());
  torch::NoGradGuard no_grad;
  auto rgb = detail::checked_images(where, images);
  if (rgb.size(0) == 0) {
    return torch::zeros({0, rgb.size(2), rgb.size(3)}, rgb.options());
  }
  const auto grid = detail::working_size(rgb, options.cells());
  constexpr int64_t kPixels = 8; // along a superpixel
  auto lab = detail::lab(
      detail::resized(rgb, {grid.height * kPixels, grid.width * kPixels}));
  const auto parts =
      detail::superpixels(lab, grid.height, grid.width, options.compactness());
  const auto& border = parts.border;

  auto d = detail::distances(parts.colour);
  constexpr double kFar = 1e6;
  auto far = torch::full_like(d, kFar);
  auto usual = torch::where(parts.adjacent > 0, d, far).amin(2); // [N, K]
  auto known = (usual < kFar).to(torch::kFloat);
  usual = (usual * known).sum(1) / known.sum(1).clamp_min(1);
  auto linked =
      torch::max(parts.adjacent, border.unsqueeze(1) * border.unsqueeze(2));
  auto step = (d - usual.view({-1, 1, 1})).clamp_min(0);
  auto ways = detail::shortest_ways(torch::where(linked > 0, step, far));
  ways.diagonal(0, 1, 2).fill_(0);

  auto alike = torch::exp(ways * ways / -200) * parts.share.unsqueeze(1);
  auto area = alike.sum(2);
  auto length = (alike * border.unsqueeze(1)).sum(2);
  auto wbg = 1 - torch::exp(length * length / area.clamp_min(1e-6) / -2);
  auto away = detail::distances(parts.place);
  auto wfg = (d * torch::exp(away * away / (-2 * 0.25 * 0.25)) *
              (wbg * parts.share).unsqueeze(1))
                 .sum(2);
  wfg = wfg / wfg.amax(1, /*keepdim=*/true).clamp_min(1e-6);

  auto a = parts.adjacent * (torch::exp(d * d / -200) + 0.1);
  auto system = torch::diag_embed(a.sum(2) + wbg + wfg + 1e-4) - a;
  auto s = torch::cholesky_solve(
      wfg.to(torch::kDouble).unsqueeze(2),
      torch::linalg_cholesky(system.to(torch::kDouble)));
  auto map = s.squeeze(2)
                 .to(torch::kFloat)
                 .gather(1, parts.label.flatten(1))
                 .view(parts.label.sizes());
  return detail::saliency_maps(map.unsqueeze(1), rgb);
}

} // namespace care

#endif // CARE_SALIENCY_ROBUST_BACKGROUND_HPP
