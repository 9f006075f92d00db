// What the programs ask of the files that they are told to write.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_FILES_HPP
#define CARE_EXAMPLES_COMMON_FILES_HPP

#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace common {

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

} // namespace common

#endif // CARE_EXAMPLES_COMMON_FILES_HPP
