// CSV as spreadsheets write it (RFC 4180), each line with its number.
// SPDX-License-Identifier: Apache-2.0
#include "csv.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <fstream>
#include <istream>
#include <iterator>
#include <locale>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace trainer {
namespace {

std::string trimmed(const std::string& text) {
  const auto from = text.find_first_not_of(" \t\r");
  const auto to = text.find_last_not_of(" \t\r");
  return from == std::string::npos ? "" : text.substr(from, to - from + 1);
}

/// The length of the UTF-8 sequence at the front, 0 where there is none.
size_t utf8_length(const char* text, size_t left) {
  const auto lead = static_cast<unsigned char>(*text);
  const size_t length = lead < 0x80 ? 1
      : lead < 0xc2                 ? 0
      : lead < 0xe0                 ? 2
      : lead < 0xf0                 ? 3
      : lead < 0xf5                 ? 4
                                    : 0;
  for (size_t i = 1; i < length; ++i) {
    if (i >= left || (text[i] & 0xc0) != 0x80) {
      return 0;
    }
  }
  const int second = length > 2 ? static_cast<unsigned char>(text[1]) : 0;
  const bool barred = lead == 0xe0 ? second < 0xa0 // overlong
      : lead == 0xed               ? second >= 0xa0 // a surrogate
      : lead == 0xf0               ? second < 0x90 // overlong
      : lead == 0xf4               ? second >= 0x90 // beyond U+10FFFF
                                   : false;
  return barred ? 0 : length;
}

} // namespace

bool parse_number(const std::string& text, double& number) {
  std::istringstream stream(text);
  stream.imbue(std::locale::classic()); // 1.5, whatever the user's language
  return static_cast<bool>(stream >> number) && std::isfinite(number) &&
      (stream >> std::ws).eof();
}

size_t utf8_end(const std::string& text) {
  size_t at = 0;
  for (size_t length = 1; at < text.size() && length > 0; at += length) {
    length = utf8_length(&text[at], text.size() - at);
  }
  return at;
}

std::string without_mark(std::string text) {
  if (text.compare(0, 3, "\xEF\xBB\xBF") == 0) {
    text.erase(0, 3);
  }
  return text;
}

Csv::Csv(std::filesystem::path file) : file_(std::move(file)) {
  std::ifstream stream(file_, std::ios::binary);
  if (!stream || std::filesystem::is_directory(file_)) {
    throw std::runtime_error(
        file_.string() + ": expected a CSV file, but it cannot be opened");
  }
  std::string text{
      std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  text = without_mark(std::move(text));
  if (utf8_end(text) < text.size()) {
    const auto end = text.begin() + static_cast<std::ptrdiff_t>(utf8_end(text));
    fail(
        {1 + std::count(text.begin(), end, '\n'), {}},
        "UTF-8 (save it as \"CSV UTF-8\")",
        "other bytes");
  }
  parse(text);
  if (lines_.empty()) {
    fail({1, {}}, "a header line", "an empty file");
  }
  header_ = lines_[0];
  lines_.erase(lines_.begin());
  const auto count = header_.fields.size();
  const auto mark = header_.fields[0].find_first_of(";\t");
  if (count == 1 && mark != std::string::npos) {
    const bool is_tab = header_.fields[0][mark] == '\t';
    fail(
        header_,
        "fields separated by ','",
        is_tab ? "tabs between them" : "';' between them");
  }
  for (size_t i = 0; i < count; ++i) {
    if (!header_.fields[i].empty()) {
      columns_.emplace(header_.fields[i], i);
    }
  }
  for (auto& line : lines_) {
    while (line.fields.size() > count && line.fields.back().empty()) {
      line.fields.pop_back();
    }
    if (line.fields.size() != count) {
      fail(
          line,
          std::to_string(count) + " fields as in the header",
          std::to_string(line.fields.size()));
    }
  }
}

void Csv::parse(const std::string& text) {
  Line line{1, {""}};
  int64_t number = 1;
  bool inside = false, closed = false; // of quotes
  for (size_t i = 0; i <= text.size(); ++i) {
    const bool ends = i == text.size();
    const char c = ends ? '\n' : text[i];
    auto& field = line.fields.back();
    if (inside && ends) {
      fail(line, "a closing quote", "the end of the file");
    }
    number += c == '\n' ? 1 : 0;
    if (inside) {
      const bool twice = c == '"' && i + 1 < text.size() && text[i + 1] == '"';
      i += twice ? 1 : 0; // "" stands for one quote
      closed = c == '"' && !twice;
      inside = !closed;
      field.append(closed ? 0 : 1, c);
    } else if (c == ',') {
      field = closed ? field : trimmed(field);
      closed = false;
      line.fields.emplace_back();
    } else if (c == '\n') {
      field = closed ? field : trimmed(field);
      closed = false;
      if (std::any_of(line.fields.begin(), line.fields.end(), [](auto& f) {
            return !f.empty();
          })) {
        lines_.push_back(std::move(line));
      }
      line = {number, {""}};
    } else if (c == '"' && !closed && trimmed(field).empty()) {
      field.clear();
      inside = true;
    } else if (c == '"' || (closed && c != '\r' && c != ' ')) {
      fail(line, "quotes round a whole field", "'" + field + c + "'");
    } else if (
        c == '\r' && !ends && i + 1 < text.size() && text[i + 1] != '\n') {
      fail(line, "lines that end in LF or CR LF", "a CR alone");
    } else if (!closed) {
      field += c;
    }
  }
}

void Csv::expect(
    const std::vector<std::string>& needed,
    const std::vector<std::string>& optional) const {
  const auto& names = header_.fields;
  const auto count = [&](const std::string& name) {
    return std::count(names.begin(), names.end(), name);
  };
  for (const auto& name : needed) {
    if (count(name) == 0) {
      fail(header_, "a column '" + name + "'", "none of that name");
    }
  }
  for (const auto* list : {&needed, &optional}) {
    for (const auto& name : *list) {
      if (count(name) > 1) {
        fail(header_, "each column once", "'" + name + "' twice");
      }
    }
  }
}

std::string Csv::field(const Line& line, const std::string& column) const {
  const auto found = columns_.find(column);
  return found == columns_.end() ? "" : line.fields[found->second];
}

std::string Csv::where(const Line& line) const {
  return file_.string() + ":" + std::to_string(line.number);
}

void Csv::fail(
    const Line& line,
    const std::string& expected,
    const std::string& got) const {
  throw std::runtime_error(
      where(line) + ": expected " + expected + ", but got " + got);
}

} // namespace trainer
