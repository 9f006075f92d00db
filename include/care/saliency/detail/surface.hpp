// What saliency methods share that look for things on a smooth ground.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_SALIENCY_DETAIL_SURFACE_HPP
#define CARE_SALIENCY_DETAIL_SURFACE_HPP

#include <torch/types.h>

#include <cstdint>

namespace care::detail {

/// The largest value within a square window of odd `width`.
inline torch::Tensor dilated(const torch::Tensor& planes, int64_t width) {
  const auto r = width / 2;
  return torch::max_pool2d(planes, {width, width}, {1, 1}, {r, r});
}

inline torch::Tensor eroded(const torch::Tensor& planes, int64_t width) {
  return -dilated(-planes, width);
}

/// `planes` with dark and then bright lines thinner than `width` (odd) filled
/// from beside.
inline torch::Tensor without_lines(const torch::Tensor& planes, int64_t width) {
  auto closed = eroded(dilated(planes, width), width);
  return dilated(eroded(closed, width), width);
}

/// A quadratic surface through each of `planes` [N, C, h, w], fitted to the
/// pixels by their `weight` [N, 1, h, w]: [N, C, h, w].
inline torch::Tensor quadratic_surface(
    const torch::Tensor& planes,
    const torch::Tensor& weight) {
  const auto h = planes.size(2), w = planes.size(3);
  auto options = planes.options().dtype(torch::kDouble);
  auto y = torch::linspace(-1, 1, h, options).view({h, 1}).expand({h, w});
  auto x = torch::linspace(-1, 1, w, options).view({1, w}).expand({h, w});
  auto basis =
      torch::stack({torch::ones({h, w}, options), x, y, x * x, x * y, y * y})
          .flatten(1)
          .unsqueeze(0); // [1, 6, hw]
  auto weighted = basis * weight.to(torch::kDouble).flatten(2);
  auto normal = torch::matmul(weighted, basis.transpose(1, 2));
  auto scale =
      normal.select(1, 0).select(1, 0).clamp_min(1e-9).view({-1, 1, 1});
  auto target = torch::matmul(
      weighted, planes.to(torch::kDouble).flatten(2).transpose(1, 2));
  auto ridge = torch::eye(6, options) * 1e-6;
  auto factor = torch::linalg_cholesky(normal / scale + ridge);
  auto coefficients =
      torch::cholesky_solve(target / scale, factor); // [N, 6, C]
  return torch::matmul(coefficients.transpose(1, 2), basis)
      .view(planes.sizes())
      .to(planes.scalar_type());
}

/// How far `planes` [N, C, h, w] rise above the smooth ground: [N, 1, h, w].
///
/// The ground is a quadratic surface fitted four times to where `prior`
/// [N, 1, h, w] is above 0, each time with less weight where the last one was
/// missed by more than usual; a miss of `least` is always usual. `height`
/// makes one plane of the residual's C.
template <typename Height>
torch::Tensor above_surface(
    const torch::Tensor& planes,
    const torch::Tensor& prior,
    double least,
    const Height& height) {
  auto weight = prior;
  torch::Tensor excess;
  for (int round = 0; round < 4; ++round) {
    excess = height(planes - quadratic_surface(planes, weight));
    auto miss = excess.abs();
    auto spread = (miss * weight).sum({1, 2, 3}, true) /
        weight.sum({1, 2, 3}, true).clamp_min(1e-6);
    auto ratio = miss / (spread + least);
    weight = prior / torch::pow(ratio * ratio + 1, 2);
  }
  return excess;
}

} // namespace care::detail

#endif // CARE_SALIENCY_DETAIL_SURFACE_HPP
