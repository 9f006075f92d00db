// The metrics by closed forms: confusion matrix, attention, bootstrap.
// SPDX-License-Identifier: Apache-2.0
#include <care/metrics.hpp>
#include <care/rasterize.hpp>

#include "support/support.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>

using care_test::doubles;
using care_test::kNaN;

namespace {

/// The counts of three classes; the third never occurs, the second is never
/// predicted.
care::ConfusionMatrix odd_matrix() {
  care::ConfusionMatrix matrix(3);
  matrix.add(torch::tensor({{6, 0, 2}, {2, 0, 0}, {0, 0, 0}}));
  return matrix;
}

} // namespace

TEST_CASE("metrics: the confusion matrix counts rows true, columns predicted") {
  care::ConfusionMatrix matrix(3);
  matrix.update(torch::tensor({0, 0, 1, 2}), torch::tensor({0, 1, 1, 0}));
  matrix.update(torch::tensor({2}, torch::kInt), torch::tensor({2}));
  matrix.update(
      torch::empty({0}, torch::kLong), torch::empty({0}, torch::kLong));
  const auto expected = torch::tensor({{1, 1, 0}, {0, 1, 0}, {1, 0, 1}});
  CHECK(care_test::identical(matrix.counts(), expected));

  const auto kept = matrix; // as of the best epoch
  matrix.update(torch::tensor({0}), torch::tensor({0}));
  matrix.add(expected);
  CHECK(care_test::identical(kept.counts(), expected));
  matrix = kept;

  care::ConfusionMatrix sum(3);
  sum.merge(matrix);
  sum.add(expected);
  CHECK(care_test::identical(sum.counts(), 2 * expected));
}

TEST_CASE("metrics: recall, precision, F1 and specificity by hand") {
  const auto matrix = odd_matrix();
  CHECK(care_test::allclose(matrix.recall(), doubles({0.75, 0, kNaN})));
  CHECK(care_test::allclose(matrix.precision(), doubles({0.75, kNaN, 0})));
  CHECK(care_test::allclose(matrix.f1(), doubles({0.75, 0, 0})));
  CHECK(care_test::allclose(matrix.specificity(), doubles({0, 1, 0.8})));
  CHECK(matrix.mca() == Approx(0.375)); // over the two that occur
  CHECK(matrix.accuracy() == Approx(0.6));
}

TEST_CASE("metrics: an empty confusion matrix knows nothing") {
  const care::ConfusionMatrix matrix(2);
  CHECK(std::isnan(matrix.mca()));
  CHECK(std::isnan(matrix.accuracy()));
  CHECK(care_test::allclose(matrix.f1(), doubles({kNaN, kNaN})));
}

TEST_CASE("metrics: the confusion matrix prints as a table") {
  CHECK(
      odd_matrix().to_string({"mole", "cyst", "rare one"}) ==
      "true \\ predicted    mole    cyst  rare one  recall\n"
      "mole                   6       0         2   0.750\n"
      "cyst                   2       0         0   0.000\n"
      "rare one               0       0         0       -\n"
      "precision          0.750       -     0.000\n"
      "MCA 0.375, accuracy 0.600\n");
  CHECK(odd_matrix().to_string().find("\n2    ") != std::string::npos);
}

TEST_CASE("metrics: the confusion matrix refuses what does not fit") {
  care::ConfusionMatrix matrix(3);
  const auto ok = torch::tensor({0, 1});
  CARE_REQUIRE_THROWS(care::ConfusionMatrix(0), "at least 1 class, but got 0");
  CARE_REQUIRE_THROWS_AS(
      matrix.update(ok, torch::tensor({1, 3})),
      c10::IndexError,
      "expected predictions in [0, 3), but predictions[1] is 3");
  CARE_REQUIRE_THROWS_AS(
      matrix.update(torch::tensor({-1, 0}), ok),
      c10::IndexError,
      "targets[0] is -1");
  CARE_REQUIRE_THROWS_AS(
      matrix.update(ok, torch::tensor({0.5, 1.0})),
      c10::TypeError,
      "expected predictions to hold integers");
  CARE_REQUIRE_THROWS_AS(
      matrix.update(ok, torch::tensor({1})), c10::ValueError, "1 and 2");
  CARE_REQUIRE_THROWS_AS(
      matrix.update(ok.view({1, 2}), ok), c10::ValueError, "shape [N]");
  CARE_REQUIRE_THROWS(matrix.add(torch::zeros({2, 2}, torch::kLong)), "[3, 3]");
  CARE_REQUIRE_THROWS(
      matrix.add(torch::full({3, 3}, -1)), "at least 0, but got -1");
  CARE_REQUIRE_THROWS(
      matrix.to_string({"one"}), "expected 3 class names, but got 1");
  CHECK(matrix.counts().sum().item<int64_t>() == 0);
}

TEST_CASE("metrics: EPG is the share of the positive map inside") {
  // One size for map and mask: nothing is interpolated.
  const auto maps = torch::tensor(
      {{{3.0, -5.0}, {1.0, 0.0}}, // positive: 3 and 1
       {{-1.0, -2.0}, {0.0, -3.0}}, // nothing positive
       {{2.0, 2.0}, {2.0, 2.0}}, // flat: the region's share of the image
       {{1.0, 1.0}, {1.0, 1.0}}}); // no region
  const auto masks = torch::tensor(
      {{{1.0, 1.0}, {0.0, 0.0}},
       {{1.0, 1.0}, {0.0, 0.0}},
       {{0.5, 0.0}, {0.0, 0.0}}, // half a pixel
       {{0.0, 0.0}, {0.0, 0.0}}});
  const auto expected = doubles({0.75, kNaN, 0.125, kNaN});
  CHECK(care_test::allclose(care::energy_pointing_game(maps, masks), expected));
  for (const auto dtype : {torch::kFloat, torch::kHalf, torch::kBFloat16}) {
    CHECK(care_test::allclose(
        care::energy_pointing_game(maps.to(dtype), masks.to(dtype)), expected));
  }
  // As a share it does not depend on the map's scale, however large or small.
  for (const double scale : {1e-300, 1e300}) {
    CHECK(care_test::allclose(
        care::energy_pointing_game(maps.to(torch::kDouble) * scale, masks),
        expected));
  }
}

TEST_CASE("metrics: EPG brings the map up bilinearly") {
  // 1x2 to 1x4 without aligned corners: 1 0 becomes 1 3/4 1/4 0.
  const auto maps = torch::tensor({{{1.0, 0.0}}});
  for (int64_t pixel = 0; pixel < 4; ++pixel) {
    auto mask = torch::zeros({1, 1, 4}, torch::kBool);
    mask[0][0][pixel] = true;
    const std::vector<double> share{0.5, 0.375, 0.125, 0};
    CHECK(
        care::energy_pointing_game(maps, mask).item<double>() ==
        Approx(share[static_cast<size_t>(pixel)]));
  }
  // The ReLU comes before: 1 -1 becomes 1 0, not 1 1/2 -1/2 -1.
  auto first = torch::tensor({{{1.0, 0.0, 0.0, 0.0}}});
  CHECK(
      care::energy_pointing_game(torch::tensor({{{1.0, -1.0}}}), first)
          .item<double>() == Approx(0.5));
}

TEST_CASE("metrics: the share at map resolution is EPG, by the adjoint") {
  for (int repeat = 0; repeat < 10; ++repeat) {
    const auto maps = torch::randn({3, 5, 7}, torch::kDouble);
    const auto masks = torch::randint(0, 2, {3, 40, 33}, torch::kDouble);
    const auto down = [](const torch::Tensor& image) {
      auto map = torch::zeros({3, 1, 5, 7}, torch::kDouble).requires_grad_();
      auto up = torch::upsample_bilinear2d(map, {40, 33}, false);
      return torch::autograd::grad({up}, {map}, {image.unsqueeze(1)})[0]
          .squeeze(1);
    };
    CHECK(care_test::allclose(
        care::energy_share(maps, down(masks), down(1 - masks)),
        care::energy_pointing_game(maps, masks),
        1e-12));
  }
  const auto flat = torch::zeros({1, 2, 2});
  CHECK(care_test::allclose(
      care::energy_share(flat, flat + 1, flat), doubles({kNaN})));
}

TEST_CASE("metrics: the pointing game asks where the maximum is") {
  const auto maps = torch::tensor(
      {{{1.0, 4.0}, {2.0, 0.0}},
       {{1.0, 4.0}, {2.0, 0.0}},
       {{4.0, 0.0}, {4.0, 0.0}}, // one of two equal maxima is inside
       {{-4.0, -1.0}, {-4.0, -2.0}}});
  const auto masks = torch::tensor(
      {{{0.0, 1.0}, {0.0, 0.0}},
       {{1.0, 0.4}, {1.0, 1.0}}, // less than half a pixel is outside
       {{1.0, 0.0}, {0.0, 0.0}},
       {{1.0, 1.0}, {1.0, 1.0}}});
  CHECK(care_test::allclose(
      care::pointing_game(maps, masks), doubles({1, 0, 1, kNaN})));
  // What is the same everywhere points nowhere.
  CHECK(care::pointing_game(torch::ones({4, 2, 2}), masks)
            .isnan()
            .all()
            .item<bool>());
  // Equal maxima that interpolation moves apart by a rounding: any of them.
  for (const int64_t cells : {7, 8, 10, 14}) {
    for (const int64_t side : {224, 299, 384}) {
      auto twins = torch::zeros({1, cells, cells}, torch::kDouble);
      twins[0][1][1] = twins[0][cells - 2][cells - 2] = 0.7;
      for (const bool first : {true, false}) {
        CAPTURE(cells, side, first);
        auto mask = torch::zeros({1, side, side}, torch::kDouble);
        const auto half = side / 2;
        (first ? mask[0].slice(0, 0, half).slice(1, 0, half)
               : mask[0].slice(0, half).slice(1, half))
            .fill_(1);
        CHECK(care::pointing_game(twins, mask).item<double>() == 1);
      }
    }
  }
}

TEST_CASE("metrics: IoU of the map above a threshold with the region") {
  const auto maps =
      torch::tensor({{{1.0, 0.6}, {0.4, 0.0}}, {{3.0, 3.0}, {3.0, 3.0}}});
  const auto masks =
      torch::tensor({{{1.0, 0.0}, {1.0, 0.0}}, {{1.0, 0.0}, {1.0, 0.0}}});
  CHECK(care_test::allclose(
      care::iou_at(maps, masks, 0.5), doubles({1.0 / 3, kNaN})));
  CHECK(care_test::allclose(
      care::iou_at(maps, masks, 0.3), doubles({2.0 / 3, kNaN})));
  CHECK(care_test::allclose(
      care::iou_at(maps, masks, 0.7), doubles({0.5, kNaN})));
  // The minimum counts as 0: raising every positive cell changes nothing.
  CHECK(care_test::allclose(
      care::iou_at(maps + 10, masks, 0.5), doubles({1.0 / 3, kNaN})));
  // A flat map brought up is still flat.
  const auto large =
      torch::zeros({2, 33, 47}).index_fill(2, torch::tensor({0, 1, 2}), 1);
  const auto iou =
      care::iou_at(maps.index({torch::tensor({1, 1})}), large, 0.5);
  CHECK(care_test::allclose(iou, doubles({kNaN, kNaN})));
  // And so is one with what rounding leaves of a constant.
  const auto noise = torch::ones({2, 2, 2}) + torch::rand({2, 2, 2}) * 1e-5;
  CHECK(care::iou_at(noise, masks, 0.5).isnan().all().item<bool>());
  CHECK(care::best_iou(noise, masks).isnan().all().item<bool>());
  for (const double threshold : {-0.1, 1.0, kNaN}) {
    CARE_REQUIRE_THROWS_AS(
        care::iou_at(maps, masks, threshold), c10::ValueError, "threshold");
  }
}

TEST_CASE("metrics: a region smaller than a pixel") {
  // Between four pixels, of each of which it covers (side / 2)^2; the maximum
  // of the map lies there, or elsewhere.
  auto map = torch::zeros({2, 7, 7});
  map[0][3][3] = 1;
  map[1][1][5] = 1;
  for (const double side : {2.0, 1.0, 0.95, 0.1}) {
    CAPTURE(side);
    const double low = 112 - side / 2, high = 112 + side / 2;
    const std::array<double, 4> box = {low, low, high, high};
    const auto masks =
        care::pixel_mask(care::Boxes::from_lists({{box}, {box}}, {224, 224}));
    CHECK(
        care_test::allclose(care::pointing_game(map, masks), doubles({1, 0})));
    const auto up = torch::upsample_bilinear2d(
        map.unsqueeze(1), {224, 224}, /*align_corners=*/false);
    const auto seen = (up[0] > 0.5 * up[0].max()).sum().item<double>();
    CHECK(care_test::allclose(
        care::iou_at(map, masks, 0.5), doubles({4 / seen, 0})));
    CHECK(care::best_iou(map, masks)[0].item<double>() == Approx(1));
  }
  // Where a pixel is covered by half, the others count no more than before.
  const auto one = care::pixel_mask(
      care::Boxes::from_lists({{{10, 10, 11.3, 11}}}, {224, 224}));
  auto beside = torch::zeros({1, 224, 224});
  beside[0][10][11] = 1; // covered by 0.3
  CHECK(care::pointing_game(beside, one).item<double>() == 0);
}

TEST_CASE("metrics: the chance-adjusted energy by hand") {
  const auto maps = torch::tensor(
      {{{1.0, 3.0}, {-5.0, 0.0}},
       {{2.0, 2.0}, {2.0, 2.0}},
       {{0.0, 4.0}, {0.0, 0.0}},
       {{0.0, 0.0}, {0.0, -1.0}}});
  const auto masks = torch::tensor({{0.0, 1.0}, {0.0, 0.0}}).expand({4, 2, 2});
  // EPG is 3/4, 1/4 and 1; the region covers 1/4.
  CHECK(care_test::allclose(
      care::chance_adjusted_energy(maps, masks),
      doubles({0.5, 0, 0.75, kNaN})));
  // Half the picture covered by a map that is the same everywhere.
  CHECK(care_test::allclose(
      care::chance_adjusted_energy(
          torch::ones({1, 3, 3}),
          torch::ones({1, 8, 8}).index_fill(1, torch::arange(4), 0)),
      doubles({0})));
}

TEST_CASE("metrics: the ratio of inside to outside by hand") {
  const auto maps = torch::tensor(
      {{{1.0, 3.0}, {-5.0, 0.0}}, // 3 inside, 1/3 outside
       {{2.0, 2.0}, {2.0, 2.0}},
       {{0.0, 4.0}, {0.0, 0.0}}, // nothing outside
       {{4.0, 0.0}, {0.0, 0.0}}, // nothing inside
       {{-4.0, 0.0}, {0.0, 0.0}}}); // nothing
  const auto masks = torch::tensor({{0.0, 1.0}, {0.0, 0.0}}).expand({5, 2, 2});
  CHECK(care_test::allclose(
      care::inside_outside_ratio(maps, masks),
      doubles({9, 1, std::numeric_limits<double>::infinity(), 0, kNaN})));
  // No region, and a region that leaves no outside.
  CHECK(care_test::allclose(
      care::inside_outside_ratio(
          torch::ones({2, 2, 2}),
          torch::stack({torch::zeros({4, 4}), torch::ones({4, 4})})),
      doubles({kNaN, kNaN})));
}

TEST_CASE("attention metrics: a mask that was rounded beyond 1", "[metrics]") {
  auto maps = torch::zeros({1, 4, 4});
  maps.slice(1, 0, 2).slice(2, 0, 2).fill_(1);
  const auto mask = maps.clone();
  const auto rounded = mask * 1.0005;
  for (const auto& metric :
       {care::energy_pointing_game,
        care::chance_adjusted_energy,
        care::inside_outside_ratio}) {
    CHECK(care_test::identical(metric(maps, rounded), metric(maps, mask)));
  }
  CHECK(care_test::identical(
      care::groups_by_size(torch::full({1, 4, 4}, -5e-4), {0.5}),
      torch::tensor({-1}, torch::kLong)));
}

TEST_CASE("metrics: the best IoU over all thresholds") {
  // Falling: 1 is in, 0.6 out, 0.4 in, 0 out: IoU 1/2, 1/3, 2/3.
  const auto maps = torch::tensor(
      {{{1.0, 0.6}, {0.4, 0.0}},
       {{1.0, 0.4}, {0.4, 0.0}}, // two equal cells rise together: 1/2, 2/3
       {{3.0, 3.0}, {3.0, 3.0}},
       {{0.0, 1.0}, {0.0, 1.0}}}); // the lowest are above no threshold
  const auto masks = torch::tensor({{1.0, 0.0}, {1.0, 0.0}}).expand({4, 2, 2});
  CHECK(care_test::allclose(
      care::best_iou(maps, masks), doubles({2.0 / 3, 2.0 / 3, kNaN, 0})));
  CHECK(care_test::allclose(
      care::best_iou(maps, torch::zeros({4, 2, 2})),
      doubles({kNaN, kNaN, kNaN, kNaN})));

  // No threshold is better, and one is as good.
  torch::manual_seed(12);
  const auto map = torch::randn({1, 3, 4});
  const auto mask = torch::rand({1, 9, 11}) > 0.6;
  const auto best = care::best_iou(map, mask).item<double>();
  double found = 0;
  for (int i = 0; i < 4000; ++i) {
    found = std::max(found, care::iou_at(map, mask, i / 4000.0).item<double>());
  }
  CHECK(found == Approx(best));
}

TEST_CASE("metrics: attention metrics take an empty batch and no gradient") {
  const auto maps = torch::zeros({0, 2, 2});
  const auto masks = torch::zeros({0, 8, 8});
  CHECK(
      care::energy_pointing_game(maps, masks).sizes() == torch::IntArrayRef{0});
  CHECK(care::pointing_game(maps, masks).sizes() == torch::IntArrayRef{0});
  CHECK(care::iou_at(maps, masks, 0.5).sizes() == torch::IntArrayRef{0});
  CHECK(care::best_iou(maps, masks).sizes() == torch::IntArrayRef{0});
  CHECK(care::chance_adjusted_energy(maps, masks).numel() == 0);
  CHECK(care::inside_outside_ratio(maps, masks).numel() == 0);
  CHECK(care::energy_share(maps, maps, maps).sizes() == torch::IntArrayRef{0});
  const auto live = torch::ones({1, 2, 2}).requires_grad_();
  const auto mask = torch::ones({1, 4, 4});
  CHECK_FALSE(care::energy_pointing_game(live, mask).requires_grad());
}

TEST_CASE("metrics: attention metrics refuse what does not fit") {
  const auto maps = torch::ones({2, 2, 2});
  const auto masks = torch::ones({2, 4, 4});
  CARE_REQUIRE_THROWS_AS(
      care::energy_pointing_game(maps[0], masks),
      c10::ValueError,
      "care::energy_pointing_game: expected maps of shape [N, h, w]");
  CARE_REQUIRE_THROWS_AS(
      care::pointing_game(maps, masks[0]),
      c10::ValueError,
      "expected masks of shape [2, H, W], but got [4, 4]");
  CARE_REQUIRE_THROWS_AS(
      care::energy_pointing_game(maps, masks * 255),
      c10::ValueError,
      "expected masks in [0, 1], but got values from 255 to 255 in masks[0]");
  CARE_REQUIRE_THROWS_AS(
      care::energy_pointing_game(maps, masks * kNaN),
      c10::ValueError,
      "masks in [0, 1], but got values from nan");
  auto bad = maps.clone();
  bad[1][0][0] = kNaN;
  CARE_REQUIRE_THROWS_AS(
      care::iou_at(bad, masks, 0.5), c10::ValueError, "map 1 is not");
  CARE_REQUIRE_THROWS_AS(
      care::energy_pointing_game(maps.to(torch::kLong), masks),
      c10::TypeError,
      "floating point");
  CARE_REQUIRE_THROWS_AS(
      care::energy_share(maps, maps, masks), c10::ValueError, "outside");
  CARE_REQUIRE_THROWS_AS(
      care::energy_share(maps, -maps, maps), c10::ValueError, "at least 0");
  CARE_REQUIRE_THROWS_AS(
      care::energy_share(maps, maps.to(torch::kMeta), maps),
      c10::ValueError,
      "expected maps and inside on one device, but got cpu and meta");
}

TEST_CASE("metrics: the bootstrap draws images and runs") {
  using Indices = std::vector<int64_t>;
  bool first = true;
  std::vector<int64_t> seen_images(5), seen_runs(3);
  care::bootstrap_interval(
      [&](const Indices& images, const Indices& runs) {
        REQUIRE(images.size() == 5);
        REQUIRE(runs.size() == 3);
        if (first) { // the value itself: everything, in order
          CHECK(images == Indices{0, 1, 2, 3, 4});
          CHECK(runs == Indices{0, 1, 2});
          first = false;
        } else {
          for (const auto i : images) {
            ++seen_images.at(static_cast<size_t>(i));
          }
          for (const auto r : runs) {
            ++seen_runs.at(static_cast<size_t>(r));
          }
        }
        return 0.0;
      },
      5,
      3,
      care::BootstrapOptions().repeats(2000));
  for (const auto n : seen_images) {
    CHECK(std::abs(static_cast<double>(n) - 2000) < 200);
  }
  for (const auto n : seen_runs) {
    CHECK(std::abs(static_cast<double>(n) - 2000) < 200);
  }
}

TEST_CASE("metrics: the bootstrap interval of a mean is the normal one") {
  using Indices = std::vector<int64_t>;
  // 400 images, half 0 and half 1: standard error sqrt(0.25 / 400) = 0.025.
  const auto mean = [](const Indices& images, const Indices&) {
    double sum = 0;
    for (const auto i : images) {
      sum += static_cast<double>(i % 2);
    }
    return sum / static_cast<double>(images.size());
  };
  const auto interval = care::bootstrap_interval(
      mean, 400, 1, care::BootstrapOptions().repeats(4000).seed(1));
  CHECK(interval.value == 0.5);
  CHECK(interval.low == Approx(0.5 - 1.96 * 0.025).margin(0.005));
  CHECK(interval.high == Approx(0.5 + 1.96 * 0.025).margin(0.005));
  const auto narrow = care::bootstrap_interval(
      mean, 400, 1, care::BootstrapOptions().level(0.5));
  CHECK(narrow.low == Approx(0.5 - 0.674 * 0.025).margin(0.005));

  // Equal seeds, equal intervals; another seed, another one.
  const auto options = care::BootstrapOptions().repeats(50);
  const auto a = care::bootstrap_interval(mean, 400, 2, options);
  const auto b = care::bootstrap_interval(mean, 400, 2, options);
  CHECK(a.low == b.low);
  CHECK(a.high == b.high);
  const auto other = care::bootstrap_interval(
      mean, 400, 2, care::BootstrapOptions().repeats(50).seed(9));
  CHECK((other.low != a.low || other.high != a.high));
}

TEST_CASE("metrics: runs that differ widen the interval") {
  using Indices = std::vector<int64_t>;
  const auto of_runs = [](const Indices&, const Indices& runs) {
    double sum = 0;
    for (const auto r : runs) {
      sum += static_cast<double>(r);
    }
    return sum / static_cast<double>(runs.size());
  };
  // Two runs, 0 and 1: the mean is 0 or 1 in a quarter of the draws each.
  const auto interval = care::bootstrap_interval(of_runs, 10, 2);
  CHECK(interval.value == 0.5);
  CHECK(interval.low == 0);
  CHECK(interval.high == 1);
}

TEST_CASE("metrics: the bootstrap leaves undefined draws out") {
  using Indices = std::vector<int64_t>;
  const auto figures = [](const Indices& images, const Indices&) {
    const bool there =
        std::find(images.begin(), images.end(), 0) != images.end();
    return std::vector<double>{there ? 2.0 : kNaN, kNaN, 1.0};
  };
  const auto intervals = care::bootstrap_intervals(figures, 3, 1);
  REQUIRE(intervals.size() == 3);
  CHECK(intervals[0].low == 2.0);
  CHECK(intervals[0].high == 2.0);
  CHECK(std::isnan(intervals[1].value));
  CHECK(std::isnan(intervals[1].low));
  CHECK(intervals[2].high == 1.0);
}

TEST_CASE("metrics: the bootstrap of figures that may be infinite") {
  using Indices = std::vector<int64_t>;
  const auto infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> values{1, 1, 1, infinity};
  const auto second = [&](const Indices& images, const Indices&) {
    std::vector<double> drawn;
    for (const auto i : images) {
      drawn.push_back(values[static_cast<size_t>(i)]);
    }
    std::sort(drawn.begin(), drawn.end());
    return drawn[1];
  };
  const auto interval = care::bootstrap_interval(second, 4, 1);
  CHECK(interval.value == 1);
  CHECK(interval.low == 1);
  CHECK(interval.high == infinity); // 5 % of the draws
  // Between an infinite draw and a finite one lies no number.
  CHECK(care::detail::sorted_quantile({-infinity, 0}, 0.5) == -infinity);
  CHECK(care::detail::sorted_quantile({0, infinity}, 0.5) == infinity);
}

TEST_CASE("metrics: the bootstrap refuses what does not fit") {
  using Indices = std::vector<int64_t>;
  const auto zero = [](const Indices&, const Indices&) { return 0.0; };
  using Options = care::BootstrapOptions;
  CARE_REQUIRE_THROWS_AS(
      care::bootstrap_interval(zero, 0, 1),
      c10::ValueError,
      "at least 1 image");
  CARE_REQUIRE_THROWS_AS(
      care::bootstrap_interval(zero, 1, 1, Options().repeats(1)),
      c10::ValueError,
      "at least 2 repeats");
  CARE_REQUIRE_THROWS_AS(
      care::bootstrap_interval(zero, 1, 1, Options().level(1)),
      c10::ValueError,
      "level");
  int calls = 0;
  CARE_REQUIRE_THROWS_AS(
      care::bootstrap_intervals(
          [&](const Indices&, const Indices&) {
            return std::vector<double>(++calls == 1 ? 2 : 3, 0.0);
          },
          3,
          1),
      c10::ValueError,
      "expected 2 figures from every call, but got 3");
}
