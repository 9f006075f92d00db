// expect: no matching function for call to|no matching constructor
// Boxes know which image they lie on: a plain number is no batch of boxes.
// SPDX-License-Identifier: Apache-2.0
#include <care/boxes.hpp>

care::Boxes boxes(42);
