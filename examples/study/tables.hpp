// Tables: what the finished runs say, arm by arm and as paired differences.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_TABLES_HPP
#define CARE_EXAMPLES_STUDY_TABLES_HPP

#include "resnet_trainer/run.hpp"
#include "study/runs.hpp"

#include <care/metrics/bootstrap.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace study {

/// Figures with two-way bootstrap intervals, over images and splits (seeds).
struct Figures {
  care::Interval mca, accuracy, rare_recall, epg;
  std::vector<care::Interval> recall; ///< by class
};

/// One arm at one share of training images.
struct ArmTable {
  size_t arm = 0; ///< in the plan
  double train_share = 0; ///< 0: the folds, put together
  int64_t runs = 0; ///< networks
  int64_t units = 0; ///< splits and seeds; of folds: seeds
  double train_images = 0; ///< mean over the runs
  double rare_images = 0; ///< of the rare classes to learn from, likewise
  Figures figures;
};

/// One arm less another, on the splits and seeds that both have finished.
struct Comparison {
  size_t arm = 0, baseline = 0; ///< in the plan
  double train_share = 0;
  int64_t units = 0;
  Figures difference;
  /// The corrected resampled t interval beside each (Nadeau and Bengio); NaN
  /// with fewer than two splits.
  Figures corrected;
  double epg_ratio = trainer::kNaN; ///< EPG of the arm over the baseline's
};

struct Tables {
  std::vector<std::string> classes;
  std::vector<int64_t> rare;
  std::vector<ArmTable> arms; ///< share by share, in the plan's order
  std::vector<Comparison> comparisons; ///< each arm that has a baseline
  /// Of the arms without guidance and those with CARE, the ones with the best
  /// MCA on the splits all of them have: share by share, where both are there.
  std::vector<Comparison> best;
};

Tables make_tables(
    const Runs& runs,
    const std::vector<Finished>& finished,
    const care::BootstrapOptions& options = {});

/// One row for each run.
std::string runs_csv(const Runs& runs, const std::vector<Finished>& finished);

/// As Markdown, for people and for docs.
std::string to_markdown(const Plan& plan, const Tables& tables);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_TABLES_HPP
