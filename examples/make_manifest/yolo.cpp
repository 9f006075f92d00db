// YOLO: a text file for each picture, a line for each box or polygon.
// SPDX-License-Identifier: Apache-2.0
#include "make_manifest/formats.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstddef>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>

namespace make_manifest {
namespace {

namespace fs = std::filesystem;

/// The file with the classes' names. Throws where it is not UTF-8.
std::string utf8_of(const fs::path& file) {
  const auto text = text_of(file);
  const auto end =
      text.begin() + static_cast<std::ptrdiff_t>(trainer::utf8_end(text));
  if (end != text.end()) {
    throw std::runtime_error(fmt::format(
        "{}:{}: expected UTF-8, but got other bytes",
        file.string(),
        1 + std::count(text.begin(), end, '\n')));
  }
  return text;
}

/// The lines of classes.txt.
std::vector<std::string> lines_of(const fs::path& file) {
  std::istringstream stream(utf8_of(file));
  std::vector<std::string> names;
  size_t count = 0; // up to the last that is not empty
  for (std::string line; std::getline(stream, line);) {
    names.push_back(std::regex_replace(line, std::regex(R"(^\s+|\s+$)"), ""));
    count = names.back().empty() ? count : names.size();
  }
  names.resize(count);
  const auto gap = std::find(names.begin(), names.end(), "");
  if (names.empty() || gap != names.end()) {
    throw std::runtime_error(fmt::format(
        "{}:{}: expected a class's name, but got an empty line",
        file.string(),
        gap - names.begin() + 1));
  }
  return names;
}

/// What stands under `names:` in data.yaml, as [a, b], {0: a, 1: b}, lines
/// "- a" or lines "0: a".
std::vector<std::string> names_of(const fs::path& file) {
  using std::regex;
  const auto text =
      std::regex_replace("\n" + utf8_of(file), regex("([ \t\n])#[^\n]*"), "$1");
  auto at = text.begin(), end = at; // what is to be read; all of it behind
  const auto fail = [&](const std::string& got) {
    throw std::runtime_error(fmt::format(
        "{}:{}: expected under 'names:' the classes from 0 on, as [a, b], as "
        "{{0: a, 1: b}}, as lines '- a' or as lines '0: a', in quotes where "
        "there is one of ,:[]{{}} in a name, but got {}",
        file.string(),
        std::max<std::ptrdiff_t>(1, std::count(text.begin(), at, '\n')),
        got));
  };
  std::smatch match;
  if (std::regex_search(text, match, regex(R"(\n(?=kpt_shape\s*:))"))) {
    throw std::runtime_error(fmt::format(
        "{}:{}: expected boxes or polygons, but got 'kpt_shape:', which makes "
        "the labels a pose's: those are not read",
        file.string(),
        std::count(text.begin(), match[0].second, '\n')));
  }
  if (!std::regex_search(text, match, regex(R"(\nnames:)"))) {
    fail("none");
  }
  at = match[0].second;
  end = std::regex_search(at, text.end(), match, regex(R"(\n\w[^\n]*:)"))
      ? match[0].first
      : text.end();
  const std::string name =
      R"x((?:'([^'\n]+)'|"([^"\\\n]+)"|([^\s'",:\[\]{}-][^\n,:\[\]{}]*?)))x";
  const bool block = !std::regex_search(at, end, regex(R"(^\s*[\[{])"));
  const regex entry(
      block ? R"(\s*(?:-|(\d+)\s*:)\s+)" + name + R"([ \t\r]*(?=\n|$))"
            : R"(\s*[\[{,]\s*(?:(\d+)\s*:\s+)?)" + name + R"((?=\s*[,\]}]))");
  std::map<std::string, std::string> names;
  while (std::regex_search(
      at, end, match, entry, std::regex_constants::match_continuous)) {
    const auto key =
        match[1].matched ? match[1].str() : std::to_string(names.size());
    if (!names.emplace(key, match.format("$2$3$4")).second) {
      fail("two of " + key);
    }
    at = match[0].second;
  }
  if (!std::regex_match(
          at, end, regex(block ? R"(\s*)" : R"([\s,]*[\]}]\s*)"))) {
    at = std::find_if_not(
        at, end, [](unsigned char c) { return std::isspace(c) != 0; });
    fail("'" + std::string(at, std::find(at, end, '\n')) + "'");
  }
  std::vector<std::string> result;
  for (size_t i = 0; i < std::max<size_t>(1, names.size()); ++i) {
    const auto found = names.find(std::to_string(i));
    if (found == names.end()) {
      fail("no " + std::to_string(i));
    }
    result.push_back(found->second);
  }
  return result;
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
  const auto names = source.more.extension() == ".txt" ? lines_of(source.more)
                                                       : names_of(source.more);
  std::vector<Told> told;
  std::set<fs::path> seen;
  for (const auto& file : files_of(source.input, ".txt")) {
    if (file.filename() == "classes.txt" || fs::equivalent(file, source.more)) {
      continue;
    }
    auto& picture = told.emplace_back();
    fs::path path; // labels/train/a are images/train/a's
    for (const auto& part :
         (file.parent_path() / file.stem()).lexically_relative(source.input)) {
      path /= part == "labels" ? "images" : part;
    }
    picture.path = path.generic_string();
    picture.where = file.string();
    picture.fractions = true;
    const auto files = source.pictures.find(picture.path);
    seen.insert(files.begin(), files.end());
    std::istringstream stream(text_of(file));
    int number = 0;
    for (std::string line; std::getline(stream, line);) {
      const auto where = file.string() + ":" + std::to_string(++number);
      std::istringstream fields(line);
      std::vector<double> numbers;
      bool whole = true;
      for (std::string field; fields >> field;) {
        whole = trainer::parse_number(field, numbers.emplace_back()) && whole;
      }
      Box box{};
      if (numbers.empty()) {
        continue;
      }
      picture.is_annotated = true;
      if (!whole || !box_of(numbers, box)) {
        suspicious.add(
            where, "a class and a box or polygon in numbers", "'" + line + "'");
      } else if (
          !(numbers[0] >= 0 && numbers[0] < double(names.size())) ||
          numbers[0] != std::floor(numbers[0])) {
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
        picture.boxes.push_back({box, where, names[size_t(numbers[0])]});
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
