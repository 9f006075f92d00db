// report: report.html, one page that needs nothing else, and attention.png.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_REPORT_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_REPORT_HPP

#include "resnet_trainer/results.hpp"

#include <care/boxes.hpp>

#include <torch/types.h>
#include <nlohmann/json.hpp>
#include <opencv2/core.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace trainer {

/// One test image and where each network looked. A map is raw, `[h, w]`;
/// undefined where there is no such arm.
struct AttentionPicture {
  std::string id;
  std::string label; ///< the true class
  cv::Mat image; ///< RGB, 8 bits
  care::Boxes boxes; ///< of this image, in its pixels
  torch::Tensor plain, care;
  std::string plain_prediction, care_prediction;
  double plain_epg = kNaN, care_epg = kNaN;
};

struct Report {
  std::string title = "Training with and without CARE";
  std::string data; ///< one sentence on the data, e.g. that it is generated
  std::string command; ///< the command line that made the run, or empty
  nlohmann::ordered_json settings;
  Summary summary;
  std::vector<Run> runs; ///< for the curves
  std::vector<AttentionPicture> pictures; ///< in the order to be shown
};

/// The verdict in one sentence or two, from the numbers alone. It says so when
/// an interval includes zero.
std::string verdict(const Summary& summary);

/// The first `rows` pictures as one labelled sheet: image with box, plain
/// training, CARE. RGB, 8 bits.
cv::Mat attention_sheet(
    const std::vector<AttentionPicture>& pictures,
    int64_t rows = 4);

/// The page: no script, no font, no picture from elsewhere.
std::string report_html(const Report& report);

/// Writes report.html and, where there are pictures, attention.png.
void write_report(const std::filesystem::path& folder, const Report& report);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_REPORT_HPP
