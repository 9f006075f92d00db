// A convolutional network as one plain Sequential: no class of its own.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_SEQUENTIAL_HPP
#define CARE_TESTS_SUPPORT_SEQUENTIAL_HPP

#include "networks/init.hpp"

#include <torch/nn.h>

#include <cstdint>

namespace care_test {

struct SequentialOptions {
  int64_t stages = 5; ///< each halves the map
  int64_t channels =
      32; ///< of the first stage; each next one has twice as many
  int64_t classes = 1000;
};

/// `stages` times convolution, BatchNorm and ReLU in place (three layers), then
/// four more: pool, flatten, dropout, linear.
inline torch::nn::Sequential sequential(const SequentialOptions& options = {}) {
  namespace nn = torch::nn;
  nn::Sequential net;
  int64_t in = 3;
  for (int64_t i = 0; i < options.stages; ++i) {
    const auto out = options.channels << i;
    net->push_back(nn::Conv2d(
        nn::Conv2dOptions(in, out, 3).stride(2).padding(1).bias(false)));
    net->push_back(nn::BatchNorm2d(out));
    net->push_back(nn::ReLU(nn::ReLUOptions().inplace(true)));
    in = out;
  }
  net->push_back(nn::AdaptiveAvgPool2d(1));
  net->push_back(nn::Flatten());
  net->push_back(nn::Dropout(0.2));
  net->push_back(nn::Linear(in, options.classes));
  networks::he_initialise(*net);
  return net;
}

} // namespace care_test

#endif // CARE_TESTS_SUPPORT_SEQUENTIAL_HPP
