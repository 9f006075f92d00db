// Whole files, as text and as JSON.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_FILES_HPP
#define CARE_EXAMPLES_COMMON_FILES_HPP

#include "resnet_trainer/picture.hpp" // write_atomically

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace common {

/// The whole file or nothing; its folder is made where it lacks.
inline void write_atomically(
    const std::filesystem::path& path,
    std::string_view bytes) {
  if (path.has_parent_path()) {
    std::filesystem::create_directories(path.parent_path());
  }
  trainer::write_atomically(path, bytes);
}

/// The whole file as bytes. Throws std::runtime_error with the path and the
/// system's reason.
inline std::string read_file(const std::filesystem::path& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  if (!file || std::filesystem::is_directory(path) ||
      (file.peek() != EOF && !(bytes << file.rdbuf()))) {
    const int code = std::filesystem::is_directory(path) ? EISDIR
        : errno != 0                                     ? errno
                                                         : EIO;
    throw std::runtime_error(fmt::format(
        "cannot read '{}': {}",
        path.string(),
        std::generic_category().message(code)));
  }
  return bytes.str();
}

/// The file as JSON, comments allowed. Throws std::runtime_error that names it
/// and where it is wrong.
inline nlohmann::json read_json(const std::filesystem::path& path) {
  const auto text = read_file(path);
  try {
    return nlohmann::json::parse(text, nullptr, true, /*ignore_comments=*/true);
  } catch (const nlohmann::json::exception& error) {
    throw std::runtime_error(path.string() + ": " + error.what());
  }
}

/// Writes JSON, NaN as null. Names that are not UTF-8 get a mark, for they must
/// not end a long training.
inline void write_json(
    const std::filesystem::path& path,
    const nlohmann::json& json) {
  constexpr auto kMark = nlohmann::json::error_handler_t::replace;
  write_atomically(path, json.dump(1, ' ', false, kMark) + "\n");
}

/// 16 hexadecimal digits that change when the bytes do (FNV-1a, 64 bits): tells
/// edited files apart, not forged ones.
inline std::string fingerprint(std::string_view bytes) {
  uint64_t hash = 14695981039346656037U;
  for (const char byte : bytes) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211U;
  }
  return fmt::format("{:016x}", hash);
}

} // namespace common

#endif // CARE_EXAMPLES_COMMON_FILES_HPP
