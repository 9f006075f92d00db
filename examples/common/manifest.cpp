// Reads a manifest: a CSV file that lists pictures, classes and lesion boxes.
// SPDX-License-Identifier: Apache-2.0
#include "common/manifest.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <locale>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>

namespace common {
namespace {

namespace fs = std::filesystem;

struct Row {
  int64_t line = 0; // where it starts, from 1
  std::vector<std::string> fields;
};

/// The manifest with its name, for errors.
class Source {
 public:
  explicit Source(const fs::path& path) : path_(path) {}

  std::string where(int64_t line) const {
    return path_.string() + ":" + std::to_string(line);
  }
  [[noreturn]] void fail(
      int64_t line,
      const std::string& expected,
      const std::string& got) const {
    throw std::runtime_error(
        where(line) + ": expected " + expected + ", but got " + got);
  }

 private:
  fs::path path_;
};

std::string in_quotes(const std::string& text) {
  return "'" + text + "'";
}

std::string trimmed(const std::string& text) {
  const auto from = text.find_first_not_of(" \t");
  const auto to = text.find_last_not_of(" \t");
  return from == std::string::npos ? "" : text.substr(from, to - from + 1);
}

/// Splits CSV text (RFC 4180) into rows; blank lines are left out. Spaces
/// round a field without quotes do not count.
std::vector<Row> parse_csv(const std::string& text, const Source& source) {
  std::vector<Row> rows;
  int64_t line = 1;
  size_t at = 0;
  const auto at_end_of_line = [&] {
    return at == text.size() || text[at] == '\n' ||
        (text[at] == '\r' && (at + 1 == text.size() || text[at + 1] == '\n'));
  };
  const auto read_quoted = [&] {
    const auto opened = line;
    std::string field;
    for (++at;; ++at) {
      if (at == text.size()) {
        source.fail(opened, "a closing quote", "the end of the file");
      }
      if (text[at] == '"') {
        ++at;
        if (at == text.size() || text[at] != '"') {
          break; // not "", which stands for one quote
        }
      }
      line += text[at] == '\n' ? 1 : 0;
      field += text[at];
    }
    if (!at_end_of_line() && text[at] != ',') {
      source.fail(
          line, "a comma after the closing quote", in_quotes({1, text[at]}));
    }
    return field;
  };
  const auto read_plain = [&] {
    std::string field;
    for (; !at_end_of_line() && text[at] != ','; ++at) {
      if (text[at] == '"') {
        source.fail(
            line,
            "a quote only at the start of a field",
            in_quotes(field + '"'));
      }
      field += text[at];
    }
    return trimmed(field);
  };
  while (at < text.size()) {
    Row row{line, {}};
    while (true) {
      const bool has_quote = at < text.size() && text[at] == '"';
      row.fields.push_back(has_quote ? read_quoted() : read_plain());
      if (at_end_of_line()) {
        break;
      }
      ++at; // the comma
    }
    if (row.fields.size() > 1 || !row.fields[0].empty()) {
      rows.push_back(std::move(row));
    }
    at = text.find('\n', at);
    at = at == std::string::npos ? text.size() : at + 1;
    ++line;
  }
  return rows;
}

/// Where each column stands.
class Columns {
 public:
  Columns(const Row& header, const Source& source) {
    for (size_t i = 0; i < header.fields.size(); ++i) {
      if (!place_.emplace(header.fields[i], i).second) {
        source.fail(
            header.line,
            "each column once",
            in_quotes(header.fields[i]) + " twice");
      }
    }
    for (const char* name : {"path", "label", "xmin", "ymin", "xmax", "ymax"}) {
      if (place_.count(name) == 0) {
        source.fail(
            header.line,
            "a header with path,label,xmin,ymin,xmax,ymax[,fold]",
            "none called " + in_quotes(name));
      }
    }
  }
  /// The field of the named column, empty if there is no such column.
  std::string in(const Row& row, const std::string& name) const {
    const auto found = place_.find(name);
    return found == place_.end() ? "" : row.fields[found->second];
  }

 private:
  std::map<std::string, size_t> place_;
};

template <typename T>
bool parse_number(const std::string& text, T& number) {
  std::istringstream stream(text);
  stream.imbue(std::locale::classic()); // 1.5, whatever the user's language
  return static_cast<bool>(stream >> number) &&
      stream.peek() == std::istringstream::traits_type::eof();
}

/// Adds the row's box, if it has one.
void read_box(
    const Row& row,
    const Columns& columns,
    const Source& source,
    Record& record) {
  const std::array<const char*, 4> names{"xmin", "ymin", "xmax", "ymax"};
  std::array<double, 4> box{};
  size_t empty = 0;
  for (size_t i = 0; i < 4; ++i) {
    const auto field = columns.in(row, names[i]);
    if (field.empty()) {
      ++empty;
    } else if (!parse_number(field, box[i]) || !std::isfinite(box[i])) {
      source.fail(
          row.line, std::string("a number in ") + names[i], in_quotes(field));
    }
  }
  if (empty == 4) {
    return;
  }
  if (empty > 0) {
    source.fail(
        row.line,
        "all four box fields or none",
        std::to_string(4 - empty) + " of them");
  }
  for (size_t i = 0; i < 2; ++i) {
    if (!(box[i] < box[i + 2])) {
      source.fail(
          row.line,
          std::string(names[i]) + " < " + names[i + 2],
          columns.in(row, names[i]) + " and " + columns.in(row, names[i + 2]));
    }
  }
  const auto field = columns.in(row, "confidence");
  double confidence = 1;
  if (!field.empty()) {
    if (!parse_number(field, confidence) || !(confidence >= 0) ||
        !(confidence <= 1)) {
      source.fail(row.line, "a confidence from 0 to 1", in_quotes(field));
    }
    record.has_confidence = true;
  }
  record.boxes.push_back(box);
  record.confidence.push_back(confidence);
  record.box_where.push_back(source.where(row.line));
}

int64_t read_fold(
    const Row& row,
    const Columns& columns,
    const Source& source) {
  const auto field = columns.in(row, "fold");
  int64_t fold = -1;
  if (!field.empty() && (!parse_number(field, fold) || fold < 0)) {
    source.fail(row.line, "a fold of 0, 1, 2, ...", in_quotes(field));
  }
  return fold;
}

std::string read_text(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream || fs::is_directory(path)) {
    throw std::runtime_error(
        path.string() + ": expected a manifest, but it cannot be opened");
  }
  std::string text{
      std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  const std::string byte_order_mark = "\xEF\xBB\xBF";
  return text.compare(0, 3, byte_order_mark) == 0 ? text.substr(3) : text;
}

} // namespace

bool is_utf8(const std::string& text) {
  try {
    static_cast<void>(nlohmann::json(text).dump());
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

std::vector<Record> read_manifest(const fs::path& manifest) {
  const Source source(manifest);
  const auto rows = parse_csv(read_text(manifest), source);
  if (rows.empty()) {
    source.fail(1, "a header line", "an empty file");
  }
  const Columns columns(rows[0], source);

  std::vector<Record> records;
  std::map<std::string, size_t> place; // of each path in records
  for (size_t i = 1; i < rows.size(); ++i) {
    const auto& row = rows[i];
    if (row.fields.size() != rows[0].fields.size()) {
      source.fail(
          row.line,
          std::to_string(rows[0].fields.size()) + " fields as in the header",
          std::to_string(row.fields.size()));
    }
    const auto path = columns.in(row, "path");
    const auto label = columns.in(row, "label");
    const auto fold = read_fold(row, columns, source);
    const auto group = columns.in(row, "group");
    for (const auto& text : {path, label, group}) {
      if (!is_utf8(text)) {
        source.fail(row.line, "names in UTF-8", "other bytes");
      }
    }
    if (path.empty() || label.empty()) {
      source.fail(
          row.line,
          "a path and a label",
          path.empty() ? "no path" : "no label");
    }
    const auto [found, is_new] = place.emplace(path, records.size());
    if (is_new) {
      Record record;
      record.path = path;
      record.file = manifest.parent_path() / path;
      record.label = label;
      record.fold = fold;
      record.group = group;
      record.where = source.where(row.line);
      records.push_back(std::move(record));
    }
    auto& record = records[found->second];
    if (record.label != label) {
      source.fail(
          row.line,
          "the label " + in_quotes(record.label) + " as in " + record.where,
          in_quotes(label));
    }
    if (record.fold != fold) {
      source.fail(
          row.line,
          "the fold " + std::to_string(record.fold) + " as in " + record.where,
          std::to_string(fold));
    }
    if (record.group != group) {
      source.fail(
          row.line,
          "the group " + in_quotes(record.group) + " as in " + record.where,
          in_quotes(group));
    }
    read_box(row, columns, source, record);
  }
  if (records.empty()) {
    source.fail(rows[0].line, "at least one picture", "only a header");
  }
  return records;
}

std::vector<std::string> labels_of(const std::vector<Record>& records) {
  std::set<std::string> labels;
  for (const auto& record : records) {
    labels.insert(record.label);
  }
  return {labels.begin(), labels.end()};
}

void check_labels(
    const std::vector<Record>& records,
    const std::vector<std::string>& labels,
    const std::string& where) {
  const auto known = labels_of(records);
  for (const auto& label : labels) {
    if (!std::binary_search(known.begin(), known.end(), label)) {
      throw std::invalid_argument(
          where + "expected a label of the manifest, but got " +
          in_quotes(label));
    }
  }
}

std::vector<Record> without_labels(
    const std::vector<Record>& records,
    const std::vector<std::string>& labels) {
  check_labels(records, labels);
  std::vector<Record> kept;
  for (const auto& record : records) {
    if (std::find(labels.begin(), labels.end(), record.label) == labels.end()) {
      kept.push_back(record);
    }
  }
  return kept;
}

} // namespace common
