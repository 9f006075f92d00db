// report: report.html, one page that needs nothing else, and attention.png.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_REPORT_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_REPORT_HPP

#include "resnet_trainer/attention_pictures.hpp"
#include "resnet_trainer/results.hpp"

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

/// How an arm is called where people read it: "Plain training", "CARE".
std::string arm_title(const std::string& arm);

/// The verdict in one sentence or two, from the numbers alone. It says so when
/// an interval includes zero.
std::string verdict(const Summary& summary);

/// The page: no script, no font, no picture from elsewhere.
std::string report_html(const Report& report);

/// Writes report.html and, where there are pictures, attention.png.
void write_report(const std::filesystem::path& folder, const Report& report);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_REPORT_HPP
