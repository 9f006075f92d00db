// A table of the user's own words on pictures that a format tells of.
// SPDX-License-Identifier: Apache-2.0
#include "make_manifest/formats.hpp"
#include "resnet_trainer/csv.hpp"

#include <map>
#include <set>
#include <string>

namespace make_manifest {

std::vector<Told> with_table(
    const std::filesystem::path& file,
    const std::vector<Told>& told,
    Complaints& suspicious) {
  const trainer::Csv csv(file);
  csv.expect({"path"}, {"label", "group", "split", "fold"});
  std::map<std::string, const trainer::Csv::Line*> lines;
  std::set<const trainer::Csv::Line*> idle; // no picture's so far
  std::map<const trainer::Csv::Line*, std::string> owners;
  for (const auto& line : csv.lines()) {
    const auto path = csv.field(line, "path");
    const auto [first, is_new] = lines.emplace(path, &line);
    if (is_new) {
      idle.insert(&line);
    } else {
      suspicious.add(
          csv.where(line),
          "one line for " + path,
          csv.where(*first->second) + ", too, which counts");
    }
  }
  std::vector<Told> kept;
  for (auto row : told) {
    const std::filesystem::path path = row.path;
    const trainer::Csv::Line* line = nullptr;
    const std::filesystem::path bare = trainer::name_without_ending(path);
    for (const auto& name : {bare, path.filename(), path}) {
      const auto found = lines.find(name.generic_string());
      line = found != lines.end() ? found->second : line;
    }
    if (line == nullptr) {
      suspicious.add(row.where, row.path + " in " + file.string(), "no line");
      continue;
    }
    idle.erase(line);
    const auto [owner, is_first] = owners.emplace(line, row.where);
    if (!is_first) {
      suspicious.add(
          row.where,
          "a line of its own for " + row.path,
          csv.where(*line) + ", which is that of " + owner->second);
    }
    const auto set = [&](const char* column, std::string& value) {
      const auto field = csv.field(*line, column); // "" without the column
      value = field.empty() ? value : field;
    };
    set("label", row.label);
    set("group", row.group);
    set("split", row.split);
    set("fold", row.fold);
    kept.push_back(row);
  }
  for (const auto* line : idle) {
    suspicious.add(
        csv.where(*line),
        "a picture that has no other line",
        "'" + csv.field(*line, "path") + "'");
  }
  return kept;
}

} // namespace make_manifest
