// Saliency from what is unexpected in the spectrum of an image.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_SALIENCY_SPECTRAL_RESIDUAL_HPP
#define CARE_SALIENCY_SPECTRAL_RESIDUAL_HPP

#include <care/detail/check.hpp>
#include <care/detail/image.hpp>

#include <torch/arg.h>
#include <torch/types.h>

namespace care {

/// Options of `spectral_residual`.
struct SpectralResidualOptions {
  /// The shorter side at which the spectrum is taken, in pixels: the larger,
  /// the smaller the things that stand out. Default: 64, as in the paper.
  TORCH_ARG(int64_t, size) = 64;
  /// Deviation of the blur of the map, in pixels of that size. Default: 1.5.
  TORCH_ARG(double, sigma) = 1.5;
};

/// Spectral residual saliency: what the spectrum has beyond its own trend.
///
///   F = DFT(grey), L = log |F|, S = G * |IDFT(exp(L - h * L + i arg F))|^2
///
/// h is the 3x3 mean, G a Gaussian. Written here as IDFT(F exp(-(h * L))),
/// which is the same, needs no phase, and leaves an empty frequency empty: L is
/// kept from log 0 by a floor of 1e-4 of the largest |F|. The mean wraps round,
/// as the spectrum does.
///
/// Shapes: images [N, 3, H, W], RGB in [0, 1], any device -> [N, H, W] float32
/// in [0, 1], each brought there by its own minimum and maximum. No gradient. A
/// flat image gives 0. Finds small things, and of large ones the outline: boxes
/// come out large by the blur (`BoxFinderOptions::padding` of 0.9). Throws
/// c10::ValueError for other shapes, values outside [0, 1] (a device is waited
/// for) and options that are not positive. Source: Hou & Zhang 2007, section 2.
///
///   auto maps = care::spectral_residual(torch::rand({2, 3, 96, 128}));
inline torch::Tensor spectral_residual(
    const torch::Tensor& images,
    const SpectralResidualOptions& options = {}) {
  const char* where = "care::spectral_residual";
  detail::check_at_least(where, "size", options.size(), 8);
  detail::check_positive(where, "sigma", options.sigma());
  torch::NoGradGuard no_grad;
  auto rgb = detail::checked_images(where, images);
  if (rgb.size(0) == 0) {
    return torch::zeros({0, rgb.size(2), rgb.size(3)}, rgb.options());
  }
  auto x = detail::resized(
      detail::grey(rgb), detail::working_size(rgb, options.size()));
  auto spectrum = torch::fft_fft2(x);
  auto magnitude = torch::abs(spectrum);
  auto floor = magnitude.amax({2, 3}, /*keepdim=*/true) * 1e-4;
  auto log = torch::log(torch::max(magnitude, floor).clamp_min(1e-12));
  auto trend = torch::zeros_like(log);
  for (int64_t dy = -1; dy <= 1; ++dy) {
    for (int64_t dx = -1; dx <= 1; ++dx) {
      trend += torch::roll(log, {dy, dx}, {2, 3}) / 9;
    }
  }
  auto residual = torch::abs(torch::fft_ifft2(spectrum * torch::exp(-trend)));
  auto map = detail::blurred(
      residual * residual, detail::gaussian_kernel(options.sigma()));
  // It falls with the number of pixels, which is no flatness.
  map = map / map.amax({2, 3}, /*keepdim=*/true).clamp_min(1e-30);
  return detail::saliency_maps(map, rgb);
}

} // namespace care

#endif // CARE_SALIENCY_SPECTRAL_RESIDUAL_HPP
