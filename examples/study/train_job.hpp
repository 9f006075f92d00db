// Trains one network of a study, and asks it about its test pictures.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_TRAIN_JOB_HPP
#define CARE_EXAMPLES_STUDY_TRAIN_JOB_HPP

#include "study/data.hpp"
#include "study/plan.hpp"
#include "study/run.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace study {

/// Where networks are trained.
struct Machine {
  std::string device = "cpu";
  int64_t threads = 1;
  bool has_terminal = true; ///< to itself: progress may be rewritten there
};

/// Throws std::invalid_argument for a device that is not there.
void prepare(const Machine& machine);

/// Trains `job` with `parts`, whose boxes are as the arm shall see them. After
/// each epoch `checkpoint` holds everything; where there is one, training goes
/// on from it. Of `shown`, all of them test pictures, the maps are kept. Throws
/// std::runtime_error for whatever went wrong.
Run train_job(
    const Plan& plan,
    const Data& data,
    const Job& job,
    const Parts& parts,
    const std::vector<Row>& shown,
    const std::filesystem::path& checkpoint,
    const Machine& machine);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_TRAIN_JOB_HPP
