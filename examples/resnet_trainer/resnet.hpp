// ResNet-18/34/50/101/152 in plain LibTorch, with torchvision's layer names.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_RESNET_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_RESNET_HPP

#include <care/imbalance/ldam.hpp>

#include <torch/nn.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace trainer {

namespace nn = torch::nn;

inline nn::Conv2d convolution(
    int64_t in,
    int64_t out,
    int64_t kernel,
    int64_t stride = 1) {
  return nn::Conv2d(nn::Conv2dOptions(in, out, kernel)
                        .stride(stride)
                        .padding(kernel / 2)
                        .bias(false));
}

/// A 1x1 convolution where a block changes the shape, else nothing.
inline nn::Sequential shortcut(int64_t in, int64_t out, int64_t stride) {
  if (in == out && stride == 1) {
    return nn::Sequential();
  }
  return nn::Sequential(convolution(in, out, 1, stride), nn::BatchNorm2d(out));
}

/// Two 3x3 convolutions (ResNet-18 and -34).
class BasicBlockImpl : public nn::Module {
 public:
  static constexpr int64_t kExpansion = 1;

  BasicBlockImpl(int64_t in, int64_t planes, int64_t stride)
      : conv1(register_module("conv1", convolution(in, planes, 3, stride))),
        bn1(register_module("bn1", nn::BatchNorm2d(planes))),
        conv2(register_module("conv2", convolution(planes, planes, 3))),
        bn2(register_module("bn2", nn::BatchNorm2d(planes))),
        downsample(shortcut(in, planes, stride)) {
    if (!downsample->is_empty()) {
      register_module("downsample", downsample);
    }
  }

  torch::Tensor forward(const torch::Tensor& x) {
    auto y = torch::relu(bn1(conv1(x)));
    y = bn2(conv2(y));
    return torch::relu(
        y + (downsample->is_empty() ? x : downsample->forward(x)));
  }

 private:
  nn::Conv2d conv1;
  nn::BatchNorm2d bn1;
  nn::Conv2d conv2;
  nn::BatchNorm2d bn2;
  nn::Sequential downsample;
};
TORCH_MODULE(BasicBlock);

/// 1x1, 3x3, 1x1 (ResNet-50, -101 and -152).
class BottleneckImpl : public nn::Module {
 public:
  static constexpr int64_t kExpansion = 4;

  BottleneckImpl(int64_t in, int64_t planes, int64_t stride)
      : conv1(register_module("conv1", convolution(in, planes, 1))),
        bn1(register_module("bn1", nn::BatchNorm2d(planes))),
        conv2(register_module("conv2", convolution(planes, planes, 3, stride))),
        bn2(register_module("bn2", nn::BatchNorm2d(planes))),
        conv3(register_module(
            "conv3",
            convolution(planes, planes * kExpansion, 1))),
        bn3(register_module("bn3", nn::BatchNorm2d(planes * kExpansion))),
        downsample(shortcut(in, planes * kExpansion, stride)) {
    if (!downsample->is_empty()) {
      register_module("downsample", downsample);
    }
  }

  torch::Tensor forward(const torch::Tensor& x) {
    auto y = torch::relu(bn1(conv1(x)));
    y = torch::relu(bn2(conv2(y)));
    y = bn3(conv3(y));
    return torch::relu(
        y + (downsample->is_empty() ? x : downsample->forward(x)));
  }

 private:
  nn::Conv2d conv1;
  nn::BatchNorm2d bn1;
  nn::Conv2d conv2;
  nn::BatchNorm2d bn2;
  nn::Conv2d conv3;
  nn::BatchNorm2d bn3;
  nn::Sequential downsample;
};
TORCH_MODULE(Bottleneck);

struct ResNetOptions {
  int64_t depth = 18; ///< 18, 34, 50, 101 or 152
  int64_t classes = 1000;
  double width = 1; ///< factor on every layer's channels
  int64_t last_stride = 2; ///< of the last stage; 1 doubles the map's size
  bool cosine_head = false; ///< logits are cosines, without a bias (LDAM)
};

/// Throws c10::ValueError for a depth there is no ResNet of, and for options
/// out of range.
class ResNetImpl : public nn::Module {
 public:
  explicit ResNetImpl(const ResNetOptions& options) {
    const bool basic = options.depth < 50;
    const auto blocks = blocks_of(options.depth);
    TORCH_CHECK_VALUE(
        options.width > 0 && options.classes > 0 &&
            (options.last_stride == 1 || options.last_stride == 2),
        "ResNet: expected width > 0, classes > 0 and last_stride 1 or 2, but "
        "got ",
        options.width,
        ", ",
        options.classes,
        " and ",
        options.last_stride);
    const auto planes = std::max<int64_t>(8, std::llround(64 * options.width));
    conv1 = register_module(
        "conv1",
        nn::Conv2d(
            nn::Conv2dOptions(3, planes, 7).stride(2).padding(3).bias(false)));
    bn1 = register_module("bn1", nn::BatchNorm2d(planes));
    int64_t channels = planes;
    for (size_t i = 0; i < stages.size(); ++i) {
      const auto out = planes << i;
      const auto stride = i == 0 ? 1 : i == 3 ? options.last_stride : 2;
      stages[i] = basic ? stage<BasicBlock>(channels, out, blocks[i], stride)
                        : stage<Bottleneck>(channels, out, blocks[i], stride);
      register_module("layer" + std::to_string(i + 1), stages[i]);
    }
    if (options.cosine_head) {
      cosine_fc = register_module(
          "fc", care::NormalisedLinear(channels, options.classes));
    } else {
      fc = register_module("fc", nn::Linear(channels, options.classes));
    }
    for (auto& module : modules(/*include_self=*/false)) {
      if (auto* conv = module->as<nn::Conv2d>()) {
        nn::init::kaiming_normal_(
            conv->weight, 0, torch::kFanOut, torch::kReLU);
      }
    }
  }

  /// [N, 3, H, W] -> [N, C, h, w]: the last stage's output.
  torch::Tensor features(const torch::Tensor& x) {
    auto y = torch::relu(bn1(conv1(x)));
    y = torch::max_pool2d(y, 3, 2, 1);
    for (auto& stage : stages) {
      y = stage->forward(y);
    }
    return y;
  }

  /// [N, C, h, w] -> [N, classes]
  torch::Tensor classify(const torch::Tensor& features) {
    const auto pooled = features.mean({2, 3});
    return cosine_fc.is_empty() ? fc(pooled) : cosine_fc(pooled);
  }

  torch::Tensor forward(const torch::Tensor& x) {
    return classify(features(x));
  }

  nn::Conv2d conv1{nullptr};
  nn::BatchNorm2d bn1{nullptr};
  std::array<nn::Sequential, 4> stages; // layer1 to layer4
  nn::Linear fc{nullptr}; // or
  care::NormalisedLinear cosine_fc{nullptr};

 private:
  static std::array<int64_t, 4> blocks_of(int64_t depth) {
    switch (depth) {
      case 18:
        return {2, 2, 2, 2};
      case 34:
      case 50:
        return {3, 4, 6, 3};
      case 101:
        return {3, 4, 23, 3};
      case 152:
        return {3, 8, 36, 3};
      default:
        break;
    }
    TORCH_CHECK_VALUE(
        false,
        "ResNet: expected a depth of 18, 34, 50, 101 or 152, but got ",
        depth);
    return {};
  }

  template <class Block>
  static nn::Sequential stage(
      int64_t& channels,
      int64_t planes,
      int64_t blocks,
      int64_t stride) {
    nn::Sequential layers;
    for (int64_t i = 0; i < blocks; ++i) {
      layers->push_back(Block(channels, planes, i == 0 ? stride : 1));
      channels = planes * Block::ContainedType::kExpansion;
    }
    return layers;
  }
};
TORCH_MODULE(ResNet);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_RESNET_HPP
