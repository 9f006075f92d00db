// A plan's parts as JSON.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_PLAN_JSON_HPP
#define CARE_EXAMPLES_STUDY_PLAN_JSON_HPP

#include "study/plan.hpp"

#include <nlohmann/json.hpp>

#include <optional>
#include <stdexcept>
#include <string>

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
template <class Choice, class = decltype(names_of(Choice()))>
void to_json(nlohmann::json& json, Choice choice) {
  json = name_of(choice);
}
template <class Choice, class = decltype(names_of(Choice()))>
void from_json(const nlohmann::json& json, Choice& choice) {
  std::string all;
  for (const auto& entry : names_of(Choice())) {
    if (json == entry.second) {
      choice = entry.first;
      return;
    }
    all += (all.empty() ? "" : ", ") + std::string(entry.second);
  }
  throw std::invalid_argument(
      "expected one of " + all + ", but got " + json.dump());
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    Recipe,
    size,
    net,
    width,
    last_stride,
    epochs,
    batch,
    optimizer,
    lr,
    weight_decay,
    lr_schedule,
    augment,
    precision,
    channels_last)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    Arm,
    name,
    imbalance,
    guidance,
    guide,
    boxes,
    weigh_boxes,
    box_shift,
    box_missing,
    map,
    map_stride,
    full_gradient,
    alpha,
    weight,
    balance,
    lambda,
    tau,
    start,
    warmup,
    dilate,
    outside,
    outside_share,
    baseline,
    splits,
    wave)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    SplitSet,
    train_share,
    numbers,
    folds,
    arms)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    Plan,
    data,
    exclude,
    counts,
    test_count,
    rare,
    rare_share,
    subgroup,
    test_sets,
    recipe,
    splits,
    seeds,
    arms)

} // namespace study

#endif // CARE_EXAMPLES_STUDY_PLAN_JSON_HPP
