// The attention loss as the method's authors compute it, for comparison.
// SPDX-License-Identifier: Apache-2.0
//
// One image at a time: its map is brought to [0, 1], up-sampled to the input's
// size, and weighed with masks of that size that lie ready on the host. No
// ReLU; -min(inner, tau) + outer, summed over the images. (What it does is
// described in docs/method.md; their code is not used.)
#ifndef CARE_BENCHMARKS_AUTHORS_WAY_HPP
#define CARE_BENCHMARKS_AUTHORS_WAY_HPP

#include <care/boxes.hpp>

#include <torch/nn/functional/upsampling.h>
#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace bench {

namespace F = torch::nn::functional;

/// Masks [N, H, W] of one box for each image; the outer one sums to 1.
struct PixelMasks {
  torch::Tensor inner, outer;

  explicit PixelMasks(const care::Boxes& boxes) {
    const auto n = boxes.num_images(), h = boxes.image_size().height,
               w = boxes.image_size().width;
    inner = torch::zeros({n, h, w});
    outer = torch::ones({n, h, w});
    for (int64_t i = 0; i < boxes.num_boxes(); ++i) {
      const auto at = [&](int64_t side) {
        return boxes.xyxy()[i][side].item<int64_t>();
      };
      const auto image = boxes.image_index()[i].item<int64_t>();
      inner[image].slice(0, at(1), at(3)).slice(1, at(0), at(2)).fill_(1);
      outer[image].slice(0, at(1), at(3)).slice(1, at(0), at(2)).fill_(0);
    }
    outer = outer / outer.sum({1, 2}, /*keepdim=*/true);
  }
};

inline torch::Tensor upsampled(
    const torch::Tensor& maps,
    int64_t h,
    int64_t w) {
  return F::interpolate(
      maps,
      F::InterpolateFuncOptions()
          .size(std::vector<int64_t>{h, w})
          .mode(torch::kBilinear)
          .align_corners(false));
}

/// features [N, C, h, w], channel weights [N, C] -> the sum over the images.
inline torch::Tensor authors_loss(
    const torch::Tensor& features,
    const torch::Tensor& weights,
    const PixelMasks& masks,
    double tau) {
  auto total = torch::zeros({});
  for (int64_t i = 0; i < features.size(0); ++i) {
    auto map = (weights[i].view({-1, 1, 1}) * features[i]).sum(0);
    map = (map - map.min()) / (map.max() - map.min());
    map = upsampled(
        map.view({1, 1, map.size(0), map.size(1)}),
        masks.inner.size(1),
        masks.inner.size(2))[0][0];
    const auto& inner = masks.inner[i];
    const auto inside = (map * inner).sum() / inner.sum();
    const auto outside = (map * masks.outer[i]).sum();
    total = total - inside.clamp_max(tau) + outside;
  }
  return total;
}

/// The same for the batch at once, still at the input's size: what one would
/// write in LibTorch without thinking of cost.
inline torch::Tensor batched_loss(
    const torch::Tensor& features,
    const torch::Tensor& weights,
    const PixelMasks& masks,
    double tau) {
  auto map = (weights.unsqueeze(2).unsqueeze(3) * features).sum(1);
  map = map - map.amin({1, 2}, /*keepdim=*/true);
  map = map / map.amax({1, 2}, /*keepdim=*/true);
  map = upsampled(map.unsqueeze(1), masks.inner.size(1), masks.inner.size(2))
            .squeeze(1);
  const auto inside = (map * masks.inner).sum({1, 2}) / masks.inner.sum({1, 2});
  const auto outside = (map * masks.outer).sum({1, 2});
  return (outside - inside.clamp_max(tau)).sum();
}

} // namespace bench

#endif // CARE_BENCHMARKS_AUTHORS_WAY_HPP
