// A plan's parts as JSON.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_PLAN_JSON_HPP
#define CARE_EXAMPLES_STUDY_PLAN_JSON_HPP

#include "study/plan.hpp"

#include <nlohmann/json.hpp>

#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace nlohmann {
template <class T>
struct adl_serializer<std::optional<T>> {
  static void to_json(json& json, const std::optional<T>& value) {
    json = value ? nlohmann::json(*value) : nlohmann::json(nullptr);
  }
  static void from_json(const json& json, std::optional<T>& value) {
    value = json.is_null() ? std::nullopt : std::make_optional(json.get<T>());
  }
};
} // namespace nlohmann

namespace study {

using Json = nlohmann::json;

// nlohmann's own macro for enums takes an unknown name for the first choice.
template <class Choice, class = std::enable_if_t<std::is_enum_v<Choice>>>
void to_json(Json& json, Choice choice) {
  json = name_of(choice);
}
template <class Choice, class = std::enable_if_t<std::is_enum_v<Choice>>>
void from_json(const Json& json, Choice& choice) {
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
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    Recipe, size, net, weights, width, last_stride, epochs, batch, optimizer, lr,
    weight_decay, lr_schedule, augment, precision, channels_last)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    Arm, name, imbalance, guidance, guide, boxes, weigh_boxes, box_shift,
    box_missing, map, map_stride, full_gradient, alpha, weight, balance, lambda,
    tau, start, warmup, dilate, outside, outside_share, baseline, splits, wave)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    SplitSet, train_share, numbers, folds, arms)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    Plan, data, exclude, counts, test_count, rare, rare_share, subgroup,
    test_sets, recipe, splits, seeds, shuffled_control, arms)
// clang-format on

} // namespace study

#endif // CARE_EXAMPLES_STUDY_PLAN_JSON_HPP
