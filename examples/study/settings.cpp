// The settings file: JSON to a plan, and nothing unknown or out of range.
// SPDX-License-Identifier: Apache-2.0
#include "study/plan.hpp"
#include "study/plan_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <initializer_list>

namespace study {
namespace {

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
  }
  return json.get<T>();
}

constexpr double kMany = 1e6;

template <class T>
void check(
    const std::string& where,
    const char* key,
    const T& value,
    double low,
    double high = kMany) {
  if (!(static_cast<double>(value) >= low &&
        static_cast<double>(value) <= high)) {
    fail(
        below(where, key),
        fmt::format("a number in [{:g}, {:g}]", low, high),
        fmt::format("{}", value));
  }
}

void check(const Recipe& r) {
  size_of(r);
  const bool resnet = r.net <= Net::kResNet152; // others have neither
  check("recipe", "width", r.width, resnet ? 0.01 : 1, resnet ? 8 : 1);
  check("recipe", "last_stride", r.last_stride, resnet ? 1 : 2, 2);
  check("recipe", "epochs", r.epochs, 1);
  check("recipe", "batch", r.batch, 1);
  check("recipe", "lr", r.lr, 1e-9, 100);
  check("recipe", "weight_decay", r.weight_decay, 0, 1);
}

void check(const Arm& arm, const std::string& where, int64_t epochs) {
  if (arm.name.empty() || arm.name.find('/') != std::string::npos ||
      arm.name[0] == '.') {
    fail(where + ".name", "a name without '/'", "'" + arm.name + "'");
  }
  const auto last = static_cast<double>(epochs);
  check(where, "box_shift", arm.box_shift, 0, 1);
  check(where, "box_missing", arm.box_missing, 0, 1);
  check(where, "map_stride", arm.map_stride, 0);
  check(where, "alpha", arm.alpha, 0, 1);
  check(where, "weight", arm.weight.value_or(0), 0);
  check(where, "balance", arm.balance.value_or(0), 0);
  check(where, "lambda", arm.lambda, 0);
  check(where, "tau", arm.tau, 1e-6, 1);
  check(where, "start", arm.start, 0, last - 1);
  check(where, "warmup", arm.warmup, 0, last);
  check(where, "dilate", arm.dilate, 0.05, 20);
  check(where, "outside_share", arm.outside_share, 0, 1);
  check(where, "splits", arm.splits, -1);
  check(where, "wave", arm.wave, 0);
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

void check(const SplitSet& set, const std::string& where) {
  const bool random = set.train_share != 0 || !set.numbers.empty();
  if (random == !set.folds.empty() || (random && set.numbers.empty())) {
    fail(where, "folds, or train_share with numbers", Json(set).dump());
  }
  if (random) {
    check(where, "train_share", set.train_share, 0.01, 0.99);
  }
  for (const auto number : set.all()) {
    check(where, random ? "numbers" : "folds", number, 0);
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
    check(key, "count", range.count, 1);
    object[key] = Json::array();
    for (int64_t i = 0; i < range.count; ++i) {
      object[key].push_back(range.first + i);
    }
  }
}

/// Replaces each object of a list by all that it says, checked.
template <class T, class Check>
void parse_list(Json& json, const char* key, const Check& check_one) {
  if (json.contains(key) && !json[key].is_array()) {
    fail(key, "a list", json[key].dump());
  }
  for (size_t i = 0; json.contains(key) && i < json[key].size(); ++i) {
    auto& item = json[key][i];
    const auto where = fmt::format("{}[{}]", key, i);
    if (item.is_object() && item.contains("guide") &&
        item["guide"].is_string()) {
      item["guide"] = {item["guide"]};
    }
    write_out(item, "numbers");
    write_out(item, "folds");
    const auto value = parse<T>(item, where);
    check_one(item, value, where);
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
  if (plan.recipe.weights.empty()) {
    json.erase("weights"); // as it was before there were any
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
  if (json.is_object()) {
    write_out(json, "seeds");
    if (json.contains("recipe")) {
      json["recipe"] = parse<Recipe>(json["recipe"], "recipe");
    }
    parse_list<SplitSet>(
        json, "splits", [](const Json&, const auto& set, const auto& where) {
          check(set, where);
        });
    const auto recipe = json.value("recipe", Recipe());
    check(recipe);
    parse_list<Arm>(
        json,
        "arms",
        [&](const Json& given, const auto& arm, const auto& where) {
          check(arm, where, recipe.epochs);
          check_effect(given, arm, where);
        });
  }
  const auto plan = parse<Plan>(json, "");
  if (plan.data == "generated") {
    const auto because = "beside generated data, which have their own";
    refuse(json, "", {"splits", "test_sets"}, because);
    check("", "test_count", plan.test_count, 1);
    check(
        "",
        "counts",
        *std::min_element(plan.counts.begin(), plan.counts.end()),
        1);
  } else {
    const auto because = "beside other data than the generated";
    refuse(json, "", {"counts", "test_count"}, because);
  }
  if (!plan.rare.empty()) {
    refuse(json, "", {"rare_share"}, "beside rare");
  }
  check("", "rare_share", plan.rare_share, 1e-9, 1);
  for (const char* key : {"splits", "seeds", "arms"}) {
    if (json.contains(key) ? json[key].empty() : key[0] == 'a') {
      fail(key, "at least one", "none");
    }
  }
  for (const auto seed : plan.seeds) {
    check("", "seeds", seed, 0);
  }
  return plan;
}

} // namespace study
