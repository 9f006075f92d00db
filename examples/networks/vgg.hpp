// VGG-16 and VGG-19 in plain LibTorch, with torchvision's layer names.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_NETWORKS_VGG_HPP
#define CARE_EXAMPLES_NETWORKS_VGG_HPP

#include "networks/init.hpp"
#include "networks/normalisation.hpp"

#include <torch/nn.h>

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace networks {

namespace nn = torch::nn;

struct VggOptions {
  int64_t depth = 16; ///< 16 or 19
  int64_t classes = 1000;
  double width = 1; ///< factor on every layer's channels
};

/// Simonyan & Zisserman 2015, table 1, columns D and E. As in torchvision, an
/// adaptive pool before the classifier brings any map to 7x7.
class VggImpl : public nn::Module {
 public:
  static constexpr Normalisation kNormalisation = kImageNet;

  explicit VggImpl(const VggOptions& options = {}) {
    TORCH_CHECK_VALUE(
        options.depth == 16 || options.depth == 19,
        "Vgg: expected a depth of 16 or 19, but got ",
        options.depth);
    const int64_t late = options.depth == 16 ? 3 : 4;
    const auto scaled = [&](int64_t channels) {
      return static_cast<int64_t>(
          std::llround(static_cast<double>(channels) * options.width));
    };
    const auto relu = [] { return nn::ReLU(nn::ReLUOptions().inplace(true)); };
    int64_t in = 3;
    const std::vector<std::pair<int64_t, int64_t>> stages = {
        {2, 64}, {2, 128}, {late, 256}, {late, 512}, {late, 512}};
    for (const auto& [convolutions, channels] : stages) {
      if (in != 3) {
        layers->push_back(nn::MaxPool2d(2));
      }
      for (int64_t i = 0; i < convolutions; ++i) {
        const auto out = scaled(channels);
        layers->push_back(nn::Conv2d(nn::Conv2dOptions(in, out, 3).padding(1)));
        layers->push_back(relu());
        in = out;
      }
    }
    const auto hidden = scaled(4096);
    classifier = nn::Sequential(
        nn::Linear(in * 7 * 7, hidden),
        relu(),
        nn::Dropout(0.5),
        nn::Linear(hidden, hidden),
        relu(),
        nn::Dropout(0.5),
        nn::Linear(hidden, options.classes));
    register_module("features", layers);
    register_module("classifier", classifier);
    he_initialise(*this);
  }

  /// [N, 3, H, W] -> [N, C, H/16, W/16]: the last convolution's, after ReLU.
  torch::Tensor features(const torch::Tensor& x) {
    return layers->forward(x);
  }

  /// [N, C, h, w] -> [N, classes]
  torch::Tensor classify(const torch::Tensor& features) {
    auto y = torch::max_pool2d(features, 2);
    y = torch::adaptive_avg_pool2d(y, {7, 7});
    return classifier->forward(y.flatten(1));
  }

  torch::Tensor forward(const torch::Tensor& x) {
    return classify(features(x));
  }

 private:
  nn::Sequential layers;
  nn::Sequential classifier{nullptr};
};
TORCH_MODULE(Vgg);

} // namespace networks

#endif // CARE_EXAMPLES_NETWORKS_VGG_HPP
