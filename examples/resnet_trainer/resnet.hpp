// ResNet-18/34/50/101/152 in plain LibTorch, with torchvision's layer names.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_RESNET_HPP
#define RESNET_TRAINER_RESNET_HPP

#include <care/amp.hpp>

#include <torch/nn.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace trainer {

namespace nn = torch::nn;

/// Two 3x3 convolutions (ResNet-18 and -34), or 1x1, 3x3, 1x1 (-50 and up).
class BlockImpl : public nn::Module {
 public:
  BlockImpl(int64_t in, int64_t planes, int64_t stride, bool bottleneck) {
    const auto out = bottleneck ? 4 * planes : planes;
    if (bottleneck) {
      add(in, planes, 1, 1);
      add(planes, planes, 3, stride);
      add(planes, out, 1, 1);
    } else {
      add(in, planes, 3, stride);
      add(planes, planes, 3, 1);
    }
    if (in != out || stride != 1) {
      const auto options = nn::Conv2dOptions(in, out, 1).stride(stride);
      downsample = register_module(
          "downsample",
          nn::Sequential(
              nn::Conv2d(nn::Conv2dOptions(options).bias(false)),
              nn::BatchNorm2d(out)));
    }
  }

  torch::Tensor forward(const torch::Tensor& x) {
    auto y = x;
    for (size_t i = 0; i < convolutions.size(); ++i) {
      y = norms[i](convolutions[i](y));
      y = i + 1 < convolutions.size() ? torch::relu(y) : y;
    }
    return torch::relu(y + (downsample ? downsample->forward(x) : x));
  }

 private:
  void add(int64_t in, int64_t out, int64_t kernel, int64_t stride) {
    const auto number = std::to_string(convolutions.size() + 1);
    convolutions.push_back(register_module(
        "conv" + number,
        nn::Conv2d(nn::Conv2dOptions(in, out, kernel)
                       .stride(stride)
                       .padding(kernel / 2)
                       .bias(false))));
    norms.push_back(register_module("bn" + number, nn::BatchNorm2d(out)));
  }

  std::vector<nn::Conv2d> convolutions;
  std::vector<nn::BatchNorm2d> norms;
  nn::Sequential downsample{nullptr};
};
TORCH_MODULE(Block);

struct ResNetOptions {
  int64_t depth = 18; ///< 18, 34, 50, 101 or 152
  int64_t classes = 1000;
  double width = 1; ///< factor on every layer's channels
  int64_t last_stride = 2; ///< of the last stage; 1 doubles the map's size
};

/// Throws c10::ValueError for a depth there is no ResNet of, and for options
/// out of range.
class ResNetImpl : public nn::Module {
 public:
  explicit ResNetImpl(const ResNetOptions& options) {
    const std::map<int64_t, std::array<int64_t, 4>> depths{
        {18, {2, 2, 2, 2}},
        {34, {3, 4, 6, 3}},
        {50, {3, 4, 6, 3}},
        {101, {3, 4, 23, 3}},
        {152, {3, 8, 36, 3}}};
    const auto blocks = depths.find(options.depth);
    TORCH_CHECK_VALUE(
        blocks != depths.end() && options.width > 0 && options.classes > 0 &&
            (options.last_stride == 1 || options.last_stride == 2),
        "ResNet: expected a depth of 18, 34, 50, 101 or 152, width > 0, "
        "classes "
        "> 0 and last_stride 1 or 2, but got ",
        options.depth,
        ", ",
        options.width,
        ", ",
        options.classes,
        " and ",
        options.last_stride);
    const bool bottleneck = options.depth >= 50;
    const auto planes = std::max<int64_t>(8, std::llround(64 * options.width));
    auto channels = planes;
    conv1 = register_module(
        "conv1",
        nn::Conv2d(
            nn::Conv2dOptions(3, planes, 7).stride(2).padding(3).bias(false)));
    bn1 = register_module("bn1", nn::BatchNorm2d(planes));
    for (size_t i = 0; i < 4; ++i) {
      const auto stride = i == 0 ? 1 : i == 3 ? options.last_stride : 2;
      nn::Sequential stage;
      for (int64_t k = 0; k < blocks->second[i]; ++k) {
        stage->push_back(
            Block(channels, planes << i, k == 0 ? stride : 1, bottleneck));
        channels = (bottleneck ? 4 : 1) * (planes << i);
      }
      stages.push_back(register_module("layer" + std::to_string(i + 1), stage));
    }
    fc = register_module("fc", nn::Linear(channels, options.classes));
    for (auto& module : modules(/*include_self=*/false)) {
      if (auto* conv = module->as<nn::Conv2d>()) {
        nn::init::kaiming_normal_(
            conv->weight, 0, torch::kFanOut, torch::kReLU);
      }
    }
  }

  /// [N, 3, H, W] -> [N, C, h, w]: the last stage's output.
  torch::Tensor features(const torch::Tensor& x) {
    auto y = torch::max_pool2d(torch::relu(bn1(conv1(x))), 3, 2, 1);
    for (auto& stage : stages) {
      y = stage->forward(y);
    }
    return y;
  }

  /// [N, C, h, w] -> [N, classes], in float also under autocast.
  torch::Tensor classify(const torch::Tensor& features) {
    const care::Autocast off(features.device(), torch::kBFloat16, false);
    return fc(features.to(torch::kFloat).mean({2, 3}));
  }

  /// [N, 3, H, W] -> [N, classes]
  torch::Tensor forward(const torch::Tensor& x) {
    return classify(features(x));
  }

  nn::Conv2d conv1{nullptr};
  nn::BatchNorm2d bn1{nullptr};
  std::vector<nn::Sequential> stages; // layer1 to layer4
  nn::Linear fc{nullptr};
};
TORCH_MODULE(ResNet);

} // namespace trainer

#endif // RESNET_TRAINER_RESNET_HPP
