// results: the summary as a table, as text and as JSON.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_RESULTS_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_RESULTS_HPP

#include "resnet_trainer/run.hpp"
#include "resnet_trainer/summary.hpp"

#include <care/metrics.hpp>

#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace trainer {

/// One line of the table that compares the arms.
struct TableRow {
  std::string group; ///< "recall", ...; empty for a figure of its own
  std::string name; ///< the class, or the figure
  bool rare = false; ///< the class is a rare one
  std::vector<care::Interval> arms; ///< as in TestSummary::arms
  std::optional<care::Interval> difference;
};

/// Recall, precision and F1 by class, then MCA, accuracy, rare recall, EPG.
std::vector<TableRow> comparison_table(
    const Summary& summary,
    const TestSummary& test);

/// What goes into results.json; `settings` is any JSON.
nlohmann::ordered_json results_json(
    const Summary& summary,
    const nlohmann::ordered_json& settings);

/// The tables people read, one part for each test set.
std::string results_text(const Summary& summary);

/// Writes results.json, results.txt and metrics.csv into `folder`.
void write_results(
    const std::filesystem::path& folder,
    const Summary& summary,
    const std::vector<Run>& runs,
    const nlohmann::ordered_json& settings);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_RESULTS_HPP
