// The settings file: JSON to a plan, and nothing unknown or out of range.
// SPDX-License-Identifier: Apache-2.0
#include "study/plan.hpp"

#include "common/json.hpp"
#include "networks/names.hpp"
#include "resnet_trainer/files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <initializer_list>
#include <map>

namespace study {

using Json = nlohmann::json;

// clang-format off
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    Recipe, size, net, weights, width, last_stride, epochs, batch, optimizer, lr,
    weight_decay, lr_schedule, augment, precision, channels_last, regions)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    Arm, name, imbalance, guidance, guide, boxes, weigh_boxes, box_shift,
    box_missing, map, map_stride, full_gradient, alpha, weight, balance, lambda,
    tau, start, warmup, dilate, outside, outside_share, baseline, splits, wave)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    SplitSet, train_share, numbers, folds, arms)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    Plan, data, exclude, counts, test_count, rare, rare_share, subgroup,
    test_sets, occlusion, recipe, splits, seeds, shuffled_control, arms)
// clang-format on

namespace {

constexpr double kMany = 1e6;

/// What the numbers under a key may be, wherever it stands.
const std::map<std::string, std::array<double, 2>> kRanges{
    {"alpha", {0, 1}},          {"balance", {0, kMany}},
    {"batch", {1, kMany}},      {"box_missing", {0, 1}},
    {"box_shift", {0, 1}},      {"count", {1, kMany}},
    {"counts", {1, kMany}},     {"dilate", {0.05, 20}},
    {"epochs", {1, kMany}},     {"first", {0, kMany}},
    {"folds", {0, kMany}},      {"lambda", {0, kMany}},
    {"last_stride", {1, 2}},    {"lr", {1e-9, 100}},
    {"map_stride", {0, kMany}}, {"numbers", {0, kMany}},
    {"outside_share", {0, 1}},  {"rare_share", {1e-9, 1}},
    {"seeds", {0, kMany}},      {"splits", {-1, kMany}},
    {"start", {0, kMany}},      {"tau", {1e-6, 1}},
    {"test_count", {1, kMany}}, {"train_share", {0.01, 0.99}},
    {"warmup", {0, kMany}},     {"wave", {0, kMany}},
    {"weight", {0, kMany}},     {"weight_decay", {0, 1}},
    {"width", {0.01, 8}}};

[[noreturn]] void fail(
    const std::string& key,
    const std::string& expected,
    const std::string& got) {
  throw std::invalid_argument(
      key + ": expected " + expected + ", but got " + got);
}

std::string below(const std::string& where, const std::string& key) {
  return where.empty() ? key : where + "." + key;
}

void check_range(
    const std::string& where,
    const Json& number,
    const std::array<double, 2>& range) {
  const auto x = number.get<double>();
  if (!(x >= range[0] && x <= range[1])) {
    fail(
        where,
        fmt::format("a number in [{:g}, {:g}]", range[0], range[1]),
        number.dump());
  }
}

/// The object as a T. Its keys are those that T is written with, and each value
/// comes back as it was: a misspelt key or 1.5 epochs would do nothing.
template <class T>
T parse(const Json& json, const std::string& where) {
  const std::string name = where.empty() ? "settings" : where;
  if (!json.is_object()) {
    fail(name, "an object", json.dump());
  }
  const Json known = T();
  for (const auto& [key, value] : json.items()) {
    if (!known.contains(key)) {
      std::string keys;
      for (const auto& item : known.items()) {
        keys += (keys.empty() ? "" : ", ") + item.key();
      }
      fail(name, "the keys " + keys, key);
    }
    bool same = false;
    try {
      same = Json(Json{{key, value}}.get<T>()).at(key) == value;
    } catch (const Json::exception&) {
    } catch (const std::invalid_argument& error) { // of a choice
      throw std::invalid_argument(below(where, key) + ": " + error.what());
    }
    if (!same) {
      fail(below(where, key), "another kind of value", value.dump());
    }
    for (const auto& one : value.is_array() ? value : Json::array({value})) {
      if (one.is_number()) {
        check_range(below(where, key), one, kRanges.at(key));
      }
    }
  }
  return json.get<T>();
}

/// Refuses those of the keys that are given: they would move nothing.
void refuse(
    const Json& given,
    const std::string& where,
    std::initializer_list<const char*> keys,
    const std::string& because) {
  for (const char* key : keys) {
    if (given.contains(key)) {
      fail(below(where, key), "none " + because, given.at(key).dump());
    }
  }
}

void check_effect(const Json& given, const Arm& arm, const std::string& where) {
  const bool keeps = arm.outside == Outside::kKeep;
  if (!arm.is_guided()) {
    const auto because = "in an arm without guidance";
    refuse(given, where, {"guide", "map", "map_stride"}, because);
    refuse(given, where, {"full_gradient", "balance"}, because);
    refuse(given, where, {"start", "warmup"}, because);
  }
  if (!arm.is_guided() && keeps) {
    const auto because = "in an arm that uses no boxes";
    refuse(given, where, {"boxes", "weigh_boxes", "dilate"}, because);
    refuse(given, where, {"box_shift", "box_missing"}, because);
  }
  if (arm.guidance != Guidance::kCare) {
    refuse(given, where, {"lambda", "tau"}, "beside another loss than care");
  }
  if (keeps) {
    refuse(given, where, {"outside_share"}, "where the outside is kept");
  }
  if (arm.weight || arm.balance) {
    refuse(given, where, {"alpha"}, "beside weight or balance");
  }
  if (arm.balance) {
    refuse(given, where, {"weight"}, "beside balance");
  }
}

struct Range {
  int64_t first = 0, count = 1;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Range, first, count)

/// {"first": 0, "count": 3} written out as [0, 1, 2].
void write_out(Json& object, const char* key) {
  if (object.is_object() && object.contains(key) && object[key].is_object()) {
    const auto range = parse<Range>(object[key], key);
    object[key] = Json::array();
    for (int64_t i = 0; i < range.count; ++i) {
      object[key].push_back(range.first + i);
    }
  }
}

/// Replaces each object of a list by all that it says, checked.
template <class T, class Check>
void parse_list(Json& json, const char* key, const Check& check) {
  if (json.contains(key) && (!json[key].is_array() || json[key].empty())) {
    fail(key, "at least one, in a list", json[key].dump());
  }
  for (size_t i = 0; json.contains(key) && i < json[key].size(); ++i) {
    auto& item = json[key][i];
    const auto where = fmt::format("{}[{}]", key, i);
    if (item.is_object() && item.value("guide", Json()).is_string()) {
      item["guide"] = {item["guide"]};
    }
    write_out(item, "numbers");
    write_out(item, "folds");
    const auto value = parse<T>(item, where);
    check(item, value, where);
    item = value;
  }
}

} // namespace

std::array<int64_t, 2> size_of(const Recipe& recipe) {
  const auto& text = recipe.size;
  long width = 0, height = 0;
  std::sscanf(text.c_str(), "%ldx%ld", &width, &height);
  const bool square = text == std::to_string(width);
  height = square ? width : height;
  if ((!square && text != fmt::format("{}x{}", width, height)) ||
      std::min(width, height) < 32 || std::max(width, height) > 4096) {
    fail(
        "recipe.size",
        "a number or WIDTHxHEIGHT of 32 to 4096 pixels",
        "'" + text + "'");
  }
  return {width, height};
}

nlohmann::json identity(const Plan& plan) {
  Json json = plan.recipe;
  json["size"] = size_of(plan.recipe);
  json.erase("weights"); // as it was before there were any
  if (const auto& file = plan.recipe.weights; !file.empty()) {
    json["weights"] = trainer::fingerprint(trainer::read_file(file));
  }
  if (!plan.recipe.masks()) {
    json.erase("regions"); // likewise
  }
  if (plan.occlusion) {
    json["occlusion"] = true; // what the runs' files hold
  }
  json["exclude"] = plan.exclude;
  json["rare"] = plan.rare;
  json["rare_share"] = plan.rare_share;
  return json;
}

nlohmann::json identity(const Arm& arm) {
  Json json = arm;
  for (const char* key : {"name", "baseline", "splits", "wave"}) {
    json.erase(key);
  }
  json["boxes"] = arm.box_manifest().empty() ? arm.boxes : "another manifest";
  return json;
}

Plan parse_settings(nlohmann::json json) {
  if (!json.is_object()) {
    fail("settings", "an object", json.dump());
  }
  write_out(json, "seeds");
  json["recipe"] =
      parse<Recipe>(json.value("recipe", Json::object()), "recipe");
  const Recipe recipe = json["recipe"];
  networks::check(
      recipe.net,
      {0, recipe.width, recipe.last_stride, size_of(recipe)},
      "recipe.");
  parse_list<SplitSet>(
      json, "splits", [](const Json&, const auto& set, const auto& where) {
        const bool random = set.train_share > 0 && !set.numbers.empty();
        const bool folds = set.train_share == 0 && !set.folds.empty();
        if (random == folds || (random ? set.folds : set.numbers).size() > 0) {
          fail(where, "folds, or train_share with numbers", Json(set).dump());
        }
      });
  parse_list<Arm>(
      json, "arms", [&](const Json& given, const auto& arm, const auto& where) {
        if (arm.name.empty() || arm.name.find('/') != std::string::npos ||
            arm.name[0] == '.') {
          fail(where + ".name", "a name without '/'", "'" + arm.name + "'");
        }
        const auto epochs = static_cast<double>(recipe.epochs);
        check_range(where + ".start", arm.start, {0, epochs - 1});
        check_range(where + ".warmup", arm.warmup, {0, epochs});
        check_effect(given, arm, where);
        if (arm.imbalance == Imbalance::kLdamDrw &&
            !networks::is_resnet(recipe.net)) {
          fail(where + ".imbalance", "ldam_drw with a ResNet", recipe.net);
        }
        if (recipe.masks()) {
          const auto because = "where masks are the regions";
          refuse(given, where, {"weigh_boxes", "dilate"}, because);
          refuse(given, where, {"box_shift", "box_missing"}, because);
          if (!arm.box_manifest().empty()) {
            fail(
                where + ".boxes",
                std::string("manual or shuffled ") + because,
                arm.boxes);
          }
        }
      });
  const auto plan = parse<Plan>(json, "");
  if (plan.data == "generated") {
    const auto because = "beside generated data, which have their own";
    refuse(json, "", {"splits", "test_sets"}, because);
  } else {
    const auto because = "beside other data than the generated";
    refuse(json, "", {"counts", "test_count"}, because);
  }
  if (!plan.rare.empty()) {
    refuse(json, "", {"rare_share"}, "beside rare");
  }
  if (plan.seeds.empty() || plan.arms.empty()) {
    fail(plan.seeds.empty() ? "seeds" : "arms", "at least one", "none");
  }
  return plan;
}

} // namespace study
