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
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace nlohmann {

/// A value or null.
template <class T>
struct adl_serializer<std::optional<T>> {
  static void to_json(json& json, const std::optional<T>& value) {
    json = value ? nlohmann::json(*value) : nlohmann::json(nullptr);
  }
  static void from_json(const json& json, std::optional<T>& value) {
    value = json.is_null() ? std::nullopt : std::make_optional(json.get<T>());
  }
};

} // namespace nlohmann

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
  const bool is_folder = std::filesystem::is_directory(path);
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  if (!file || is_folder || (file.peek() != EOF && !(bytes << file.rdbuf()))) {
    const std::error_code code(
        is_folder ? EISDIR : errno, std::generic_category());
    throw std::runtime_error(
        fmt::format("cannot read '{}': {}", path.string(), code.message()));
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
