// What a study's settings may choose from, each with its name in JSON.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_CHOICES_HPP
#define CARE_EXAMPLES_STUDY_CHOICES_HPP

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace study {

/// The values of an enum and their names.
template <class Choice>
using Names = std::vector<std::pair<Choice, const char*>>;

enum class Net { kResNet18, kResNet34, kResNet50, kResNet101, kResNet152 };
inline Names<Net> names_of(Net /*choice*/) {
  return {
      {Net::kResNet18, "resnet18"},
      {Net::kResNet34, "resnet34"},
      {Net::kResNet50, "resnet50"},
      {Net::kResNet101, "resnet101"},
      {Net::kResNet152, "resnet152"}};
}

enum class Optimizer { kAdam, kAdamW, kSgd };
inline Names<Optimizer> names_of(Optimizer /*choice*/) {
  return {
      {Optimizer::kAdam, "adam"},
      {Optimizer::kAdamW, "adamw"},
      {Optimizer::kSgd, "sgd"}};
}

enum class LrSchedule { kCosine, kConstant };
inline Names<LrSchedule> names_of(LrSchedule /*choice*/) {
  return {{LrSchedule::kCosine, "cosine"}, {LrSchedule::kConstant, "constant"}};
}

enum class Augment { kNone, kFlips, kStrong };
inline Names<Augment> names_of(Augment /*choice*/) {
  return {
      {Augment::kNone, "none"},
      {Augment::kFlips, "flips"},
      {Augment::kStrong, "strong"}};
}

enum class Precision { kFloat, kBFloat16 };
inline Names<Precision> names_of(Precision /*choice*/) {
  return {{Precision::kFloat, "float"}, {Precision::kBFloat16, "bfloat16"}};
}

enum class Imbalance {
  kCe,
  kClassWeights,
  kMedianWeights,
  kEffectiveNumber,
  kFocal,
  kClassBalancedFocal,
  kLdamDrw,
  kBalancedSoftmax,
  kLogitAdjustment,
  kLabelSmoothing,
  kClassBalancedSampling,
  kSquareRootSampling
};
inline Names<Imbalance> names_of(Imbalance /*choice*/) {
  return {
      {Imbalance::kCe, "ce"},
      {Imbalance::kClassWeights, "class_weights"},
      {Imbalance::kMedianWeights, "median_weights"},
      {Imbalance::kEffectiveNumber, "effective_number"},
      {Imbalance::kFocal, "focal"},
      {Imbalance::kClassBalancedFocal, "class_balanced_focal"},
      {Imbalance::kLdamDrw, "ldam_drw"},
      {Imbalance::kBalancedSoftmax, "balanced_softmax"},
      {Imbalance::kLogitAdjustment, "logit_adjustment"},
      {Imbalance::kLabelSmoothing, "label_smoothing"},
      {Imbalance::kClassBalancedSampling, "class_balanced_sampling"},
      {Imbalance::kSquareRootSampling, "square_root_sampling"}};
}

enum class Guidance { kNone, kCare, kEnergy, kL1, kPpce, kRrr, kHint, kGain };
inline Names<Guidance> names_of(Guidance /*choice*/) {
  return {
      {Guidance::kNone, "none"},
      {Guidance::kCare, "care"},
      {Guidance::kEnergy, "energy"},
      {Guidance::kL1, "l1"},
      {Guidance::kPpce, "ppce"},
      {Guidance::kRrr, "rrr"},
      {Guidance::kHint, "hint"},
      {Guidance::kGain, "gain"}};
}

enum class AttentionMap {
  kGradCam,
  kGradCamRelu,
  kGradCamPlusPlus,
  kXGradCam,
  kHiResCam,
  kLayerCam,
  kElementWise
};
inline Names<AttentionMap> names_of(AttentionMap /*choice*/) {
  return {
      {AttentionMap::kGradCam, "grad_cam"},
      {AttentionMap::kGradCamRelu, "grad_cam_relu"},
      {AttentionMap::kGradCamPlusPlus, "grad_cam_plus_plus"},
      {AttentionMap::kXGradCam, "xgrad_cam"},
      {AttentionMap::kHiResCam, "hires_cam"},
      {AttentionMap::kLayerCam, "layer_cam"},
      {AttentionMap::kElementWise, "element_wise"}};
}

/// What takes the place of what lies outside of the boxes.
enum class Outside { kKeep, kOtherClass, kOther, kGrey, kBlur };
inline Names<Outside> names_of(Outside /*choice*/) {
  return {
      {Outside::kKeep, "keep"},
      {Outside::kOtherClass, "other_class"},
      {Outside::kOther, "other"},
      {Outside::kGrey, "grey"},
      {Outside::kBlur, "blur"}};
}

/// The name of a choice.
template <class Choice>
std::string name_of(Choice choice) {
  for (const auto& entry : names_of(choice)) {
    if (entry.first == choice) {
      return entry.second;
    }
  }
  throw std::logic_error("name_of: expected a choice that has a name");
}

} // namespace study

#endif // CARE_EXAMPLES_STUDY_CHOICES_HPP
