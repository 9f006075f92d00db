// The library without TorchScript's headers (CARE_NO_TORCHSCRIPT is defined):
// it compiles, and a network is still watched.
// SPDX-License-Identifier: Apache-2.0
#include <care/care.hpp>

#include <torch/nn.h>

#if CARE_HAS_TORCHSCRIPT
#error "TorchScript is not left out"
#endif

int main() {
  auto net = torch::nn::Sequential(
      torch::nn::Conv2d(3, 4, 3),
      torch::nn::AdaptiveAvgPool2d(1),
      torch::nn::Flatten(),
      torch::nn::Linear(4, 2));
  const auto seen = care::Guide().watch(net, torch::rand({1, 3, 8, 8}));
  return seen.features.size(2) == 6 ? 0 : 1;
}
