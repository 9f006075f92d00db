// Run: what one trained network said of its test pictures, and its file.
// SPDX-License-Identifier: Apache-2.0
#include "study/run.hpp"

#include "common/files.hpp"
#include "study/plan_json.hpp"

#include <algorithm>

namespace study {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Prediction, id, probability, boxed, epg)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Look, id, height, map)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Run, seconds, predictions, looks)

int64_t Prediction::predicted() const {
  return std::max_element(probability.begin(), probability.end()) -
      probability.begin();
}

const Prediction* Run::find(const std::string& id) const {
  const auto found = std::find_if(
      predictions.begin(), predictions.end(), [&](const Prediction& p) {
        return p.id == id;
      });
  return found == predictions.end() ? nullptr : &*found;
}

void save_run(const std::filesystem::path& path, const Run& run) {
  common::write_json(path, run);
}

Run load_run(const std::filesystem::path& path) {
  try {
    return common::read_json(path).get<Run>();
  } catch (const Json::exception& error) {
    throw std::runtime_error(
        path.string() + ": expected a finished run, but " + error.what());
  }
}

} // namespace study
