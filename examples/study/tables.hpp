// Tables: what the finished runs say, arm by arm and as paired differences.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_TABLES_HPP
#define CARE_EXAMPLES_STUDY_TABLES_HPP

#include "study/data.hpp"
#include "study/figures.hpp"
#include "study/train_job.hpp"

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

/// One arm less another, on the splits and seeds that both have finished. What
/// either has not measured of an image is left out of both.
struct Comparison {
  size_t arm = 0, baseline = 0; ///< in the plan
  double train_share = 0;
  int64_t units = 0; ///< that the bootstrap draws
  int64_t splits = 0; ///< or folds; of the manifest's own split: seeds
  Figures difference; ///< by bootstrap
  Figures over_splits; ///< the same with t intervals over `splits`
  std::vector<double> of_arm, of_baseline;
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

/// One network on one test set.
struct Tested {
  const Finished* network = nullptr;
  Answers answers;
  std::vector<double> figures;
  int64_t undefined = 0; ///< boxed images without an EPG
};
/// Of each test set, the main one first: what the networks made of it.
using TestedSets = std::vector<std::vector<Tested>>;

/// `finished` has to outlive what comes back.
TestedSets tested_sets(const Data& data, const std::vector<Finished>& finished);

/// One for each test set.
std::vector<Tables> make_tables(const Data& data, const TestedSets& sets);

/// One row for each network and test set.
std::string runs_csv(const Data& data, const TestedSets& sets);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_TABLES_HPP
