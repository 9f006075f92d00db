// DenseNet-121 in plain LibTorch, with torchvision's layer names.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_NETWORKS_DENSENET_HPP
#define CARE_EXAMPLES_NETWORKS_DENSENET_HPP

#include "networks/init.hpp"
#include "networks/normalisation.hpp"

#include <torch/nn.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace networks {

namespace nn = torch::nn;

/// Huang et al. 2017, table 1: the defaults are DenseNet-121.
struct DenseNetOptions {
  std::vector<int64_t> blocks{6, 12, 24, 16}; ///< layers of each dense block
  int64_t growth = 32; ///< channels that each layer adds
  int64_t stem = 64; ///< channels before the first block
  int64_t classes = 1000;
};

/// BN-ReLU-conv 1x1, BN-ReLU-conv 3x3, and the result beside what came in.
class DenseLayerImpl : public nn::Module {
 public:
  DenseLayerImpl(int64_t in, int64_t growth)
      : norm1(register_module("norm1", nn::BatchNorm2d(in))),
        conv1(register_module(
            "conv1",
            nn::Conv2d(nn::Conv2dOptions(in, 4 * growth, 1).bias(false)))),
        norm2(register_module("norm2", nn::BatchNorm2d(4 * growth))),
        conv2(register_module(
            "conv2",
            nn::Conv2d(nn::Conv2dOptions(4 * growth, growth, 3)
                           .padding(1)
                           .bias(false)))) {}

  torch::Tensor forward(const torch::Tensor& x) {
    auto y = conv1(norm1(x).relu_());
    y = conv2(norm2(y).relu_());
    return torch::cat({x, y}, 1);
  }

 private:
  nn::BatchNorm2d norm1;
  nn::Conv2d conv1;
  nn::BatchNorm2d norm2;
  nn::Conv2d conv2;
};
TORCH_MODULE(DenseLayer);

class DenseBlockImpl : public nn::Module {
 public:
  DenseBlockImpl(int64_t in, int64_t count, int64_t growth) {
    for (int64_t i = 0; i < count; ++i) {
      layers.push_back(register_module(
          "denselayer" + std::to_string(i + 1),
          DenseLayer(in + i * growth, growth)));
    }
  }

  torch::Tensor forward(torch::Tensor x) {
    for (auto& layer : layers) {
      x = layer(x);
    }
    return x;
  }

 private:
  std::vector<DenseLayer> layers;
};
TORCH_MODULE(DenseBlock);

/// Halves the channels and the map between two blocks.
class TransitionImpl : public nn::Module {
 public:
  explicit TransitionImpl(int64_t in)
      : norm(register_module("norm", nn::BatchNorm2d(in))),
        conv(register_module(
            "conv",
            nn::Conv2d(nn::Conv2dOptions(in, in / 2, 1).bias(false)))) {}

  torch::Tensor forward(const torch::Tensor& x) {
    return torch::avg_pool2d(conv(norm(x).relu_()), 2);
  }

 private:
  nn::BatchNorm2d norm;
  nn::Conv2d conv;
};
TORCH_MODULE(Transition);

class DenseNetImpl : public nn::Module {
 public:
  static constexpr Normalisation kNormalisation = kImageNet;

  explicit DenseNetImpl(const DenseNetOptions& options = {}) {
    auto channels = options.stem;
    layers->push_back(
        "conv0",
        nn::Conv2d(nn::Conv2dOptions(3, channels, 7)
                       .stride(2)
                       .padding(3)
                       .bias(false)));
    layers->push_back("norm0", nn::BatchNorm2d(channels));
    layers->push_back("relu0", nn::ReLU(nn::ReLUOptions().inplace(true)));
    layers->push_back(
        "pool0", nn::MaxPool2d(nn::MaxPool2dOptions(3).stride(2).padding(1)));
    for (size_t i = 0; i < options.blocks.size(); ++i) {
      const auto number = std::to_string(i + 1);
      if (i > 0) {
        layers->push_back(
            "transition" + std::to_string(i), Transition(channels));
        channels /= 2;
      }
      layers->push_back(
          "denseblock" + number,
          DenseBlock(channels, options.blocks[i], options.growth));
      channels += options.blocks[i] * options.growth;
    }
    layers->push_back("norm5", nn::BatchNorm2d(channels));
    register_module("features", layers);
    classifier =
        register_module("classifier", nn::Linear(channels, options.classes));
    he_initialise(*this);
  }

  /// [N, 3, H, W] -> [N, C, H/32, W/32]: the last block's, after BN and ReLU.
  torch::Tensor features(const torch::Tensor& x) {
    return layers->forward(x).relu_();
  }

  /// [N, C, h, w] -> [N, classes]
  torch::Tensor classify(const torch::Tensor& features) {
    return classifier(torch::adaptive_avg_pool2d(features, {1, 1}).flatten(1));
  }

  torch::Tensor forward(const torch::Tensor& x) {
    return classify(features(x));
  }

 private:
  nn::Sequential layers;
  nn::Linear classifier{nullptr};
};
TORCH_MODULE(DenseNet);

} // namespace networks

#endif // CARE_EXAMPLES_NETWORKS_DENSENET_HPP
