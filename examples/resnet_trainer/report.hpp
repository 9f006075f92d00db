// report: report.html, one page that needs nothing else, and attention.png.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_REPORT_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_REPORT_HPP

#include "resnet_trainer/attention_pictures.hpp"
#include "resnet_trainer/run.hpp"
#include "resnet_trainer/summary.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace trainer {

struct Report {
  std::string title = "Training with and without CARE";
  std::string data; ///< one sentence on the data, e.g. that it is generated
  std::string command; ///< the command line that made the run, or empty
  nlohmann::ordered_json settings;
  Summary summary;
  std::vector<Run> runs; ///< for the curves
  AttentionPictures pictures;
};

/// The page: no script, no font, no picture from elsewhere.
std::string report_html(const Report& report);

/// Writes report.html and, where there are pictures, attention.png.
void write_report(const std::filesystem::path& folder, const Report& report);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_REPORT_HPP
