// Tests that need Python: which one, and what it runs.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_PYTHON_HPP
#define CARE_TESTS_SUPPORT_PYTHON_HPP

#include "support/catch.hpp"
#include "support/program.hpp"
#include "support/support.hpp"

#include <cstdlib>
#include <filesystem>
#include <string>

namespace care_test {

/// $CARE_PYTHON, or the one of .ci/run.
inline std::filesystem::path python() {
  if (const char* given = std::getenv("CARE_PYTHON")) {
    return given;
  }
  return data_dir() / "../../build/ci/python/bin/python";
}

/// Runs a script of tests/tools and requires that it succeeds; false, aloud, if
/// there is no Python, or none with the packages that it needs.
inline bool run_python(
    const std::string& script,
    const std::string& arguments) {
  if (!std::filesystem::exists(python())) {
    WARN("skipped: no Python; name one with torch in CARE_PYTHON");
    return false;
  }
  const auto path = data_dir() / "../tools" / script;
  const auto outcome =
      run_program(quoted(python()), quoted(path) + " " + arguments);
  if (outcome.status == 77) {
    WARN("skipped: " << outcome.text);
    return false;
  }
  INFO(outcome.text);
  REQUIRE(outcome.status == 0);
  return true;
}

} // namespace care_test

#endif // CARE_TESTS_SUPPORT_PYTHON_HPP
