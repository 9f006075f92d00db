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
#include <functional>
#include <set>
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
  double loss = 0; ///< over the images
  double accuracy = 0; ///< over the images, of several labels over them too
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
    auto hits = targets.dim() == 1
        ? (logits.argmax(1) == targets).sum(torch::kDouble)
        : ((logits > 0) == (targets > 0)).to(torch::kDouble).mean(1).sum();
    auto nothing = torch::zeros_like(hits);
    const auto sum = [&](const torch::Tensor& mean, int64_t count) {
      return count > 0 ? mean.to(torch::kDouble) * count : nothing;
    };
    steps_.push_back(torch::stack(
        {sum(loss.total.detach(), n),
         hits,
         sum(a.inner, guided),
         sum(a.outer, guided),
         sum(a.inside_share, guided),
         torch::full_like(hits, n),
         torch::full_like(hits, guided)}));
  }

  /// `total`, where there is one, adds up over processes. Throws
  /// std::runtime_error that names the first batch whose loss is not finite.
  Epoch read(const care::SumOverRanks& total = {}) const {
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
    const auto sums = total ? total(steps.sum(0)) : steps.sum(0);
    const auto at = [&](int64_t column) { return sums[column].item<double>(); };
    const double n = at(5), guided = at(6);
    return {
        at(0) / n,
        at(1) / n,
        at(2) / guided,
        at(3) / guided,
        at(4) / guided,
        static_cast<int64_t>(n),
        static_cast<int64_t>(guided)};
  }

 private:
  std::vector<torch::Tensor> steps_; // [7] each
};

/// Scales the gradients so that their common norm is at most `most`; the
/// library's clip_grad_norm_ waits for the device.
inline void clip_gradients(const torch::nn::Module& net, double most) {
  torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> gradients, norms;
  std::set<const c10::TensorImpl*> known; // a tied parameter is listed twice
  for (const auto& p : net.parameters()) {
    if (p.grad().defined() && known.insert(p.unsafeGetTensorImpl()).second) {
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
  // Of several processes, see examples/distributed:
  std::function<void()> after_backward; ///< the gradients' mean, if any
  care::SumOverRanks total; ///< adds the figures up, if any
};

/// One pass over the training data: the part to copy. `net` is any module,
/// `criterion` any callable (logits [N, K], targets [N], or [N, K] of several
/// labels) -> scalar, `guide` a care::Guide. With alpha (or weight) 0 it is
/// plain training.
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
        batch.targets.dim() == 1 ? batch.targets : torch::Tensor(),
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
    if (options.after_backward) {
      options.after_backward();
    }
    if (options.clip > 0) {
      clip_gradients(*net, options.clip);
    }
    optimizer.step();
    figures.add(loss, seen.logits, targets);
  }
  return figures.read(options.total);
}

/// What a network says of pictures, on the host.
struct Predictions {
  torch::Tensor targets; ///< as the batches have them
  torch::Tensor probabilities; ///< `[N, K]` double
  torch::Tensor shown; ///< `[N]` int64, the class of the map
  /// `[N]` double, the share of its Grad-CAM inside the region; NaN for a
  /// picture without one and for a map without a positive cell.
  torch::Tensor epg;
  torch::Tensor boxed; ///< `[N]` bool, whether it has a region
  torch::Tensor maps; ///< `[N, h, w]` float, raw Grad-CAM, where asked for
};

/// The class whose map is looked at: the picture's own, of several labels the
/// one that its first box speaks for, or else the first; and without classes
/// the likeliest.
inline torch::Tensor shown_classes(
    const Batch& batch,
    const torch::Tensor& logits) {
  if (!batch.targets.defined()) {
    return logits.argmax(1);
  }
  if (batch.targets.dim() == 1) {
    return batch.targets;
  }
  auto classes = batch.targets.argmax(1);
  const auto labels = batch.boxes.labels();
  for (int64_t m = batch.boxes.num_boxes() - 1; m >= 0; --m) {
    const auto label = labels[m].item<int64_t>();
    if (label >= 0) {
      classes[batch.boxes.image_index()[m].item<int64_t>()] = label;
    }
  }
  return classes;
}

/// What of a picture is shown in the mean colour instead.
enum class Grey { kNothing, kSurroundings, kLesion };

struct PredictOptions {
  bool attention = false; ///< Grad-CAM too; it costs a graph of each batch
  bool keep_maps = false; ///< and hand it out
  bool multi_label = false; ///< each logit has its own sigmoid
  care::TargetLayer layer = {}; ///< whose map; by default the last one
  Grey grey = Grey::kNothing; ///< of pictures with a region
};

/// What the network says of everything the loader holds, in its order.
template <class Network, class Loader>
Predictions predict(
    Network& net,
    Loader& loader,
    const Input& input,
    const PredictOptions& options = {}) {
  net->eval();
  std::vector<torch::Tensor> targets, probabilities, shown, epg, boxed, maps;
  for (const auto& batch : loader) {
    auto images = input.normalised(input.pixels(batch)); // 0: the mean colour
    if (options.grey != Grey::kNothing) {
      const auto lesion = batch.lesions().unsqueeze(1).to(images.device());
      images = images * (options.grey == Grey::kLesion ? 1 - lesion : lesion);
    }
    const auto seen = [&]() -> care::Seen {
      if (options.attention) {
        return care::capture(net, images, {options.layer});
      }
      torch::NoGradGuard no_grad;
      return {net->forward(images), {}};
    }();
    const auto logits = seen.logits.detach().to(torch::kCPU, torch::kDouble);
    const auto classes = shown_classes(batch, logits);
    const auto boxes = batch.boxes.for_classes(classes);
    auto share = torch::full({logits.size(0)}, std::nan(""), torch::kDouble);
    if (options.attention) {
      const auto map = care::class_attention_map(
                           seen.features,
                           care::class_scores(seen.logits, classes),
                           care::GradCam(),
                           care::GradientOrder::kFirst,
                           seen.layout())
                           .detach()
                           .to(torch::kCPU, torch::kFloat);
      share = care::energy_pointing_game(
          map, batch.masks.defined() ? batch.masks : care::pixel_mask(boxes));
      if (options.keep_maps) {
        maps.push_back(map);
      }
    }
    if (batch.targets.defined()) {
      targets.push_back(batch.targets);
    }
    probabilities.push_back(
        options.multi_label ? logits.sigmoid() : logits.softmax(1));
    shown.push_back(classes);
    epg.push_back(share);
    boxed.push_back(boxes.boxes_per_image() > 0);
  }
  const auto whole = [](const std::vector<torch::Tensor>& parts) {
    return parts.empty() ? torch::Tensor() : torch::cat(parts);
  };
  return {
      whole(targets),
      whole(probabilities),
      whole(shown),
      whole(epg),
      whole(boxed),
      whole(maps)};
}

} // namespace trainer

#endif // RESNET_TRAINER_TRAIN_HPP
