// A vision transformer on a convolutional stem, in plain LibTorch.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_NETWORKS_HYBRID_HPP
#define CARE_EXAMPLES_NETWORKS_HYBRID_HPP

#include "networks/init.hpp"
#include "networks/vit.hpp"

#include <torch/nn.h>

#include <cstdint>

namespace networks {

/// The defaults are ViT_C-1GF of Xiao et al. 2021.
struct HybridOptions {
  int64_t image = 224; ///< height and width of the pictures, a multiple of 16
  int64_t dim = 192; ///< channels of a token, a multiple of 8 and of heads
  int64_t heads = 3;
  int64_t blocks = 11;
  int64_t classes = 1000;
};

/// Xiao et al. 2021, section 4 and appendix: four 3x3 convolutions of stride 2
/// and a 1x1 make the tokens; a class token is read at the end. LibTorch's
/// attention leaves no map behind it.
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
    class_token =
        register_parameter("class_token", 0.02 * torch::randn({1, 1, dim}));
    VitOptions vit;
    vit.image = options.image;
    vit.dim = dim;
    vit.heads = options.heads;
    vit.layers = options.blocks;
    vit.hidden = 3 * dim;
    encoder = register_module("encoder", VitEncoder(vit));
    head = register_module("head", nn::Linear(dim, options.classes));
    he_initialise(*this);
  }

  /// [N, 3, H, W] -> [N, dim, H/16, W/16]: the stem's, without ReLU.
  torch::Tensor features(const torch::Tensor& x) {
    return stem->forward(x);
  }

  /// [N, dim, h, w] -> [N, classes]
  torch::Tensor classify(const torch::Tensor& features) {
    const auto cells = features.flatten(2).transpose(1, 2);
    const auto token = class_token.expand({cells.size(0), -1, -1});
    return head(encoder(torch::cat({token, cells}, 1)).select(1, 0));
  }

  torch::Tensor forward(const torch::Tensor& x) {
    return classify(features(x));
  }

 private:
  nn::Sequential stem;
  torch::Tensor class_token;
  VitEncoder encoder{nullptr};
  nn::Linear head{nullptr};
};
TORCH_MODULE(Hybrid);

} // namespace networks

#endif // CARE_EXAMPLES_NETWORKS_HYBRID_HPP
