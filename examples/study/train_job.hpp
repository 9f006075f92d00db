// Trains one network of a study, and asks it about its test pictures.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_TRAIN_JOB_HPP
#define CARE_EXAMPLES_STUDY_TRAIN_JOB_HPP

#include "common/json.hpp"
#include "study/data.hpp"
#include "study/duplicates.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace study {

struct Prediction {
  std::string id; ///< the picture's path in the manifest, lexically normal
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
  const auto spell = [](std::string& id) { // as Data does
    id = std::filesystem::path(id).lexically_normal().string();
  };
  try {
    auto run = common::read_json(path).get<Run>();
    for (auto& prediction : run.predictions) {
      spell(prediction.id);
    }
    for (auto& look : run.looks) {
      spell(look.id);
    }
    return run;
  } catch (const nlohmann::json::exception& error) {
    throw std::runtime_error(
        path.string() + ": expected a finished run, but " + error.what());
  }
}

/// Where networks are trained.
struct Machine {
  std::string device = "cpu";
  int64_t threads = 1;
  bool has_terminal = true; ///< to itself: progress may be rewritten there
};

/// Throws std::invalid_argument for a device that is not there.
void prepare(const Machine& machine);

/// Throws std::runtime_error for weights that do not fit the recipe's network.
void check_weights(const Data& data);

/// Reads every picture once, as training does, with its boxes or its mask:
/// which look nearly alike. Throws std::runtime_error that names those which no
/// network can be trained or tested with, each by its line.
///
/// Both leave no thread behind: a process may be forked then.
Pairs read_pictures(const Data& data);

/// Trains `job` on the boxes that its arm shall see. After each epoch
/// `checkpoint` holds everything; where there is one, training goes on from it;
/// one that cannot be read is removed, with a word on the standard error
/// stream. Of the first split's test pictures that a report may show the maps
/// are kept. Throws std::runtime_error for whatever went wrong.
Run train_job(
    const Data& data,
    const Job& job,
    const std::filesystem::path& checkpoint,
    const Machine& machine);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_TRAIN_JOB_HPP
