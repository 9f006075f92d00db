// Reads a manifest: a CSV file that lists pictures, classes and lesion boxes.
// SPDX-License-Identifier: Apache-2.0
#include "manifest.hpp"

#include "csv.hpp"

#include <algorithm>
#include <fstream>
#include <set>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace trainer {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string>
    kNeeded{"path", "label", "xmin", "ymin", "xmax", "ymax"};
const std::vector<std::string>
    kOptional{"split", "fold", "group", "mask", "confidence", "box_label"};

/// Adds the line's box, if it has one.
void read_box(const Csv& csv, const Csv::Line& line, Row& row) {
  std::array<double, 4> box{};
  size_t empty = 0;
  for (size_t i = 0; i < 4; ++i) {
    const auto field = csv.field(line, kNeeded[i + 2]);
    if (field.empty()) {
      ++empty;
    } else if (!parse_number(field, box[i])) {
      csv.fail(line, "a number in " + kNeeded[i + 2], "'" + field + "'");
    }
  }
  if (empty == 4) {
    return;
  }
  if (empty > 0) {
    csv.fail(
        line,
        "all four box fields or none",
        std::to_string(4 - empty) + " of them");
  }
  for (size_t i = 0; i < 2; ++i) {
    if (!(box[i] < box[i + 2])) {
      const auto &low = kNeeded[i + 2], &high = kNeeded[i + 4];
      csv.fail(
          line,
          low + " < " + high,
          csv.field(line, low) + " and " + csv.field(line, high));
    }
  }
  const auto field = csv.field(line, "confidence");
  double confidence = 1;
  if (!field.empty() &&
      (!parse_number(field, confidence) || confidence < 0 || confidence > 1)) {
    csv.fail(line, "a confidence from 0 to 1", "'" + field + "'");
  }
  const auto label = csv.field(line, "box_label");
  const auto labels = split_labels(row.label);
  if (!label.empty() &&
      std::find(labels.begin(), labels.end(), label) == labels.end()) {
    csv.fail(
        line,
        "a box_label of the label '" + row.label + "'",
        "'" + label + "'");
  }
  row.has_confidence = row.has_confidence || !field.empty();
  row.boxes.push_back({box, csv.where(line), label, confidence});
}

/// The picture that a line speaks of, without its box.
Row read_row(const Csv& csv, const Csv::Line& line, const fs::path& folder) {
  Row row;
  row.path = csv.field(line, "path");
  row.label = csv.field(line, "label");
  row.split = csv.field(line, "split");
  row.fold = csv.field(line, "fold");
  row.group = csv.field(line, "group");
  row.where = csv.where(line);
  if (row.path.empty() || row.label.empty()) {
    csv.fail(
        line, "a path and a label", row.path.empty() ? "no path" : "no label");
  }
  for (const auto& [expected, got] : faults_of(row)) {
    csv.fail(line, expected, got);
  }
  row.file = folder / row.path;
  const auto mask = csv.field(line, "mask");
  row.mask = mask.empty() ? fs::path() : folder / mask;
  for (const auto& [name, place] : csv.columns()) {
    const auto known = [&name = name](const std::vector<std::string>& list) {
      return std::find(list.begin(), list.end(), name) != list.end();
    };
    if (!known(kNeeded) && !known(kOptional)) {
      row.more[name] = line.fields[place];
    }
  }
  return row;
}

/// One file is one picture, however it is spelled.
std::string identity_of(const fs::path& file) {
  std::error_code error;
  const auto whole = fs::weakly_canonical(file, error);
  return (error ? file.lexically_normal() : whole).string();
}

/// Whether the name's ending is none: IM0001, or a UID.
bool has_no_ending(const fs::path& file) {
  return file.extension().string().find_first_not_of(".0123456789") ==
      std::string::npos;
}

/// Whether a file without an ending is DICOM, as archives have it.
bool is_dicom(const fs::path& file) {
  char mark[132] = {};
  std::ifstream stream(file, std::ios::binary);
  return stream.read(mark, sizeof(mark)) &&
      std::string(mark + 128, 4) == "DICM";
}

} // namespace

std::vector<std::array<double, 4>> Row::corners() const {
  std::vector<std::array<double, 4>> all;
  all.reserve(boxes.size());
  for (const auto& box : boxes) {
    all.push_back(box.xyxy);
  }
  return all;
}

std::vector<Row> read_manifest(const fs::path& manifest) {
  const Csv csv(manifest);
  csv.expect(kNeeded, kOptional);
  std::vector<Row> rows;
  std::map<std::string, size_t> place; // of each file in rows
  for (const auto& line : csv.lines()) {
    auto row = read_row(csv, line, manifest.parent_path());
    const auto [found, is_new] =
        place.emplace(identity_of(row.file), rows.size());
    if (is_new) {
      rows.push_back(std::move(row));
    } else {
      auto& first = rows[found->second];
      for (const auto& [name, value] : row.more) {
        if (!value.empty() && value != first.more[name]) {
          first.more_where = row.where;
        }
      }
      const std::vector<std::string> columns{"label", "split", "fold", "group"};
      const std::vector<std::string Row::*> members{
          &Row::label, &Row::split, &Row::fold, &Row::group};
      for (size_t i = 0; i < columns.size(); ++i) {
        if (row.*members[i] != first.*members[i]) {
          csv.fail(
              line,
              "the " + columns[i] + " '" + first.*members[i] + "' as in " +
                  first.where + ", which is the same picture",
              "'" + row.*members[i] + "'");
        }
      }
      if (row.mask != first.mask) {
        csv.fail(
            line,
            "the mask '" + first.mask.string() + "' as in " + first.where +
                ", which is the same picture",
            "'" + row.mask.string() + "'");
      }
    }
    read_box(csv, line, rows[found->second]);
  }
  double largest = 0; // of any box's sides
  const Row* boxed = nullptr;
  for (const auto& row : rows) {
    for (const auto& box : row.boxes) {
      largest = std::max({largest, box.xyxy[2], box.xyxy[3]});
      boxed = boxed == nullptr ? &row : boxed;
    }
  }
  if (boxed != nullptr && largest <= 1) {
    throw std::runtime_error(
        boxed->boxes[0].where +
        ": expected boxes in pixels of the picture, but got all of them within "
        "[0, 1]: are they fractions?");
  }
  if (rows.empty()) {
    throw std::runtime_error(
        manifest.string() + ": expected at least one picture, but got none");
  }
  return rows;
}

std::vector<std::pair<std::string, std::string>> faults_of(const Row& row) {
  std::vector<std::pair<std::string, std::string>> faults;
  auto labels = split_labels(row.label);
  std::sort(labels.begin(), labels.end());
  if (labels.front().empty() ||
      std::adjacent_find(labels.begin(), labels.end()) != labels.end()) {
    faults.emplace_back("labels like a|b, each once", "'" + row.label + "'");
  }
  const std::set<std::string> splits{"", "train", "val", "test"};
  if (splits.count(row.split) == 0) {
    faults.emplace_back("a split of train, val or test", "'" + row.split + "'");
  }
  if (row.fold.find_first_not_of("0123456789") != std::string::npos) {
    faults.emplace_back("a fold of 0, 1, 2, ...", "'" + row.fold + "'");
  }
  return faults;
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  std::map<fs::path, fs::path> seen{{fs::canonical(folder), folder}};
  constexpr auto kLinks = fs::directory_options::follow_directory_symlink;
  fs::path last = folder; // what cannot be opened
  std::error_code error;
  fs::recursive_directory_iterator at(folder, kLinks, error);
  for (; at != fs::recursive_directory_iterator(); at.increment(error)) {
    last = at->path();
    std::error_code of_link; // to nothing
    if (last.filename().native().front() == '.') { // hidden
      at.disable_recursion_pending();
    } else if (!at->is_directory(of_link)) {
      files.push_back(last);
    } else {
      const auto [first, is_new] = seen.emplace(fs::canonical(last), last);
      if (!is_new) { // a link round in a ring, or two of one folder
        throw std::runtime_error(
            last.string() + ": expected a folder of its own, but got " +
            first->second.string() + " once more");
      }
    }
  }
  if (error) {
    throw std::runtime_error(
        last.string() +
        ": expected a folder that can be read, but got: " + error.message());
  }
  std::sort(files.begin(), files.end()); // folders are listed in no order
  return files;
}

std::string ending_of(const fs::path& file) {
  auto ending = file.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return ending;
}

std::vector<Row> read_folder(
    const fs::path& folder,
    const std::string& unlabelled) {
  const std::string kinds =
      " .jpg .jpeg .jpe .jfif .png .bmp .tif .tiff .webp .jp2 .dcm .dicom ";
  std::vector<Row> rows;
  for (const auto& file : files_in(folder)) {
    const auto kind = ending_of(file);
    const auto path = file.lexically_relative(folder);
    const auto label =
        path.has_parent_path() ? path.begin()->string() : unlabelled;
    const bool is_picture = has_no_ending(file)
        ? is_dicom(file)
        : kinds.find(" " + kind + " ") != std::string::npos;
    if (is_picture && !label.empty()) {
      Row row;
      row.path = path.generic_string();
      row.file = file;
      row.label = label;
      if (utf8_end(row.path) < row.path.size()) {
        throw std::runtime_error(
            folder.string() + ": expected names in UTF-8, but got " + row.path);
      }
      if (label.find('|') != std::string::npos) {
        throw std::runtime_error(
            folder.string() +
            ": expected a class's name without '|', but got " + label);
      }
      row.where = file.string();
      rows.push_back(std::move(row));
    }
  }
  if (rows.empty()) {
    throw std::runtime_error(
        folder.string() +
        ": expected a folder for each class with pictures in it, but got none");
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return a.path < b.path; // as text, "a-b/1.png" comes before "a/1.png"
  });
  return rows;
}

std::string name_without_ending(const fs::path& file) {
  return (has_no_ending(file) ? file.filename() : file.stem()).string();
}

std::vector<std::string> split_labels(const std::string& label) {
  std::vector<std::string> labels;
  for (size_t at = 0; at <= label.size();) {
    const auto end = std::min(label.find('|', at), label.size());
    labels.push_back(label.substr(at, end - at));
    at = end + 1;
  }
  return labels;
}

bool has_label(const Row& row, const std::string& label) {
  const auto labels = split_labels(row.label);
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

std::vector<std::string> values_of(
    const std::vector<Row>& rows,
    std::string Row::*column) {
  std::set<std::string> values;
  for (const auto& row : rows) {
    for (const auto& value : split_labels(row.*column)) {
      values.insert(value);
    }
  }
  return {values.begin(), values.end()};
}

void check_known(
    const std::string& option,
    const std::vector<std::string>& known,
    const std::vector<std::string>& wanted) {
  for (const auto& value : wanted) {
    if (std::find(known.begin(), known.end(), value) == known.end()) {
      std::string list;
      for (const auto& name : known) {
        list += (list.empty() ? "'" : ", '") + name + "'";
      }
      throw std::invalid_argument(
          option + ": expected one of " + list + ", but got '" + value + "'");
    }
  }
}

std::vector<std::vector<int64_t>> all_targets_of(
    const std::vector<Row>& rows,
    const std::vector<std::string>& classes) {
  std::vector<std::vector<int64_t>> targets;
  for (const auto& row : rows) {
    targets.emplace_back();
    for (const auto& label : split_labels(row.label)) {
      const auto found = std::find(classes.begin(), classes.end(), label);
      if (found == classes.end()) {
        throw std::runtime_error(
            row.where + ": expected one of the known labels, but got '" +
            label + "'");
      }
      targets.back().push_back(found - classes.begin());
    }
  }
  return targets;
}

std::string with_line(const Row& row, const std::string& text) {
  const auto begins = [&](const std::string& line) {
    return !line.empty() && text.rfind(line, 0) == 0;
  };
  const bool has_line = begins(row.where) ||
      std::any_of(row.boxes.begin(), row.boxes.end(), [&](const auto& box) {
                          return begins(box.where);
                        });
  return has_line ? text : row.where + ": " + text;
}

std::vector<int64_t> rarest_targets_of(
    const std::vector<Row>& rows,
    const std::vector<std::string>& classes) {
  const auto all = all_targets_of(rows, classes);
  std::vector<int64_t> counts(classes.size()), rarest;
  for (const auto& targets : all) {
    for (const auto target : targets) {
      ++counts[static_cast<size_t>(target)];
    }
  }
  for (const auto& targets : all) {
    rarest.push_back(*std::min_element(
        targets.begin(), targets.end(), [&](int64_t a, int64_t b) {
          return counts[static_cast<size_t>(a)] <
              counts[static_cast<size_t>(b)];
        }));
  }
  return rarest;
}

std::vector<int64_t> targets_of(
    const std::vector<Row>& rows,
    const std::vector<std::string>& classes) {
  for (const auto& row : rows) {
    if (split_labels(row.label).size() > 1) {
      throw std::runtime_error(
          row.where + ": expected one label a picture, but got '" + row.label +
          "'");
    }
  }
  return rarest_targets_of(rows, classes);
}

} // namespace trainer
