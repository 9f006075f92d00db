// Divides the pictures of a manifest into those to learn from and to test.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_SPLIT_HPP
#define RESNET_TRAINER_SPLIT_HPP

#include "manifest.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace trainer {

/// Two parts of a manifest.
struct Halves {
  std::vector<Row> first, second;
  std::vector<std::string> lacking; ///< classes without a picture in one part
};

/// Divides at random, about `share` (between 0 and 1) of each class into the
/// first part, by care::stratified_split: what shares a group stays together. A
/// picture of several labels counts as of the rarest one.
/// The same rows (in any order), share and seed give the same parts.
Halves divide(std::vector<Row> rows, double share, uint64_t seed);

struct SplitOptions {
  std::string test_fold; ///< for a manifest with folds: the one to test
  double test_share = 0.2; ///< of a manifest with neither splits nor folds
  double val_share = 0.1; ///< of what is not tested, if it has no part "val"
  uint64_t seed = 0;
};

struct Split {
  std::vector<Row> train, val, test;
  std::vector<std::string> notes; ///< what a person should know of it
};

/// Training, validation and test part: by the manifest's column `split`, else
/// by its folds, else at random. Throws std::invalid_argument for an option
/// that the manifest leaves no room for, for a picture without the split or
/// fold that others have, and for a part that is empty.
Split split_rows(const std::vector<Row>& rows, const SplitOptions& options);

} // namespace trainer

#endif // RESNET_TRAINER_SPLIT_HPP
