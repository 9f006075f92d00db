// Run: what one trained network said of its test pictures, and its file.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_RUN_HPP
#define CARE_EXAMPLES_STUDY_RUN_HPP

#include "common/json.hpp"
#include "study/plan.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace study {

struct Prediction {
  std::string id; ///< the picture's path in the manifest
  std::vector<double> probability; ///< of each class
  bool boxed = false; ///< it has a box, so its attention was measured
  std::optional<double> epg; ///< none: no box, or no positive cell
  View view = View::kWhole; ///< in the others attention is not measured

  int64_t predicted() const { ///< the first of equals
    return std::max_element(probability.begin(), probability.end()) -
        probability.begin();
  }
};

/// Where the network looks for a picture's true class: a raw Grad-CAM.
struct Look {
  std::string id;
  int64_t height = 0;
  std::vector<double> map; ///< row by row
};

struct Run {
  double seconds = 0;
  std::vector<Prediction> predictions;
  std::vector<Look> looks; ///< at the pictures that are shown
};

struct Finished {
  Job job;
  Run run;
};

// As JSON: numbers to the last bit.
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    Prediction,
    id,
    probability,
    boxed,
    epg,
    view)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Look, id, height, map)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Run, seconds, predictions, looks)

/// Throws std::runtime_error that names a file that is damaged or of another
/// kind.
inline Run load_run(const std::filesystem::path& path) {
  try {
    return common::read_json(path).get<Run>();
  } catch (const nlohmann::json::exception& error) {
    throw std::runtime_error(
        path.string() + ": expected a finished run, but " + error.what());
  }
}

} // namespace study

#endif // CARE_EXAMPLES_STUDY_RUN_HPP
