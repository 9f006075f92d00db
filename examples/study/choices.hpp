// What a study's settings may choose from, each with its name in JSON.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_CHOICES_HPP
#define CARE_EXAMPLES_STUDY_CHOICES_HPP

#include <nlohmann/json.hpp>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace study {

using Names = std::vector<std::string>;

/// The names of an enum's values, in their order.
template <class Choice>
inline const Names kNames{};

template <class Choice>
const std::string& name_of(Choice choice) {
  return kNames<Choice>.at(static_cast<size_t>(choice));
}

// nlohmann's own macro for enums takes an unknown name for the first choice.
template <class Choice, class = std::enable_if_t<std::is_enum_v<Choice>>>
void to_json(nlohmann::json& json, Choice choice) {
  json = name_of(choice);
}
template <class Choice, class = std::enable_if_t<std::is_enum_v<Choice>>>
void from_json(const nlohmann::json& json, Choice& choice) {
  std::string all;
  for (size_t i = 0; i < kNames<Choice>.size(); ++i) {
    if (json == kNames<Choice>[i]) {
      choice = static_cast<Choice>(i);
      return;
    }
    all += (i == 0 ? "" : ", ") + kNames<Choice>[i];
  }
  throw std::invalid_argument(
      "expected one of " + all + ", but got " + json.dump());
}

// clang-format off
enum class Optimizer { kAdam, kAdamW, kSgd };
template <>
inline const Names kNames<Optimizer>{"adam", "adamw", "sgd"};

enum class LrSchedule { kCosine, kConstant };
template <>
inline const Names kNames<LrSchedule>{"cosine", "constant"};

enum class Augment { kNone, kFlips, kStrong };
template <>
inline const Names kNames<Augment>{"none", "flips", "strong"};

enum class Precision { kFloat, kBFloat16 };
template <>
inline const Names kNames<Precision>{"float", "bfloat16"};

/// Where the manifest says lesions are.
enum class Regions { kBoxes, kMasks };
template <>
inline const Names kNames<Regions>{"boxes", "masks"};

enum class Imbalance {
  kCe, kClassWeights, kMedianWeights, kEffectiveNumber, kFocal,
  kClassBalancedFocal, kLdamDrw, kBalancedSoftmax, kLogitAdjustment,
  kLabelSmoothing, kClassBalancedSampling, kSquareRootSampling
};
template <>
inline const Names kNames<Imbalance>{
    "ce", "class_weights", "median_weights", "effective_number", "focal",
    "class_balanced_focal", "ldam_drw", "balanced_softmax", "logit_adjustment",
    "label_smoothing", "class_balanced_sampling", "square_root_sampling"};

enum class Guidance { kNone, kCare, kEnergy, kL1, kPpce, kRrr, kHint, kGain };
template <>
inline const Names kNames<Guidance>{
    "none", "care", "energy", "l1", "ppce", "rrr", "hint", "gain"};

enum class AttentionMap {
  kGradCam, kGradCamRelu, kGradCamPlusPlus, kXGradCam, kHiResCam, kLayerCam,
  kElementWise
};
template <>
inline const Names kNames<AttentionMap>{
    "grad_cam", "grad_cam_relu", "grad_cam_plus_plus", "xgrad_cam",
    "hires_cam", "layer_cam", "element_wise"};

/// What takes the place of what lies outside of the boxes.
enum class Outside { kKeep, kOtherClass, kOther, kGrey, kBlur };
template <>
inline const Names kNames<Outside>{
    "keep", "other_class", "other", "grey", "blur"};

/// How a test picture is shown to a network.
enum class View { kWhole, kLesionAlone, kLesionGrey };
template <>
inline const Names kNames<View>{"whole", "lesion alone", "lesion grey"};
// clang-format on

} // namespace study

#endif // CARE_EXAMPLES_STUDY_CHOICES_HPP
