// Saliency for dermoscopy: what absorbs more light than the skin around it.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_SALIENCY_LESION_CONTRAST_HPP
#define CARE_SALIENCY_LESION_CONTRAST_HPP

#include <care/detail/check.hpp>
#include <care/detail/image.hpp>
#include <care/saliency/detail/surface.hpp>

#include <torch/arg.h>
#include <torch/types.h>

namespace care {

/// Options of `lesion_contrast`.
struct LesionContrastOptions {
  /// The shorter side at which the method works, in pixels. Default: 96.
  TORCH_ARG(int64_t, size) = 96;
  /// Dark or bright lines thinner than this many pixels of that size (hair,
  /// the ticks of a ruler) are filled from beside; odd, 1 for none. Default: 7.
  TORCH_ARG(int64_t, line_width) = 7;
  /// Brightness below which what comes in from a corner is the rim of the
  /// instrument, not skin; 0 for no rim. Default: 0.2.
  TORCH_ARG(double, rim) = 0.2;
  /// Deviation of the blur of the map, in pixels of that size. Default: 2.
  TORCH_ARG(double, sigma) = 2.0;
};

namespace detail {

/// [N, 1, h, w] bool: the dark rim. A pixel belongs to it when all between it
/// and a side of its row, and of its column, is dark; so do three
/// pixels more, where the rim is blurred.
inline torch::Tensor dark_rim(const torch::Tensor& images, double level) {
  auto dark = (images.amax(1, /*keepdim=*/true) < level).to(torch::kFloat);
  auto from = [&](int64_t dim) {
    auto ahead = torch::cumprod(dark, dim);
    auto back = torch::cumprod(dark.flip({dim}), dim).flip({dim});
    return torch::max(ahead, back);
  };
  return dilated(from(2) * from(3), 7) > 0;
}

} // namespace detail

/// Lesion contrast (ours): how much more light a place absorbs than the skin
/// would there.
///
///   D = -log(RGB), S = G * max(0, mean over RGB of (D - skin))
///
/// D is the optical density, to which pigment (brown, black) and blood (red)
/// both add, and of which a factor of the illumination is only an offset.
/// `skin` is a quadratic surface in x and y for each channel, fitted to the
/// border more than to the middle, four times, each time with less weight where
/// the last one was missed: it follows skin type, uneven light and shading
/// towards the rim, and leaves the lesion standing. Before, lines thinner than
/// `line_width` are closed (dark hair, ticks) and opened (bright ones), and the
/// dark rim of the instrument is left out of the fit and of the map. Bright
/// things (gel, stickers, reflections) are not salient.
///
/// Shapes: images [N, 3, H, W], RGB in [0, 1], any device -> [N, H, W] float32
/// in [0, 1], each brought there by its own minimum and maximum. No gradient. A
/// flat image gives 0. Throws c10::ValueError for other shapes, values outside
/// [0, 1] (a device is waited for) and options out of range. Closing of hair:
/// after Lee et al. 1997 (DullRazor); pigment in density space: after
/// Tsumura et al. 1999; the rest is ours.
///
///   auto maps = care::lesion_contrast(torch::rand({2, 3, 96, 128}));
inline torch::Tensor lesion_contrast(
    const torch::Tensor& images,
    const LesionContrastOptions& options = {}) {
  const char* where = "care::lesion_contrast";
  detail::check_at_least(where, "size", options.size(), 8);
  detail::check_positive(where, "sigma", options.sigma());
  detail::check_odd(where, "line_width", options.line_width());
  TORCH_CHECK_VALUE(
      options.rim() >= 0 && options.rim() <= 1,
      where,
      ": expected rim in [0, 1], but got ",
      options.rim());
  torch::NoGradGuard no_grad;
  auto rgb = detail::checked_images(where, images);
  if (rgb.size(0) == 0) {
    return torch::zeros({0, rgb.size(2), rgb.size(3)}, rgb.options());
  }
  auto x = detail::resized(rgb, detail::working_size(rgb, options.size()));
  auto skin_seen =
      detail::dark_rim(x, options.rim()).logical_not().to(torch::kFloat);
  x = detail::without_lines(x, options.line_width());
  auto density = -torch::log(x.clamp_min(0.02));

  const auto h = x.size(2), w = x.size(3);
  auto v = torch::linspace(-1, 1, h, x.options()).abs().view({h, 1});
  auto u = torch::linspace(-1, 1, w, x.options()).abs().view({1, w});
  auto prior = torch::pow(torch::max(u, v).expand({h, w}), 4) + 0.05;
  prior = skin_seen * prior;
  auto excess = detail::above_surface(
      density, prior, 0.01, [](const torch::Tensor& residual) {
        return residual.mean(1, /*keepdim=*/true);
      });
  auto map = detail::blurred(
      excess.clamp_min(0) * skin_seen,
      detail::gaussian_kernel(options.sigma()));
  return detail::saliency_maps(map, rgb);
}

} // namespace care

#endif // CARE_SALIENCY_LESION_CONTRAST_HPP
