// What the saliency methods share: checks, sizes, blurs, colour.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_IMAGE_HPP
#define CARE_DETAIL_IMAGE_HPP

#include <care/detail/check.hpp>
#include <care/normalise.hpp>
#include <care/size.hpp>

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace care::detail {

/// `images` as float32 in [0, 1], if they are [N, 3, H, W] of finite numbers
/// there, but for rounding.
inline torch::Tensor checked_images(
    const char* where,
    const torch::Tensor& images) {
  TORCH_CHECK_VALUE(
      images.defined() && images.dim() == 4 && images.size(1) == 3 &&
          images.size(2) > 0 && images.size(3) > 0,
      where,
      ": expected images of shape [N, 3, H, W], but got ",
      sizes_of(images));
  check_floating(where, "images", images);
  // In one order of memory: another one rounds differently, and where a map is
  // cut at a level, that shows.
  auto wide = images.detach().to(torch::kFloat).contiguous();
  if (wide.size(0) == 0) {
    return wide;
  }
  auto flat = wide.flatten(1);
  auto ok = ((flat >= -kUnitRounding) & (flat <= 1 + kUnitRounding)).all(1);
  const auto bad = first_false(ok.to(torch::kCPU));
  TORCH_CHECK_VALUE(
      bad < 0,
      where,
      ": expected images in [0, 1] (RGB, before any mean and deviation are "
      "taken off), but images[",
      bad,
      "] reaches from ",
      flat[bad].min().item<float>(),
      " to ",
      flat[bad].max().item<float>());
  return wide.clamp(0, 1);
}

inline void check_at_least(
    const char* where,
    const char* name,
    int64_t value,
    int64_t least) {
  TORCH_CHECK_VALUE(
      value >= least,
      where,
      ": expected ",
      name,
      " of at least ",
      least,
      ", but got ",
      value);
}

inline void check_odd(const char* where, const char* name, int64_t value) {
  TORCH_CHECK_VALUE(
      value >= 1 && value % 2 == 1,
      where,
      ": expected an odd ",
      name,
      " of at least 1, but got ",
      value);
}

inline void check_positive(const char* where, const char* name, double value) {
  TORCH_CHECK_VALUE(
      value > 0 && std::isfinite(value),
      where,
      ": expected ",
      name,
      " above 0, but got ",
      value);
}

/// `[N]` bool: images whose colours differ nowhere by more than half a level of
/// eight bits. They have no saliency, whatever rounding makes of them.
inline torch::Tensor flat_images(const torch::Tensor& images) {
  auto range = images.amax({2, 3}) - images.amin({2, 3});
  return range.amax(1) < 0.5 / 255;
}

/// The size at which a method works: the shorter side is `shorter` pixels, the
/// longer follows, up to four times as long.
inline Size working_size(const torch::Tensor& images, int64_t shorter) {
  const auto h = images.size(2), w = images.size(3);
  const auto side = [&](int64_t length) {
    const auto ratio =
        static_cast<double>(length) / static_cast<double>(std::min(h, w));
    return static_cast<int64_t>(
        std::lround(static_cast<double>(shorter) * std::min(ratio, 4.0)));
  };
  return {side(h), side(w)};
}

/// `[N, C, h, w]` at another size: the mean over each pixel's area when it
/// shrinks, bilinear when it grows.
inline torch::Tensor resized(const torch::Tensor& planes, Size size) {
  const auto h = std::min(planes.size(2), size.height);
  const auto w = std::min(planes.size(3), size.width);
  auto small = h == planes.size(2) && w == planes.size(3)
      ? planes
      : torch::adaptive_avg_pool2d(planes, {h, w});
  return h == size.height && w == size.width
      ? small
      : torch::upsample_bilinear2d(
            small, {size.height, size.width}, /*align_corners=*/false);
}

/// Each plane of [N, C, h, w] convolved with `kernel` [2 r + 1] along both
/// axes; mirrored at the border, or where it is too small for that, like it.
inline torch::Tensor blurred(
    const torch::Tensor& planes,
    const torch::Tensor& kernel) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(
      c10::autocast_dispatch_keyset);
  const auto n = planes.size(0), c = planes.size(1);
  const auto h = planes.size(2), w = planes.size(3);
  const auto k = kernel.size(0), r = k / 2;
  auto taps = kernel.to(planes.options());
  auto x = planes.reshape({n * c, 1, h, w});
  x = r < std::min(h, w) ? torch::reflection_pad2d(x, {r, r, r, r})
                         : torch::replication_pad2d(x, {r, r, r, r});
  x = torch::conv2d(x, taps.view({1, 1, 1, k}));
  return torch::conv2d(x, taps.view({1, 1, k, 1})).view({n, c, h, w});
}

/// The taps of a Gaussian, cut at three deviations.
inline torch::Tensor gaussian_kernel(double sigma) {
  const auto r = static_cast<double>(std::ceil(3 * sigma));
  auto x = torch::arange(-r, r + 1, torch::kDouble) / sigma;
  auto taps = torch::exp(x * x * -0.5);
  return taps / taps.sum();
}

/// The grey value (Rec. 601 luma) of [N, 3, H, W]: [N, 1, H, W].
inline torch::Tensor grey(const torch::Tensor& images) {
  auto c = images.split(1, 1);
  return c[0] * 0.299 + c[1] * 0.587 + c[2] * 0.114;
}

/// CIELAB (D65) of sRGB in [0, 1]: L in [0, 100], a and b about [-100, 100].
/// Source: IEC 61966-2-1 (sRGB), CIE 15 (L*a*b*).
inline torch::Tensor lab(const torch::Tensor& images) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(
      c10::autocast_dispatch_keyset);
  auto linear = torch::where(
      images <= 0.04045,
      images / 12.92,
      torch::pow((images + 0.055) / 1.055, 2.4));
  // To XYZ, each divided by its white.
  auto matrix = torch::tensor(
                    {0.4124564 / 0.95047,
                     0.3575761 / 0.95047,
                     0.1804375 / 0.95047,
                     0.2126729,
                     0.7151522,
                     0.0721750,
                     0.0193339 / 1.08883,
                     0.1191920 / 1.08883,
                     0.9503041 / 1.08883},
                    torch::kDouble)
                    .to(images.options())
                    .view({3, 3});
  // No convolution: on a GPU that may round to ten bits (TF32).
  auto xyz = torch::matmul(matrix, linear.flatten(2)).view_as(linear);
  constexpr double kKnee = 6.0 / 29;
  auto f = torch::where(
      xyz > kKnee * kKnee * kKnee,
      torch::pow(xyz.clamp_min(1e-6), 1.0 / 3),
      xyz / (3 * kKnee * kKnee) + 4.0 / 29);
  auto c = f.split(1, 1);
  return torch::cat(
      {c[1] * 116 - 16, (c[0] - c[1]) * 500, (c[1] - c[2]) * 200}, 1);
}

/// Saliency [N, 1, h, w] as maps [N, H, W] of the images, each in [0, 1]; 0
/// where the image is flat, or the map.
inline torch::Tensor saliency_maps(
    const torch::Tensor& saliency,
    const torch::Tensor& images) {
  auto maps = resized(saliency, {images.size(2), images.size(3)}).squeeze(1);
  maps = maps.masked_fill(flat_images(images).view({-1, 1, 1}), 0);
  return normalise(maps).maps;
}

} // namespace care::detail

#endif // CARE_DETAIL_IMAGE_HPP
