// Plan: the arms with their controls, and the order of the networks.
// SPDX-License-Identifier: Apache-2.0
#include "study/plan.hpp"

#include "common/files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>

namespace study {
namespace {

/// The same training without guidance. What then moves nothing is as in any
/// other such arm, so that one control serves all that differ in it alone.
Arm control_of(const Arm& arm) {
  Arm control;
  control.imbalance = arm.imbalance;
  control.name = name_of(arm.imbalance) + ", not guided";
  if (arm.outside != Outside::kKeep) { // its boxes say what is outside
    control.outside = arm.outside;
    control.outside_share = arm.outside_share;
    control.boxes = arm.boxes;
    control.weigh_boxes = arm.weigh_boxes;
    control.box_shift = arm.box_shift;
    control.box_missing = arm.box_missing;
    control.dilate = arm.dilate;
    control.name += ", outside " + name_of(arm.outside);
  }
  // The factor of Lc is part of the training: 1 - alpha, or 1.
  control.alpha = arm.alpha;
  if (arm.weight || arm.balance) {
    control.alpha = 0.5;
    control.weight = 0;
    control.name += ", factor 1";
  } else if (control.alpha != 0.5) {
    control.name += fmt::format(", factor {:g}", 1 - control.alpha);
  }
  control.splits = arm.splits;
  control.wave = arm.wave;
  return control;
}

int64_t widest(int64_t a, int64_t b) {
  return a < 0 || b < 0 ? -1 : std::max(a, b);
}

/// The name of the arm that is the control of `arm`; added where it lacks.
std::string find_or_add_control(Plan& plan, const Arm& arm) {
  const auto control = control_of(arm);
  for (auto& other : plan.arms) {
    if (!other.is_guided() &&
        identity(control_of(other)) == identity(control)) {
      other.splits = widest(other.splits, arm.splits);
      return other.name;
    }
  }
  plan.arms.push_back(control);
  return control.name;
}

void add_controls(Plan& plan) {
  const auto given = plan.arms;
  bool shuffled = !plan.shuffled_control ||
      std::any_of(given.begin(), given.end(), [](const Arm& arm) {
        return arm.boxes == "shuffled";
      });
  for (const auto& arm : given) {
    if (!arm.is_guided()) {
      continue;
    }
    const auto control = find_or_add_control(plan, arm);
    auto& mine = plan.arms[plan.arm(arm.name)];
    if (mine.baseline.empty()) {
      mine.baseline = control;
    }
    if (!std::exchange(shuffled, true)) {
      auto negative = mine;
      negative.name += ", shuffled boxes";
      negative.boxes = "shuffled";
      plan.arms.push_back(negative);
    }
  }
}

void check_names(const Plan& plan) {
  std::set<std::string> names;
  for (const auto& arm : plan.arms) {
    if (!names.insert(arm.name).second) {
      throw std::invalid_argument(fmt::format(
          "arms: expected each name once, but got '{}' twice", arm.name));
    }
  }
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

} // namespace

size_t Plan::arm(const std::string& name) const {
  for (size_t i = 0; i < arms.size(); ++i) {
    if (arms[i].name == name) {
      return i;
    }
  }
  throw std::invalid_argument(
      fmt::format("arms: expected one called '{}', but there is none", name));
}

std::string Plan::name(const Job& job) const {
  return fmt::format(
      "{}/{}/split{}-seed{}",
      job.train_share > 0 ? fmt::format("share-{:g}", job.train_share)
          : has_folds()   ? "folds"
                          : "whole",
      arms[job.arm].name,
      job.split,
      job.seed);
}

bool Plan::has_folds() const {
  return std::any_of(splits.begin(), splits.end(), [](const SplitSet& set) {
    return !set.folds.empty();
  });
}

bool Plan::is_first(const Job& job) const {
  return job.seed == seeds[0] &&
      std::any_of(splits.begin(), splits.end(), [&](const SplitSet& set) {
           return set.train_share == job.train_share &&
               set.all()[0] == job.split;
         });
}

std::vector<Job> Plan::jobs() const {
  // Waves first, then the splits of all shares in turn, the seeds, the arms.
  using Place = std::tuple<int64_t, size_t, size_t, size_t, size_t>;
  std::vector<std::pair<Place, Job>> all;
  for (size_t s = 0; s < splits.size(); ++s) {
    const auto& set = splits[s];
    const auto numbers = set.all();
    for (size_t a = 0; a < arms.size(); ++a) {
      const auto& arm = arms[a];
      if (!set.arms.empty() &&
          std::find(set.arms.begin(), set.arms.end(), arm.name) ==
              set.arms.end()) {
        continue;
      }
      const auto count = arm.splits < 0
          ? numbers.size()
          : std::min(numbers.size(), static_cast<size_t>(arm.splits));
      for (size_t i = 0; i < count; ++i) {
        for (size_t k = 0; k < seeds.size(); ++k) {
          all.push_back(
              {{arm.wave, s, i, k, a},
               {a, set.train_share, numbers[i], seeds[k]}});
        }
      }
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    return a.first < b.first;
  });
  std::vector<Job> jobs;
  std::set<std::string> known;
  for (const auto& item : all) { // sets may overlap: each job once
    if (known.insert(name(item.second)).second) {
      jobs.push_back(item.second);
    }
  }
  return jobs;
}

Plan parse_plan(const nlohmann::json& json) {
  auto plan = parse_settings(json);
  check_names(plan);
  if (plan.data == "generated") {
    plan.test_sets = "test_set";
  }
  if (plan.splits.empty()) {
    plan.splits.emplace_back(); // the manifest's own
  }
  add_controls(plan);
  check_names(plan); // with the controls
  for (const auto& arm : plan.arms) {
    if (!arm.baseline.empty()) {
      plan.arm(arm.baseline); // throws for an unknown one
    }
  }
  for (auto& set : plan.splits) {
    add_baselines(plan, set.arms);
  }
  return plan;
}

Plan read_plan(const std::filesystem::path& file) {
  auto plan = parse_plan(common::read_json(file));
  plan.text = common::read_file(file);
  return plan;
}

} // namespace study
