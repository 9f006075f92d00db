// verdict: what a summary says, in words.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_VERDICT_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_VERDICT_HPP

#include "resnet_trainer/summary.hpp"

#include <care/metrics.hpp>

#include <cstdint>
#include <string>

namespace trainer {

/// How an arm is called where people read it: "Plain training", "CARE".
std::string arm_title(const std::string& arm);

/// The rare classes, with commas.
std::string rare_names(const Summary& summary);

/// "1 fold", "5 folds".
std::string counted(int64_t n, const char* what);

bool excludes_zero(const care::Interval& x);

struct Verdict {
  std::string sentence;
  std::string detail; ///< more sentences, or empty
};

/// The verdict from the numbers alone. It says so when an interval includes
/// zero.
Verdict verdict_parts(const Summary& summary);

/// Both parts of it.
std::string verdict(const Summary& summary);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_VERDICT_HPP
