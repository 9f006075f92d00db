// The device to train on.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_DEVICE_HPP
#define RESNET_TRAINER_DEVICE_HPP

#include <torch/cuda.h>
#include <torch/types.h>

#include <stdexcept>
#include <string>

namespace trainer {

/// The device that --device names: cpu or cuda. Throws std::invalid_argument
/// for a GPU that is not there.
inline torch::Device device_of(const std::string& name) {
  if (name == "cuda" && !torch::cuda::is_available()) {
    throw std::invalid_argument(
        "--device: expected cpu, but got cuda, which this LibTorch or machine "
        "does not have");
  }
  return torch::Device(name);
}

} // namespace trainer

#endif // RESNET_TRAINER_DEVICE_HPP
