// The training loop to copy, and the test: any network, any criterion.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_TRAIN_HPP
#define RESNET_TRAINER_TRAIN_HPP

#include "dataset.hpp"

#include <care/amp.hpp>
#include <care/augment.hpp>
#include <care/care.hpp>

#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace trainer {

/// How bytes become what the network takes.
struct Input {
  torch::Device device = torch::kCPU;
  bool channels_last = true; ///< the memory order that convolutions like
  double mean = 0.5; ///< pixels in [0, 1] become (pixel - mean) / deviation
  double deviation = 0.25;

  /// [N, 3, H, W] bytes -> float in [0, 1], on the device.
  torch::Tensor pixels(const Batch& batch) const {
    return batch.images.to(device, /*non_blocking=*/true)
        .to(torch::kFloat)
        .div_(255);
  }
  /// Pixels in [0, 1] -> what the network takes.
  torch::Tensor normalised(const torch::Tensor& pixels) const {
    const auto x = (pixels - mean) / deviation;
    return channels_last ? x.contiguous(torch::MemoryFormat::ChannelsLast) : x;
  }
};

/// What one epoch of training gave. Shares and means are NaN where nothing was
/// measured.
struct Epoch {
  double loss = 0; ///< mean over the images
  double accuracy = 0;
  double inner = 0; ///< mean over the guided images, as the three below
  double outer = 0;
  double inside = 0; ///< share of attention inside the boxes, 0 to 1
  int64_t guided = 0; ///< guided images
  int64_t images = 0;
};

/// Sums over an epoch that stay on the device: `read` alone waits for it.
class RunningSums {
 public:
  void add(
      const care::GuidedLoss& loss,
      const torch::Tensor& logits,
      const torch::Tensor& targets) {
    torch::NoGradGuard no_grad;
    const auto n = targets.size(0);
    const auto total = loss.total.detach().to(torch::kDouble);
    add(sums_,
        torch::stack(
            {total * n, (logits.argmax(1) == targets).sum(torch::kDouble)}));
    const auto step = torch::full_like(total, static_cast<double>(steps_++));
    const auto never = torch::full_like(total, kNever);
    add_first(torch::where(torch::isfinite(total), never, step));
    images_ += n;
    const auto& a = loss.attention;
    if (a.guided > 0) {
      add(attention_,
          torch::stack({a.inner, a.outer, a.inside_share}).to(torch::kDouble) *
              static_cast<double>(a.guided));
      guided_ += a.guided;
    }
  }

  /// Throws std::runtime_error that names the first batch whose loss was not
  /// finite.
  Epoch read() const {
    constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
    Epoch epoch{kNaN, kNaN, kNaN, kNaN, kNaN, guided_, images_};
    if (images_ > 0) {
      const auto broken = first_broken_.item<double>();
      if (broken < kNever) {
        throw std::runtime_error(
            "the loss of batch " +
            std::to_string(static_cast<int64_t>(broken) + 1) +
            " of this epoch is not finite; try a smaller learning rate");
      }
      const auto sums = sums_.to(torch::kCPU) / static_cast<double>(images_);
      epoch.loss = sums[0].item<double>();
      epoch.accuracy = sums[1].item<double>();
    }
    if (guided_ > 0) {
      const auto means =
          attention_.to(torch::kCPU) / static_cast<double>(guided_);
      epoch.inner = means[0].item<double>();
      epoch.outer = means[1].item<double>();
      epoch.inside = means[2].item<double>();
    }
    return epoch;
  }

 private:
  static constexpr double kNever = 1e18;

  static void add(torch::Tensor& sum, const torch::Tensor& x) {
    sum = sum.defined() ? sum + x : x;
  }
  void add_first(const torch::Tensor& step) {
    first_broken_ = first_broken_.defined()
        ? torch::minimum(first_broken_, step)
        : step;
  }

  torch::Tensor sums_, attention_, first_broken_;
  int64_t steps_ = 0, images_ = 0, guided_ = 0;
};

/// Scales the gradients so that their common norm is at most `most`, without
/// waiting for the device (torch::nn::utils::clip_grad_norm_ waits).
inline void clip_gradients(
    const std::vector<torch::Tensor>& parameters,
    double most) {
  torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> norms;
  for (const auto& p : parameters) {
    if (p.grad().defined()) {
      norms.push_back(p.grad().norm());
    }
  }
  const auto factor =
      (most / (torch::stack(norms).norm() + 1e-6)).clamp_max(1);
  for (const auto& p : parameters) {
    if (p.grad().defined()) {
      p.grad().mul_(factor);
    }
  }
}

struct StepOptions {
  bool bfloat16 = false; ///< run the network under autocast
  double clip = 0; ///< most of the gradients' norm; 0: any
  care::AugmentOptions augment; ///< by default nothing is changed
  int64_t epoch = 0; ///< of the augmentation's draws
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
  RunningSums sums;
  for (const auto& batch : loader) {
    const auto targets = batch.targets.to(input.device);
    const auto moved = care::augment(
        input.pixels(batch), batch.boxes, batch.index, options.epoch, options.augment);
    const auto images = input.normalised(moved.images);

    const auto seen = [&] { // logits, and the features behind them
      const care::Autocast autocast(input.device, torch::kBFloat16, options.bfloat16);
      return guide.watch(net, images);
    }();
    const auto loss = guide.loss(
        criterion(seen.logits, targets), seen, batch.targets, moved.boxes);
    optimizer.zero_grad();
    loss.backward();
    if (options.clip > 0) {
      clip_gradients(net->parameters(), options.clip);
    }
    optimizer.step();
    sums.add(loss, seen.logits, targets);
  }
  return sums.read();
}

/// What a network says of pictures, on the host.
struct Predictions {
  torch::Tensor index; ///< `[N]` int64, places in the dataset
  torch::Tensor targets; ///< `[N]` int64
  torch::Tensor probabilities; ///< `[N, K]` double
  /// `[N]` double, the share of the true class's Grad-CAM inside the boxes; NaN
  /// for a picture without a box and for a map without a positive cell.
  torch::Tensor epg;
  torch::Tensor boxed; ///< `[N]` bool, whether it has a box
  torch::Tensor maps; ///< `[N, h, w]` float, raw Grad-CAM, where asked for
};

/// What the network says of everything the loader holds, in its order. With
/// `attention` the true class's Grad-CAM is made too; it costs a graph of each
/// batch.
template <class Network, class Loader>
Predictions predict(
    Network& net,
    Loader& loader,
    const Input& input,
    bool attention,
    bool keep_maps = false) {
  net->eval();
  std::vector<torch::Tensor> index, targets, probabilities, epg, boxed, maps;
  for (const auto& batch : loader) {
    const auto images = input.normalised(input.pixels(batch));
    torch::Tensor logits, share =
        torch::full({batch.targets.size(0)}, std::nan(""), torch::kDouble);
    if (attention) {
      const auto seen = care::capture(net, images);
      const auto map =
          care::grad_cam(
              seen.features, care::class_scores(seen.logits, batch.targets))
              .detach()
              .to(torch::kCPU, torch::kFloat);
      share = care::energy_pointing_game(map, care::pixel_mask(batch.boxes));
      logits = seen.logits.detach();
      if (keep_maps) {
        maps.push_back(map);
      }
    } else {
      torch::NoGradGuard no_grad;
      logits = net->forward(images);
    }
    index.push_back(batch.index);
    targets.push_back(batch.targets);
    probabilities.push_back(
        torch::softmax(logits.to(torch::kCPU, torch::kDouble), 1));
    epg.push_back(share);
    boxed.push_back(batch.boxes.boxes_per_image() > 0);
  }
  return {
      torch::cat(index),
      torch::cat(targets),
      torch::cat(probabilities),
      torch::cat(epg),
      torch::cat(boxed),
      maps.empty() ? torch::Tensor() : torch::cat(maps)};
}

} // namespace trainer

#endif // RESNET_TRAINER_TRAIN_HPP
