// An arm of the study as network, loss, guide and optimizer.
// SPDX-License-Identifier: Apache-2.0
#include "study/method.hpp"

#include "resnet_trainer/resnet.hpp"

#include <care/attention.hpp>
#include <care/imbalance.hpp>
#include <care/loss.hpp>

#include <torch/nn/functional/loss.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

#include <cmath>

namespace study {
namespace {

using torch::Tensor;
namespace F = torch::nn::functional;

/// A ResNet whose logits are cosines, as LDAM wants them.
class CosineResNetImpl : public trainer::ResNetImpl {
 public:
  explicit CosineResNetImpl(const trainer::ResNetOptions& options)
      : ResNetImpl(options),
        cosine_(fc->options.in_features(), options.classes) {
    replace_module("fc", cosine_);
  }
  Tensor forward(const Tensor& x) {
    const auto y = features(x);
    const care::Autocast off(x.device(), torch::kBFloat16, false);
    return cosine_(y.to(torch::kFloat).mean({2, 3}));
  }

 private:
  care::NormalisedLinear cosine_;
};
TORCH_MODULE(CosineResNet);

int64_t depth_of(Net net) {
  switch (net) {
    case Net::kResNet34:
      return 34;
    case Net::kResNet50:
      return 50;
    case Net::kResNet101:
      return 101;
    case Net::kResNet152:
      return 152;
    case Net::kResNet18:
      break;
  }
  return 18;
}

ArmGuide::Loss loss_of(const Arm& arm) {
  switch (arm.guidance) {
    case Guidance::kEnergy:
      return care::EnergyLoss();
    case Guidance::kL1:
      return care::L1GuidanceLoss();
    case Guidance::kPpce:
      return care::PpceLoss();
    case Guidance::kRrr:
      return care::RrrLoss();
    case Guidance::kHint:
      return care::HintLoss();
    case Guidance::kGain:
      return care::GainLoss();
    case Guidance::kNone:
    case Guidance::kCare:
      break;
  }
  return care::CareLoss{
      care::AttentionLossOptions().lambda(arm.lambda).tau(arm.tau)};
}

ArmGuide::Map map_of(AttentionMap map) {
  switch (map) {
    case AttentionMap::kGradCamRelu:
      return care::GradCam{true};
    case AttentionMap::kGradCamPlusPlus:
      return care::GradCamPlusPlus();
    case AttentionMap::kXGradCam:
      return care::XGradCam();
    case AttentionMap::kHiResCam:
      return care::HiResCam();
    case AttentionMap::kLayerCam:
      return care::LayerCam();
    case AttentionMap::kElementWise:
      return care::ElementWiseCam();
    case AttentionMap::kGradCam:
      break;
  }
  return care::GradCam();
}

care::GuideOptions guide_options(
    const Arm& arm,
    const std::vector<int64_t>& guided,
    const Recipe& recipe) {
  const auto never = care::ScheduleOptions::kManual;
  care::GuideOptions options;
  options.classes(guided)
      .alpha(arm.alpha)
      .order(
          arm.full_gradient ? care::GradientOrder::kFull
                            : care::GradientOrder::kFirst)
      .schedule(care::ScheduleOptions()
                    .start(arm.is_guided() ? arm.start : never)
                    .warmup(arm.warmup));
  if (arm.weight) {
    options.weight(*arm.weight);
  }
  if (arm.map_stride > 0) {
    const auto [width, height] = size_of(recipe);
    options.target_layers({care::TargetLayer().map_size(
        {height / arm.map_stride, width / arm.map_stride})});
  }
  return options;
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

} // namespace

Network make_network(const Recipe& recipe, const Arm& arm, int64_t classes) {
  trainer::ResNetOptions options;
  options.depth = depth_of(recipe.net);
  options.classes = classes;
  options.width = recipe.width;
  options.last_stride = recipe.last_stride;
  return arm.imbalance == Imbalance::kLdamDrw
      ? Network(torch::nn::AnyModule(CosineResNet(options)))
      : Network(torch::nn::AnyModule(trainer::ResNet(options)));
}

ArmGuide::ArmGuide(
    const Arm& arm,
    const std::vector<int64_t>& guided,
    const Recipe& recipe)
    : guide_(
          guide_options(arm, guided, recipe),
          loss_of(arm),
          map_of(arm.map)) {
  if (arm.balance) {
    balance_ = std::make_shared<care::Balance>(
        care::BalanceOptions().ratio(*arm.balance));
  }
}

torch::serialize::OutputArchive& operator<<(
    torch::serialize::OutputArchive& archive,
    const ArmGuide& guide) {
  torch::serialize::OutputArchive balance;
  if (guide.balance_) {
    balance << *guide.balance_;
  }
  archive << guide.guide_;
  archive.write("balance", balance);
  return archive;
}

torch::serialize::InputArchive& operator>>(
    torch::serialize::InputArchive& archive,
    ArmGuide& guide) {
  torch::serialize::InputArchive balance;
  archive >> guide.guide_;
  archive.read("balance", balance);
  if (guide.balance_) {
    balance >> *guide.balance_;
  }
  return archive;
}

Criterion criterion_of(
    Imbalance imbalance,
    const std::vector<int64_t>& counts,
    int64_t epochs,
    torch::Device device) {
  // A few hundred images: beta 0.999 would nearly be the inverse frequency.
  const auto by_effective_number = [&] {
    return care::effective_number_weights(counts, 0.99).to(device);
  };
  switch (imbalance) {
    case Imbalance::kClassWeights:
      return cross_entropy(care::inverse_frequency_weights(counts).to(device));
    case Imbalance::kMedianWeights:
      return cross_entropy(care::median_frequency_weights(counts).to(device));
    case Imbalance::kEffectiveNumber:
      return cross_entropy(by_effective_number());
    case Imbalance::kFocal:
      return focal({});
    case Imbalance::kClassBalancedFocal:
      return focal(by_effective_number());
    case Imbalance::kLdamDrw:
      return ldam_drw(counts, by_effective_number(), epochs);
    case Imbalance::kBalancedSoftmax:
      return logit_adjusted(counts, 1);
    case Imbalance::kLogitAdjustment:
      return logit_adjusted(counts, 0.5);
    case Imbalance::kLabelSmoothing:
      return label_smoothing(counts);
    case Imbalance::kCe:
    case Imbalance::kClassBalancedSampling:
    case Imbalance::kSquareRootSampling:
      break;
  }
  return cross_entropy({});
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(
    const Recipe& recipe,
    const Network& net) {
  using namespace torch::optim;
  const auto parameters = net->parameters();
  const double lr = recipe.lr, decay = recipe.weight_decay;
  switch (recipe.optimizer) {
    case study::Optimizer::kAdamW:
      return std::make_unique<AdamW>(
          parameters, AdamWOptions(lr).weight_decay(decay));
    case study::Optimizer::kSgd:
      return std::make_unique<SGD>(
          parameters, SGDOptions(lr).momentum(0.9).weight_decay(decay));
    case study::Optimizer::kAdam:
      break;
  }
  return std::make_unique<Adam>(
      parameters, AdamOptions(lr).weight_decay(decay));
}

void set_rate(
    torch::optim::Optimizer& optimizer,
    const Recipe& recipe,
    int64_t epoch) {
  const auto done =
      static_cast<double>(epoch) / static_cast<double>(recipe.epochs);
  const double rate = recipe.lr_schedule == LrSchedule::kCosine
      ? recipe.lr * (1 + std::cos(M_PI * done)) / 2
      : recipe.lr;
  for (auto& group : optimizer.param_groups()) {
    group.options().set_lr(rate);
  }
}

care::AugmentOptions augmentation_of(const Recipe& recipe, const Arm& arm) {
  auto options = care::AugmentOptions::preset(name_of(recipe.augment));
  care::OutsideOptions outside;
  switch (arm.outside) {
    case Outside::kOtherClass:
      outside.source(care::Outside::kOtherClass);
      break;
    case Outside::kOther:
      outside.source(care::Outside::kOther);
      break;
    case Outside::kGrey:
      outside.source(care::Outside::kColour);
      break;
    case Outside::kBlur:
      outside.source(care::Outside::kBlur);
      break;
    case Outside::kKeep:
      outside.source(care::Outside::kKeep);
      break;
  }
  return options.outside(outside.share(arm.outside_share));
}

} // namespace study
