// The study's report: report.html, one page that needs nothing else.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_REPORT_HPP
#define CARE_EXAMPLES_STUDY_REPORT_HPP

#include "study/runs.hpp"
#include "study/tables.hpp"

#include <string>
#include <vector>

namespace study {

struct Report {
  Tables tables;
  std::vector<std::string> warnings; ///< on the data
  std::string pictures; ///< the attention sheet, as HTML; may be empty
};

/// The sheet: a few test images of the first split, and where the networks of
/// the first guided arm and of its baseline look. Empty until both have their
/// weights.
std::string attention_html(const Runs& runs, int64_t pictures);

/// The page: forest plots, recalls by class, EPG against MCA, the learning
/// curve where there are several shares, tables, settings.
std::string report_html(const Runs& runs, const Report& report);

/// Writes runs.csv, results.md and report.html from what is finished; nothing
/// but runs.csv without a finished run.
void write_reports(const Runs& runs, int64_t pictures);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_REPORT_HPP
