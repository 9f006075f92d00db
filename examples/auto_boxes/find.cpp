// Boxes for every picture, once: kept in a file, and gone on with from there.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/find.hpp"

#include "common/files.hpp"
#include "common/parallel.hpp"
#include "common/pictures.hpp"
#include "common/progress.hpp"

#include <care/auto_boxes.hpp>
#include <care/metrics/attention.hpp>
#include <care/rasterize.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <time.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <stdexcept>

namespace auto_boxes {
namespace {

namespace fs = std::filesystem;
using common::Record;
using Json = nlohmann::ordered_json;

constexpr double kSaveInterval = 2; // seconds

/// What this thread has computed so far: other programs do not count.
double processor_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) +
      1e-9 * static_cast<double>(time.tv_nsec);
}

/// The size with the longer side shrunk to `side` pixels.
care::Size working_size(const cv::Mat& picture, int64_t side) {
  const auto longer = std::max(picture.rows, picture.cols);
  if (side <= 0 || longer <= side) {
    return {picture.rows, picture.cols};
  }
  const auto factor = static_cast<double>(side) / longer;
  const auto shrunk = [&](int length) {
    return std::max<int64_t>(1, std::llround(factor * length));
  };
  return {shrunk(picture.rows), shrunk(picture.cols)};
}

/// Changes when the picture's file does, or the boxes drawn on it by hand, with
/// which the map is compared.
std::string stamp_of(const Record& record) {
  std::error_code error;
  const auto bytes = fs::file_size(record.file, error);
  const auto time = fs::last_write_time(record.file, error).time_since_epoch();
  const auto manual = common::fingerprint(Json(record.boxes).dump());
  return error ? std::string()
               : fmt::format("{}-{}-{}", bytes, time.count(), manual);
}

Json to_json(const Found& found, const std::string& stamp) {
  Json boxes = Json::array();
  for (const auto& box : found.boxes) {
    boxes.push_back(
        {{"xyxy", box.xyxy},
         {"method", box.method},
         {"confidence", box.confidence}});
  }
  return {
      {"file", stamp},
      {"height", found.size.height},
      {"width", found.size.width},
      {"seconds", found.seconds},
      {"best_iou", found.best_iou}, // NaN becomes null
      {"boxes", boxes}};
}

Found from_json(const Json& json) {
  Found found;
  found.size = {json.at("height"), json.at("width")};
  found.seconds = json.at("seconds");
  if (!json.at("best_iou").is_null()) {
    found.best_iou = json.at("best_iou");
  }
  for (const auto& box : json.at("boxes")) {
    found.boxes.push_back(
        {box.at("xyxy"), box.at("method"), box.at("confidence")});
  }
  return found;
}

/// The results that are kept, as JSON by path.
Json read_cache(const FindSettings& settings) {
  if (settings.fresh || !fs::exists(settings.cache)) {
    return Json::object();
  }
  const auto json =
      Json::parse(common::read_file(settings.cache), nullptr, false);
  const auto identity =
      json.is_object() ? json.value("identity", std::string()) : std::string();
  if (identity != settings.identity) {
    throw std::runtime_error(fmt::format(
        "{}: holds boxes found with other settings ({}), not {}; choose "
        "another folder, or --fresh to start anew",
        settings.cache.string(),
        identity.empty() ? "unreadable" : identity,
        settings.identity));
  }
  return json.at("pictures");
}

/// A field of a CSV file, in quotes where it needs them.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos &&
      text.find_first_not_of(" \t") == 0 && text.back() != ' ') {
    return text;
  }
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c == '"' ? "\"\"" : std::string(1, c);
  }
  return quoted + "\"";
}

} // namespace

Found find_on(
    const cv::Mat& picture,
    const std::vector<Method>& methods,
    int64_t side,
    const care::Boxes& manual) {
  Found found;
  found.size = {picture.rows, picture.cols};
  const auto start = processor_seconds();
  const auto size = working_size(picture, side);
  const auto image = common::to_tensor(common::resized(picture, size))
                         .to(torch::kFloat)
                         .div_(255)
                         .unsqueeze(0);
  torch::Tensor map; // of the last method that was tried
  std::vector<care::BoxMethod> chain;
  for (const auto& method : methods) {
    chain.push_back({method.name, [&](const torch::Tensor& x) {
                       map = method.map(x);
                       return care::find_boxes(map, method.finder);
                     }});
  }
  const auto all = care::auto_boxes(image, chain);
  const auto boxes = all.boxes.resize(found.size).clip();
  found.seconds = processor_seconds() - start;
  for (int64_t m = 0; m < boxes.num_boxes(); ++m) {
    const auto xyxy = boxes.xyxy()[m].to(torch::kDouble).contiguous();
    FoundBox box;
    std::copy_n(xyxy.data_ptr<double>(), 4, box.xyxy.begin());
    box.method =
        all.names.at(static_cast<size_t>(all.method[m].item<int64_t>()));
    box.confidence = all.confidence[m].item<double>();
    found.boxes.push_back(std::move(box));
  }
  if (manual.num_boxes() > 0) {
    found.best_iou = care::best_iou(map, care::pixel_mask(manual.resize(size)))
                         .item<double>();
  }
  return found;
}

std::vector<Found> find_all(
    const std::vector<Record>& records,
    const std::vector<Method>& methods,
    const FindSettings& settings) {
  auto kept = read_cache(settings);
  std::vector<Found> found(records.size());
  std::vector<std::string> stamps(records.size());
  std::vector<size_t> open;
  for (size_t i = 0; i < records.size(); ++i) {
    stamps[i] = stamp_of(records[i]);
    const auto known = kept.find(records[i].path);
    if (known != kept.end() && !stamps[i].empty() &&
        known->at("file") == stamps[i]) {
      found[i] = from_json(*known);
    } else {
      open.push_back(i);
    }
  }
  common::Progress progress(
      "boxes",
      static_cast<int64_t>(records.size()),
      static_cast<int64_t>(records.size() - open.size()));
  std::mutex mutex; // guards all below
  auto saved = common::steady_seconds();
  const auto save = [&] {
    common::write_atomically(
        settings.cache,
        Json{{"identity", settings.identity}, {"pictures", kept}}.dump(1));
    saved = common::steady_seconds();
  };
  cv::setNumThreads(0); // these threads are ours
  const auto work = [&](size_t k) {
    const auto i = open[k];
    const auto& record = records[i];
    cv::Mat picture;
    try {
      picture = common::read_picture(record);
    } catch (const std::runtime_error& error) {
      found[i].error = error.what();
    }
    if (!picture.empty()) {
      const auto manual =
          common::boxes_on(record, {picture.rows, picture.cols});
      found[i] = find_on(picture, methods, settings.side, manual);
    }
    const std::lock_guard<std::mutex> lock(mutex);
    if (picture.empty()) {
      progress.line("skipped: " + found[i].error);
    } else {
      kept[record.path] = to_json(found[i], stamps[i]);
    }
    progress.advance(1);
    if (common::steady_seconds() - saved > kSaveInterval) {
      save();
    }
  };
  try {
    common::parallel_for(open.size(), settings.threads, work);
  } catch (...) {
    save(); // what was done is not done again
    throw;
  }
  progress.finish();
  if (!open.empty() || settings.fresh) {
    save();
  }
  return found;
}

void write_manifest(
    const fs::path& path,
    const std::vector<Record>& records,
    const std::vector<Found>& found) {
  const auto folder = fs::absolute(path).parent_path();
  const bool grouped =
      std::any_of(records.begin(), records.end(), [](const Record& record) {
        return !record.group.empty();
      });
  std::string csv = fmt::format(
      "path,label,xmin,ymin,xmax,ymax,fold{},method,confidence\n",
      grouped ? ",group" : "");
  for (size_t i = 0; i < records.size(); ++i) {
    if (!found[i].error.empty()) {
      continue;
    }
    const auto& record = records[i];
    const auto place =
        fs::proximate(fs::absolute(record.file), folder).generic_string();
    const auto start = csv_field(place) + "," + csv_field(record.label);
    auto fold = record.fold < 0 ? "" : std::to_string(record.fold);
    if (grouped) {
      fold += "," + csv_field(record.group);
    }
    for (const auto& box : found[i].boxes) {
      const auto& b = box.xyxy;
      csv += fmt::format(
          "{},{:.2f},{:.2f},{:.2f},{:.2f},{},{},{:.4f}\n",
          start,
          b[0],
          b[1],
          b[2],
          b[3],
          fold,
          box.method,
          box.confidence);
    }
    if (found[i].boxes.empty()) {
      csv += fmt::format("{},,,,,{},none,\n", start, fold);
    }
  }
  common::write_atomically(path, csv);
}

} // namespace auto_boxes
