// The settings file: JSON to a plan, and nothing unknown or out of range.
// SPDX-License-Identifier: Apache-2.0
#include "common/files.hpp"
#include "study/plan.hpp"
#include "study/plan_json.hpp"

#include <fmt/ranges.h> // join

#include <algorithm>
#include <cstdio>

namespace study {
namespace {

[[noreturn]] void fail(
    const std::string& key,
    const std::string& expected,
    const std::string& got) {
  throw std::invalid_argument(
      fmt::format("{}: expected {}, but got {}", key, expected, got));
}

std::string below(const std::string& where, const std::string& key) {
  return where.empty() ? key : where + "." + key;
}

/// The object as a T. Its keys are those that T is written with, and each value
/// comes back as it was: a misspelt key or 1.5 epochs would do nothing.
template <class T>
T parse(const Json& json, const std::string& where) {
  if (!json.is_object()) {
    fail(where.empty() ? "settings" : where, "an object", json.dump());
  }
  const Json known = T();
  for (const auto& [key, value] : json.items()) {
    if (!known.contains(key)) {
      std::vector<std::string> keys;
      for (const auto& item : known.items()) {
        keys.push_back(item.key());
      }
      fail(
          where.empty() ? "settings" : where,
          fmt::format("the keys {}", fmt::join(keys, ", ")),
          key);
    }
    try {
      const Json back = Json{{key, value}}.get<T>();
      if (back.at(key) != value) {
        fail(below(where, key), "another kind of value", value.dump());
      }
    } catch (const Json::exception&) {
      fail(below(where, key), "another kind of value", value.dump());
    } catch (const std::invalid_argument& error) { // of a choice
      const std::string text = error.what();
      const auto place = below(where, key);
      throw std::invalid_argument(
          text.rfind(place, 0) == 0 ? text : place + ": " + text);
    }
  }
  return json.get<T>();
}

template <class T>
void check(
    const std::string& where,
    const char* key,
    const T& value,
    double low,
    double high) {
  const auto number = static_cast<double>(value);
  if (!(number >= low && number <= high)) {
    fail(
        below(where, key),
        fmt::format("a number in [{:g}, {:g}]", low, high),
        fmt::format("{}", value));
  }
}
void check(
    const std::string& where,
    const char* key,
    const std::optional<double>& value,
    double low,
    double high) {
  if (value) {
    check(where, key, *value, low, high);
  }
}

constexpr double kMany = 1e6;

void check(const Recipe& r) {
  size_of(r);
  check("recipe", "width", r.width, 0.01, 8);
  check("recipe", "last_stride", r.last_stride, 1, 2);
  check("recipe", "epochs", r.epochs, 1, kMany);
  check("recipe", "batch", r.batch, 1, kMany);
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
  check(where, "map_stride", arm.map_stride, 0, kMany);
  check(where, "alpha", arm.alpha, 0, 1);
  check(where, "weight", arm.weight, 0, kMany);
  check(where, "balance", arm.balance, 0, kMany);
  check(where, "lambda", arm.lambda, 0, kMany);
  check(where, "tau", arm.tau, 1e-6, 1);
  check(where, "start", arm.start, 0, last - 1);
  check(where, "warmup", arm.warmup, 0, last);
  check(where, "dilate", arm.dilate, 0.05, 20);
  check(where, "outside_share", arm.outside_share, 0, 1);
  check(where, "splits", arm.splits, -1, kMany);
  check(where, "wave", arm.wave, 0, kMany);
}

/// What moves nothing is refused: `given` are the keys of the file.
void check_effect(const Json& given, const Arm& arm, const std::string& where) {
  const auto refuse = [&](std::initializer_list<const char*> keys,
                          const char* expected) {
    for (const char* key : keys) {
      if (given.contains(key)) {
        fail(below(where, key), expected, given.at(key).dump());
      }
    }
  };
  if (!arm.is_guided()) {
    refuse(
        {"guide",
         "boxes",
         "weigh_boxes",
         "box_shift",
         "box_missing",
         "map",
         "map_stride",
         "full_gradient",
         "balance",
         "start",
         "warmup",
         "dilate"},
        "none in an arm without guidance");
  }
  if (arm.guidance != Guidance::kCare) {
    refuse({"lambda", "tau"}, "none beside another loss than care");
  }
  if (arm.outside == Outside::kKeep) {
    refuse({"outside_share"}, "none where the outside is kept");
  }
  if (arm.weight || arm.balance) {
    refuse({"alpha"}, "none beside weight or balance");
  }
  if (arm.balance) {
    refuse({"weight"}, "none beside balance");
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
    check(where, random ? "numbers" : "folds", number, 0, kMany);
  }
}

/// {"first": 0, "count": 3} written out as [0, 1, 2].
void write_out(Json& object, const char* key) {
  if (object.is_object() && object.contains(key) && object[key].is_object()) {
    auto& range = object[key];
    const auto whole = [&](const char* part, int64_t least, int64_t other) {
      const auto found = range.find(part);
      if (found == range.end()) {
        return other;
      }
      if (!found->is_number_integer() || *found < least || *found > kMany) {
        fail(key, fmt::format("{} of at least {}", part, least), range.dump());
      }
      return found->template get<int64_t>();
    };
    const auto first = whole("first", 0, 0), count = whole("count", 1, 1);
    if (range.size() != range.count("first") + range.count("count")) {
      fail(key, "the keys first, count", range.dump());
    }
    std::vector<int64_t> numbers;
    for (int64_t i = 0; i < count; ++i) {
      numbers.push_back(first + i);
    }
    range = numbers;
  }
}

/// Replaces each object of a list by all that it says, checked.
template <class T, class Check>
void parse_list(Json& json, const char* key, const Check& check_one) {
  if (!json.contains(key)) {
    return;
  }
  if (!json[key].is_array()) {
    fail(key, "a list", json[key].dump());
  }
  for (size_t i = 0; i < json[key].size(); ++i) {
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
  int64_t width = 0, height = 0;
  char more = 0;
  const auto& text = recipe.size;
  const int read =
      std::sscanf(text.c_str(), "%ldx%ld%c", &width, &height, &more);
  if (read == 1 && text == std::to_string(width)) {
    height = width;
  }
  if (read > 2 || std::min(width, height) < 32 ||
      std::max(width, height) > 4096) {
    fail(
        "recipe.size",
        "a number or WIDTHxHEIGHT of 32 to 4096 pixels",
        "'" + text + "'");
  }
  return {width, height};
}

nlohmann::json identity(const Plan& plan) {
  Json json = plan.recipe;
  const auto [width, height] = size_of(plan.recipe);
  json["size"] = {width, height};
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
  if (!arm.box_manifest().empty()) {
    json["boxes"] = "another manifest";
  }
  return json;
}

Plan parse_settings(nlohmann::json json) {
  std::vector<Json> given;
  if (json.is_object()) {
    write_out(json, "seeds");
    if (json.contains("recipe")) {
      const auto recipe = parse<Recipe>(json["recipe"], "recipe");
      check(recipe);
      json["recipe"] = recipe;
    }
    parse_list<SplitSet>(
        json,
        "splits",
        [](const Json&, const SplitSet& set, const std::string& where) {
          check(set, where);
        });
    const auto epochs = json.value("recipe", Recipe()).epochs;
    parse_list<Arm>(
        json,
        "arms",
        [&](const Json& keys, const Arm& arm, const std::string& where) {
          check(arm, where, epochs);
          check_effect(keys, arm, where);
        });
  }
  const auto plan = parse<Plan>(json, "");
  const auto refuse = [&](const char* key, const char* expected) {
    if (json.contains(key)) {
      fail(key, expected, json[key].dump());
    }
  };
  if (plan.data == "generated") {
    refuse("splits", "none beside generated data, which have their own");
    refuse("test_sets", "none beside generated data, which have their own");
    check("", "test_count", plan.test_count, 1, kMany);
    for (const auto count : plan.counts) {
      check("", "counts", count, 1, kMany);
    }
  } else {
    refuse("counts", "none beside other data than the generated");
    refuse("test_count", "none beside other data than the generated");
  }
  if (!plan.rare.empty()) {
    refuse("rare_share", "none beside rare");
  }
  check("", "rare_share", plan.rare_share, 1e-9, 1);
  for (const char* key : {"splits", "seeds", "arms"}) {
    if (json.contains(key) && json[key].empty()) {
      fail(key, "at least one", "none");
    }
  }
  for (const auto seed : plan.seeds) {
    check("", "seeds", seed, 0, kMany);
  }
  if (plan.arms.empty()) {
    fail("arms", "a list of arms", "none");
  }
  return plan;
}

} // namespace study
