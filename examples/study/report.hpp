// The report: what the tables say in words, and a page that needs nothing else.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_REPORT_HPP
#define CARE_EXAMPLES_STUDY_REPORT_HPP

#include "study/runs.hpp"
#include "study/tables.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace study {

/// The verdict from the numbers alone: of the first guided arm against its
/// baseline, where they have the most splits, on the main test set. It says so
/// when an interval includes zero.
std::string verdict(const Data& data, const std::vector<Tables>& all);

/// Writes runs.csv, results.md, report.html, the charts as charts/*.svg, and
/// attention.png of the first four of `pictures` test images, from what is
/// finished; nothing but runs.csv without a finished run. Returns the verdict.
std::string write_reports(const Runs& runs, size_t pictures);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_REPORT_HPP
