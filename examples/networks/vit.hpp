// A vision transformer in plain LibTorch, with torchvision's layer names. Its
// maps are tokens [N, 1 + h w, C], the class token first.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_NETWORKS_VIT_HPP
#define CARE_EXAMPLES_NETWORKS_VIT_HPP

#include "networks/normalisation.hpp"

#include <torch/nn.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

namespace networks {

namespace nn = torch::nn;

/// Dosovitskiy et al. 2021; the defaults are the small ViT-Ti/16 of Touvron et
/// al. 2021, table 1.
struct VitOptions {
  int64_t image = 224; ///< height and width of the pictures
  int64_t patch = 16; ///< of a token, a divisor of image
  int64_t dim = 192; ///< channels of a token, a multiple of heads
  int64_t heads = 3;
  int64_t layers = 12;
  int64_t hidden = 768; ///< width of a layer's inner one
  int64_t classes = 1000;
};

inline nn::LayerNorm token_norm(int64_t dim) {
  return nn::LayerNorm(nn::LayerNormOptions({dim}).eps(1e-6));
}

/// Attention, then two layers on each token, each behind a LayerNorm and beside
/// a shortcut: [N, T, C] -> [N, T, C].
class VitLayerImpl : public nn::Module {
 public:
  explicit VitLayerImpl(const VitOptions& options)
      : norm1(register_module("ln_1", token_norm(options.dim))),
        attention(register_module(
            "self_attention",
            nn::MultiheadAttention(options.dim, options.heads))),
        norm2(register_module("ln_2", token_norm(options.dim))) {
    mlp->push_back("0", nn::Linear(options.dim, options.hidden));
    mlp->push_back("1", nn::GELU());
    mlp->push_back("3", nn::Linear(options.hidden, options.dim));
    register_module("mlp", mlp);
  }

  torch::Tensor forward(const torch::Tensor& tokens) {
    const auto x = norm1(tokens).transpose(0, 1); // the module wants [T, N, C]
    const auto y = tokens + std::get<0>(attention(x, x, x)).transpose(0, 1);
    return y + mlp->forward(norm2(y));
  }

 private:
  nn::LayerNorm norm1;
  nn::MultiheadAttention attention;
  nn::LayerNorm norm2;
  nn::Sequential mlp;
};
TORCH_MODULE(VitLayer);

/// The layers, after the places' embedding and before a last norm.
class VitEncoderImpl : public nn::Module {
 public:
  explicit VitEncoderImpl(const VitOptions& options) {
    const auto side = options.image / options.patch;
    position = register_parameter(
        "pos_embedding",
        0.02 * torch::randn({1, side * side + 1, options.dim}));
    for (int64_t i = 0; i < options.layers; ++i) {
      layers->push_back(
          "encoder_layer_" + std::to_string(i), VitLayer(options));
    }
    register_module("layers", layers);
    norm = register_module("ln", token_norm(options.dim));
  }

  torch::Tensor forward(const torch::Tensor& tokens) {
    return norm(layers->forward(tokens + position));
  }

  torch::Tensor position;
  nn::Sequential layers;
  nn::LayerNorm norm{nullptr};
};
TORCH_MODULE(VitEncoder);

class VitImpl : public nn::Module {
 public:
  static constexpr Normalisation kNormalisation = kImageNet;

  explicit VitImpl(const VitOptions& options = {}) {
    const auto dim = options.dim, patch = options.patch;
    TORCH_CHECK_VALUE(
        patch > 0 && options.image > 0 && options.image % patch == 0 &&
            options.heads > 0 && dim > 0 && dim % options.heads == 0,
        "Vit: expected an image size that is a multiple of patch, and a dim "
        "that is one of heads, but got ",
        options.image,
        " and ",
        dim);
    class_token = register_parameter("class_token", torch::zeros({1, 1, dim}));
    patches = register_module(
        "conv_proj",
        nn::Conv2d(nn::Conv2dOptions(3, dim, patch).stride(patch)));
    encoder = register_module("encoder", VitEncoder(options));
    heads->push_back("head", nn::Linear(dim, options.classes));
    register_module("heads", heads);
  }

  /// [N, 3, H, W] -> [N, classes]
  torch::Tensor forward(const torch::Tensor& x) {
    const auto cells = patches(x).flatten(2).transpose(1, 2);
    const auto token = class_token.expand({x.size(0), -1, -1});
    const auto tokens = encoder(torch::cat({token, cells}, 1));
    return heads->forward(tokens.select(1, 0));
  }

 private:
  torch::Tensor class_token;
  nn::Conv2d patches{nullptr};
  VitEncoder encoder{nullptr};
  nn::Sequential heads;
};
TORCH_MODULE(Vit);

} // namespace networks

#endif // CARE_EXAMPLES_NETWORKS_VIT_HPP
