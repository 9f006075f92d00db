// AUC, average precision and groups: by hand, and against scikit-learn.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/metrics.hpp>

#include <cmath>
#include <limits>

using care_test::doubles;
using care_test::kNaN;
using care_test::longs;

TEST_CASE("ranking: AUC and average precision by hand", "[metrics]") {
  // Class 0, falling: in, in and out level, out. Pairs in order: 1, 1, 1/2, 1.
  // Precision 1 at the first half of the recall, 2/3 at the second.
  // Class 1, falling: in and out level, in, out. Pairs: 1/2, 1, 0, 1; precision
  // 1/2, then 2/3. Class 2 does not occur.
  const auto scores = torch::tensor(
      {{0.9, 0.1, 0.0}, {0.5, 0.5, 0.0}, {0.5, 0.5, 0.0}, {0.1, 0.3, 0.6}});
  const auto targets = longs({0, 0, 1, 1});
  CHECK(care_test::allclose(
      care::one_vs_rest_auc(scores, targets), doubles({0.875, 0.625, kNaN})));
  CHECK(care_test::allclose(
      care::one_vs_rest_average_precision(scores, targets),
      doubles({0.5 + 1.0 / 3, 0.25 + 1.0 / 3, kNaN})));
  // All images are of one class: no pairs to compare.
  CHECK(care_test::allclose(
      care::one_vs_rest_auc(scores, longs({0, 0, 0, 0})),
      doubles({kNaN, kNaN, kNaN})));
  CHECK(care_test::allclose(
      care::one_vs_rest_average_precision(scores, longs({0, 0, 0, 0})),
      doubles({1, kNaN, kNaN})));
  // Half precision and no image at all.
  CHECK(care_test::allclose(
      care::one_vs_rest_auc(scores.to(torch::kHalf), targets),
      doubles({0.875, 0.625, kNaN})));
  CHECK(care_test::allclose(
      care::one_vs_rest_auc(scores.slice(0, 0, 0), targets.slice(0, 0, 0)),
      doubles({kNaN, kNaN, kNaN})));
}

TEST_CASE("ranking: the macro average leaves NaN out", "[metrics]") {
  CHECK(care::macro_average(doubles({0.5, kNaN, 1})) == 0.75);
  CHECK(std::isnan(care::macro_average(doubles({kNaN}))));
}

TEST_CASE("ranking and confusion: scikit-learn", "[metrics][golden]") {
  auto expected = care_test::golden("golden_metrics/metrics");
  const auto scores = expected["scores"], target = expected["target"];
  const auto auc = care::one_vs_rest_auc(scores, target);
  CHECK(care_test::allclose(auc, expected["auc"], 1e-12));
  CHECK(
      care::macro_average(auc) == Approx(expected["macro_auc"].item<double>()));
  const auto precision = care::one_vs_rest_average_precision(scores, target);
  CHECK(care_test::allclose(precision, expected["average_precision"], 1e-12));
  CHECK(
      care::macro_average(precision) ==
      Approx(expected["macro_average_precision"].item<double>()));

  care::ConfusionMatrix matrix(scores.size(1));
  matrix.update(target, expected["predicted"]);
  CHECK(care_test::allclose(matrix.recall(), expected["recall"]));
  CHECK(care_test::allclose(matrix.precision(), expected["precision"]));
  CHECK(care_test::allclose(matrix.f1(), expected["f1"]));
  CHECK(care_test::allclose(matrix.specificity(), expected["specificity"]));
  CHECK(matrix.mca() == Approx(expected["balanced_accuracy"].item<double>()));
}

TEST_CASE("ranking: bad input", "[metrics]") {
  const auto scores = torch::rand({2, 3});
  CARE_REQUIRE_THROWS_AS(
      care::one_vs_rest_auc(scores[0], longs({0})),
      c10::ValueError,
      "care::one_vs_rest_auc: expected scores of shape [N, K], but got [3]");
  CARE_REQUIRE_THROWS_AS(
      care::one_vs_rest_auc(scores, longs({0})), c10::ValueError, "[2]");
  CARE_REQUIRE_THROWS_AS(
      care::one_vs_rest_average_precision(scores, longs({0, 3})),
      c10::IndexError,
      "expected classes in [0, 3), but targets[1] is 3");
  auto broken = scores.clone();
  broken[1][2] = kNaN;
  CARE_REQUIRE_THROWS_AS(
      care::one_vs_rest_auc(broken, longs({0, 1})),
      c10::ValueError,
      "image 1 has a NaN");
  CARE_REQUIRE_THROWS_AS(
      care::macro_average(longs({1})), c10::TypeError, "floating point");
}

TEST_CASE("groups: means, and what is undefined apart", "[metrics]") {
  const auto means = care::means_by_group(
      doubles({1, kNaN, 3, 0.5, 7, kNaN}), longs({0, 0, 1, 0, -1, -1}), 3);
  CHECK(care_test::allclose(means.mean, doubles({0.75, 3, kNaN})));
  CHECK(care_test::identical(means.defined, longs({2, 1, 0})));
  CHECK(care_test::identical(means.undefined, longs({1, 0, 0})));
  const auto none = care::means_by_group(torch::empty({0}), longs({}), 2);
  CHECK(care_test::allclose(none.mean, doubles({kNaN, kNaN})));
  CARE_REQUIRE_THROWS_AS(
      care::means_by_group(doubles({1}), longs({3}), 3),
      c10::IndexError,
      "expected groups in [-1, 3), but group[0] is 3");
  CARE_REQUIRE_THROWS_AS(
      care::means_by_group(doubles({1}), longs({-2}), 3),
      c10::IndexError,
      "group[0] is -2");
  CARE_REQUIRE_THROWS_AS(
      care::means_by_group(doubles({1}), longs({0, 0}), 3),
      c10::ValueError,
      "expected group of shape [1], but got [2]");
  CARE_REQUIRE_THROWS_AS(
      care::means_by_group(doubles({1}), longs({0}), 0),
      c10::ValueError,
      "at least 1 group");
}

TEST_CASE("groups: head, medium and tail", "[metrics]") {
  const auto groups = care::groups_by_frequency({101, 100, 20, 19, 0});
  CHECK(care_test::identical(groups, longs({0, 1, 1, 2, 2})));
  CHECK(care_test::identical(
      care::groups_by_frequency({5, 3, 2}, 3, 4), longs({0, 1, 2})));
  // Recalls 1, 1/2, -, 0 of head, medium, medium, tail.
  care::ConfusionMatrix matrix(4);
  matrix.update(longs({0, 1, 1, 3}), longs({0, 1, 0, 0}));
  const auto recall = care::means_by_group(
      matrix.recall(), care::groups_by_frequency({500, 50, 20, 9}), 3);
  CHECK(care_test::allclose(recall.mean, doubles({1, 0.5, 0})));
  CHECK(care_test::identical(recall.undefined, longs({0, 1, 0})));
  CARE_REQUIRE_THROWS_AS(
      care::groups_by_frequency({1, -1}),
      c10::ValueError,
      "expected counts of at least 0, but counts[1] is -1");
  CARE_REQUIRE_THROWS_AS(
      care::groups_by_frequency({1}, 5, 4), c10::ValueError, "5 and 4");
}

TEST_CASE("groups: by the size of the region", "[metrics]") {
  auto masks = torch::zeros({5, 4, 5});
  masks[1][0][0] = 1; // 1/20
  masks[2].select(1, 0).fill_(1); // 4/20, on the edge
  masks[3].fill_(0.5); // 10/20
  masks[4].fill_(1);
  CHECK(care_test::identical(
      care::groups_by_size(masks, {0.1, 0.2, 0.75}), longs({-1, 0, 2, 2, 3})));
  CHECK(care_test::identical(
      care::groups_by_size(masks > 0, {}), longs({-1, 0, 0, 0, 0})));
  for (const auto& edges :
       std::vector<std::vector<double>>{{0.0}, {0.2, 0.1}, {1.5}, {kNaN}}) {
    CARE_REQUIRE_THROWS_AS(
        care::groups_by_size(masks, edges),
        c10::ValueError,
        "expected edges that rise in (0, 1], but got");
  }
  CARE_REQUIRE_THROWS_AS(
      care::groups_by_size(masks * 255, {}),
      c10::ValueError,
      "masks in [0, 1]");
  CARE_REQUIRE_THROWS_AS(
      care::groups_by_size(masks[0], {}), c10::ValueError, "[N, H, W]");
}
