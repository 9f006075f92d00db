// The study's report: report.html, one page that needs nothing else.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_REPORT_HPP
#define CARE_EXAMPLES_STUDY_REPORT_HPP

#include "resnet_trainer/attention_pictures.hpp"
#include "study/charts.hpp"
#include "study/runs.hpp"
#include "study/tables.hpp"

#include <string>
#include <vector>

namespace study {

struct Report {
  Tables tables;
  std::vector<std::string> warnings; ///< on the data
  trainer::AttentionPictures pictures;
};

/// The first test images of the rare classes of the first split, and where the
/// networks of the first guided arm and of its baseline look. Empty until both
/// have their weights.
trainer::AttentionPictures attention_pictures(const Runs& runs, int64_t wanted);

/// Learning curves, forest plots, EPG against MCA, recalls by class.
std::vector<Chart> charts_of(const Plan& plan, const Tables& tables);

/// The page: the charts, tables, pictures, settings.
std::string report_html(const Runs& runs, const Report& report);

/// Writes runs.csv, results.md, report.html, the charts as charts/*.svg and the
/// pictures as attention.png from what is finished; nothing but runs.csv
/// without a finished run.
void write_reports(const Runs& runs, int64_t pictures);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_REPORT_HPP
