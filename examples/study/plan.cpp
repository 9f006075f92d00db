// Plan: the arms with their controls, and the order of the networks.
// SPDX-License-Identifier: Apache-2.0
#include "study/plan.hpp"

#include "common/json.hpp"
#include "resnet_trainer/files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

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

/// The name of the arm that is the control of `arm`; added where it lacks.
std::string find_or_add_control(Plan& plan, const Arm& arm) {
  auto control = control_of(arm);
  for (auto& other : plan.arms) {
    if (!other.is_guided() &&
        identity(control_of(other)) == identity(control)) {
      const auto least = std::min(other.splits, arm.splits); // -1: all
      other.splits = least < 0 ? -1 : std::max(other.splits, arm.splits);
      return other.name;
    }
  }
  const auto is_taken = [&](const std::string& name) {
    return std::any_of(plan.arms.begin(), plan.arms.end(), [&](const Arm& a) {
      return a.name == name;
    });
  };
  const auto name = control.name; // controls may differ in their boxes alone
  for (int i = 2; is_taken(control.name); ++i) {
    control.name = fmt::format("{} ({})", name, i);
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
      negative.boxes = "shuffled"; // those of the data
      negative.weigh_boxes = mine.weigh_boxes && mine.box_manifest().empty();
      plan.arms.push_back(negative);
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

std::string Plan::title(double share) const {
  return share > 0
      ? fmt::format("{:g} % of each class to learn from", share * 100)
      : has_folds() ? "the folds, put together"
                    : "the manifest's own split";
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
  std::set<int64_t> waves;
  for (const auto& arm : arms) {
    waves.insert(arm.wave);
  }
  std::vector<Job> jobs;
  std::set<std::string> known; // sets may overlap: each job once
  const auto add = [&](const Job& job) {
    if (known.insert(name(job)).second) {
      jobs.push_back(job);
    }
  };
  for (const auto wave : waves) {
    for (const auto& set : splits) {
      const auto numbers = set.all();
      for (size_t i = 0; i < numbers.size(); ++i) {
        for (const auto seed : seeds) {
          for (size_t a = 0; a < arms.size(); ++a) {
            const auto& arm = arms[a];
            const bool reaches =
                arm.splits < 0 || i < static_cast<size_t>(arm.splits);
            if (arm.wave == wave && set.has(arm.name) && reaches) {
              add({a, set.train_share, numbers[i], seed});
            }
          }
        }
      }
    }
  }
  return jobs;
}

Plan parse_plan(const nlohmann::json& json) {
  auto plan = parse_settings(json);
  if (plan.data == "generated") {
    plan.test_sets = "test_set";
  }
  if (plan.splits.empty()) {
    plan.splits.emplace_back(); // the manifest's own
  }
  add_controls(plan);
  for (const auto& arm : plan.arms) {
    if (&plan.arms[plan.arm(arm.name)] != &arm) {
      throw std::invalid_argument(fmt::format(
          "arms: expected each name once, but got '{}' twice", arm.name));
    }
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
  plan.text = trainer::read_file(file);
  return plan;
}

} // namespace study
