// CSV as spreadsheets write it (RFC 4180), each line with its number.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_CSV_HPP
#define RESNET_TRAINER_CSV_HPP

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace trainer {

/// How many of the text's bytes, from the front, are UTF-8.
size_t utf8_end(const std::string& text);

/// The text without a byte order mark before it.
std::string without_mark(std::string text);

/// The finite number that is the whole text (but for spaces round it), whatever
/// the user's language; false: it is none.
bool parse_number(const std::string& text, double& number);

/// A CSV file: a header, then lines with a field for each of its columns. Lines
/// without anything in them are left out, as are empty fields beyond the
/// header's; spaces round a field without quotes do not count. Throws
/// std::runtime_error that names file and line for everything else.
class Csv {
 public:
  struct Line {
    int64_t number = 0; ///< where it starts, from 1
    std::vector<std::string> fields;
  };

  explicit Csv(std::filesystem::path file);

  const std::vector<Line>& lines() const {
    return lines_;
  }
  /// The columns with a name; of several with one the first.
  const std::map<std::string, size_t>& columns() const {
    return columns_;
  }
  /// Throws unless the header has each of these once, and none of `optional`
  /// twice.
  void expect(
      const std::vector<std::string>& needed,
      const std::vector<std::string>& optional) const;

  /// The field of the named column, empty where there is no such column.
  std::string field(const Line& line, const std::string& column) const;

  /// "file.csv:17"
  std::string where(const Line& line) const;

  /// Throws "file.csv:17: expected ..., but got ...".
  [[noreturn]] void fail(
      const Line& line,
      const std::string& expected,
      const std::string& got) const;

 private:
  void parse(const std::string& text);

  std::filesystem::path file_;
  Line header_;
  std::map<std::string, size_t> columns_;
  std::vector<Line> lines_;
};

} // namespace trainer

#endif // RESNET_TRAINER_CSV_HPP
