// Whole files as text.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_FILES_HPP
#define CARE_EXAMPLES_COMMON_FILES_HPP

#include "resnet_trainer/picture.hpp" // fingerprint, write_atomically

#include <fmt/format.h>

#include <cerrno>
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

using trainer::fingerprint;

} // namespace common

#endif // CARE_EXAMPLES_COMMON_FILES_HPP
