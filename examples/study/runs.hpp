// Runs: trains what a plan lists, by one process or several, resumable.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_RUNS_HPP
#define CARE_EXAMPLES_STUDY_RUNS_HPP

#include "study/claim.hpp"
#include "study/data.hpp"
#include "study/plan.hpp"
#include "study/run.hpp"
#include "study/train_job.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace study {

/// A plan, its pictures, and the folder that holds what was finished:
///
///   study.json                  the recipe and the data; a folder holds one
///   arms/<arm>.json             what each arm is
///   runs/<share>/<arm>/*.json   one file for each finished network
///   checkpoints/...             of those in training, with their claims
class Runs {
 public:
  /// Throws std::invalid_argument when the folder holds another recipe, other
  /// data, or another arm of the same name; nothing is written then.
  Runs(Plan plan, std::filesystem::path out);

  struct Outcome {
    int64_t trained = 0;
    std::vector<std::string> failed; ///< jobs, each with what was wrong
  };
  /// Trains everything that is neither finished nor claimed by another process;
  /// `most` of them at the most, if that is not below 0. A claim ends with the
  /// process that holds it. A job that fails does not stop the others, and is
  /// tried again by the next call.
  Outcome train(int64_t most, const Machine& machine) const;

  struct Finished {
    Job job;
    Run run;
  };
  /// All finished runs of the plan, in its order.
  std::vector<Finished> finished() const;

  const Plan& plan() const {
    return plan_;
  }
  const Data& data() const {
    return data_;
  }
  const std::filesystem::path& folder() const {
    return out_;
  }

 private:
  std::filesystem::path file(const Job& job) const;
  void train_one(
      const Job& job,
      const std::filesystem::path& checkpoint,
      const Machine& machine) const;

  Plan plan_;
  std::filesystem::path out_;
  Data data_;
  std::shared_ptr<Presence> presence_;
};

} // namespace study

#endif // CARE_EXAMPLES_STUDY_RUNS_HPP
