// expect: care: expected a network that returns a tensor, a struct with
// A forward that returns no logits.
// SPDX-License-Identifier: Apache-2.0
#include <care/capture.hpp>

#include <string>

void watch() {
  care::capture([] { return std::string("lesion"); });
}
