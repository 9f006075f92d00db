// Trains one network of a study, and asks it about its test pictures.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_TRAIN_JOB_HPP
#define CARE_EXAMPLES_STUDY_TRAIN_JOB_HPP

#include "study/data.hpp"
#include "study/duplicates.hpp"
#include "study/run.hpp"

#include <cstdint>
#include <filesystem>
#include <string>

namespace study {

/// Where networks are trained.
struct Machine {
  std::string device = "cpu";
  int64_t threads = 1;
  bool has_terminal = true; ///< to itself: progress may be rewritten there
};

/// Throws std::invalid_argument for a device that is not there.
void prepare(const Machine& machine);

/// Throws std::runtime_error for weights that do not fit the recipe's network.
void check_weights(const Data& data);

/// Reads every picture once, as training does, with its boxes or its mask:
/// which look nearly alike. Throws std::runtime_error that names those which no
/// network can be trained or tested with, each by its line.
///
/// Both leave no thread behind: a process may be forked then.
Pairs read_pictures(const Data& data);

/// Trains `job` on the boxes that its arm shall see. After each epoch
/// `checkpoint` holds everything; where there is one, training goes on from it.
/// Of the first split's test pictures that a report may show the maps are kept.
/// Throws std::runtime_error for whatever went wrong.
Run train_job(
    const Data& data,
    const Job& job,
    const std::filesystem::path& checkpoint,
    const Machine& machine);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_TRAIN_JOB_HPP
