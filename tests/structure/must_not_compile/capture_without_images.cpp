// expect: care: expected a callable without arguments that runs the forward
// A network is watched with its images, or within a callable that has them.
// SPDX-License-Identifier: Apache-2.0
#include <care/capture.hpp>

void watch(const care::Tap& net) {
  care::capture(*net);
}
