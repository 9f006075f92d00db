// What the attention losses know of the regions of a batch.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_REGION_WEIGHTS_HPP
#define CARE_REGION_WEIGHTS_HPP

#include <care/detail/to_device.hpp>

#include <torch/types.h>

namespace care {

/// What the attention losses need to know of the regions of N images: weights
/// for the cells of their maps. Where they came from no loss asks.
struct RegionWeights {
  torch::Tensor inside; ///< [N, h, w], >= 0; all 0 for an image without region
  torch::Tensor outside; ///< [N, h, w], >= 0; all 0 where nothing is outside
  torch::Tensor weight; ///< [N], a factor of the image's loss; 0 without region

  /// Moves to a device, from the host without waiting for it; float32 and
  /// float64 are kept.
  RegionWeights to(torch::Device device) const {
    return {
        detail::to_device(inside, device),
        detail::to_device(outside, device),
        detail::to_device(weight, device)};
  }
  RegionWeights to(torch::Dtype dtype) const {
    return {inside.to(dtype), outside.to(dtype), weight.to(dtype)};
  }
};

} // namespace care

#endif // CARE_REGION_WEIGHTS_HPP
