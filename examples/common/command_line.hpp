// What the programs' command lines have in common.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_COMMAND_LINE_HPP
#define CARE_EXAMPLES_COMMON_COMMAND_LINE_HPP

#include <care/boxes.hpp>

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <thread>

namespace common {

/// A size such as "112", or "256x128" (width x height). Throws
/// std::invalid_argument that names `setting` unless both are 32 to 4096
/// pixels.
inline care::Size parse_size(
    const std::string& setting,
    const std::string& text) {
  try {
    size_t used = 0;
    const auto width = std::stoll(text, &used);
    auto height = width;
    if (used < text.size() && text[used] == 'x') {
      size_t more = 0;
      height = std::stoll(text.substr(used + 1), &more);
      used += 1 + more;
    }
    if (used == text.size() && width >= 32 && height >= 32 && width <= 4096 &&
        height <= 4096) {
      return {height, width};
    }
  } catch (const std::logic_error&) {
  }
  throw std::invalid_argument(
      setting +
      ": expected a number or WIDTHxHEIGHT of 32 to 4096 pixels, but got " +
      text);
}

/// As many as were asked for; 0: one for each core.
inline int64_t threads_or_all(int64_t wanted) {
  return wanted > 0 ? wanted
                    : std::max<int64_t>(1, std::thread::hardware_concurrency());
}

/// Runs `work` and says what went wrong, after the program's name, on the
/// standard error stream: main's status.
template <typename Work>
int run_main(const char* program, const Work& work) {
  try {
    work();
    return 0;
  } catch (const c10::Error& error) {
    std::cerr << program << ": " << error.what_without_backtrace() << '\n';
  } catch (const std::exception& error) {
    std::cerr << program << ": " << error.what() << '\n';
  }
  return 1;
}

} // namespace common

#endif // CARE_EXAMPLES_COMMON_COMMAND_LINE_HPP
