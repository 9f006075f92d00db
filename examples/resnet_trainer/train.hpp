// The training loop to copy, and the test: any network, any criterion.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_TRAIN_HPP
#define RESNET_TRAINER_TRAIN_HPP

#include "dataset.hpp"

#include <care/amp.hpp>
#include <care/attention.hpp>
#include <care/augment.hpp>
#include <care/capture.hpp>
#include <care/guide.hpp>
#include <care/metrics/attention.hpp>
#include <care/rasterize.hpp>

#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>
#include <torch/types.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace trainer {

/// How bytes become what the network takes.
struct Input {
  torch::Device device = torch::kCPU;
  bool channels_last = true; ///< the memory order that convolutions like
  /// Pixels in [0, 1] become (pixel - mean) / deviation; red, green, blue.
  std::array<double, 3> mean{0.5, 0.5, 0.5}, deviation{0.25, 0.25, 0.25};

  /// [N, 3, H, W] bytes -> float in [0, 1], on the device.
  torch::Tensor pixels(const Batch& batch) const {
    return batch.images.to(device, /*non_blocking=*/true)
        .to(torch::kFloat)
        .div_(255);
  }
  /// Pixels in [0, 1] -> what the network takes.
  torch::Tensor normalised(const torch::Tensor& pixels) const {
    const auto row = [&](const std::array<double, 3>& values) {
      return torch::tensor({values[0], values[1], values[2]}, torch::kFloat)
          .view({3, 1, 1})
          .to(device, /*non_blocking=*/true);
    };
    const auto x = (pixels - row(mean)) / row(deviation);
    return channels_last ? x.contiguous(torch::MemoryFormat::ChannelsLast) : x;
  }
};

/// Means over an epoch; NaN where nothing was measured.
struct Epoch {
  double loss = 0, accuracy = 0; ///< over the images
  /// Over the guided images: the loss's two terms, and the share of attention
  /// inside the regions, 0 to 1.
  double inner = 0, outer = 0, inside = 0;
  int64_t images = 0, guided = 0;
};

/// The figures of an epoch's steps. They stay on the device: `read` alone waits
/// for it.
class StepFigures {
 public:
  void add(
      const care::GuidedLoss& loss,
      const torch::Tensor& logits,
      const torch::Tensor& targets) {
    torch::NoGradGuard no_grad;
    const auto n = targets.size(0), guided = loss.attention.guided;
    const auto& a = loss.attention;
    auto hits = (logits.argmax(1) == targets).sum(torch::kDouble);
    auto nothing = torch::zeros_like(hits);
    const auto sum = [&](const torch::Tensor& mean, int64_t count) {
      return count > 0 ? mean.to(torch::kDouble) * count : nothing;
    };
    steps_.push_back(torch::stack(
        {sum(loss.total.detach(), n),
         hits,
         sum(a.inner, guided),
         sum(a.outer, guided),
         sum(a.inside_share, guided)}));
    images_ += n;
    guided_ += guided;
  }

  /// Throws std::runtime_error that names the first batch whose loss is not
  /// finite.
  Epoch read() const {
    if (steps_.empty()) {
      throw std::runtime_error("expected a batch to train on, but got none");
    }
    const auto steps = torch::stack(steps_).to(torch::kCPU);
    const auto finite = steps.select(1, 0).isfinite();
    const auto first = finite.to(torch::kInt).argmin().item<int64_t>();
    if (!finite[first].item<bool>()) {
      throw std::runtime_error(
          "the loss of batch " + std::to_string(first + 1) +
          " is not finite; try a smaller learning rate");
    }
    const auto sums = steps.sum(0);
    const auto mean = [&](int64_t column, int64_t count) {
      return sums[column].item<double>() / static_cast<double>(count);
    };
    return {
        mean(0, images_),
        mean(1, images_),
        mean(2, guided_),
        mean(3, guided_),
        mean(4, guided_),
        images_,
        guided_};
  }

 private:
  std::vector<torch::Tensor> steps_; // [5] each
  int64_t images_ = 0, guided_ = 0;
};

/// Scales the gradients so that their common norm is at most `most`; the
/// library's clip_grad_norm_ waits for the device.
inline void clip_gradients(const torch::nn::Module& net, double most) {
  torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> gradients, norms;
  for (const auto& p : net.parameters()) {
    if (p.grad().defined()) {
      gradients.push_back(p.grad());
      norms.push_back(p.grad().norm());
    }
  }
  const auto norm = torch::stack(norms).norm();
  for (auto& gradient : gradients) {
    gradient.mul_((most / (norm + 1e-6)).clamp_max(1));
  }
}

/// The convolutions' weights in the memory order that they like.
inline void to_channels_last(const torch::nn::Module& net) {
  torch::NoGradGuard no_grad;
  for (auto& p : net.parameters()) {
    if (p.dim() == 4) {
      p.set_data(p.contiguous(torch::MemoryFormat::ChannelsLast));
    }
  }
}

struct StepOptions {
  bool bfloat16 = false; ///< run the network under autocast
  double clip = 0; ///< most of the gradients' norm; 0: any
  care::AugmentOptions augment; ///< by default nothing is changed
  int64_t first_step = 0; ///< of this epoch: the augmentation's draws
};

/// One pass over the training data: the part to copy. `net` is any module,
/// `criterion` any callable (logits [N, K], targets [N]) -> scalar, `guide` a
/// care::Guide. With alpha (or weight) 0 it is plain training.
template <class Network, class Criterion, class Guide, class Loader>
Epoch train_epoch(
    Network& net,
    const Criterion& criterion,
    const Guide& guide,
    torch::optim::Optimizer& optimizer,
    Loader& loader,
    const Input& input,
    const StepOptions& options) {
  net->train();
  StepFigures figures;
  auto step = options.first_step; // a picture drawn twice is changed anew
  for (const auto& batch : loader) {
    const auto targets = batch.targets.to(input.device);
    const auto moved = care::augment(
        batch.images.to(input.device, /*non_blocking=*/true),
        batch.boxes,
        batch.targets,
        batch.index,
        step++,
        options.augment,
        batch.masks);

    const auto seen = [&] { // the logits, and the features behind them
      const care::Autocast autocast(
          input.device, torch::kBFloat16, options.bfloat16);
      return guide.watch(net, input.normalised(moved.images));
    }();
    const auto loss = guide.loss(
        criterion(seen.logits, targets),
        seen,
        batch.targets,
        moved.masks.defined() ? care::Regions(moved.masks) : moved.boxes);
    optimizer.zero_grad();
    loss.backward();
    if (options.clip > 0) {
      clip_gradients(*net, options.clip);
    }
    optimizer.step();
    figures.add(loss, seen.logits, targets);
  }
  return figures.read();
}

/// What a network says of pictures, on the host.
struct Predictions {
  torch::Tensor targets; ///< `[N]` int64
  torch::Tensor probabilities; ///< `[N, K]` double
  /// `[N]` double, the share of the true class's Grad-CAM inside the region;
  /// NaN for a picture without one and for a map without a positive cell.
  torch::Tensor epg;
  torch::Tensor boxed; ///< `[N]` bool, whether it has a region
  torch::Tensor maps; ///< `[N, h, w]` float, raw Grad-CAM, where asked for
};

/// What the network says of everything the loader holds, in its order. With
/// `attention` the true class's Grad-CAM of `layer` is made too; it costs a
/// graph of each batch.
template <class Network, class Loader>
Predictions predict(
    Network& net,
    Loader& loader,
    const Input& input,
    bool attention,
    bool keep_maps = false,
    const care::TargetLayer& layer = {}) {
  net->eval();
  std::vector<torch::Tensor> targets, probabilities, epg, boxed, maps;
  for (const auto& batch : loader) {
    const auto images = input.normalised(input.pixels(batch));
    torch::Tensor logits,
        share =
            torch::full({batch.targets.size(0)}, std::nan(""), torch::kDouble);
    if (attention) {
      const auto seen = care::capture(net, images, {layer});
      const auto map = care::class_attention_map(
                           seen.features,
                           care::class_scores(seen.logits, batch.targets),
                           care::GradCam(),
                           care::GradientOrder::kFirst,
                           seen.layout())
                           .detach()
                           .to(torch::kCPU, torch::kFloat);
      share = care::energy_pointing_game(
          map,
          batch.masks.defined() ? batch.masks : care::pixel_mask(batch.boxes));
      logits = seen.logits.detach();
      if (keep_maps) {
        maps.push_back(map);
      }
    } else {
      torch::NoGradGuard no_grad;
      logits = net->forward(images);
    }
    targets.push_back(batch.targets);
    probabilities.push_back(
        torch::softmax(logits.to(torch::kCPU, torch::kDouble), 1));
    epg.push_back(share);
    boxed.push_back(batch.boxes.boxes_per_image() > 0);
  }
  return {
      torch::cat(targets),
      torch::cat(probabilities),
      torch::cat(epg),
      torch::cat(boxed),
      maps.empty() ? torch::Tensor() : torch::cat(maps)};
}

} // namespace trainer

#endif // RESNET_TRAINER_TRAIN_HPP
