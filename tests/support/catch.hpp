// Catch2, version 2 or 3, beside LibTorch. Tests include only this.
//
// LibTorch comes first and its CHECK goes: in the other order CHECK is the one
// of LibTorch's logging, and a check that fails ends the program.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_CATCH_HPP
#define CARE_TESTS_SUPPORT_CATCH_HPP

#include <torch/torch.h>

#undef CHECK

#if __has_include(<catch2/catch_test_macros.hpp>)
#include <catch2/catch_approx.hpp>
#include <catch2/catch_template_test_macros.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/generators/catch_generators_range.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif

#endif // CARE_TESTS_SUPPORT_CATCH_HPP
