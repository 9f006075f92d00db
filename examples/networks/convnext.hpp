// ConvNeXt in plain LibTorch, with torchvision's layer names. Its maps are
// [N, H, W, C], channels last, from the stem to the head.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_NETWORKS_CONVNEXT_HPP
#define CARE_EXAMPLES_NETWORKS_CONVNEXT_HPP

#include "networks/init.hpp"
#include "networks/normalisation.hpp"

#include <torch/nn.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace networks {

namespace nn = torch::nn;

/// Liu et al. 2022, section 2.7: the defaults are ConvNeXt-T.
struct ConvNextOptions {
  std::vector<int64_t> blocks{3, 3, 9, 3}; ///< of each stage
  std::vector<int64_t> channels{96, 192, 384, 768}; ///< of each stage
  int64_t classes = 1000;
};

/// [N, C, H, W] -> [N, H, W, C]
inline torch::Tensor channels_last(const torch::Tensor& x) {
  return x.permute({0, 2, 3, 1});
}
/// [N, H, W, C] -> [N, C, H, W]
inline torch::Tensor channels_first(const torch::Tensor& x) {
  return x.permute({0, 3, 1, 2});
}

inline nn::LayerNorm channel_norm(int64_t channels) {
  return nn::LayerNorm(nn::LayerNormOptions({channels}).eps(1e-6));
}

/// A 7x7 filter for each channel, then two layers on each place of the map,
/// beside a shortcut: [N, H, W, C] -> [N, H, W, C].
class ConvNextBlockImpl : public nn::Module {
 public:
  explicit ConvNextBlockImpl(int64_t channels)
      : layer_scale(register_parameter(
            "layer_scale",
            torch::full({channels, 1, 1}, 1e-6))),
        block(register_module(
            "block",
            nn::Sequential(
                nn::Conv2d(nn::Conv2dOptions(channels, channels, 7)
                               .padding(3)
                               .groups(channels)),
                nn::Functional(channels_last),
                channel_norm(channels),
                nn::Linear(channels, 4 * channels),
                nn::GELU(),
                nn::Linear(4 * channels, channels)))) {}

  torch::Tensor forward(const torch::Tensor& x) {
    return x + layer_scale.flatten() * block->forward(channels_first(x));
  }

 private:
  torch::Tensor layer_scale; // [C, 1, 1] in torchvision, too
  nn::Sequential block;
};
TORCH_MODULE(ConvNextBlock);

class ConvNextImpl : public nn::Module {
 public:
  static constexpr Normalisation kNormalisation = kImageNet;

  explicit ConvNextImpl(const ConvNextOptions& options = {}) {
    TORCH_CHECK_VALUE(
        !options.blocks.empty() &&
            options.blocks.size() == options.channels.size(),
        "ConvNext: expected blocks and channels of each stage, but got ",
        options.blocks.size(),
        " and ",
        options.channels.size());
    int64_t in = 3;
    for (size_t i = 0; i < options.blocks.size(); ++i) {
      const auto out = options.channels[i];
      nn::Sequential patches, stage;
      if (i == 0) {
        patches->push_back(
            "0", nn::Conv2d(nn::Conv2dOptions(in, out, 4).stride(4)));
        patches->push_back("last", nn::Functional(channels_last));
        patches->push_back("1", channel_norm(out));
      } else {
        patches->push_back("0", channel_norm(in));
        patches->push_back("first", nn::Functional(channels_first));
        patches->push_back(
            "1", nn::Conv2d(nn::Conv2dOptions(in, out, 2).stride(2)));
        patches->push_back("last", nn::Functional(channels_last));
      }
      for (int64_t j = 0; j < options.blocks[i]; ++j) {
        stage->push_back(ConvNextBlock(out));
      }
      layers->push_back(patches);
      layers->push_back(stage);
      in = out;
    }
    register_module("features", layers);
    classifier = register_module(
        "classifier",
        nn::Sequential(
            channel_norm(in), nn::Flatten(), nn::Linear(in, options.classes)));
    he_initialise(*this);
  }

  /// [N, 3, H, W] -> [N, H/32, W/32, C]: the last block's.
  torch::Tensor features(torch::Tensor x) {
    for (const auto& part : *layers) {
      x = part->as<nn::Sequential>()->forward(x);
    }
    return x;
  }

  /// [N, h, w, C] -> [N, classes]
  torch::Tensor classify(const torch::Tensor& features) {
    return classifier->forward(features.mean({1, 2}));
  }

  torch::Tensor forward(const torch::Tensor& x) {
    return classify(features(x));
  }

 private:
  nn::ModuleList layers; // in turn what makes a stage's map, and its blocks
  nn::Sequential classifier{nullptr};
};
TORCH_MODULE(ConvNext);

} // namespace networks

#endif // CARE_EXAMPLES_NETWORKS_CONVNEXT_HPP
