// Plan: what a study trains, from one JSON settings file.
// SPDX-License-Identifier: Apache-2.0
#include "study/plan.hpp"

#include "common/command_line.hpp"
#include "common/files.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>

namespace study {
namespace {

[[noreturn]] void fail(
    const std::string& key,
    const std::string& expected,
    const std::string& got) {
  throw std::invalid_argument(
      fmt::format("{}: expected {}, but got {}", key, expected, got));
}

/// An object of the settings file; every key must be asked for.
class Reader {
 public:
  Reader(const Json& json, std::string where)
      : json_(json),
        where_(std::move(where)) {
    if (!json.is_object()) {
      fail(where_, "an object", json.dump());
    }
  }

  std::string where(const std::string& key) const {
    return where_.empty() ? key : where_ + "." + key;
  }

  /// The value of the key, or null.
  const Json* find(const std::string& key) {
    known_.insert(key);
    const auto found = json_.find(key);
    return found == json_.end() ? nullptr : &*found;
  }

  template <typename T>
  void read(const std::string& key, T& value) {
    if (const auto* json = find(key)) {
      try {
        value = json->get<T>();
      } catch (const Json::exception&) {
        fail(where(key), "another type of value", json->dump());
      }
    }
  }

  void read(const std::string& key, double& value, double low, double high) {
    read(key, value);
    if (!(value >= low && value <= high)) {
      fail(
          where(key),
          fmt::format("a number in [{:g}, {:g}]", low, high),
          fmt::format("{:g}", value));
    }
  }
  void read(
      const std::string& key,
      int64_t& value,
      int64_t low,
      int64_t high = 1000000) {
    if (const auto* json = find(key)) {
      if (!json->is_number_integer() || json->get<int64_t>() < low ||
          json->get<int64_t>() > high) {
        fail(
            where(key),
            fmt::format("a whole number in [{}, {}]", low, high),
            json->dump());
      }
      value = json->get<int64_t>();
    }
  }
  void read(
      const std::string& key,
      std::string& value,
      const std::vector<std::string>& choices) {
    read(key, value);
    if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
      fail(
          where(key),
          fmt::format("one of {}", fmt::join(choices, ", ")),
          value);
    }
  }
  void read(
      const std::string& key,
      std::optional<double>& value,
      double low,
      double high) {
    if (find(key) != nullptr) {
      double number = low;
      read(key, number, low, high);
      value = number;
    }
  }

  /// Refuses keys that nobody asked for: a misspelt one would do nothing.
  void finish() const {
    for (const auto& item : json_.items()) {
      if (known_.count(item.key()) == 0) {
        fail(
            where_.empty() ? "settings" : where_,
            fmt::format("the keys {}", fmt::join(known_, ", ")),
            item.key());
      }
    }
  }

 private:
  const Json& json_;
  std::string where_;
  std::set<std::string> known_;
};

void read_recipe(const Json& json, Plan& plan) {
  auto& r = plan.recipe;
  Reader reader(json, "recipe");
  std::string size = "96";
  reader.read("size", size);
  r.size = common::parse_size("recipe.size", size);
  reader.read(
      "net",
      r.net,
      {"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"});
  reader.read("width", r.width, 0.01, 8.0);
  reader.read("last_stride", r.last_stride, 1, 2);
  reader.read("epochs", plan.epochs, 1);
  reader.read("batch", r.batch, 1);
  reader.read("optimizer", r.optimizer, {"adam", "sgd"});
  reader.read("lr", r.lr, 1e-9, 100.0);
  reader.read("weight_decay", r.weight_decay, 0.0, 1.0);
  reader.read("lr_schedule", r.lr_schedule, {"cosine", "constant"});
  reader.read("augment", r.augmentation, {"none", "flips", "strong"});
  r.augment = trainer::parse_augmentation(r.augmentation);
  reader.read("precision", r.precision, {"float", "bfloat16"});
  reader.finish();
}

/// [0, 1, 2], or {"first": 0, "count": 20}.
std::vector<int64_t> read_numbers(const Json& json, const std::string& where) {
  if (json.is_array()) {
    std::vector<int64_t> numbers;
    for (const auto& item : json) {
      if (!item.is_number_integer() || item.get<int64_t>() < 0) {
        fail(where, "whole numbers of at least 0", item.dump());
      }
      numbers.push_back(item.get<int64_t>());
    }
    if (numbers.empty()) {
      fail(where, "at least one number", "none");
    }
    return numbers;
  }
  Reader reader(json, where);
  int64_t first = 0, count = 1;
  reader.read("first", first, 0);
  reader.read("count", count, 1);
  reader.finish();
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < count; ++i) {
    numbers.push_back(first + i);
  }
  return numbers;
}

void read_splits(const Json& json, Plan& plan) {
  if (!json.is_array() || json.empty()) {
    fail("splits", "a list", json.dump());
  }
  for (size_t i = 0; i < json.size(); ++i) {
    Reader reader(json[i], fmt::format("splits[{}]", i));
    SplitSet set;
    const auto* folds = reader.find("folds");
    const auto* numbers = reader.find("numbers");
    if ((folds == nullptr) == (numbers == nullptr)) {
      fail(
          fmt::format("splits[{}]", i),
          "folds, or train_share with numbers",
          json[i].dump());
    }
    if (folds != nullptr) {
      set.splits = read_numbers(*folds, reader.where("folds"));
    } else {
      reader.read("train_share", set.train_share, 0.01, 0.99);
      set.splits = read_numbers(*numbers, reader.where("numbers"));
    }
    reader.read("arms", set.arms);
    reader.finish();
    plan.split_sets.push_back(std::move(set));
  }
}

Arm read_arm(const Json& json, const std::string& where, int64_t epochs) {
  Arm arm;
  Reader reader(json, where);
  reader.read("name", arm.name);
  if (arm.name.empty() || arm.name.find('/') != std::string::npos ||
      arm.name[0] == '.') {
    fail(reader.where("name"), "a name without '/'", "'" + arm.name + "'");
  }
  reader.read("imbalance", arm.imbalance, imbalance_methods());
  reader.read("guidance", arm.guidance, guidance_losses());
  if (const auto* guide = reader.find("guide")) {
    arm.guide = guide->is_string()
        ? std::vector<std::string>{guide->get<std::string>()}
        : std::vector<std::string>();
    if (!guide->is_string()) {
      reader.read("guide", arm.guide);
    }
  }
  reader.read("boxes", arm.boxes);
  reader.read("weigh_boxes", arm.weigh_boxes);
  reader.read("box_shift", arm.box_shift, 0.0, 1.0);
  reader.read("box_missing", arm.box_missing, 0.0, 1.0);
  reader.read("map", arm.map, attention_maps());
  reader.read("map_stride", arm.map_stride, 0);
  reader.read("full_gradient", arm.full_gradient);
  reader.read("alpha", arm.alpha, 0.0, 1.0);
  reader.read("weight", arm.weight, 0.0, 1e6);
  reader.read("balance", arm.balance, 0.0, 1e6);
  reader.read("lambda", arm.lambda, 0.0, 1e6);
  reader.read("tau", arm.tau, 1e-6, 1.0);
  reader.read("start", arm.start, 0, epochs - 1);
  reader.read("warmup", arm.warmup, 0, epochs);
  reader.read("dilate", arm.dilate, 0.05, 20.0);
  reader.read("baseline", arm.baseline);
  reader.read("splits", arm.splits, 1);
  reader.read("wave", arm.wave, 0);
  reader.finish();
  return arm;
}

/// The same training without guidance. What then moves nothing is as in any
/// other such arm, so that one control serves all that differ in it alone.
Arm control_of(const Arm& arm) {
  Arm control;
  control.imbalance = arm.imbalance;
  // The factor of Lc is part of the training: 1 - alpha, or 1.
  control.alpha = arm.alpha;
  if (arm.weight || arm.balance) {
    control.alpha = 0.5;
    control.weight = 0;
  }
  control.name = arm.imbalance + ", not guided";
  if (control.weight) {
    control.name += ", factor 1";
  } else if (control.alpha != 0.5) {
    control.name += fmt::format(", factor {:g}", 1 - control.alpha);
  }
  control.splits = arm.splits;
  control.wave = arm.wave;
  return control;
}

/// An arm without guidance as one without needless differences.
Arm canonical(const Arm& arm) {
  return arm.is_guided() ? arm : control_of(arm);
}

/// The named arms of a set, and what each is compared with.
void add_baselines(const Plan& plan, std::vector<std::string>& names) {
  for (size_t i = 0; i < names.size(); ++i) { // it grows
    const auto& baseline = plan.arms[plan.arm(names[i])].baseline;
    if (!baseline.empty() &&
        std::find(names.begin(), names.end(), baseline) == names.end()) {
      names.push_back(baseline);
    }
  }
}

int64_t widest(int64_t a, int64_t b) {
  return a < 0 || b < 0 ? -1 : std::max(a, b);
}

void add_controls(Plan& plan) {
  const auto find = [&](const Json& wanted) {
    return std::find_if(
        plan.arms.begin(), plan.arms.end(), [&](const Arm& other) {
          return identity(canonical(other)) == wanted;
        });
  };
  const auto given = plan.arms;
  bool shuffled = false;
  for (const auto& arm : given) {
    shuffled = shuffled || (arm.is_guided() && arm.boxes == "shuffled");
  }
  for (const auto& arm : given) {
    if (!arm.is_guided()) {
      continue;
    }
    const auto control = control_of(arm);
    const auto found = find(identity(control));
    std::string name = control.name;
    if (found == plan.arms.end()) {
      plan.arms.push_back(control);
    } else {
      found->splits = widest(found->splits, arm.splits);
      name = found->name;
    }
    auto& mine = plan.arms[plan.arm(arm.name)];
    if (mine.baseline.empty()) {
      mine.baseline = name;
    }
    if (!shuffled) {
      auto negative = mine;
      negative.name = mine.name + ", shuffled boxes";
      negative.boxes = "shuffled";
      plan.arms.push_back(negative);
      shuffled = true;
    }
  }
}

} // namespace

const std::vector<std::string>& imbalance_methods() {
  static const std::vector<std::string> names{
      "ce",
      "class_weights",
      "median_weights",
      "effective_number",
      "focal",
      "class_balanced_focal",
      "ldam_drw",
      "balanced_softmax",
      "logit_adjustment",
      "label_smoothing",
      "class_balanced_sampling",
      "square_root_sampling"};
  return names;
}

const std::vector<std::string>& guidance_losses() {
  static const std::vector<std::string> names{
      "none", "care", "energy", "l1", "ppce", "rrr", "hint", "gain"};
  return names;
}

const std::vector<std::string>& attention_maps() {
  static const std::vector<std::string> names{
      "grad_cam",
      "grad_cam_relu",
      "grad_cam_plus_plus",
      "xgrad_cam",
      "hires_cam",
      "layer_cam",
      "element_wise"};
  return names;
}

std::string share_name(double train_share) {
  return train_share > 0 ? fmt::format("share-{:g}", train_share)
                         : std::string("folds");
}

std::string Job::name(const std::string& arm_name) const {
  return fmt::format(
      "{}/{}/split{}-seed{}", share_name(train_share), arm_name, split, seed);
}

std::vector<Job> Plan::jobs() const {
  // Waves first, then the splits of all shares in turn, the seeds, the arms.
  using Place = std::tuple<int64_t, size_t, size_t, size_t, size_t>;
  std::vector<std::pair<Place, Job>> all;
  for (size_t s = 0; s < split_sets.size(); ++s) {
    const auto& set = split_sets[s];
    for (size_t a = 0; a < arms.size(); ++a) {
      const auto& arm = arms[a];
      if (!set.arms.empty() &&
          std::find(set.arms.begin(), set.arms.end(), arm.name) ==
              set.arms.end()) {
        continue;
      }
      const auto count = arm.splits < 0
          ? set.splits.size()
          : std::min(set.splits.size(), static_cast<size_t>(arm.splits));
      for (size_t i = 0; i < count; ++i) {
        for (size_t k = 0; k < seeds.size(); ++k) {
          all.push_back(
              {{arm.wave, s, i, k, a},
               {a, set.train_share, set.splits[i], seeds[k]}});
        }
      }
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return a.first < b.first;
  });
  std::vector<Job> jobs;
  std::set<std::tuple<size_t, double, int64_t, int64_t>> known;
  for (const auto& item : all) { // sets may overlap: each job once
    const auto& job = item.second;
    if (known.emplace(job.arm, job.train_share, job.split, job.seed).second) {
      jobs.push_back(job);
    }
  }
  return jobs;
}

size_t Plan::arm(const std::string& name) const {
  for (size_t i = 0; i < arms.size(); ++i) {
    if (arms[i].name == name) {
      return i;
    }
  }
  throw std::invalid_argument(
      fmt::format("arms: expected one called '{}', but there is none", name));
}

Json identity(const Arm& arm) {
  Json json = {
      {"imbalance", arm.imbalance},
      {"guidance", arm.guidance},
      {"guide", arm.guide},
      {"boxes", arm.boxes},
      {"weigh_boxes", arm.weigh_boxes},
      {"box_shift", arm.box_shift},
      {"box_missing", arm.box_missing},
      {"map", arm.map},
      {"map_stride", arm.map_stride},
      {"full_gradient", arm.full_gradient},
      {"alpha", arm.alpha},
      {"weight", nullptr},
      {"balance", nullptr},
      {"lambda", arm.lambda},
      {"tau", arm.tau},
      {"start", arm.start},
      {"warmup", arm.warmup},
      {"dilate", arm.dilate}};
  if (arm.weight) {
    json["weight"] = *arm.weight;
  }
  if (arm.balance) {
    json["balance"] = *arm.balance;
  }
  return json;
}

Json identity(const Plan& plan) {
  auto json = Json::object();
  const auto all = trainer::identity(plan.recipe);
  for (const char* key :
       {"data",
        "exclude",
        "height",
        "width",
        "net",
        "net_width",
        "last_stride",
        "batch",
        "optimizer",
        "lr",
        "weight_decay",
        "lr_schedule",
        "augmentation",
        "precision",
        "rare",
        "rare_share"}) {
    json[key] = all.at(key);
  }
  if (plan.recipe.data.empty()) {
    json["counts"] = all.at("counts");
    json["test_count"] = all.at("test_count");
  }
  json["epochs"] = plan.epochs;
  return json;
}

trainer::Settings settings_of(const Plan& plan, const Arm& arm) {
  auto settings = plan.recipe;
  settings.stage1 = arm.start;
  settings.stage2 = plan.epochs - arm.start;
  settings.dilate = arm.dilate;
  settings.weigh_boxes = arm.weigh_boxes;
  settings.box_noise = {
      arm.box_shift, arm.box_missing, arm.boxes == "shuffled"};
  settings.guide = arm.guide;
  return settings;
}

Plan parse_plan(const Json& json) {
  Plan plan;
  plan.text = json;
  auto& r = plan.recipe;
  r.val_share = 0;
  Reader reader(json, "");
  std::string data = "generated";
  reader.read("data", data);
  r.data = data == "generated" ? "" : data;
  reader.read("exclude", r.exclude);
  reader.read("counts", r.counts);
  if (r.counts.size() != 4 ||
      *std::min_element(r.counts.begin(), r.counts.end()) < 1) {
    fail("counts", "4 numbers above 0", Json(r.counts).dump());
  }
  reader.read("test_count", r.test_count, 1);
  reader.read("rare", r.rare);
  reader.read("rare_share", r.rare_share, 1e-9, 1.0);
  if (const auto* recipe = reader.find("recipe")) {
    read_recipe(*recipe, plan);
  }
  if (const auto* splits = reader.find("splits")) {
    read_splits(*splits, plan);
  } else {
    plan.split_sets.push_back({0, {0}, {}});
  }
  for (const auto& set : plan.split_sets) {
    if (r.data.empty() &&
        (set.train_share > 0 || set.splits != std::vector<int64_t>{0})) {
      fail(
          "splits",
          "none beside generated data, which has test sets of its own",
          "some");
    }
  }
  if (const auto* seeds = reader.find("seeds")) {
    plan.seeds = read_numbers(*seeds, "seeds");
  }
  const auto* arms = reader.find("arms");
  if (arms == nullptr || !arms->is_array() || arms->empty()) {
    fail("arms", "a list of arms", arms == nullptr ? "nothing" : arms->dump());
  }
  reader.finish();
  for (size_t i = 0; i < arms->size(); ++i) {
    auto arm = read_arm((*arms)[i], fmt::format("arms[{}]", i), plan.epochs);
    for (const auto& other : plan.arms) {
      if (other.name == arm.name) {
        fail(fmt::format("arms[{}].name", i), "each name once", arm.name);
      }
    }
    plan.arms.push_back(std::move(arm));
  }
  add_controls(plan);
  for (const auto& arm : plan.arms) {
    if (!arm.baseline.empty()) {
      plan.arm(arm.baseline); // throws for an unknown one
    }
  }
  for (auto& set : plan.split_sets) {
    add_baselines(plan, set.arms);
  }
  return plan;
}

Plan read_plan(const std::filesystem::path& file) {
  const auto json = Json::parse(
      common::read_file(file),
      nullptr,
      /*allow_exceptions=*/false,
      /*ignore_comments=*/true);
  if (json.is_discarded()) {
    fail(file.string(), "JSON", "something else");
  }
  return parse_plan(json);
}

} // namespace study
