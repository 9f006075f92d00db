// expect: care: expected a network: a torch::nn module, a holder or pointer
// What is watched has a forward; this is a number.
// SPDX-License-Identifier: Apache-2.0
#include <care/capture.hpp>

void watch() {
  care::capture(42, torch::rand({1, 3, 8, 8}));
}
