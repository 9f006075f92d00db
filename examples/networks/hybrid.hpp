// A vision transformer on a convolutional stem, in plain LibTorch; its
// attention is LibTorch's module, or written by hand.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_NETWORKS_HYBRID_HPP
#define CARE_EXAMPLES_NETWORKS_HYBRID_HPP

#include "networks/init.hpp"

#include <torch/nn.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

namespace networks {

namespace nn = torch::nn;

/// The defaults are ViT_C-1GF of Xiao et al. 2021.
struct HybridOptions {
  int64_t image = 224; ///< height and width of the pictures, a multiple of 16
  int64_t dim = 192; ///< channels of a token, a multiple of 8 and of heads
  int64_t heads = 3;
  int64_t blocks = 11;
  int64_t classes = 1000;
  bool by_hand = false; ///< attention without nn::MultiheadAttention
};

/// Self-attention of tokens [N, T, d] by LibTorch's module.
class LibraryAttentionImpl : public nn::Module {
 public:
  LibraryAttentionImpl(int64_t dim, int64_t heads)
      : attention(
            register_module("attention", nn::MultiheadAttention(dim, heads))) {}

  torch::Tensor forward(const torch::Tensor& tokens) {
    const auto x = tokens.transpose(0, 1); // the module wants [T, N, d]
    return std::get<0>(attention(x, x, x)).transpose(0, 1);
  }

 private:
  nn::MultiheadAttention attention;
};
TORCH_MODULE(LibraryAttention);

/// The same, as most people write it: queries, keys and values are 4-D.
class HandAttentionImpl : public nn::Module {
 public:
  HandAttentionImpl(int64_t dim, int64_t heads_)
      : heads(heads_),
        qkv(register_module("qkv", nn::Linear(dim, 3 * dim))),
        proj(register_module("proj", nn::Linear(dim, dim))) {}

  torch::Tensor forward(const torch::Tensor& tokens) {
    const auto n = tokens.size(0), t = tokens.size(1), d = tokens.size(2);
    const auto parts = qkv(tokens).chunk(3, 2);
    const auto split = [&](const torch::Tensor& x) { // [N, heads, T, d / heads]
      return x.view({n, t, heads, d / heads}).transpose(1, 2);
    };
    const auto q = split(parts[0]), k = split(parts[1]), v = split(parts[2]);
    const auto scale = 1 / std::sqrt(static_cast<double>(d / heads));
    const auto weight =
        torch::softmax(torch::matmul(q, k.transpose(2, 3)) * scale, -1);
    return proj(torch::matmul(weight, v).transpose(1, 2).reshape({n, t, d}));
  }

 private:
  int64_t heads;
  nn::Linear qkv;
  nn::Linear proj;
};
TORCH_MODULE(HandAttention);

/// Attention, then two layers on each token, each behind a LayerNorm and beside
/// a shortcut (Dosovitskiy et al. 2021, eq. 2 and 3).
class EncoderBlockImpl : public nn::Module {
 public:
  explicit EncoderBlockImpl(const HybridOptions& options) {
    const auto dim = options.dim;
    const nn::LayerNormOptions norm({dim});
    norm1 = register_module("norm1", nn::LayerNorm(norm));
    norm2 = register_module("norm2", nn::LayerNorm(norm));
    if (options.by_hand) {
      attention = nn::AnyModule(HandAttention(dim, options.heads));
    } else {
      attention = nn::AnyModule(LibraryAttention(dim, options.heads));
    }
    register_module("attention", attention.ptr());
    mlp = register_module(
        "mlp",
        nn::Sequential(
            nn::Linear(dim, 3 * dim), nn::GELU(), nn::Linear(3 * dim, dim)));
  }

  torch::Tensor forward(const torch::Tensor& tokens) {
    const auto x = tokens + attention.forward(norm1(tokens));
    return x + mlp->forward(norm2(x));
  }

 private:
  nn::LayerNorm norm1{nullptr}, norm2{nullptr};
  nn::AnyModule attention;
  nn::Sequential mlp{nullptr};
};
TORCH_MODULE(EncoderBlock);

/// Xiao et al. 2021, section 4 and appendix: four 3x3 convolutions of stride 2
/// and a 1x1 make the tokens; a class token is read at the end. LibTorch's
/// attention leaves no map behind it, one by hand leaves many 4-D tensors that
/// are none.
class HybridImpl : public nn::Module {
 public:
  explicit HybridImpl(const HybridOptions& options = {}) {
    const auto dim = options.dim;
    TORCH_CHECK_VALUE(
        options.image > 0 && options.image % 16 == 0 && options.heads > 0 &&
            dim > 0 && dim % 8 == 0 && dim % options.heads == 0,
        "Hybrid: expected an image size that is a multiple of 16, and a dim "
        "that is a multiple of 8 and of heads, but got ",
        options.image,
        ", ",
        dim,
        " and ",
        options.heads);
    int64_t in = 3;
    for (const auto out : {dim / 8, dim / 4, dim / 2, dim}) {
      stem->push_back(nn::Conv2d(
          nn::Conv2dOptions(in, out, 3).stride(2).padding(1).bias(false)));
      stem->push_back(nn::BatchNorm2d(out));
      stem->push_back(nn::ReLU(nn::ReLUOptions().inplace(true)));
      in = out;
    }
    stem->push_back(nn::Conv2d(dim, dim, 1));
    register_module("stem", stem);
    const auto cells = (options.image / 16) * (options.image / 16);
    class_token =
        register_parameter("class_token", 0.02 * torch::randn({1, 1, dim}));
    position = register_parameter(
        "position", 0.02 * torch::randn({1, cells + 1, dim}));
    for (int64_t i = 0; i < options.blocks; ++i) {
      blocks.push_back(
          register_module("block" + std::to_string(i), EncoderBlock(options)));
    }
    norm = register_module("norm", nn::LayerNorm(nn::LayerNormOptions({dim})));
    head = register_module("head", nn::Linear(dim, options.classes));
    he_initialise(*this);
  }

  /// [N, 3, H, W] -> [N, dim, H/16, W/16]: the stem's, without ReLU.
  torch::Tensor features(const torch::Tensor& x) {
    return stem->forward(x);
  }

  /// [N, dim, h, w] -> [N, classes]
  torch::Tensor classify(const torch::Tensor& features) {
    const auto tokens = features.flatten(2).transpose(1, 2);
    auto x =
        torch::cat({class_token.expand({tokens.size(0), -1, -1}), tokens}, 1);
    x = x + position;
    for (auto& block : blocks) {
      x = block(x);
    }
    return head(norm(x).select(1, 0));
  }

  torch::Tensor forward(const torch::Tensor& x) {
    return classify(features(x));
  }

 private:
  nn::Sequential stem;
  torch::Tensor class_token, position;
  std::vector<EncoderBlock> blocks;
  nn::LayerNorm norm{nullptr};
  nn::Linear head{nullptr};
};
TORCH_MODULE(Hybrid);

} // namespace networks

#endif // CARE_EXAMPLES_NETWORKS_HYBRID_HPP
