// Catch2, version 2 or 3, beside LibTorch. Tests that see LibTorch include this
// and not Catch2.
//
// LibTorch comes first and its CHECK goes: in the other order CHECK is the one
// of LibTorch's logging, and a check that fails ends the program.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_CATCH_HPP
#define CARE_TESTS_SUPPORT_CATCH_HPP

#include <torch/torch.h>

#undef CHECK

#include "support/plain_catch.hpp"

#endif // CARE_TESTS_SUPPORT_CATCH_HPP
