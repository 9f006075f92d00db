// The first weights of the convolutions, for every network of this folder.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_NETWORKS_INIT_HPP
#define CARE_EXAMPLES_NETWORKS_INIT_HPP

#include <torch/nn.h>

namespace networks {

/// Normal weights that keep the size of the activations through ReLU (He et
/// al. 2015, section 2.2), and no bias. LibTorch's own first weights shrink
/// them: nineteen layers of VGG would end in next to nothing.
inline void he_initialise(const torch::nn::Module& net) {
  for (const auto& module : net.modules(/*include_self=*/false)) {
    if (auto* conv = module->as<torch::nn::Conv2d>()) {
      torch::nn::init::kaiming_normal_(
          conv->weight, 0, torch::kFanOut, torch::kReLU);
      if (conv->bias.defined()) {
        torch::nn::init::zeros_(conv->bias);
      }
    }
  }
}

} // namespace networks

#endif // CARE_EXAMPLES_NETWORKS_INIT_HPP
