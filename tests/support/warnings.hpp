// What LibTorch's warnings say, on each LibTorch.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_WARNINGS_HPP
#define CARE_TESTS_SUPPORT_WARNINGS_HPP

#include "support/catch.hpp"

#include <string>
#include <vector>

namespace care_test {

#if TORCH_VERSION_MAJOR >= 2
namespace warnings = c10::WarningUtils;
#else
namespace warnings = c10::Warning;
#endif

/// Keeps warnings, also those of TORCH_WARN_ONCE each time, while it lives.
class Warnings : private c10::WarningHandler {
 public:
  Warnings() : before_(warnings::get_warning_handler()) {
    warnings::set_warning_handler(this);
    warnings::set_warnAlways(true);
  }
  ~Warnings() override {
    warnings::set_warnAlways(false);
    warnings::set_warning_handler(before_);
  }
  Warnings(const Warnings&) = delete;
  Warnings& operator=(const Warnings&) = delete;

  /// How many there were with `part` in them.
  int64_t count(const std::string& part) const {
    int64_t result = 0;
    for (const auto& one : kept_) {
      result += one.find(part) != std::string::npos ? 1 : 0;
    }
    return result;
  }

 private:
#if TORCH_VERSION_MAJOR >= 2
  void process(const c10::Warning& warning) override {
    kept_.push_back(warning.msg());
  }
#else
  void process(
      const c10::SourceLocation& /*place*/,
      const std::string& message,
      const bool /*verbatim*/) override {
    kept_.push_back(message);
  }
#endif

  c10::WarningHandler* before_;
  std::vector<std::string> kept_;
};

} // namespace care_test

#endif // CARE_TESTS_SUPPORT_WARNINGS_HPP
