// An arm of the study as network, loss and guide.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_METHOD_HPP
#define CARE_EXAMPLES_STUDY_METHOD_HPP

#include "networks/by_name.hpp"
#include "resnet_trainer/model_file.hpp"
#include "resnet_trainer/optimizer.hpp"
#include "resnet_trainer/resnet.hpp"
#include "resnet_trainer/train.hpp"
#include "study/plan.hpp"

#include <care/attention.hpp>
#include <care/augment.hpp>
#include <care/guide.hpp>
#include <care/imbalance.hpp>
#include <care/loss.hpp>

#include <torch/nn/modules/container/any.h>
#include <torch/nn/modules/loss.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace study {

/// A ResNet whose logits are cosines, as LDAM wants them.
class CosineResNetImpl : public trainer::ResNetImpl {
 public:
  explicit CosineResNetImpl(const trainer::ResNetOptions& options)
      : ResNetImpl(options),
        cosine_(fc->options.in_features(), options.classes) {
    replace_module("fc", cosine_);
  }
  torch::Tensor forward(const torch::Tensor& x) {
    const auto y = features(x);
    const care::Autocast off(x.device(), torch::kBFloat16, false);
    return cosine_(y.to(torch::kFloat).mean({2, 3}));
  }

 private:
  care::NormalisedLinear cosine_;
};
TORCH_MODULE(CosineResNet);

using networks::Network;

/// An arm's network, with the recipe's weights.
inline Network make_network(
    const Recipe& recipe,
    const Arm& arm,
    int64_t classes) {
  const auto width = recipe.width;
  const auto stride = recipe.last_stride;
  auto net = arm.imbalance == Imbalance::kLdamDrw
      ? Network(torch::nn::AnyModule(CosineResNet(trainer::ResNetOptions{
            std::stoll(recipe.net.substr(6)), classes, width, stride})))
      : networks::make(recipe.net, {classes, width, stride, size_of(recipe)});
  networks::set_batch_norm_momentum(*net, 0.1);
  if (!recipe.weights.empty()) {
    trainer::ModelCard card;
    trainer::load_weights(
        recipe.weights, *net, networks::families().at(recipe.net).head, card);
  }
  return net;
}

/// How the network wants its pictures: as the file of weights says, else as its
/// family; a ResNet without weights as the trainer's.
inline trainer::Input input_of(const Recipe& recipe, torch::Device device) {
  trainer::ModelCard card;
  if (!recipe.weights.empty() || !networks::is_resnet(recipe.net)) {
    const auto& values = networks::families().at(recipe.net).normalisation;
    card.mean = values.mean;
    card.deviation = values.deviation;
  }
  if (!recipe.weights.empty()) {
    trainer::take_normalisation(recipe.weights, card);
  }
  return {device, recipe.channels_last, card.mean, card.deviation};
}

using Map =
    std::function<torch::Tensor(const torch::Tensor&, const torch::Tensor&)>;
using Loss = std::function<
    torch::Tensor(const torch::Tensor&, const care::RegionWeights&)>;

/// In the order of AttentionMap.
inline Map map_of(AttentionMap map) {
  const std::vector<Map> maps{
      care::GradCam(),
      care::GradCam{true},
      care::GradCamPlusPlus(),
      care::XGradCam(),
      care::HiResCam(),
      care::LayerCam(),
      care::ElementWiseCam()};
  return maps.at(static_cast<size_t>(map));
}

/// In the order of Guidance.
inline Loss loss_of(const Arm& arm) {
  const auto care = care::CareLoss{
      care::AttentionLossOptions().lambda(arm.lambda).tau(arm.tau)};
  const std::vector<Loss> losses{
      care, // not guided: its schedule never begins
      care,
      care::EnergyLoss(),
      care::L1GuidanceLoss(),
      care::PpceLoss(),
      care::RrrLoss(),
      care::HintLoss(),
      care::GainLoss()};
  return losses.at(static_cast<size_t>(arm.guidance));
}

inline care::GuideOptions guide_options(
    const Arm& arm,
    const std::vector<int64_t>& guided,
    const Recipe& recipe) {
  const auto never = care::ScheduleOptions::kManual;
  auto layer = networks::families().at(recipe.net).layer;
  if (arm.map_stride > 0) {
    const auto [width, height] = size_of(recipe);
    layer.map_size({height / arm.map_stride, width / arm.map_stride});
  }
  care::GuideOptions options;
  options.classes(guided)
      .target_layers({layer})
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
  return options;
}

/// A guide whose map and loss are chosen while the program runs, and whose
/// strength an arm may leave to the gradients.
class ArmGuide : public care::Guide<Map, Loss> {
 public:
  /// `guided`: the classes of arm.guide. An arm without guidance keeps the
  /// factor that its alpha (or weight) gives the classification loss: it is the
  /// control with the attention loss at 0.
  ArmGuide(
      const Arm& arm,
      const std::vector<int64_t>& guided,
      const Recipe& recipe)
      : Guide(
            guide_options(arm, guided, recipe),
            loss_of(arm),
            map_of(arm.map)),
        balanced_(arm.balance),
        balance_(std::make_shared<care::Balance>(
            care::BalanceOptions().ratio(arm.balance.value_or(1)))) {}

  care::GuidedLoss loss(
      const torch::Tensor& classification,
      const care::Seen& seen,
      const torch::Tensor& target,
      const care::Regions& regions) const {
    return balanced_
        ? Guide::loss(classification, seen, target, regions, *balance_)
        : Guide::loss(classification, seen, target, regions);
  }

  friend torch::serialize::OutputArchive& operator<<(
      torch::serialize::OutputArchive& archive,
      const ArmGuide& guide) {
    torch::serialize::OutputArchive balance;
    balance << *guide.balance_;
    archive << static_cast<const Guide&>(guide);
    archive.write("balance", balance);
    return archive;
  }
  friend torch::serialize::InputArchive& operator>>(
      torch::serialize::InputArchive& archive,
      ArmGuide& guide) {
    torch::serialize::InputArchive balance;
    archive >> static_cast<Guide&>(guide);
    archive.read("balance", balance);
    balance >> *guide.balance_;
    return archive;
  }

 private:
  bool balanced_;
  std::shared_ptr<care::Balance> balance_; // it learns while it weighs
};

/// Lc of a batch: (logits [N, K], target [N], epoch from 0) -> scalar.
using Criterion = std::function<
    torch::Tensor(const torch::Tensor&, const torch::Tensor&, int64_t)>;

/// `counts`: the training images of each class, at least 1.
inline Criterion criterion_of(
    Imbalance imbalance,
    const std::vector<int64_t>& counts,
    int64_t epochs,
    torch::Device device) {
  const auto of = [](auto loss) -> Criterion {
    return [loss](
               const torch::Tensor& logits,
               const torch::Tensor& target,
               int64_t) mutable { return loss(logits, target); };
  };
  const auto cross_entropy = [&](const torch::Tensor& weight) {
    return of(
        torch::nn::CrossEntropyLoss(torch::nn::CrossEntropyLossOptions().weight(
            weight.defined() ? weight.to(device) : weight)));
  };
  const auto adjusted = [&](double tau) {
    const auto options = care::LogitAdjustmentOptions().tau(tau);
    return of(care::LogitAdjustedLoss(counts, options));
  };
  // A few hundred images: beta 0.999 would nearly be the inverse frequency.
  const auto by_effective_number = [&] {
    return care::effective_number_weights(counts, 0.99).to(device);
  };
  switch (imbalance) {
    case Imbalance::kClassWeights:
      return cross_entropy(care::inverse_frequency_weights(counts));
    case Imbalance::kMedianWeights:
      return cross_entropy(care::median_frequency_weights(counts));
    case Imbalance::kEffectiveNumber:
      return cross_entropy(by_effective_number());
    case Imbalance::kFocal:
      return of(care::FocalLoss());
    case Imbalance::kClassBalancedFocal:
      return of(care::FocalLoss(
          care::FocalLossOptions().weight(by_effective_number())));
    case Imbalance::kBalancedSoftmax:
      return adjusted(1);
    case Imbalance::kLogitAdjustment:
      return adjusted(0.5);
    case Imbalance::kLabelSmoothing:
      return of(
          care::SmoothedCrossEntropy(care::smoothing_by_count(counts, 0.2)));
    case Imbalance::kLdamDrw:
      // Weights from 80 % of the epochs on, as Cao et al. do.
      return [counts, start = epochs * 4 / 5, weight = by_effective_number()](
                 const torch::Tensor& logits,
                 const torch::Tensor& target,
                 int64_t epoch) {
        return care::ldam_loss(
            logits,
            target,
            counts,
            care::LdamLossOptions().weight(
                care::deferred_weights(weight, epoch, start)));
      };
    case Imbalance::kCe:
    case Imbalance::kClassBalancedSampling:
    case Imbalance::kSquareRootSampling:
      break;
  }
  return cross_entropy({});
}

/// The learning rate of an epoch, from 0.
inline double rate_of(const Recipe& recipe, int64_t epoch) {
  const auto done =
      static_cast<double>(epoch) / static_cast<double>(recipe.epochs);
  return recipe.lr_schedule == LrSchedule::kCosine
      ? recipe.lr * trainer::cosine_decay(done)
      : recipe.lr;
}

inline care::AugmentOptions augmentation_of(
    const Recipe& recipe,
    const Arm& arm) {
  const std::vector<care::Outside> sources{// in the order of Outside
                                           care::Outside::kKeep,
                                           care::Outside::kOtherClass,
                                           care::Outside::kOther,
                                           care::Outside::kColour,
                                           care::Outside::kBlur};
  return care::AugmentOptions::preset(name_of(recipe.augment))
      .outside(care::OutsideOptions()
                   .source(sources.at(static_cast<size_t>(arm.outside)))
                   .share(arm.outside_share));
}

} // namespace study

#endif // CARE_EXAMPLES_STUDY_METHOD_HPP
