// Tables: what the finished runs say, arm by arm and as paired differences.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_TABLES_HPP
#define CARE_EXAMPLES_STUDY_TABLES_HPP

#include "study/data.hpp"
#include "study/figures.hpp"
#include "study/run.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace study {

/// One arm at one share of training images.
struct ArmTable {
  size_t arm = 0; ///< in the plan
  double train_share = 0; ///< 0: the folds, put together, or the own split
  int64_t runs = 0; ///< networks
  double train_images = 0; ///< mean over the runs
  double rare_images = 0; ///< of the rare classes to learn from, likewise
  Figures figures;
};

/// One arm less another, on the splits and seeds that both have finished.
struct Comparison {
  size_t arm = 0, baseline = 0; ///< in the plan
  double train_share = 0;
  int64_t units = 0; ///< splits and seeds; of folds: seeds
  Figures difference, corrected; ///< bootstrap; corrected resampled t
  Figures of_arm, of_baseline; ///< on these units
};

/// Of one test set.
struct Tables {
  std::string test_set;
  std::vector<std::string> titles; ///< of the figures
  std::vector<ArmTable> arms; ///< share by share, in the plan's order
  std::vector<Comparison> comparisons; ///< each arm that has a baseline
  /// Of the arms without guidance and those with CARE, the ones with the best
  /// MCA on the splits all of them have: share by share, where both are there.
  std::vector<Comparison> best;
};

/// One for each test set, the main one first.
std::vector<Tables> make_tables(
    const Data& data,
    const std::vector<Finished>& finished);

/// One row for each network and test set.
std::string runs_csv(const Data& data, const std::vector<Finished>& finished);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_TABLES_HPP
