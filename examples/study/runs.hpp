// Runs: trains what a plan lists, by one process or several, resumable.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_RUNS_HPP
#define CARE_EXAMPLES_STUDY_RUNS_HPP

#include "common/json.hpp"
#include "resnet_trainer/files.hpp"
#include "resnet_trainer/lock.hpp"
#include "study/data.hpp"
#include "study/faults.hpp"
#include "study/presence.hpp"
#include "study/train_job.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace study {

/// A plan, its pictures, and the folder that holds what was finished:
///
///   study.json                  the recipe and the data; a folder holds one
///   near_duplicates.json        of its pictures, which were all read once
///   arms/<arm>.json             what each arm is
///   splits/*.json               what each split learns from
///   runs/<share>/<arm>/*.json   one file for each finished network
///   checkpoints/...             of those in training, with their claims
class Runs {
 public:
  /// Throws std::invalid_argument when the folder holds another recipe, other
  /// data, or another arm of the same name, or files of something else that a
  /// study would overwrite, and for an arm that weighs boxes
  /// without a confidence; std::runtime_error for weights and pictures that
  /// cannot be used. Nothing is written then.
  Runs(Plan plan, std::filesystem::path out)
      : out_(std::move(out)),
        data_(compared(std::move(plan)), out_) {
    std::map<std::filesystem::path, nlohmann::json> files;
    auto& study = files[out_ / "study.json"] = identity(data_.plan);
    study["data"] = fingerprint(data_.rows, data_.plan.recipe.masks());
    for (const auto& arm : data_.plan.arms) {
      auto& json = files[out_ / "arms" / (arm.name + ".json")] = identity(arm);
      const auto manifest = arm.box_manifest();
      auto rows = data_.rows;
      if (!manifest.empty()) {
        rows = with_boxes_of(manifest, std::move(rows));
        json["boxes"] = fingerprint(rows);
      }
      if (arm.weigh_boxes &&
          std::none_of(rows.begin(), rows.end(), [](const Row& row) {
            return row.has_confidence;
          })) {
        throw std::invalid_argument(fmt::format(
            "weigh_boxes of '{}': expected boxes with a confidence, but got "
            "none in {}",
            arm.name,
            manifest.empty() ? data_.plan.data : manifest));
      }
    }
    for (const auto& [number, split] : data_.splits) {
      const auto name =
          fmt::format("{:g}-{}.json", number.first, number.second);
      files[out_ / "splits" / name]["learnt"] = split.learnt;
    }
    for (const auto& [path, json] : files) {
      compare(path, json);
    }
    check_weights(data_);
    std::optional<Pairs> pairs;
    if (!std::filesystem::exists(pairs_file())) {
      pairs = read_pictures(data_);
    }
    presence_.emplace(out_);
    trainer::Lock lock(out_ / "study.lock");
    lock.take(LOCK_EX);
    for (const auto& [path, json] : files) {
      compare(path, json); // another process may have begun another study
      if (!std::filesystem::exists(path)) {
        common::write_json(path, json);
      }
    }
    if (pairs) {
      common::write_json(pairs_file(), *pairs);
    }
  }

  struct Outcome {
    int64_t trained = 0;
    std::vector<std::string> failed; ///< jobs, each with what was wrong
  };
  /// Trains those jobs that are neither finished nor claimed by another
  /// process; `most` of them at the most, if that is not below 0. A claim ends
  /// with the process that holds it. A job that fails does not stop the others,
  /// and is tried again by the next call.
  Outcome train(
      const std::vector<Job>& jobs,
      int64_t most,
      const Machine& machine) const {
    Outcome outcome;
    for (const auto& job : jobs) {
      if (outcome.trained == most) {
        break;
      }
      const auto name = data_.plan.name(job);
      const auto checkpoint = out_ / "checkpoints" / (name + ".pt");
      const auto claim = out_ / "checkpoints" / (name + ".claim");
      if (!is_finished(job)) {
        trainer::Lock lock(claim);
        // Another process may have finished it between the two looks.
        if (lock.take(LOCK_EX | LOCK_NB) && !is_finished(job)) {
          try {
            const auto run = train_job(data_, job, checkpoint, machine);
            common::write_json(file(job), run);
            ++outcome.trained;
          } catch (const std::exception& error) {
            outcome.failed.push_back(name + ": " + error.what());
            std::cerr << outcome.failed.back() << std::endl;
          }
        }
      }
      if (is_finished(job)) {
        std::filesystem::remove(checkpoint);
        std::filesystem::remove(claim);
      }
    }
    return outcome;
  }

  /// How many of these are finished, by whichever process.
  int64_t count_finished(const std::vector<Job>& jobs) const {
    return std::count_if(jobs.begin(), jobs.end(), [&](const Job& job) {
      return is_finished(job);
    });
  }

  /// All finished runs of the plan, in its order.
  std::vector<Finished> finished() const {
    std::vector<Finished> all;
    for (const auto& job : data_.plan.jobs()) {
      if (is_finished(job)) {
        all.push_back({job, load_run(file(job))});
      }
    }
    return all;
  }

  const Data& data() const {
    return data_;
  }
  Pairs near_duplicates() const {
    return common::read_json(pairs_file()).get<Pairs>();
  }
  const std::filesystem::path& folder() const {
    return out_;
  }

 private:
  /// Throws when the file has something else than `mine`; then the runs there
  /// were made with it.
  static void compare(
      const std::filesystem::path& path,
      const nlohmann::json& mine) {
    const auto theirs =
        std::filesystem::exists(path) ? common::read_json(path) : mine;
    auto both = mine;
    both.update(theirs); // the keys that either has
    for (const auto& item : both.items()) {
      const auto now = mine.value(item.key(), nlohmann::json());
      const auto then = theirs.value(item.key(), nlohmann::json());
      if (then != now) {
        throw std::invalid_argument(fmt::format(
            "{}: the runs there were made with {} = {}, but now it is {}; "
            "choose another folder, or another name for the arm",
            path.string(),
            item.key(),
            then.dump(),
            now.dump()));
      }
    }
  }

  /// Before any picture is painted: the data are compared later.
  Plan compared(Plan plan) const {
    check_own(out_);
    const auto path = out_ / "study.json";
    auto mine = identity(plan); // reads the weights: they must be there
    if (std::filesystem::exists(path)) {
      mine["data"] = common::read_json(path)["data"];
      compare(path, mine);
    }
    return plan;
  }

  std::filesystem::path pairs_file() const {
    return out_ / "near_duplicates.json";
  }
  std::filesystem::path file(const Job& job) const {
    return out_ / "runs" / (data_.plan.name(job) + ".json");
  }
  bool is_finished(const Job& job) const {
    return std::filesystem::exists(file(job));
  }

  std::filesystem::path out_;
  Data data_;
  std::optional<Presence> presence_;
};

} // namespace study

#endif // CARE_EXAMPLES_STUDY_RUNS_HPP
