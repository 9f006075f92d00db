// YOLO: a text file for each picture, a line for each box or polygon.
// SPDX-License-Identifier: Apache-2.0
#include "make_manifest/formats.hpp"

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>

namespace make_manifest {
namespace {

namespace fs = std::filesystem;

std::string stripped(const std::string& text) {
  const char* marks = " \t\r'\"[]";
  const auto from = text.find_first_not_of(marks);
  return from == std::string::npos
      ? ""
      : text.substr(from, text.find_last_not_of(marks) - from + 1);
}

/// The classes' names: the lines of classes.txt, or what stands under `names:`
/// in data.yaml, as [a, b], as lines "- a" or as lines "0: a".
std::vector<std::string> names_of(const fs::path& file) {
  std::ifstream stream(file);
  std::vector<std::string> names;
  const bool yaml = file.extension() != ".txt";
  bool inside = !yaml;
  for (std::string line; std::getline(stream, line);) {
    line.erase(yaml ? std::min(line.find('#'), line.size()) : line.size());
    const bool indented = line.find_first_of(" \t-") == 0;
    if (yaml && line.compare(0, 6, "names:") == 0) {
      inside = true;
      std::istringstream list(line.substr(6));
      for (std::string name; std::getline(list, name, ',');) {
        names.push_back(stripped(name));
      }
    } else if (inside && (!yaml || indented) && !stripped(line).empty()) {
      const auto mark = yaml ? line.find_first_of("-:") : std::string::npos;
      names.push_back(
          stripped(mark == std::string::npos ? line : line.substr(mark + 1)));
    } else if (yaml && !stripped(line).empty()) {
      inside = false;
    }
  }
  names.erase(std::remove(names.begin(), names.end(), ""), names.end());
  if (names.empty()) {
    throw std::runtime_error(
        file.string() +
        ": expected the classes' names, one a line or under 'names:', but got "
        "none");
  }
  return names;
}

/// The box of "class x y width height [confidence]", middle and size, or round
/// the polygon of "class x y x y x y ...". False: the line is neither.
bool box_of(const std::vector<double>& numbers, Box& box) {
  const auto count = numbers.size();
  if (count == 5 || count == 6) {
    const double x = numbers[1], y = numbers[2];
    const double w = numbers[3] / 2, h = numbers[4] / 2;
    box = {x - w, y - h, x + w, y + h};
    return true;
  }
  box = {1e300, 1e300, -1e300, -1e300};
  for (size_t i = 1; i < count; ++i) {
    const auto axis = (i + 1) % 2;
    box[axis] = std::min(box[axis], numbers[i]);
    box[axis + 2] = std::max(box[axis + 2], numbers[i]);
  }
  return count >= 7 && count % 2 == 1;
}

} // namespace

std::vector<Told> read_yolo(const Source& source, Complaints& suspicious) {
  const auto names = names_of(source.more);
  std::vector<Told> told;
  std::set<fs::path> seen;
  for (const auto& file : files_of(source.input, ".txt")) {
    if (file.filename() == "classes.txt") {
      continue;
    }
    auto& picture = told.emplace_back();
    picture.path = (file.parent_path() / file.stem())
                       .lexically_relative(source.input)
                       .generic_string();
    picture.where = file.string();
    picture.fractions = true;
    seen.insert(source.pictures.find(picture.path));
    std::ifstream stream(file);
    int number = 0;
    for (std::string line; std::getline(stream, line);) {
      const auto where = file.string() + ":" + std::to_string(++number);
      std::istringstream fields(line);
      std::vector<double> numbers;
      bool whole = true;
      for (std::string field; fields >> field;) {
        whole = parse(field, numbers.emplace_back()) && whole;
      }
      Box box{};
      if (numbers.empty()) {
        continue;
      }
      if (!whole || !box_of(numbers, box)) {
        suspicious.add(
            where, "a class and a box or polygon in numbers", "'" + line + "'");
      } else if (!(numbers[0] >= 0 && numbers[0] < double(names.size()))) {
        suspicious.add(
            where,
            "a class of the " + std::to_string(names.size()) + " in " +
                source.more.string(),
            fields.str().substr(0, line.find(' ')));
      } else if (std::any_of(box.begin(), box.end(), [](double x) {
                   return !(x > -1 && x < 2);
                 })) {
        suspicious.add(where, "shares of the picture", "'" + line + "'");
      } else {
        picture.regions.push_back({box, where, names[size_t(numbers[0])]});
      }
    }
  }
  for (const auto& row : source.pictures.rows()) {
    if (seen.count(row.file) == 0) { // as YOLO has it: there is nothing on it
      auto& picture = told.emplace_back();
      picture.path = row.path;
      picture.where = row.where;
    }
  }
  return told;
}

} // namespace make_manifest
