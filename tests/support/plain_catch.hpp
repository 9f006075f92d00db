// Catch2, version 2 or 3, for tests of what does not see LibTorch.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_PLAIN_CATCH_HPP
#define CARE_TESTS_SUPPORT_PLAIN_CATCH_HPP

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

#endif // CARE_TESTS_SUPPORT_PLAIN_CATCH_HPP
