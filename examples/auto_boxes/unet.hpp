// A small U-Net in plain LibTorch: images in, logits of lesion out; its file.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_UNET_HPP
#define CARE_EXAMPLES_AUTO_BOXES_UNET_HPP

#include <care/size.hpp>

#include <torch/nn.h>
#include <torch/serialize.h>

#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

namespace auto_boxes {

namespace nn = torch::nn;

struct UNetOptions {
  int64_t width = 8; ///< channels of the first level; they double at each next
  int64_t depth = 4; ///< how often the picture is halved
  care::Size size{192, 192}; ///< at which it is trained; it takes any
};

/// Two 3x3 convolutions, each with batch normalisation and ReLU.
inline nn::Sequential double_convolution(int64_t in, int64_t out) {
  nn::Sequential layers;
  for (const auto from : {in, out}) {
    layers->push_back(
        nn::Conv2d(nn::Conv2dOptions(from, out, 3).padding(1).bias(false)));
    layers->push_back(nn::BatchNorm2d(out));
    layers->push_back(nn::ReLU(nn::ReLUOptions(/*inplace=*/true)));
  }
  return layers;
}

/// U-Net: down to a coarse view, up again, with what each level saw on the way
/// down beside what comes up. Ours: the convolutions keep the size, the way up
/// is bilinear. Source: Ronneberger, Fischer and Brox 2015.
///
/// Images [N, 3, H, W], RGB in [0, 1], of any size of at least 2^depth pixels
/// -> logits [N, 1, H, W]. Throws c10::ValueError for others.
class UNetImpl : public nn::Module {
 public:
  explicit UNetImpl(const UNetOptions& wanted = {}) : options(wanted) {
    int64_t in = 3;
    for (int64_t level = 0; level <= options.depth; ++level) {
      const auto out = options.width << level;
      down.push_back(register_module(
          "down" + std::to_string(level), double_convolution(in, out)));
      in = out;
    }
    for (int64_t level = options.depth - 1; level >= 0; --level) {
      const auto out = options.width << level;
      up.push_back(register_module(
          "up" + std::to_string(level), double_convolution(in + out, out)));
      in = out;
    }
    head = register_module("head", nn::Conv2d(nn::Conv2dOptions(in, 1, 1)));
    const auto& size = options.size; // for load_unet
    register_buffer(
        "kept",
        torch::tensor(
            {options.width, options.depth, size.height, size.width},
            torch::kLong));
  }

  torch::Tensor forward(const torch::Tensor& images) {
    const auto least = int64_t{1} << options.depth;
    TORCH_CHECK_VALUE(
        images.dim() == 4 && images.size(1) == 3 && images.size(2) >= least &&
            images.size(3) >= least,
        "UNet: expected images [N, 3, H, W] of at least ",
        least,
        " pixels a side, but got ",
        images.sizes());
    auto x = (images - 0.5) / 0.25;
    std::vector<torch::Tensor> seen;
    for (size_t level = 0; level < down.size(); ++level) {
      x = down[level]->forward(level == 0 ? x : torch::max_pool2d(x, 2));
      seen.push_back(x);
    }
    seen.pop_back();
    for (auto& block : up) {
      const auto beside = seen.back();
      seen.pop_back();
      x = torch::upsample_bilinear2d(
          x, {beside.size(2), beside.size(3)}, /*align_corners=*/false);
      x = block->forward(torch::cat({x, beside}, 1));
    }
    return head(x);
  }

  const UNetOptions options;
  std::vector<nn::Sequential> down, up;
  nn::Conv2d head{nullptr};
};
TORCH_MODULE(UNet);

/// What `save` wrote, in evaluation mode. Throws std::runtime_error with the
/// path for a file that is missing, damaged or something else.
inline UNet load_unet(const std::filesystem::path& path) {
  try {
    torch::serialize::InputArchive archive;
    archive.load_from(path.string());
    torch::Tensor kept;
    archive.read("kept", kept, /*is_buffer=*/true);
    TORCH_CHECK(kept.numel() == 4, "it keeps ", kept.numel(), " numbers");
    const auto* number = kept.data_ptr<int64_t>();
    UNet net(UNetOptions{number[0], number[1], {number[2], number[3]}});
    net->load(archive);
    net->eval();
    return net;
  } catch (const c10::Error& error) {
    throw std::runtime_error(
        path.string() + ": expected a network that train_unet wrote (" +
        error.what_without_backtrace() + ")");
  }
}

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_UNET_HPP
