// Boxes for every picture, once: kept in a file, and gone on with from there.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/find.hpp"

#include "common/files.hpp"
#include "common/progress.hpp"
#include "resnet_trainer/picture.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <system_error>

namespace auto_boxes {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(FoundBox, xyxy, method, confidence)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(
    Found,
    boxes,
    seconds,
    iou,
    area_iou,
    best_iou)

namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using trainer::Row;

/// The picture's place in the cache, however its path is spelled.
std::string key_of(const Row& row) {
  return fs::weakly_canonical(row.file).generic_string();
}

/// Changes when the picture's file does, or the boxes drawn on it by hand, with
/// which the map is compared. Empty: there is no such file.
std::string stamp_of(const Row& row) {
  std::error_code error;
  const auto bytes = fs::file_size(row.file, error);
  const auto time = fs::last_write_time(row.file, error).time_since_epoch();
  const auto manual = common::fingerprint(json(row.boxes).dump());
  return error ? std::string()
               : fmt::format("{}-{}-{}", bytes, time.count(), manual);
}

/// The results that are kept, by picture.
json read_cache(const FindSettings& settings) {
  if (settings.fresh || !fs::exists(settings.cache)) {
    return json::object();
  }
  std::string identity = "unreadable";
  try {
    const auto kept = common::read_json(settings.cache);
    identity = kept.at("identity");
    if (identity == settings.identity) {
      return kept.at("pictures");
    }
  } catch (const std::exception&) { // cut off, or somebody else's
  }
  throw std::runtime_error(fmt::format(
      "{}: holds boxes found with other settings ({}), not {}; choose another "
      "folder, or --fresh to start anew",
      settings.cache.string(),
      identity,
      settings.identity));
}

} // namespace

std::vector<Found> find_all(
    const std::vector<Row>& rows,
    const Finder& finder,
    const FindSettings& settings) {
  auto kept = read_cache(settings);
  std::vector<Found> found(rows.size());
  std::vector<std::string> stamps(rows.size());
  std::vector<size_t> open; // the rows to look at
  for (size_t i = 0; i < rows.size(); ++i) {
    stamps[i] = stamp_of(rows[i]);
    const auto known = kept.find(key_of(rows[i]));
    if (known != kept.end() && !stamps[i].empty() &&
        known->at("file") == stamps[i]) {
      found[i] = known->get<Found>();
    } else {
      open.push_back(i);
    }
  }
  const auto total = static_cast<int64_t>(rows.size());
  const auto count = static_cast<int>(open.size());
  common::Progress progress("boxes", total, total - count);
  std::mutex mutex; // guards what follows, `kept` and `progress`
  bool changed = false;
  auto saved = common::steady_seconds();
  const auto save = [&] {
    if (changed) {
      fs::create_directories(fs::absolute(settings.cache).parent_path());
      common::write_json(
          settings.cache,
          {{"identity", settings.identity}, {"pictures", kept}});
    }
    changed = false;
    saved = common::steady_seconds();
  };
  const auto look_at = [&](size_t i) {
    cv::Mat picture;
    try {
      picture = trainer::read_picture(rows[i].file);
    } catch (const std::runtime_error& error) {
      found[i].error = rows[i].where + ": " + error.what();
    }
    if (!picture.empty()) {
      found[i] = finder(picture, rows[i]);
    }
    const std::lock_guard<std::mutex> lock(mutex);
    if (picture.empty()) {
      progress.line("skipped: " + found[i].error);
    } else {
      auto& entry = kept[key_of(rows[i])] = found[i];
      entry["file"] = stamps[i];
      changed = true;
    }
    progress.advance(1);
    if (common::steady_seconds() - saved > 2) {
      save();
    }
  };
  cv::setNumThreads(settings.threads);
  try {
    // As many stripes as pictures: a large one holds up its own thread alone.
    cv::parallel_for_(
        {0, count},
        [&](const cv::Range& range) {
          for (int k = range.start; k < range.end; ++k) {
            look_at(open[static_cast<size_t>(k)]);
          }
        },
        count);
  } catch (...) {
    save(); // what was done is not done again
    throw;
  }
  progress.finish();
  save();
  if (std::all_of(found.begin(), found.end(), [](const Found& one) {
        return !one.error.empty();
      })) {
    throw std::runtime_error(fmt::format(
        "expected pictures that can be read, but all {} were skipped", total));
  }
  return found;
}

} // namespace auto_boxes
