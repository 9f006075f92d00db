// Saliency from how far a colour is from the image's mean colour.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_SALIENCY_FREQUENCY_TUNED_HPP
#define CARE_SALIENCY_FREQUENCY_TUNED_HPP

#include <care/detail/image.hpp>

#include <torch/types.h>

namespace care {

/// Frequency-tuned saliency: the distance of each pixel's colour from the mean
/// colour of the image.
///
///   S(x, y) = | mean of Lab - (g * Lab)(x, y) |
///
/// Lab is CIELAB, g the 5x5 binomial filter. Edges are sharp, the map has the
/// image's own resolution; a thing that covers half the image is as salient as
/// what surrounds it.
///
/// Shapes: images [N, 3, H, W], RGB in [0, 1], any device -> [N, H, W] float32
/// in [0, 1], each brought there by its own minimum and maximum. No gradient. A
/// flat image gives 0. Throws c10::ValueError for other shapes and values
/// outside [0, 1] (a device is waited for). Source: Achanta et al. 2009, eq. 4.
///
///   auto maps = care::frequency_tuned(torch::rand({2, 3, 96, 128}));
inline torch::Tensor frequency_tuned(const torch::Tensor& images) {
  torch::NoGradGuard no_grad;
  auto rgb = detail::checked_images("care::frequency_tuned", images);
  if (rgb.size(0) == 0) {
    return torch::zeros({0, rgb.size(2), rgb.size(3)}, rgb.options());
  }
  auto lab = detail::lab(rgb);
  auto binomial = torch::tensor({1.0, 4.0, 6.0, 4.0, 1.0}) / 16;
  auto away = detail::blurred(lab, binomial) - lab.mean({2, 3}, true);
  return detail::saliency_maps(
      torch::sqrt((away * away).sum(1, /*keepdim=*/true)), rgb);
}

} // namespace care

#endif // CARE_SALIENCY_FREQUENCY_TUNED_HPP
