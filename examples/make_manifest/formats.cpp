// What the formats share, and the plainest of them: a folder.
// SPDX-License-Identifier: Apache-2.0
#include "make_manifest/formats.hpp"

#include "common/csv.hpp"
#include "resnet_trainer/files.hpp"

#include <algorithm>
#include <stdexcept>

namespace make_manifest {

namespace fs = std::filesystem;

namespace {

/// Whether one of two ways to a file of that name ends with the other.
bool agree(const fs::path& a, const fs::path& b) {
  const auto x = "/" + a.generic_string(), y = "/" + b.generic_string();
  const auto& [shorter, longer] =
      std::minmax(x, y, [](auto& p, auto& q) { return p.size() < q.size(); });
  return std::equal(shorter.rbegin(), shorter.rend(), longer.rbegin());
}

} // namespace

Pictures::Pictures(const fs::path& folder, const fs::path& masks)
    : rows_(trainer::read_folder(folder, "unlabelled")) {
  if (!masks.empty() && !common::lies_in(folder, masks)) {
    const auto is_mask = [&](const trainer::Row& row) {
      return common::lies_in(row.file, masks);
    };
    rows_.erase(
        std::remove_if(rows_.begin(), rows_.end(), is_mask), rows_.end());
  }
  for (size_t i = 0; i < rows_.size(); ++i) {
    const fs::path path = rows_[i].path;
    places_[path.filename().string()].insert(i);
    places_[trainer::name_without_ending(path)].insert(i);
  }
}

std::vector<fs::path> Pictures::find(const std::string& name) const {
  const auto path = fs::path(name).lexically_normal();
  const auto bare = path.parent_path() / trainer::name_without_ending(path);
  for (const auto& wanted : {path, bare}) {
    std::vector<fs::path> same, alike;
    const auto found = places_.find(wanted.filename().string());
    for (const auto i : found == places_.end() ? Places() : found->second) {
      const auto& row = rows_[i];
      const auto own = fs::path(row.path).parent_path() / wanted.filename();
      if (agree(own, wanted)) {
        (own == wanted ? same : alike).push_back(row.file);
      }
    }
    if (!same.empty() || !alike.empty()) {
      return same.empty() ? alike : same;
    }
  }
  return {};
}

std::vector<Told> read_folder(const Source& source, Complaints&) {
  std::vector<Told> told;
  for (const auto& row : source.pictures.rows()) {
    told.emplace_back();
    static_cast<trainer::Row&>(told.back()) = row;
    if (!fs::path(row.path).has_parent_path()) { // in no class's folder
      told.back().label.clear();
    }
  }
  return told;
}

std::string text_of(const fs::path& file) {
  return trainer::without_mark(trainer::read_file(file));
}

std::vector<fs::path> files_of(
    const fs::path& folder,
    const std::string& ending) {
  std::vector<fs::path> files;
  for (const auto& file : trainer::files_in(folder)) {
    if (trainer::ending_of(file) == ending) {
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
