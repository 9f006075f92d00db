// What a family of networks wants done to a picture's values.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_NETWORKS_NORMALISATION_HPP
#define CARE_EXAMPLES_NETWORKS_NORMALISATION_HPP

#include <torch/types.h>

#include <array>

namespace networks {

/// Of RGB values in [0, 1]: the mean is taken off, the rest divided.
struct Normalisation {
  std::array<double, 3> mean;
  std::array<double, 3> deviation;
};

/// Of ImageNet's training pictures; torchvision's weights want it.
inline constexpr Normalisation kImageNet{
    {0.485, 0.456, 0.406},
    {0.229, 0.224, 0.225}};

/// Pictures [N, 3, H, W] of floating values in [0, 1] as a network wants them.
inline torch::Tensor normalise(
    const torch::Tensor& pictures,
    const Normalisation& by) {
  const auto row = [&](const std::array<double, 3>& values) {
    return torch::tensor({values[0], values[1], values[2]}, torch::kDouble)
        .to(pictures.options())
        .view({1, 3, 1, 1});
  };
  return (pictures - row(by.mean)) / row(by.deviation);
}

} // namespace networks

#endif // CARE_EXAMPLES_NETWORKS_NORMALISATION_HPP
