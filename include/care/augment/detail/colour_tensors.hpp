// The colour steps as tensor operations: any device, all images at once.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_DETAIL_COLOUR_TENSORS_HPP
#define CARE_AUGMENT_DETAIL_COLOUR_TENSORS_HPP

#include <torch/types.h>

#include <array>

namespace care::detail {

/// The grey of [N, C, H, W] with one channel or three: [N, 1, H, W].
inline torch::Tensor grey_of(const torch::Tensor& images) {
  if (images.size(1) == 1) {
    return images;
  }
  const auto c = images.split(1, 1);
  return c[0] * 0.2989 + c[1] * 0.587 + c[2] * 0.114;
}

/// [N, 3, H, W] with the hue turned by `hue` [N, 1, 1, 1] of the circle.
inline torch::Tensor with_hue_turned(
    const torch::Tensor& images,
    const torch::Tensor& hue) {
  const auto rgb = images.split(1, 1);
  const auto &r = rgb[0], &g = rgb[1], &b = rgb[2];
  const auto value = images.amax(1, /*keepdim=*/true);
  const auto chroma = value - images.amin(1, /*keepdim=*/true);
  const auto divisor =
      torch::where(chroma > 0, chroma, torch::ones_like(chroma));
  // The place on the circle, in sixths.
  const auto sixths =
      torch::where(
          value == r,
          (g - b) / divisor,
          torch::where(
              value == g, (b - r) / divisor + 2, (r - g) / divisor + 4)) +
      hue * 6;
  const auto channel = [&](double start) {
    auto k = sixths + start;
    k = k - (k / 6).floor() * 6;
    return value - chroma * torch::minimum(k, 4 - k).clamp(0, 1);
  };
  return torch::cat({channel(5), channel(3), channel(1)}, 1).clamp_(0, 1);
}

/// `adjust_colour` of float or double images; `factors` [N, 4] on their device,
/// and whether any image has a factor that changes it.
inline torch::Tensor colour_by_tensors(
    torch::Tensor images,
    const torch::Tensor& factors,
    const std::array<bool, 4>& changes) {
  const auto f = factors.view({-1, 4, 1, 1, 1}).unbind(1); // each [N, 1, 1, 1]
  if (changes[0]) {
    images = (images * f[0]).clamp_(0, 1);
  }
  if (changes[1]) {
    const auto mean = grey_of(images).mean({1, 2, 3}, /*keepdim=*/true);
    images = (images * f[1] + mean * (1 - f[1])).clamp_(0, 1);
  }
  if (changes[2] && images.size(1) == 3) {
    images = (images * f[2] + grey_of(images) * (1 - f[2])).clamp_(0, 1);
  }
  if (changes[3] && images.size(1) == 3) {
    images = with_hue_turned(images, f[3]);
  }
  return images;
}

} // namespace care::detail

#endif // CARE_AUGMENT_DETAIL_COLOUR_TENSORS_HPP
