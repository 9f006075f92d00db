// The rows that boxes are found for, and their manifest with the boxes.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/rows.hpp"

#include "resnet_trainer/picture.hpp" // write_atomically

#include <fmt/format.h>
#include <fmt/ranges.h> // join
#include <nlohmann/json.hpp>

#include <map>
#include <set>
#include <stdexcept>

namespace auto_boxes {
namespace {

namespace fs = std::filesystem;
using trainer::Row;

bool is_utf8(const std::string& text) {
  try {
    return !nlohmann::json(text).dump().empty();
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

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

/// What the picture's row says beside path, label and boxes.
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

std::vector<Row> read_rows(const fs::path& input, const fs::path& except) {
  if (!fs::is_directory(input)) {
    return trainer::read_manifest(input);
  }
  std::vector<Row> rows;
  for (const auto& row : trainer::read_folder(input, "unlabelled")) {
    if (!is_utf8(row.path)) {
      throw std::runtime_error(
          input.string() + ": expected names in UTF-8, but got " + row.path);
    }
    if (way_to(row.file, except).compare(0, 3, "../") == 0) {
      rows.push_back(row);
    }
  }
  return rows;
}

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

void write_rows(
    const fs::path& manifest,
    const std::vector<Row>& rows,
    const std::vector<Found>& found) {
  const auto folder = fs::absolute(manifest).parent_path();
  std::set<std::string> names;
  for (const auto& row : rows) {
    for (const auto& column : columns_of(row, folder)) {
      names.insert(column.first);
    }
  }
  std::string csv = "path,label,xmin,ymin,xmax,ymax,";
  for (const auto& name : names) {
    csv += csv_field(name) + ",";
  }
  csv += "method,confidence\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!found[i].error.empty()) {
      continue;
    }
    const auto start = csv_field(way_to(rows[i].file, folder)) + "," +
        csv_field(rows[i].label) + ",";
    auto columns = columns_of(rows[i], folder);
    std::string rest;
    for (const auto& name : names) {
      rest += csv_field(columns[name]) + ",";
    }
    for (const auto& box : found[i].boxes) {
      csv += fmt::format(
          "{}{:.2f},{}{},{:.4f}\n",
          start,
          fmt::join(box.xyxy, ","),
          rest,
          box.method,
          box.confidence);
    }
    if (found[i].boxes.empty()) {
      csv += start + ",,,," + rest + "none,\n";
    }
  }
  trainer::write_atomically(manifest, csv);
}

} // namespace auto_boxes
