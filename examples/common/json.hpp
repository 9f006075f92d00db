// Files of JSON.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_JSON_HPP
#define CARE_EXAMPLES_COMMON_JSON_HPP

#include "resnet_trainer/files.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>

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

/// The file as JSON, comments allowed. Throws std::runtime_error that names it
/// and where it is wrong.
inline nlohmann::json read_json(const std::filesystem::path& path) {
  const auto text = trainer::read_file(path);
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
  trainer::write_atomically(path, json.dump(1, ' ', false, kMark) + "\n");
}

} // namespace common

#endif // CARE_EXAMPLES_COMMON_JSON_HPP
