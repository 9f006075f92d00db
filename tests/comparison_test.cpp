// Paired differences over images and splits: by hand, and against SciPy.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/metrics.hpp>

#include <cmath>
#include <limits>
#include <random>

using care_test::doubles;
using care_test::kNaN;
using care_test::longs;

TEST_CASE("paired_differences: values by hand", "[metrics]") {
  const auto groups = longs({0, 0, 1, 1});
  auto a = doubles({1, 1, 1, 0, 1, 0, 1, 1}).view({2, 4});
  const auto b = doubles({1, 0, 0, 0, 0, 0, 1, 0}).view({2, 4});
  auto result = care::paired_differences(a, b, groups, 2);
  CHECK(result.macro.value == Approx(0.5));
  REQUIRE(result.by_group.size() == 2);
  CHECK(result.by_group[0].value == Approx(0.5));
  CHECK(result.by_group[1].value == Approx(0.5));
  // Not tested in the second split: group 1 differs there by 0.
  a[1][3] = kNaN;
  result = care::paired_differences(a, b, groups, 2);
  CHECK(result.by_group[1].value == Approx(0.25));
  CHECK(result.macro.value == Approx(0.375));
  // A third group that no image is in has no difference, and harms none.
  const auto three = care::paired_differences(a, b, groups, 3);
  CHECK(std::isnan(three.by_group[2].value));
  CHECK(three.macro.value == Approx(0.375));
  CHECK(three.macro.low == result.macro.low);
  // The other way round.
  const auto turned = care::paired_differences(b, a, groups, 2);
  CHECK(turned.macro.value == Approx(-0.375));
}

TEST_CASE("paired_differences: intervals by closed form", "[metrics]") {
  const auto options = care::BootstrapOptions().repeats(4000).seed(1);
  // Equal arms differ by nothing, whatever is drawn.
  torch::manual_seed(3);
  const auto noise = torch::rand({5, 30});
  auto result = care::paired_differences(
      noise, noise, torch::zeros({30}, torch::kLong), 1, options);
  CHECK(result.macro.low == 0);
  CHECK(result.macro.high == 0);
  // Images that differ by 0 and 1 in turn, alike in every split: standard error
  // sqrt(0.25 / 400). What is common to both arms has no part in it.
  const auto common = 10 * torch::rand({1, 400}, torch::kDouble);
  const auto step = (torch::arange(400) % 2).to(torch::kDouble).unsqueeze(0);
  result = care::paired_differences(
      (common + step).expand({4, 400}),
      common.expand({4, 400}),
      torch::zeros({400}, torch::kLong),
      1,
      options);
  CHECK(result.macro.value == Approx(0.5));
  CHECK(result.macro.low == Approx(0.5 - 1.96 * 0.025).margin(0.005));
  CHECK(result.macro.high == Approx(0.5 + 1.96 * 0.025).margin(0.005));
  // Splits that differ by 0 and 1 in turn, alike in every image: 36 splits,
  // standard error 1/12.
  const auto splits =
      (torch::arange(36) % 2).to(torch::kDouble).unsqueeze(1).expand({36, 50});
  result = care::paired_differences(
      splits,
      torch::zeros_like(splits),
      torch::zeros({50}, torch::kLong),
      1,
      options);
  CHECK(result.macro.low == Approx(0.5 - 1.96 / 12).margin(0.02));
  CHECK(result.macro.high == Approx(0.5 + 1.96 / 12).margin(0.02));
}

TEST_CASE(
    "paired_differences: MCA and recall by confusion matrices",
    "[metrics]") {
  const int64_t splits = 3, images = 40, classes = 3;
  std::mt19937 random(5);
  auto target = torch::zeros({images}, torch::kLong);
  auto hits = torch::full({2, splits, images}, kNaN, torch::kDouble);
  auto predicted = torch::zeros({2, splits, images}, torch::kLong);
  auto tested = torch::zeros({splits, images}, torch::kBool);
  for (int64_t i = 0; i < images; ++i) {
    target[i] = static_cast<int64_t>(random() % 3);
    for (int64_t s = 0; s < splits; ++s) {
      tested[s][i] = random() % 2 == 0;
      for (int64_t arm = 0; arm < 2; ++arm) {
        predicted[arm][s][i] = static_cast<int64_t>(random() % 3);
        if (tested[s][i].item<bool>()) {
          hits[arm][s][i] =
              predicted[arm][s][i].eq(target[i]).to(torch::kDouble);
        }
      }
    }
  }
  using Indices = std::vector<int64_t>;
  const auto mca = [&](const Indices& drawn, const Indices& runs) {
    double difference = 0;
    for (const auto s : runs) {
      auto which = longs(drawn);
      which = which.masked_select(tested[s].index_select(0, which));
      for (int64_t arm = 0; arm < 2; ++arm) {
        care::ConfusionMatrix matrix(classes);
        matrix.update(
            target.index_select(0, which),
            predicted[arm][s].index_select(0, which));
        difference += (arm == 0 ? 1.0 : -1.0) * matrix.mca() /
            static_cast<double>(runs.size());
      }
    }
    return difference;
  };
  const auto options = care::BootstrapOptions().repeats(100).seed(2);
  const auto expected = care::bootstrap_interval(mca, images, splits, options);
  const auto actual =
      care::paired_differences(hits[0], hits[1], target, classes, options)
          .macro;
  CHECK(actual.value == Approx(expected.value));
  CHECK(actual.low == Approx(expected.low));
  CHECK(actual.high == Approx(expected.high));
}

TEST_CASE("paired_differences: bad input", "[metrics]") {
  const auto a = torch::zeros({2, 3});
  const auto groups = longs({0, 1, 1});
  CARE_REQUIRE_THROWS_AS(
      care::paired_differences(a[0], a[0], groups, 2),
      c10::ValueError,
      "expected figures of shape [S, N], but got [3]");
  CARE_REQUIRE_THROWS_AS(
      care::paired_differences(a, a.slice(0, 0, 1), groups, 2),
      c10::ValueError,
      "expected b of shape [2, 3], but got [1, 3]");
  CARE_REQUIRE_THROWS_AS(
      care::paired_differences(a, a, groups, 1),
      c10::IndexError,
      "expected groups in [0, 1), but group[1] is 1");
  CARE_REQUIRE_THROWS_AS(
      care::paired_differences(a, a, longs({0, 1}), 2),
      c10::ValueError,
      "group of shape [3]");
  CARE_REQUIRE_THROWS_AS(
      care::paired_differences(a.slice(0, 0, 0), a.slice(0, 0, 0), groups, 2),
      c10::ValueError,
      "at least 1 image and 1 run");
  CARE_REQUIRE_THROWS_AS(
      care::paired_differences(a.to(torch::kLong), a, groups, 2),
      c10::TypeError,
      "expected a to hold floating point");
}

TEST_CASE("student_quantile: SciPy", "[metrics][golden]") {
  auto expected = care_test::load_dictionary(
      care_test::data_dir() / "golden_metrics" / "metrics.pt");
  const auto degrees = expected["degrees"];
  for (int64_t i = 0; i < degrees.size(0); ++i) {
    const auto d = degrees[i].item<int64_t>();
    CAPTURE(d);
    CHECK(
        care::detail::student_quantile(0.95, d) ==
        Approx(expected["student_0.95"][i].item<double>()).epsilon(1e-9));
    CHECK(
        care::detail::student_quantile(0.5, d) ==
        Approx(expected["student_0.5"][i].item<double>()).epsilon(1e-9));
  }
}

TEST_CASE("corrected_resampled_t: by hand", "[metrics]") {
  // Mean 0.2, variance 0.01, t = 4.302653 with 2 degrees of freedom:
  // 4.302653 sqrt((1/3 + 1/2) 0.01) = 0.392777.
  const auto interval = care::corrected_resampled_t({0.1, 0.2, 0.3}, 0.5);
  CHECK(interval.value == Approx(0.2));
  CHECK(interval.low == Approx(0.2 - 0.392777).margin(1e-6));
  CHECK(interval.high == Approx(0.2 + 0.392777).margin(1e-6));
  // Two splits: t at level 1/2 with 1 degree of freedom is tan(pi / 4) = 1;
  // sqrt((1/2 + 1/2) 0.02) = 0.141421.
  const auto two = care::corrected_resampled_t({0.1, 0.3}, 0.5, 0.5);
  CHECK(two.high - two.value == Approx(std::sqrt(0.02)));
  const auto same = care::corrected_resampled_t({0.25, 0.25, 0.25}, 1);
  CHECK(same.low == 0.25);
  CHECK(same.high == 0.25);
}

TEST_CASE("corrected_resampled_error: by hand", "[metrics]") {
  // Variance 0.01: sqrt((1/3 + 1/2) 0.01).
  CHECK(
      care::corrected_resampled_error({0.1, 0.2, 0.3}, 0.5) ==
      Approx(std::sqrt(0.01 * 5 / 6)));
  CHECK(care::corrected_resampled_error({0.25, 0.25}, 1) == 0);
  CARE_REQUIRE_THROWS_AS(
      care::corrected_resampled_error({0.1}, 1),
      c10::ValueError,
      "care::corrected_resampled_error: expected at least 2 differences");
}

TEST_CASE("corrected_resampled_t: bad input", "[metrics]") {
  CARE_REQUIRE_THROWS_AS(
      care::corrected_resampled_t({0.1}, 1),
      c10::ValueError,
      "expected at least 2 differences, but got 1");
  CARE_REQUIRE_THROWS_AS(
      care::corrected_resampled_t({0.1, kNaN}, 1),
      c10::ValueError,
      "expected finite differences, but differences[1] is nan");
  for (const double ratio : {0.0, -1.0, kNaN}) {
    CARE_REQUIRE_THROWS_AS(
        care::corrected_resampled_t({0.1, 0.2}, ratio),
        c10::ValueError,
        "expected test_over_train above 0, but got");
  }
  CARE_REQUIRE_THROWS_AS(
      care::corrected_resampled_t({0.1, 0.2}, 1, 1),
      c10::ValueError,
      "expected a level between 0 and 1, but got 1");
}
