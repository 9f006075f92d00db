// Runs: trains what a plan lists, by one process or several, resumable.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_RUNS_HPP
#define CARE_EXAMPLES_STUDY_RUNS_HPP

#include "resnet_trainer/data.hpp"
#include "resnet_trainer/run.hpp"
#include "study/plan.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace study {

/// One finished network and what it said about its test images.
struct Finished {
  Job job;
  trainer::Run run;
};

/// A plan, its pictures, and the folder that holds what was finished:
///
///   study.json                  the recipe; a folder holds one
///   arms/<arm>.json             what each arm is
///   runs/<share>/<arm>/*.json   one file for each finished network
///   weights/...                 of each arm's first split, for pictures
///   checkpoints/...             of those in training, with their claims
class Runs {
 public:
  /// Reads the pictures. Throws std::invalid_argument when the folder holds
  /// another recipe, or another arm of the same name.
  Runs(Plan plan, std::filesystem::path out);

  /// Trains everything that is neither finished nor claimed by another process;
  /// `most` of them at the most. A claim ends with the process that holds it,
  /// however that ends. Returns how many were trained.
  int64_t train(int64_t most);

  /// All finished runs of the plan, in its order.
  std::vector<Finished> finished() const;

  /// The job's training and test images.
  std::pair<trainer::FoldData, std::vector<common::Sample>> split(
      const Job& job) const;

  /// The weights of a finished job; none are kept but those of the first split.
  std::filesystem::path weights(const Job& job) const;

  const Plan& plan() const {
    return plan_;
  }
  const trainer::Data& data() const {
    return data_;
  }
  const std::vector<int64_t>& rare() const {
    return rare_;
  }
  const std::filesystem::path& folder() const {
    return out_;
  }

 private:
  std::filesystem::path file(const Job& job) const;
  /// What belongs to a job in training, by its ending.
  std::filesystem::path checkpoint(const Job& job, const char* ending) const;
  bool is_first(const Job& job) const;
  void train_one(const Job& job) const;

  Plan plan_;
  std::filesystem::path out_;
  trainer::Data data_;
  std::vector<int64_t> rare_;
  std::map<std::string, trainer::BoxesById> boxes_; // by manifest
};

} // namespace study

#endif // CARE_EXAMPLES_STUDY_RUNS_HPP
