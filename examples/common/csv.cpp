// What a manifest is written with.
// SPDX-License-Identifier: Apache-2.0
#include "common/csv.hpp"

#include <fmt/format.h>

#include <map>
#include <set>
#include <utility>

namespace common {

std::string csv_number(double number) {
  return fmt::format("{:.7g}", number);
}

std::string manifest_of(
    const std::vector<trainer::Row>& rows,
    const std::filesystem::path& folder) {
  std::set<std::string> names; // of the columns behind the first six
  using Rest = std::map<std::string, std::string>;
  std::vector<std::pair<std::string, Rest>> lines;
  for (const auto& row : rows) {
    auto rest = row.more;
    for (const auto& [name, value] : row.more) {
      names.insert(name);
    }
    const auto set = [&](const char* name, const std::string& value) {
      rest[name] = value;
      if (!value.empty()) {
        names.insert(name);
      }
    };
    set("split", row.split);
    set("fold", row.fold);
    set("group", row.group);
    set("mask", row.mask.empty() ? "" : way_to(row.mask, folder));
    const auto start =
        csv_field(way_to(row.file, folder)) + "," + csv_field(row.label) + ",";
    for (const auto& box : row.boxes) {
      set("box_label", box.label);
      set("confidence", row.has_confidence ? csv_number(box.confidence) : "");
      std::string sides;
      for (const auto side : box.xyxy) {
        sides += (sides.empty() ? "" : ",") + csv_number(side);
      }
      lines.emplace_back(start + sides, rest);
    }
    if (row.boxes.empty()) {
      lines.emplace_back(start + ",,,", rest);
    }
  }
  std::string csv = "path,label,xmin,ymin,xmax,ymax";
  for (const auto& name : names) {
    csv += "," + csv_field(name);
  }
  for (auto& [start, rest] : lines) {
    csv += "\n" + start;
    for (const auto& name : names) {
      csv += "," + csv_field(rest[name]);
    }
  }
  return csv + "\n";
}

} // namespace common
