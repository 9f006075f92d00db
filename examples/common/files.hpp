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
#include <system_error>
#include <vector>

namespace common {

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

/// Throws where an option's file would take the place of one that is read.
inline void check_not_input(
    const char* option,
    const std::filesystem::path& out,
    const std::vector<std::filesystem::path>& inputs) {
  for (const auto& input : inputs) {
    std::error_code none_there;
    if (std::filesystem::equivalent(out, input, none_there)) {
      throw std::invalid_argument(
          std::string(option) + ": expected another file than the input " +
          input.string());
    }
  }
}

using trainer::fingerprint;
using trainer::write_atomically;

} // namespace common

#endif // CARE_EXAMPLES_COMMON_FILES_HPP
