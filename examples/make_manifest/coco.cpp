// COCO: one JSON file with images, categories and annotations.
// SPDX-License-Identifier: Apache-2.0
#include "common/json.hpp"
#include "make_manifest/formats.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

namespace make_manifest {
namespace {

using nlohmann::json;

/// Run lengths from COCO's string: five bits a letter, the lowest first, each
/// run from the fourth on as its difference from the one before the last
/// (rleFrString of pycocotools' maskApi.c).
std::vector<int64_t> runs_of(const std::string& text) {
  std::vector<int64_t> runs;
  for (size_t at = 0; at < text.size();) {
    int64_t run = 0;
    int shift = 0;
    bool more = true;
    while (more) {
      const int letter = (at < text.size() ? text[at++] : 0) - 48;
      if (letter < 0 || letter > 63 || shift > 50) {
        throw std::invalid_argument("a string of other letters");
      }
      run += int64_t{letter & 31} * (int64_t{1} << shift);
      shift += 5;
      more = (letter & 32) != 0;
      run -= !more && (letter & 16) != 0 ? int64_t{1} << shift : 0;
    }
    runs.push_back(run + (runs.size() > 2 ? runs[runs.size() - 2] : 0));
  }
  return runs;
}

/// The box round what run lengths cover: down the columns, first what is not
/// covered, then what is, and so on. `picture` is the size that the file says
/// of the annotation's image; empty: none.
Box box_of_runs(const json& segmentation, cv::Size picture) {
  const auto size = segmentation.at("size").get<std::array<int64_t, 2>>();
  const auto& counts = segmentation.at("counts");
  const auto runs = counts.is_string() ? runs_of(counts.get<std::string>())
                                       : counts.get<std::vector<int64_t>>();
  const auto height = size[0], width = size[1];
  if (!picture.empty() &&
      (height != picture.height || width != picture.width)) {
    throw std::invalid_argument(fmt::format(
        "run lengths of {} x {}, on a picture of {} x {}",
        width,
        height,
        picture.width,
        picture.height));
  }
  if (height < 1 || width < 1 ||
      std::any_of(runs.begin(), runs.end(), [](auto run) { return run < 0; }) ||
      std::accumulate(runs.begin(), runs.end(), int64_t{0}) != height * width) {
    throw std::invalid_argument(
        fmt::format("run lengths that do not make {} x {}", width, height));
  }
  Box box{double(width), double(height), 0, 0};
  for (int64_t i = 0, from = 0; i < int64_t(runs.size()); ++i) {
    const auto end = from + runs[size_t(i)], last = end - 1;
    if (i % 2 == 1 && end > from) {
      const bool wraps = from / height != last / height;
      box[0] = std::min(box[0], double(from / height));
      box[1] = std::min(box[1], wraps ? 0 : double(from % height));
      box[2] = std::max(box[2], double(last / height + 1));
      box[3] = std::max(box[3], double(wraps ? height : last % height + 1));
    }
    from = end;
  }
  return box;
}

/// The box round polygons x, y, x, y, ...
Box box_of_polygons(const json& polygons) {
  Box box{1e300, 1e300, -1e300, -1e300};
  for (const auto& polygon : polygons) {
    const auto points = polygon.get<std::vector<double>>();
    if (points.size() < 6 || points.size() % 2 != 0) {
      throw std::invalid_argument("a polygon without three corners");
    }
    for (size_t i = 0; i < points.size(); ++i) {
      box[i % 2] = std::min(box[i % 2], points[i]);
      box[2 + i % 2] = std::max(box[2 + i % 2], points[i]);
    }
  }
  return box;
}

Box box_of(const json& annotation, cv::Size picture) {
  if (annotation.contains("bbox") && !annotation["bbox"].empty()) {
    const auto box = annotation["bbox"].get<Box>();
    return {box[0], box[1], box[0] + box[2], box[1] + box[3]};
  }
  const auto& segmentation = annotation.at("segmentation");
  return segmentation.is_object() ? box_of_runs(segmentation, picture)
                                  : box_of_polygons(segmentation);
}

} // namespace

std::vector<Told> read_coco(const Source& source, Complaints& suspicious) {
  const auto file = common::read_json(source.input);
  std::vector<Told> told;
  std::map<int64_t, size_t> images;
  std::map<int64_t, std::string> categories;
  // Calls `use` with each entry of a list; what it throws is a complaint.
  const auto each = [&](const char* list, const auto& use) {
    if (!file.is_object() || !file.contains(list) || !file[list].is_array()) {
      throw std::runtime_error(fmt::format(
          "{}: expected a list '{}', but got none",
          source.input.string(),
          list));
    }
    for (size_t i = 0; i < file[list].size(); ++i) {
      const auto where =
          fmt::format("{}: {}[{}]", source.input.string(), list, i);
      try {
        use(file[list][i], where);
      } catch (const std::exception& error) { // json's, ours
        suspicious.add(where, "an entry as COCO has them", error.what());
      }
    }
  };
  each("categories", [&](const json& entry, const std::string&) {
    categories[entry.at("id")] = entry.at("name").get<std::string>();
  });
  each("images", [&](const json& entry, const std::string& where) {
    Told picture;
    picture.path = entry.at("file_name").get<std::string>();
    picture.size = {entry.value("width", 0), entry.value("height", 0)};
    picture.where = where;
    if (!images.emplace(entry.at("id"), told.size()).second) {
      throw std::invalid_argument("an id that another image has");
    }
    told.push_back(picture);
  });
  each("annotations", [&](const json& entry, const std::string& where) {
    const int64_t image = entry.at("image_id");
    if (images.count(image) == 0) {
      throw std::invalid_argument(
          fmt::format("image_id {}, which is no image's", image));
    }
    auto& picture = told[images[image]];
    picture.is_annotated = true;
    const int64_t category = entry.at("category_id");
    if (categories.count(category) == 0) {
      throw std::invalid_argument(
          fmt::format("category_id {}, which is no category's", category));
    }
    picture.boxes.push_back(
        {box_of(entry, picture.size), where, categories[category]});
  });
  return told;
}

} // namespace make_manifest
