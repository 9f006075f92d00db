// MobileNet-V2 in plain LibTorch, with torchvision's layer names.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_NETWORKS_MOBILENET_HPP
#define CARE_EXAMPLES_NETWORKS_MOBILENET_HPP

#include "networks/init.hpp"
#include "networks/normalisation.hpp"

#include <torch/nn.h>

#include <algorithm>
#include <cstdint>

namespace networks {

namespace nn = torch::nn;

struct MobileNetOptions {
  int64_t classes = 1000;
  double width = 1; ///< factor on every layer's channels
};

/// Convolution, BatchNorm, ReLU6.
class ConvBnRelu6Impl : public nn::Module {
 public:
  ConvBnRelu6Impl(
      int64_t in,
      int64_t out,
      int64_t kernel,
      int64_t stride = 1,
      int64_t groups = 1)
      : conv(register_module(
            "0",
            nn::Conv2d(nn::Conv2dOptions(in, out, kernel)
                           .stride(stride)
                           .padding(kernel / 2)
                           .groups(groups)
                           .bias(false)))),
        norm(register_module("1", nn::BatchNorm2d(out))) {}

  torch::Tensor forward(const torch::Tensor& x) {
    return relu6(norm(conv(x)));
  }

 private:
  nn::Conv2d conv;
  nn::BatchNorm2d norm;
  nn::ReLU6 relu6{nn::ReLU6Options().inplace(true)}; // has no name and no state
};
TORCH_MODULE(ConvBnRelu6);

/// Wider by `expand`, one 3x3 filter for each channel, and narrow again without
/// ReLU (the paper's table 1).
class InvertedResidualImpl : public nn::Module {
 public:
  InvertedResidualImpl(int64_t in, int64_t out, int64_t stride, int64_t expand)
      : shortcut(stride == 1 && in == out) {
    const auto wide = in * expand;
    if (expand != 1) {
      conv->push_back(ConvBnRelu6(in, wide, 1));
    }
    conv->push_back(ConvBnRelu6(wide, wide, 3, stride, wide));
    conv->push_back(nn::Conv2d(nn::Conv2dOptions(wide, out, 1).bias(false)));
    conv->push_back(nn::BatchNorm2d(out));
    register_module("conv", conv);
  }

  torch::Tensor forward(const torch::Tensor& x) {
    return shortcut ? x + conv->forward(x) : conv->forward(x);
  }

 private:
  bool shortcut;
  nn::Sequential conv;
};
TORCH_MODULE(InvertedResidual);

/// Sandler et al. 2018, table 2.
class MobileNetV2Impl : public nn::Module {
 public:
  static constexpr Normalisation kNormalisation = kImageNet;

  explicit MobileNetV2Impl(const MobileNetOptions& options = {}) {
    struct Row {
      int64_t expand, channels, blocks, stride;
    };
    auto in = scaled(32, options.width);
    layers->push_back(ConvBnRelu6(3, in, 3, 2));
    for (const auto& row :
         {Row{1, 16, 1, 1},
          Row{6, 24, 2, 2},
          Row{6, 32, 3, 2},
          Row{6, 64, 4, 2},
          Row{6, 96, 3, 1},
          Row{6, 160, 3, 2},
          Row{6, 320, 1, 1}}) {
      const auto out = scaled(row.channels, options.width);
      for (int64_t i = 0; i < row.blocks; ++i) {
        layers->push_back(
            InvertedResidual(in, out, i == 0 ? row.stride : 1, row.expand));
        in = out;
      }
    }
    // Narrow networks keep the width of the last layer.
    const auto last = scaled(1280, std::max(1.0, options.width));
    layers->push_back(ConvBnRelu6(in, last, 1));
    register_module("features", layers);
    classifier = register_module(
        "classifier",
        nn::Sequential(nn::Dropout(0.2), nn::Linear(last, options.classes)));
    he_initialise(*this);
  }

  /// [N, 3, H, W] -> [N, C, H/32, W/32]: the last 1x1 convolution's, after
  /// ReLU6.
  torch::Tensor features(const torch::Tensor& x) {
    return layers->forward(x);
  }

  /// [N, C, h, w] -> [N, classes]
  torch::Tensor classify(const torch::Tensor& features) {
    return classifier->forward(
        torch::adaptive_avg_pool2d(features, {1, 1}).flatten(1));
  }

  torch::Tensor forward(const torch::Tensor& x) {
    return classify(features(x));
  }

 private:
  /// The nearest multiple of 8 that keeps at least nine tenths, as in the
  /// authors' code.
  static int64_t scaled(int64_t channels, double width) {
    const auto wanted = static_cast<double>(channels) * width;
    auto result =
        std::max<int64_t>(8, static_cast<int64_t>(wanted + 4) / 8 * 8);
    return static_cast<double>(result) < 0.9 * wanted ? result + 8 : result;
  }

  nn::Sequential layers;
  nn::Sequential classifier{nullptr};
};
TORCH_MODULE(MobileNetV2);

} // namespace networks

#endif // CARE_EXAMPLES_NETWORKS_MOBILENET_HPP
