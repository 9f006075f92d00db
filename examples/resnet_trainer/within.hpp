// The range of an option that takes a number.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_WITHIN_HPP
#define RESNET_TRAINER_WITHIN_HPP

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cstdlib>
#include <string>

namespace trainer {

/// As CLI::Range, in which NaN lies, too.
inline CLI::Validator within(double least, double most) {
  const auto range = fmt::format("[{} - {}]", least, most);
  return {
      [=](const std::string& text) {
        char* end = nullptr;
        const double number = std::strtod(text.c_str(), &end);
        const bool is_number = end != text.c_str() && *end == '\0';
        return is_number && number >= least && number <= most
            ? std::string()
            : fmt::format("Value {} not in range {}", text, range);
      },
      "in " + range};
}

} // namespace trainer

#endif // RESNET_TRAINER_WITHIN_HPP
