// What the formats share, and the plainest of them: a folder.
// SPDX-License-Identifier: Apache-2.0
#include "make_manifest/formats.hpp"

#include "common/csv.hpp"

#include <algorithm>
#include <stdexcept>

namespace make_manifest {

namespace fs = std::filesystem;

Pictures::Pictures(const fs::path& folder, const fs::path& masks)
    : rows_(trainer::read_folder(folder, "unlabelled")) {
  if (!masks.empty() && !common::lies_in(folder, masks)) {
    const auto is_mask = [&](const trainer::Row& row) {
      return common::lies_in(row.file, masks);
    };
    rows_.erase(
        std::remove_if(rows_.begin(), rows_.end(), is_mask), rows_.end());
  }
  const auto keep = [](auto& map, const fs::path& name, const fs::path& file) {
    const auto [at, is_new] = map.emplace(name.generic_string(), file);
    at->second = is_new || at->second == file ? file : fs::path();
  };
  for (const auto& row : rows_) {
    const fs::path path = row.path;
    keep(paths_, path, row.file);
    const auto bare = trainer::name_without_ending(path);
    keep(paths_, path.parent_path() / bare, row.file);
    keep(names_, path.filename(), row.file);
    keep(names_, bare, row.file);
  }
}

fs::path Pictures::find(const std::string& name) const {
  const auto path = fs::path(name).lexically_normal();
  const auto bare = trainer::name_without_ending(path);
  const auto in = [](const auto& map, const fs::path& key) {
    const auto found = map.find(key.generic_string());
    return found == map.end() ? fs::path() : found->second;
  };
  for (const auto& file :
       {in(paths_, path),
        in(names_, path.filename()),
        in(paths_, path.parent_path() / bare),
        in(names_, bare)}) {
    if (!file.empty()) {
      return file;
    }
  }
  return {};
}

bool Pictures::has_several(const std::string& name) const {
  const auto found = names_.find(fs::path(name).filename().string());
  return found != names_.end() && found->second.empty();
}

std::vector<Told> read_folder(const Source& source, Complaints&) {
  std::vector<Told> told;
  for (const auto& row : source.pictures.rows()) {
    told.emplace_back();
    static_cast<trainer::Row&>(told.back()) = row;
    if (row.label == "unlabelled") {
      told.back().label.clear();
    }
  }
  return told;
}

std::vector<fs::path> files_of(
    const fs::path& folder,
    const std::string& ending) {
  std::vector<fs::path> files;
  for (const auto& file : trainer::files_in(folder)) {
    if (file.extension() == ending) {
      files.push_back(file);
    }
  }
  if (files.empty()) {
    throw std::runtime_error(
        folder.string() + ": expected files *" + ending + ", but got none");
  }
  return files;
}

bool parse_box(
    const trainer::Csv& csv,
    const trainer::Csv::Line& line,
    const std::array<std::string, 4>& columns,
    Box& box,
    Complaints& suspicious) {
  for (size_t i = 0; i < 4; ++i) {
    const auto text = csv.field(line, columns[i]);
    if (!trainer::parse_number(text, box[i])) {
      suspicious.add(
          csv.where(line), "a number in " + columns[i], "'" + text + "'");
      return false;
    }
  }
  return true;
}

} // namespace make_manifest
