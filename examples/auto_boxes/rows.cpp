// Checks of what is asked of a manifest's rows, and a manifest of found boxes.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/rows.hpp"

#include "resnet_trainer/picture.hpp" // write_atomically

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <map>
#include <set>
#include <stdexcept>

namespace auto_boxes {
namespace {

namespace fs = std::filesystem;
using trainer::Row;

/// A field of a CSV file, in quotes where it may need them.
std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n\t ") == std::string::npos) {
    return text;
  }
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c == '"' ? "\"\"" : std::string(1, c);
  }
  return quoted + '"';
}

/// The way to a file from a folder, both of which may be spelled with links:
/// only the file's own name is kept as it is.
std::string way_to(const fs::path& file, const fs::path& folder) {
  const auto parent = fs::weakly_canonical(fs::absolute(file).parent_path());
  return (parent / file.filename())
      .lexically_relative(fs::weakly_canonical(fs::absolute(folder)))
      .generic_string();
}

/// What the row says beside path, label and boxes.
std::map<std::string, std::string> columns_of(
    const Row& row,
    const fs::path& folder) {
  auto columns = row.more;
  columns.erase("method"); // of other boxes
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) {
      columns[name] = value;
    }
  };
  add("split", row.split);
  add("fold", row.fold);
  add("group", row.group);
  add("mask", row.mask.empty() ? "" : way_to(row.mask, folder));
  return columns;
}

} // namespace

void check_known(
    const char* option,
    const std::vector<Row>& rows,
    std::string Row::*column,
    const std::vector<std::string>& wanted) {
  std::set<std::string> known;
  for (const auto& row : rows) {
    known.insert(row.*column);
  }
  for (const auto& value : wanted) {
    if (known.count(value) == 0) {
      throw std::invalid_argument(fmt::format(
          "{}: expected one of '{}', but got '{}'",
          option,
          fmt::join(known, "', '"),
          value));
    }
  }
}

void write_rows(const fs::path& manifest, const std::vector<Found>& found) {
  const auto folder = fs::absolute(manifest).parent_path();
  std::set<std::string> names;
  for (const auto& one : found) {
    for (const auto& column : columns_of(one.row, folder)) {
      names.insert(column.first);
    }
  }
  std::string csv = "path,label,xmin,ymin,xmax,ymax,";
  for (const auto& name : names) {
    csv += csv_field(name) + ",";
  }
  csv += "method,confidence\n";
  for (const auto& one : found) {
    const auto& row = one.row;
    const auto start =
        csv_field(way_to(row.file, folder)) + "," + csv_field(row.label) + ",";
    auto columns = columns_of(row, folder);
    std::string rest;
    for (const auto& name : names) {
      rest += csv_field(columns[name]) + ",";
    }
    for (const auto& [xyxy, method, confidence] : one.boxes) {
      csv += fmt::format(
          "{}{:.2f},{}{},{:.4f}\n",
          start,
          fmt::join(xyxy, ","),
          rest,
          method,
          confidence);
    }
    if (one.boxes.empty()) {
      csv += start + ",,,," + rest + "none,\n";
    }
  }
  trainer::write_atomically(manifest, csv);
}

} // namespace auto_boxes
