// Tests of the mean of an effect over datasets.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/metrics/random_effects.hpp>

#include <cmath>

using care_test::kNaN;

// statsmodels 0.15, combine_effects(effects, errors^2, method_re="iterated",
// use_t=True): "random effect wls", tau2.
TEST_CASE("random_effects: statsmodels", "[metrics]") {
  const auto three =
      care::random_effects({0.141, 0.083, 0.060}, {0.04, 0.03, 0.02});
  CHECK(three.mean.value == Approx(0.08485390).margin(1e-7));
  CHECK(three.mean.low == Approx(-0.010111).margin(2e-6));
  CHECK(three.mean.high == Approx(0.179819).margin(2e-6));
  CHECK(three.between * three.between == Approx(0.00064292).epsilon(1e-4));

  const auto four =
      care::random_effects({0.5, -0.2, 0.9, 0.1}, {0.1, 0.12, 0.3, 0.05});
  CHECK(four.mean.value == Approx(0.28047491));
  CHECK(four.mean.low == Approx(-0.444002).margin(1e-6));
  CHECK(four.mean.high == Approx(1.004951).margin(1e-6));
  CHECK(four.between * four.between == Approx(0.18305018));
}

TEST_CASE("random_effects: sets that agree", "[metrics]") {
  // Closer than their errors: no variance between them, and an interval as of
  // one common effect, with t in the place of the normal quantile.
  const auto two = care::random_effects({0.1, 0.12}, {0.05, 0.08});
  CHECK(two.between == 0);
  CHECK(two.mean.value == Approx(0.10561798)); // statsmodels: fixed effect
  CHECK(two.mean.low == Approx(-0.433124).margin(1e-6));
  CHECK(two.mean.high == Approx(0.644360).margin(1e-6));
  // t with 1 degree of freedom at level 1/2 is 1: +- 0.1 / sqrt(2).
  const auto same = care::random_effects({0.3, 0.3}, {0.1, 0.1}, 0.5);
  CHECK(same.mean.value == Approx(0.3));
  CHECK(same.mean.high - same.mean.value == Approx(0.07071068));
}

TEST_CASE("random_effects: sets far apart count alike", "[metrics]") {
  const auto apart = care::random_effects({0, 1000}, {1e-3, 1e-6});
  CHECK(apart.mean.value == Approx(500));
  CHECK(apart.between == Approx(1000 / std::sqrt(2.0)));
}

TEST_CASE("random_effects: in any unit the same", "[metrics]") {
  const auto one = care::random_effects({0.1, 0.3, 0.2}, {0.05, 0.04, 0.1});
  for (const double unit : {1e-170, 1e170}) {
    const auto other = care::random_effects(
        {0.1 * unit, 0.3 * unit, 0.2 * unit},
        {0.05 * unit, 0.04 * unit, 0.1 * unit});
    CHECK(other.mean.value / unit == Approx(one.mean.value));
    CHECK(other.mean.low / unit == Approx(one.mean.low).margin(1e-9));
    CHECK(other.between / unit == Approx(one.between));
  }
}

TEST_CASE("random_effects: bad input", "[metrics]") {
  CARE_REQUIRE_THROWS_AS(
      care::random_effects({0.1}, {0.1}),
      c10::ValueError,
      "expected at least 2 effects, but got 1");
  CARE_REQUIRE_THROWS_AS(
      care::random_effects({0.1, 0.2}, {0.1}),
      c10::ValueError,
      "expected 2 errors, one for each effect, but got 1");
  CARE_REQUIRE_THROWS_AS(
      care::random_effects({0.1, kNaN}, {0.1, 0.1}),
      c10::ValueError,
      "expected finite effects, but effects[1] is nan");
  for (const double error : {0.0, -1.0, kNaN}) {
    CARE_REQUIRE_THROWS_AS(
        care::random_effects({0.1, 0.2}, {0.1, error}),
        c10::ValueError,
        "expected errors above 0, but errors[1] is");
  }
  CARE_REQUIRE_THROWS_AS(
      care::random_effects({0.1, 0.2}, {1e-170, 0.1}),
      c10::ValueError,
      "but errors[0] is 1e-170");
  CARE_REQUIRE_THROWS_AS(
      care::random_effects({0.1, 0.2}, {0.1, 0.1}, 1),
      c10::ValueError,
      "expected a level between 0 and 1, but got 1");
}
