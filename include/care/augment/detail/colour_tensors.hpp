// The colour steps as tensor operations, of any device, in place.
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
  const auto rgb = images.split(1, 1);
  return (rgb[0] * 0.2989).add_(rgb[1], 0.587).add_(rgb[2], 0.114);
}

/// Turns the hue of [N, 3, H, W] by `hue` [N, 1, 1, 1] of the circle, in place.
///
/// In sixths of the circle red lies at 0, green at 2, blue at 4. With m the
/// smallest channel and c the largest less m, a colour lies 1 + (g + b - r - m)
/// / c from red, on green's side if g > b; and a channel has m + c times 1 up
/// to one sixth from its own place, 0 from two sixths on, a ramp between: HSV,
/// said without its six cases.
inline void turn_hue(const torch::Tensor& images, const torch::Tensor& hue) {
  const auto rgb = images.split(1, 1);
  const auto &r = rgb[0], &g = rgb[1], &b = rgb[2];
  const auto least = torch::minimum(torch::minimum(r, g), b);
  const auto chroma = torch::maximum(torch::maximum(r, g), b).sub_(least);
  const auto from_red = (g + b).sub_(r).sub_(least).div_(
      chroma.clamp_min(1e-12)); // of grey 0, wherever that lies
  auto place = torch::copysign(from_red.add_(1), g - b).add_(hue * 6);
  place.sub_((place / 6).floor_().mul_(6)); // in [0, 6]
  const auto set = [&](const torch::Tensor& channel,
                       const torch::Tensor& ramp) {
    auto out = channel;
    torch::add_out(out, ramp.clamp_(0, 1).mul_(chroma), least);
  };
  set(r, (place - 3).abs_().sub_(1));
  set(g, (place - 2).abs_().neg_().add_(2));
  set(b, (place - 4).abs_().neg_().add_(2));
}

/// `adjust_colour` of float or double images, in place. `factors` [N, 4, 1, 1,
/// 1] lie on their device; `changes` says which of the four change any image.
inline void change_colours_by(
    const torch::Tensor& images,
    const torch::Tensor& factors,
    const std::array<bool, 4>& changes) {
  const auto f = factors.unbind(1); // each [N, 1, 1, 1]
  const bool coloured = images.size(1) == 3;
  if (changes[0]) {
    images.mul_(f[0]).clamp_(0, 1);
  }
  if (changes[1]) {
    const auto mean = grey_of(images).mean({1, 2, 3}, /*keepdim=*/true);
    images.mul_(f[1]).add_(mean * (1 - f[1])).clamp_(0, 1);
  }
  if (changes[2] && coloured) {
    const auto grey = grey_of(images).mul_(1 - f[2]);
    images.mul_(f[2]).add_(grey).clamp_(0, 1);
  }
  if (changes[3] && coloured) {
    turn_hue(images, f[3]);
  }
}

} // namespace care::detail

#endif // CARE_AUGMENT_DETAIL_COLOUR_TENSORS_HPP
