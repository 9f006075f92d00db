// Boxes for every picture, once: kept in a file, and gone on with from there.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/find.hpp"

#include "common/json.hpp"
#include "common/progress.hpp"
#include "resnet_trainer/files.hpp"
#include "resnet_trainer/picture.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <string>
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
  const auto manual = trainer::fingerprint(fmt::format("{}", row.corners()));
  return error ? "" : fmt::format("{}-{}-{}", bytes, time.count(), manual);
}

/// The results that are kept, by picture, and what they depend on.
json read_cache(const FindSettings& settings) {
  if (settings.fresh || !fs::exists(settings.cache)) {
    return {{"identity", settings.identity}, {"pictures", json::object()}};
  }
  std::string identity = "unreadable";
  try {
    auto file = common::read_json(settings.cache);
    identity = file.at("identity");
    if (identity == settings.identity) {
      return file;
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
  auto file = read_cache(settings);
  auto& kept = file["pictures"];
  std::vector<Found> found(rows.size()); // without a row: not found yet
  std::vector<size_t> open; // the rows to look at
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto known = kept.find(key_of(rows[i]));
    if (known != kept.end() && known->at("file") == stamp_of(rows[i])) {
      found[i] = known->get<Found>();
      found[i].row = rows[i];
    } else {
      open.push_back(i);
    }
  }
  const auto count = static_cast<int>(open.size());
  const auto total = static_cast<int64_t>(rows.size());
  common::Progress progress("boxes", total, total - count);
  std::mutex mutex; // guards `progress` and all that is kept
  bool changed = false;
  auto next_save = common::steady_seconds() + 2;
  const auto save = [&] {
    const auto start = common::steady_seconds();
    if (changed) {
      common::write_json(settings.cache, file);
    }
    changed = false;
    const auto now = common::steady_seconds(); // a long file takes its time
    next_save = now + std::max(2.0, 20 * (now - start));
  };
  const auto look_at = [&](size_t i) {
    const auto& row = rows[i];
    const auto stamp = stamp_of(row);
    try {
      found[i] = finder(trainer::read_picture(row.file), row);
    } catch (const std::logic_error&) { // not the picture's fault
      throw;
    } catch (const std::exception& error) { // also for want of memory
      const std::string text = error.what();
      const auto line = text.substr(0, text.find('\n')); // no backtrace
      const std::lock_guard<std::mutex> lock(mutex);
      progress.line("skipped: " + trainer::with_line(row, line));
      return progress.advance(1);
    }
    found[i].row = row;
    const std::lock_guard<std::mutex> lock(mutex);
    auto& entry = kept[key_of(row)] = found[i];
    entry["file"] = stamp;
    changed = true;
    progress.advance(1);
    if (common::steady_seconds() > next_save) {
      save();
    }
  };
  cv::setNumThreads(settings.threads);
  const auto look = [&](const cv::Range& range) {
    for (int k = range.start; k < range.end; ++k) {
      look_at(open[static_cast<size_t>(k)]);
    }
  };
  try {
    // As many stripes as pictures: a large one holds up its own thread alone.
    cv::parallel_for_({0, count}, look, count);
  } catch (...) {
    save(); // what was done is not done again
    throw;
  }
  progress.finish();
  save();
  const auto skipped = [](const Found& one) { return one.row.path.empty(); };
  found.erase(std::remove_if(found.begin(), found.end(), skipped), found.end());
  if (found.empty()) {
    throw std::runtime_error(fmt::format(
        "expected pictures that can be read, but all {} were skipped", total));
  }
  return found;
}

} // namespace auto_boxes
