// GoogLeNet (Inception) in plain LibTorch: four branches side by side, and two
// auxiliary heads in training. Layer names are torchvision's.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_GOOGLENET_HPP
#define CARE_TESTS_SUPPORT_GOOGLENET_HPP

#include "networks/init.hpp"

#include <torch/nn.h>

#include <cmath>
#include <cstdint>

namespace care_test {

namespace nn = torch::nn;

struct GoogLeNetOptions {
  int64_t classes = 1000;
  double width = 1; ///< factor on every layer's channels
};

/// What the forward returns. The auxiliary logits are undefined in eval mode.
struct GoogLeNetOutput {
  torch::Tensor logits; ///< [N, classes]
  torch::Tensor aux1; ///< the same, from inception4a
  torch::Tensor aux2; ///< the same, from inception4d
};

/// Convolution, BatchNorm (Ioffe & Szegedy 2015; the first GoogLeNet had none),
/// ReLU.
class ConvBnReluImpl : public nn::Module {
 public:
  ConvBnReluImpl(int64_t in, int64_t out, int64_t kernel, int64_t stride = 1)
      : conv(register_module(
            "conv",
            nn::Conv2d(nn::Conv2dOptions(in, out, kernel)
                           .stride(stride)
                           .padding(kernel / 2)
                           .bias(false)))),
        bn(register_module("bn", nn::BatchNorm2d(out))) {}

  torch::Tensor forward(const torch::Tensor& x) {
    return bn(conv(x)).relu_();
  }

 private:
  nn::Conv2d conv;
  nn::BatchNorm2d bn;
};
TORCH_MODULE(ConvBnRelu);

/// Output channels of each convolution: a row of the paper's table 1.
struct InceptionRow {
  int64_t one, reduce3, three, reduce5, five, pool;
};

/// 1x1 | 1x1, 3x3 | 1x1, 5x5 | pool, 1x1: concatenated.
class InceptionImpl : public nn::Module {
 public:
  InceptionImpl(int64_t in, const InceptionRow& row)
      : branch1(register_module("branch1", ConvBnRelu(in, row.one, 1))),
        branch2(register_module(
            "branch2",
            nn::Sequential(
                ConvBnRelu(in, row.reduce3, 1),
                ConvBnRelu(row.reduce3, row.three, 3)))),
        branch3(register_module(
            "branch3",
            nn::Sequential(
                ConvBnRelu(in, row.reduce5, 1),
                ConvBnRelu(row.reduce5, row.five, 5)))),
        branch4(register_module(
            "branch4",
            nn::Sequential(
                nn::MaxPool2d(nn::MaxPool2dOptions(3).stride(1).padding(1)),
                ConvBnRelu(in, row.pool, 1)))) {}

  torch::Tensor forward(const torch::Tensor& x) {
    return torch::cat(
        {branch1(x),
         branch2->forward(x),
         branch3->forward(x),
         branch4->forward(x)},
        1);
  }

 private:
  ConvBnRelu branch1;
  nn::Sequential branch2, branch3, branch4;
};
TORCH_MODULE(Inception);

/// The auxiliary classifier of the paper's section 5.
class AuxiliaryHeadImpl : public nn::Module {
 public:
  AuxiliaryHeadImpl(int64_t in, int64_t width, int64_t hidden, int64_t classes)
      : conv(register_module("conv", ConvBnRelu(in, width, 1))),
        fc1(register_module("fc1", nn::Linear(width * 4 * 4, hidden))),
        dropout(register_module("dropout", nn::Dropout(0.7))),
        fc2(register_module("fc2", nn::Linear(hidden, classes))) {}

  torch::Tensor forward(const torch::Tensor& x) {
    auto y = conv(torch::adaptive_avg_pool2d(x, {4, 4})).flatten(1);
    return fc2(dropout(fc1(y).relu_()));
  }

 private:
  ConvBnRelu conv;
  nn::Linear fc1;
  nn::Dropout dropout;
  nn::Linear fc2;
};
TORCH_MODULE(AuxiliaryHead);

/// Szegedy et al. 2015, table 1. The third branch has the paper's 5x5 filters
/// (torchvision's has 3x3).
class GoogLeNetImpl : public nn::Module {
 public:
  explicit GoogLeNetImpl(const GoogLeNetOptions& options = {}) {
    const auto scaled = [&](int64_t channels) {
      return static_cast<int64_t>(
          std::llround(static_cast<double>(channels) * options.width));
    };
    const auto pool = [] {
      return nn::MaxPool2d(nn::MaxPool2dOptions(3).stride(2).ceil_mode(true));
    };
    int64_t in = 0;
    const auto block = [&](const char* name, const InceptionRow& row) {
      const InceptionRow narrow{
          scaled(row.one),
          scaled(row.reduce3),
          scaled(row.three),
          scaled(row.reduce5),
          scaled(row.five),
          scaled(row.pool)};
      auto result = register_module(name, Inception(in, narrow));
      in = narrow.one + narrow.three + narrow.five + narrow.pool;
      return result;
    };
    const auto head = [&](const char* name) {
      return register_module(
          name, AuxiliaryHead(in, scaled(128), scaled(1024), options.classes));
    };
    auto conv1 = ConvBnRelu(3, scaled(64), 7, 2);
    auto conv2 = ConvBnRelu(scaled(64), scaled(64), 1);
    auto conv3 = ConvBnRelu(scaled(64), scaled(192), 3);
    register_module("conv1", conv1);
    register_module("conv2", conv2);
    register_module("conv3", conv3);
    in = scaled(192);
    stem = nn::Sequential(conv1, pool(), conv2, conv3, pool());
    stem->push_back(block("inception3a", {64, 96, 128, 16, 32, 32}));
    stem->push_back(block("inception3b", {128, 128, 192, 32, 96, 64}));
    stem->push_back(pool());
    stem->push_back(block("inception4a", {192, 96, 208, 16, 48, 64}));
    aux1 = head("aux1");
    middle->push_back(block("inception4b", {160, 112, 224, 24, 64, 64}));
    middle->push_back(block("inception4c", {128, 128, 256, 24, 64, 64}));
    middle->push_back(block("inception4d", {112, 144, 288, 32, 64, 64}));
    aux2 = head("aux2");
    last->push_back(block("inception4e", {256, 160, 320, 32, 128, 128}));
    last->push_back(pool());
    last->push_back(block("inception5a", {256, 160, 320, 32, 128, 128}));
    last->push_back(block("inception5b", {384, 192, 384, 48, 128, 128}));
    dropout = register_module("dropout", nn::Dropout(0.4));
    fc = register_module("fc", nn::Linear(in, options.classes));
    networks::he_initialise(*this);
  }

  /// [N, 3, H, W] -> [N, C, H/32, W/32]: the last concatenation.
  torch::Tensor features(const torch::Tensor& x) {
    return last->forward(middle->forward(stem->forward(x)));
  }

  /// [N, C, h, w] -> [N, classes]
  torch::Tensor classify(const torch::Tensor& features) {
    return fc(dropout(torch::adaptive_avg_pool2d(features, {1, 1}).flatten(1)));
  }

  GoogLeNetOutput forward(const torch::Tensor& x) {
    GoogLeNetOutput result;
    const auto a = stem->forward(x);
    const auto d = middle->forward(a);
    if (is_training()) {
      result.aux1 = aux1(a);
      result.aux2 = aux2(d);
    }
    result.logits = classify(last->forward(d));
    return result;
  }

 private:
  // Groups of the layers that are registered under their own names.
  nn::Sequential stem, middle, last;
  AuxiliaryHead aux1{nullptr}, aux2{nullptr};
  nn::Dropout dropout{nullptr};
  nn::Linear fc{nullptr};
};
TORCH_MODULE(GoogLeNet);

} // namespace care_test

#endif // CARE_TESTS_SUPPORT_GOOGLENET_HPP
