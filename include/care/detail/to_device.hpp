// Tensors to the network's device, without waiting for it.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_TO_DEVICE_HPP
#define CARE_DETAIL_TO_DEVICE_HPP

#include <torch/types.h>

namespace care::detail {

/// `x` on `device`. From the host it goes without waiting for the device.
inline torch::Tensor to_device(const torch::Tensor& x, torch::Device device) {
  return x.to(device, /*non_blocking=*/x.device().is_cpu());
}

} // namespace care::detail

#endif // CARE_DETAIL_TO_DEVICE_HPP
