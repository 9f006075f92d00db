// The experiment: every fold, seed and arm, one after another, resumable.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_EXPERIMENT_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_EXPERIMENT_HPP

#include "resnet_trainer/settings.hpp"

#include <string>

namespace trainer {

/// Trains what `settings` ask for and writes everything into `settings.out`;
/// `command` is quoted in the report. What an earlier, interrupted call with
/// the same settings finished is not done again. Returns the table as text.
std::string run_experiment(
    const Settings& settings,
    const std::string& command);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_EXPERIMENT_HPP
