// An arm of the study as loss, guide and order of the images.
// SPDX-License-Identifier: Apache-2.0
#include "study/method.hpp"

#include <care/attention.hpp>
#include <care/imbalance.hpp>
#include <care/loss.hpp>

#include <fmt/format.h>
#include <torch/nn/functional/loss.h>

#include <stdexcept>
#include <string>

namespace study {
namespace {

using torch::Tensor;
using Criterion = decltype(trainer::Method::criterion);
namespace F = torch::nn::functional;

[[noreturn]] void unknown(const char* what, const std::string& name) {
  throw std::invalid_argument(
      fmt::format("method_of: expected a known {}, but got '{}'", what, name));
}

/// F::cross_entropy with weights, or none.
Criterion cross_entropy(const Tensor& weight) {
  const auto options = F::CrossEntropyFuncOptions().weight(weight);
  return [options](const Tensor& logits, const Tensor& target, int64_t) {
    return F::cross_entropy(logits, target, options);
  };
}

Criterion focal(const Tensor& weight) {
  const auto options = care::FocalLossOptions().weight(weight);
  return [options](const Tensor& logits, const Tensor& target, int64_t) {
    return care::focal_loss(logits, target, options);
  };
}

Criterion logit_adjusted(const std::vector<int64_t>& counts, double tau) {
  const auto options = care::LogitAdjustmentOptions().tau(tau);
  return [=](const Tensor& logits, const Tensor& target, int64_t) {
    return care::logit_adjusted_loss(logits, target, counts, options);
  };
}

/// Weights from 80 % of the epochs on, as Cao et al. do.
Criterion ldam_drw(
    const std::vector<int64_t>& counts,
    const Tensor& weight,
    int64_t epochs) {
  const auto start = epochs * 4 / 5;
  return [=](const Tensor& logits, const Tensor& target, int64_t epoch) {
    return care::ldam_loss(
        logits,
        target,
        counts,
        care::LdamLossOptions().weight(
            care::deferred_weights(weight, epoch, start)));
  };
}

Criterion label_smoothing(const std::vector<int64_t>& counts) {
  const auto smoothing = care::smoothing_by_count(counts, 0.2);
  return [=](const Tensor& logits, const Tensor& target, int64_t) {
    return care::smoothed_cross_entropy(logits, target, smoothing);
  };
}

Criterion criterion_of(
    const std::string& method,
    const std::vector<int64_t>& counts,
    int64_t epochs,
    torch::Device device) {
  // A few hundred images: beta 0.999 would nearly be the inverse frequency.
  constexpr double kBeta = 0.99;
  const auto on = [&](const Tensor& weight) { return weight.to(device); };
  if (method == "ce" || method == "class_balanced_sampling" ||
      method == "square_root_sampling") {
    return cross_entropy({});
  }
  if (method == "class_weights") {
    return cross_entropy(on(care::inverse_frequency_weights(counts)));
  }
  if (method == "median_weights") {
    return cross_entropy(on(care::median_frequency_weights(counts)));
  }
  if (method == "effective_number") {
    return cross_entropy(on(care::effective_number_weights(counts, kBeta)));
  }
  if (method == "focal") {
    return focal({});
  }
  if (method == "class_balanced_focal") {
    return focal(on(care::effective_number_weights(counts, kBeta)));
  }
  if (method == "ldam_drw") {
    return ldam_drw(
        counts, on(care::effective_number_weights(counts, kBeta)), epochs);
  }
  if (method == "balanced_softmax") {
    return logit_adjusted(counts, 1);
  }
  if (method == "logit_adjustment") {
    return logit_adjusted(counts, 0.5);
  }
  if (method == "label_smoothing") {
    return label_smoothing(counts);
  }
  unknown("imbalance method", method);
}

trainer::AnyLoss loss_of(const Arm& arm) {
  const auto& name = arm.guidance;
  if (name == "care" || name == "none") {
    const auto options =
        care::AttentionLossOptions().lambda(arm.lambda).tau(arm.tau);
    return {care::CareLoss{options}, options};
  }
  trainer::AnyLoss loss;
  if (name == "energy") {
    loss.loss = care::EnergyLoss();
  } else if (name == "l1") {
    loss.loss = care::L1GuidanceLoss();
  } else if (name == "ppce") {
    loss.loss = care::PpceLoss();
  } else if (name == "rrr") {
    loss.loss = care::RrrLoss();
  } else if (name == "hint") {
    loss.loss = care::HintLoss();
  } else if (name == "gain") {
    loss.loss = care::GainLoss();
  } else {
    unknown("guidance loss", name);
  }
  return loss;
}

trainer::AnyMap map_of(const std::string& name) {
  if (name == "grad_cam") {
    return care::GradCam();
  }
  if (name == "grad_cam_relu") {
    return care::GradCam{true};
  }
  if (name == "grad_cam_plus_plus") {
    return care::GradCamPlusPlus();
  }
  if (name == "xgrad_cam") {
    return care::XGradCam();
  }
  if (name == "hires_cam") {
    return care::HiResCam();
  }
  if (name == "layer_cam") {
    return care::LayerCam();
  }
  if (name == "element_wise") {
    return care::ElementWiseCam();
  }
  unknown("attention map", name);
}

care::GuideOptions guide_options(
    const Arm& arm,
    const std::vector<int64_t>& guided,
    care::Size image) {
  care::GuideOptions options;
  options.classes(guided)
      .alpha(arm.alpha)
      .order(
          arm.full_gradient ? care::GradientOrder::kFull
                            : care::GradientOrder::kFirst)
      .schedule(
          care::ScheduleOptions()
              .start(
                  arm.is_guided() ? arm.start : care::ScheduleOptions::kManual)
              .warmup(arm.warmup));
  if (arm.weight) {
    options.weight(*arm.weight);
  }
  if (arm.map_stride > 0) {
    options.target_layers({care::TargetLayer().map_size(
        {image.height / arm.map_stride, image.width / arm.map_stride})});
  }
  return options;
}

} // namespace

trainer::Method method_of(
    const Arm& arm,
    const std::vector<int64_t>& guided,
    const std::vector<int64_t>& counts,
    int64_t epochs,
    care::Size image,
    torch::Device device) {
  trainer::Method method{
      criterion_of(arm.imbalance, counts, epochs, device),
      care::Guide<trainer::AnyMap, trainer::AnyLoss>(
          guide_options(arm, guided, image), loss_of(arm), map_of(arm.map)),
      torch::nullopt};
  if (arm.balance && arm.is_guided()) {
    method.balance = care::Balance(care::BalanceOptions().ratio(*arm.balance));
  }
  if (arm.imbalance == "class_balanced_sampling") {
    method.order = trainer::Order::kBalanced;
  } else if (arm.imbalance == "square_root_sampling") {
    method.order = trainer::Order::kSquareRoot;
  }
  method.cosine_head = arm.imbalance == "ldam_drw";
  return method;
}

} // namespace study
