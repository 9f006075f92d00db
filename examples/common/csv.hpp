// What a manifest is written with.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_CSV_HPP
#define CARE_EXAMPLES_COMMON_CSV_HPP

#include "resnet_trainer/manifest.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace common {

/// A field of a CSV file in quotes (RFC 4180).
inline std::string csv_quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c == '"' ? "\"\"" : std::string(1, c);
  }
  return quoted + '"';
}

/// The same in quotes only where it may need them.
inline std::string csv_field(const std::string& text) {
  const bool plain = text.find_first_of(",\"\r\n\t ") == std::string::npos;
  return plain ? text : csv_quoted(text);
}

/// A number as a manifest has it: seven digits.
std::string csv_number(double number);

/// The way to a file from a folder, whether they are spelled with links or not;
/// the file's own name stays as it is.
inline std::string way_to(
    const std::filesystem::path& file,
    const std::filesystem::path& folder) {
  const auto whole = [](const std::filesystem::path& path) {
    return std::filesystem::weakly_canonical(std::filesystem::absolute(path));
  };
  return (whole(std::filesystem::absolute(file).parent_path()) /
          file.filename())
      .lexically_relative(whole(folder))
      .generic_string();
}

/// Whether a file or folder is in that folder, at any depth, or is it.
inline bool lies_in(
    const std::filesystem::path& file,
    const std::filesystem::path& folder) {
  return *std::filesystem::path(way_to(file, folder)).begin() != "..";
}

/// A manifest in `folder`, as read_manifest reads it: all columns of the rows,
/// those left out that no row has anything in.
std::string manifest_of(
    const std::vector<trainer::Row>& rows,
    const std::filesystem::path& folder);

} // namespace common

#endif // CARE_EXAMPLES_COMMON_CSV_HPP
