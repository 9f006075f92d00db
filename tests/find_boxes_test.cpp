// Tests of care/find_boxes.hpp: thresholds, components, confidence.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/find_boxes.hpp>
#include <care/rasterize.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <ctime>
#include <limits>
#include <random>
#include <tuple>
#include <vector>

using care::BoxFinderOptions;
using care::MapThreshold;
using care::Size;

namespace {

/// No padding, no merging, any confidence, ten pixels of 100 x 200 or more.
BoxFinderOptions plain() {
  return BoxFinderOptions()
      .padding(1)
      .merge_gap(-1)
      .min_area(0.0005)
      .min_confidence(0)
      .max_boxes(100);
}

torch::Tensor rows(std::vector<float> numbers) {
  return torch::tensor(numbers).view({-1, 4});
}

/// [1, 100, 200]: 0.1 everywhere.
torch::Tensor ground() {
  return torch::full({1, 100, 200}, 0.1);
}

/// Fills the box x0, y0, x1, y1 of map 0.
void fill(torch::Tensor maps, std::array<int64_t, 4> box, double value) {
  maps[0].slice(0, box[1], box[3]).slice(1, box[0], box[2]).fill_(value);
}

/// Otsu's threshold, cut by cut.
double otsu(const torch::Tensor& map) {
  const auto values = (map.flatten() * 256).floor().clamp_max(255);
  double best = -1, first = 0, last = 0;
  int64_t below = -1; // how many lie below the best cut
  for (int cut = 1; cut < 256; ++cut) {
    const auto low = values.masked_select(values < cut);
    const auto high = values.masked_select(values >= cut);
    double between = 0;
    if (low.numel() > 0 && high.numel() > 0) {
      const auto gap =
          low.to(torch::kDouble).mean() - high.to(torch::kDouble).mean();
      between = (gap * gap).item<double>() * static_cast<double>(low.numel()) *
          static_cast<double>(high.numel());
    }
    if (between > best * (1 + 1e-9)) {
      best = between;
      first = last = cut;
      below = low.numel();
    } else if (low.numel() == below || best == 0) { // the gap goes on
      last = cut;
    }
  }
  return (first + last) / 512;
}

} // namespace

TEST_CASE("otsu_threshold: by hand and cut by cut", "[find_boxes]") {
  auto maps = torch::full({3, 4, 5}, 0.1);
  maps[0][1][1] = 0.9; // bins 25 and 230: cuts 26 to 230, the middle is 128
  maps[1] = 0.3; // one bin
  maps[2].slice(0, 2).fill_(1); // bins 25 and 255: cuts 26 to 255
  const auto threshold = care::otsu_threshold(maps);
  CHECK(threshold.scalar_type() == torch::kFloat);
  CHECK(threshold[0].item<double>() == Approx(128.0 / 256));
  CHECK(threshold[1].item<double>() == Approx(0.5));
  CHECK(threshold[2].item<double>() == Approx(140.5 / 256));
  // Two gaps are as good: the middle of one of them, not of both.
  auto even = torch::full({1, 30, 30}, 0.1);
  even[0].slice(0, 10, 15).fill_(0.47); // bin 120
  even[0].slice(0, 15, 20).fill_(0.53); // bin 135
  even[0].slice(0, 20).fill_(0.9);
  CHECK(
      care::otsu_threshold(even)[0].item<double>() ==
      Approx((26 + 120) / 512.0));
  torch::manual_seed(4);
  maps = torch::cat(
      {torch::rand({3, 20, 30}),
       torch::rand({3, 20, 30}).pow(4),
       torch::randn({3, 20, 30}).mul(0.1).add(0.4).clamp(0, 1)});
  const auto all = care::otsu_threshold(maps);
  for (int64_t i = 0; i < maps.size(0); ++i) {
    CHECK(all[i].item<double>() == Approx(otsu(maps[i])).margin(1e-6));
  }
}

TEST_CASE("find_boxes: one rectangle, all by hand", "[find_boxes]") {
  auto map = ground();
  fill(map, {20, 10, 50, 30}, 0.9);
  const auto found = care::find_boxes(map, plain());
  CHECK(care_test::identical(found.boxes.xyxy(), rows({20, 10, 50, 30})));
  CHECK(found.boxes.num_images() == 1);
  CHECK(found.boxes.image_size() == Size{100, 200});
  CHECK(found.threshold[0].item<double>() == Approx(0.5));
  // contrast 0.8, compactness 1, border 1, room 1.
  CHECK(found.confidence[0].item<double>() == Approx(0.8));
  CHECK(care_test::identical(found.boxes.weights(), found.confidence));
  CHECK(found.whole[0].item<int64_t>() == 0);
  CHECK(found.unsure[0].item<int64_t>() == 0);
  // The weight reaches the loss's regions.
  CHECK(
      care::rasterize(found.boxes, {7, 7}).weight[0].item<double>() ==
      Approx(0.8));
  // Scaled by 1.2 about (35, 20): 36 x 24; by 10 it is cut at the border.
  CHECK(care_test::allclose(
      care::find_boxes(map, plain().padding(1.2)).boxes.xyxy(),
      rows({17, 8, 53, 32})));
  CHECK(care_test::allclose(
      care::find_boxes(map, plain().padding(5)).boxes.xyxy(),
      rows({0, 0, 110, 70})));
}

TEST_CASE("find_boxes: each factor of the confidence", "[find_boxes]") {
  auto confidence = [](const torch::Tensor& map) {
    const auto found = care::find_boxes(map, plain());
    REQUIRE(found.boxes.num_boxes() == 1);
    return found.confidence[0].item<double>();
  };
  auto map = ground();
  SECTION("contrast: against what lies below the threshold") {
    fill(map, {100, 0, 200, 100}, 0.3); // below 0.5: half the image
    fill(map, {20, 10, 50, 30}, 0.9);
    const double below = (9400 * 0.1 + 10000 * 0.3) / 19400;
    CHECK(confidence(map) == Approx(0.9 - below));
  }
  SECTION("compactness: two thin arms") {
    fill(map, {20, 20, 40, 40}, 0.9);
    fill(map, {22, 20, 40, 38}, 0.1); // 20 * 20 - 18 * 18 = 76 pixels are left
    CHECK(confidence(map) == Approx(0.8 * 76 / (400 * M_PI / 4)));
  }
  SECTION("border: 60 of 120 pixels of the outline") {
    fill(map, {0, 0, 40, 20}, 0.9);
    CHECK(confidence(map) == Approx(0.8 * 0.5));
  }
  SECTION("room: three fifths of the image") {
    fill(map, {20, 10, 170, 90}, 0.9);
    CHECK(confidence(map) == Approx(0.8 * 0.4 / 0.55));
  }
}

TEST_CASE("find_boxes: never the whole image", "[find_boxes]") {
  auto map = ground();
  fill(map, {2, 2, 198, 98}, 0.9);
  auto found = care::find_boxes(map, plain());
  CHECK(found.boxes.num_boxes() == 0);
  CHECK(found.whole[0].item<int64_t>() == 1);
  // Nor does padding make it so: 0.8 of the image, then nearly all.
  map = ground();
  fill(map, {10, 8, 190, 92}, 0.9);
  CHECK(care::find_boxes(map, plain()).boxes.num_boxes() == 1);
  found = care::find_boxes(map, plain().padding(1.2));
  CHECK(found.boxes.num_boxes() == 0);
  CHECK(found.whole[0].item<int64_t>() == 1);
  CHECK(care::find_boxes(map, plain().max_area(0.7)).boxes.num_boxes() == 0);
  // Merging can bring it about too.
  map = ground();
  fill(map, {1, 1, 4, 99}, 0.9);
  fill(map, {6, 1, 199, 4}, 0.9);
  found = care::find_boxes(map, plain().merge_gap(0.02));
  CHECK(found.boxes.num_boxes() == 0);
  CHECK(found.whole[0].item<int64_t>() == 1);
  // A mask over everything, a map of one value, a map of zeros: no box.
  const auto fixed = plain().threshold(MapThreshold::kFixed).level(0.5);
  CHECK(care::find_boxes(torch::ones({1, 8, 8}), fixed).boxes.num_boxes() == 0);
  for (const double value : {0.0, 0.4, 1.0}) {
    for (const auto kind :
         {MapThreshold::kOtsu, MapThreshold::kMean, MapThreshold::kQuantile}) {
      found = care::find_boxes(
          torch::full({2, 8, 8}, value), plain().threshold(kind).level(0.9));
      CHECK(found.boxes.num_boxes() == 0);
      CHECK(found.boxes.num_images() == 2);
    }
  }
}

TEST_CASE("find_boxes: the four thresholds", "[find_boxes]") {
  // Four levels: 0.2, 0.4, 0.6, 0.8, a quarter of 10 x 20 each, as columns.
  auto map = torch::zeros({1, 10, 20});
  for (int64_t i = 0; i < 4; ++i) {
    map.slice(2, 5 * i, 5 * i + 5).fill_(0.2 * static_cast<double>(i + 1));
  }
  auto left = [&](MapThreshold kind, double level) {
    const auto found =
        care::find_boxes(map, plain().threshold(kind).level(level));
    REQUIRE(found.boxes.num_boxes() == 1);
    return found.boxes.xyxy()[0][0].item<double>();
  };
  CHECK(left(MapThreshold::kOtsu, 0) == 10);
  CHECK(left(MapThreshold::kMean, 1.0) == 10); // 0.5
  CHECK(left(MapThreshold::kMean, 1.5) == 15); // 0.75
  CHECK(left(MapThreshold::kMean, 0.7) == 5); // 0.35
  CHECK(left(MapThreshold::kFixed, 0.7) == 15);
  CHECK(left(MapThreshold::kFixed, 0.41) == 10);
  CHECK(left(MapThreshold::kQuantile, 0.76) == 15);
  CHECK(left(MapThreshold::kQuantile, 0.51) == 10);
  CHECK(left(MapThreshold::kQuantile, 0.26) == 5);
  CHECK(left(MapThreshold::kQuantile, 0.75) == 15); // a quarter, no more
  // Beyond the largest value: nothing.
  CHECK(
      care::find_boxes(map, plain().threshold(MapThreshold::kMean).level(3))
          .boxes.num_boxes() == 0);
}

TEST_CASE("find_boxes: small, near, many and unsure ones", "[find_boxes]") {
  auto map = ground();
  fill(map, {10, 10, 30, 30}, 0.9); // 400 pixels, 0.02 of the image
  fill(map, {35, 10, 45, 30}, 0.8); // 200 pixels, 5 apart from the first
  fill(map, {100, 50, 140, 80}, 0.6); // 1200 pixels
  fill(map, {160, 90, 163, 93}, 1.0); // 9 pixels
  const auto boxes = [&](const BoxFinderOptions& options) {
    return care::find_boxes(map, options).boxes.xyxy();
  };
  const auto fixed = plain().threshold(MapThreshold::kFixed).level(0.5);
  // The most certain first: the contrast decides.
  CHECK(care_test::identical(
      boxes(BoxFinderOptions(fixed).min_area(0)),
      rows(
          {160,
           90,
           163,
           93,
           10,
           10,
           30,
           30,
           35,
           10,
           45,
           30,
           100,
           50,
           140,
           80})));
  CHECK(care_test::identical(
      boxes(BoxFinderOptions(fixed).min_area(0.005)),
      rows({10, 10, 30, 30, 35, 10, 45, 30, 100, 50, 140, 80})));
  CHECK(care_test::identical(
      boxes(BoxFinderOptions(fixed).min_area(0.005).max_boxes(1)),
      rows({10, 10, 30, 30})));
  // 0.02 of 200 pixels are 4, 0.025 are 5.
  CHECK(boxes(BoxFinderOptions(fixed).merge_gap(0.02)).size(0) == 3);
  const auto merged = care::find_boxes(
      map, BoxFinderOptions(fixed).merge_gap(0.025).min_area(0.005));
  CHECK(care_test::identical(
      merged.boxes.xyxy(), rows({10, 10, 45, 30, 100, 50, 140, 80})));
  // 600 pixels of mean (400 * 0.9 + 200 * 0.8) / 600 in 35 x 20; the rest is
  // the ground.
  CHECK(
      merged.confidence[0].item<double>() ==
      Approx((520.0 / 600 - 0.1) * std::min(1.0, 600 / (700 * M_PI / 4))));
  // A chain: the merged box reaches what its parts did not.
  auto chain = ground();
  fill(chain, {10, 10, 20, 50}, 0.9);
  fill(chain, {30, 48, 40, 90}, 0.9);
  fill(chain, {22, 70, 28, 80}, 0.9); // near the second, inside the union
  CHECK(care_test::identical(
      care::find_boxes(chain, BoxFinderOptions(fixed).merge_gap(0.05))
          .boxes.xyxy(),
      rows({10, 10, 40, 90})));

  const auto unsure = care::find_boxes(
      map, BoxFinderOptions(fixed).min_area(0.005).min_confidence(0.6));
  CHECK(unsure.boxes.num_boxes() == 2);
  CHECK(unsure.unsure[0].item<int64_t>() == 1);
}

TEST_CASE("find_boxes: a pixel in the corner", "[find_boxes]") {
  auto maps = torch::zeros({1, 32, 32});
  maps[0][0][0] = 1;
  const auto found = care::find_boxes(maps, plain().min_area(0));
  CHECK(care_test::allclose(found.boxes.xyxy(), rows({0, 0, 1, 1})));
}

TEST_CASE("find_boxes: merging is what pair after pair gives", "[find_boxes]") {
  using Region = care::detail::FoundRegion;
  const auto pairwise = [](std::vector<Region> all, double gap) {
    for (bool again = true; again;) {
      again = false;
      for (size_t i = 0; i < all.size(); ++i) {
        for (size_t j = i + 1; j < all.size();) {
          auto& a = all[i];
          const auto b = all[j];
          if (std::max(a.x0, b.x0) - std::min(a.x1, b.x1) > gap ||
              std::max(a.y0, b.y0) - std::min(a.y1, b.y1) > gap) {
            ++j;
            continue;
          }
          a = {
              std::min(a.x0, b.x0),
              std::min(a.y0, b.y0),
              std::max(a.x1, b.x1),
              std::max(a.y1, b.y1),
              a.pixels + b.pixels,
              a.inside + b.inside};
          all.erase(all.begin() + static_cast<std::ptrdiff_t>(j));
          again = true;
        }
      }
    }
    return all;
  };
  std::mt19937 random(3);
  const auto below = [&](uint64_t n) {
    return static_cast<double>(random() % n);
  };
  for (int trial = 0; trial < 2000; ++trial) {
    CAPTURE(trial);
    std::vector<Region> all;
    const auto side = 5 + random() % 100;
    for (auto n = 1 + random() % 40; n > 0; --n) {
      const auto x = below(side), y = below(side);
      all.push_back(
          {x, y, x + 1 + below(4), y + 1 + below(4), below(9), below(99)});
    }
    const auto gap = trial % 3 == 0 ? 0.0 : below(100) / 20;
    auto got = all;
    care::detail::merge_regions(got, gap);
    const auto expected = pairwise(all, gap);
    REQUIRE(got.size() == expected.size());
    for (size_t i = 0; i < got.size(); ++i) {
      const auto& a = got[i];
      const auto& b = expected[i];
      REQUIRE(
          std::tie(a.x0, a.y0, a.x1, a.y1, a.pixels, a.inside) ==
          std::tie(b.x0, b.y0, b.x1, b.y1, b.pixels, b.inside));
    }
  }
}

TEST_CASE("find_boxes: noise with every component kept", "[find_boxes]") {
  // About 90,000 components: pair after pair, this took 20 seconds and more.
  torch::manual_seed(0);
  const auto noise = torch::rand({1, 1024, 1024});
  auto options = BoxFinderOptions()
                     .threshold(MapThreshold::kQuantile)
                     .level(0.9)
                     .min_area(0)
                     .max_boxes(1 << 20)
                     .min_confidence(0);
  const auto threads = torch::get_num_threads();
  torch::set_num_threads(1);
  for (const double gap : {-1.0, 0.0, 0.001, 0.02}) {
    CAPTURE(gap);
    const auto start = std::clock(); // of this process, one thread
    const auto found = care::find_boxes(noise, options.merge_gap(gap));
    const auto took = static_cast<double>(std::clock() - start);
    CHECK(took / CLOCKS_PER_SEC < 8); // a second, unoptimised
    if (gap < 0) {
      CHECK(found.boxes.num_boxes() > 50000);
    } else if (gap > 0) {
      CHECK(found.whole[0].item<int64_t>() == 1);
    }
  }
  torch::set_num_threads(threads);
}

TEST_CASE("find_boxes: priors", "[find_boxes]") {
  auto map = ground();
  fill(map, {90, 40, 110, 60}, 0.7); // in the middle
  fill(map, {0, 30, 20, 50}, 0.9); // at the side
  auto first = [&](const BoxFinderOptions& options) {
    return care::find_boxes(map, options).boxes.xyxy()[0][0].item<double>();
  };
  const auto fixed = plain().threshold(MapThreshold::kFixed).level(0.2);
  CHECK(care::find_boxes(map, fixed).boxes.num_boxes() == 2);
  // exp(-r^2 / (2 c^2)) by hand, at the pixel in row 40, column 100.
  const auto prior =
      care::detail::map_prior(map, BoxFinderOptions().centre_prior(0.5));
  const double dy = (40.5 - 50) / 100, dx = (100.5 - 100) / 100;
  CHECK(
      prior[40][100].item<double>() ==
      Approx(std::exp(-(dy * dy + dx * dx) / 0.5)));
  CHECK(first(BoxFinderOptions(fixed).centre_prior(0.5)) == 90);
  CHECK(
      care::find_boxes(map, BoxFinderOptions(fixed).centre_prior(0.4))
          .boxes.num_boxes() == 1);
  // Linear to the border: 0.5 pixels are a fortieth of 20.
  const auto rim =
      care::detail::map_prior(map, BoxFinderOptions().border_prior(0.2));
  CHECK(rim[50][0].item<double>() == Approx(0.025));
  CHECK(rim[99][100].item<double>() == Approx(0.025));
  CHECK(rim[50][30].item<double>() == Approx(1));
  // A map of one value has no box, though a prior gives it a shape.
  CHECK(
      care::find_boxes(
          torch::full({1, 64, 64}, 0.5), BoxFinderOptions().centre_prior(0.3))
          .boxes.num_boxes() == 0);
  CHECK(
      care::find_boxes(map, BoxFinderOptions(fixed).border_prior(0.2))
          .boxes.xyxy()
          .select(1, 0)
          .min()
          .item<double>() > 0);
}

TEST_CASE("find_boxes: a batch is its maps one by one", "[find_boxes]") {
  auto maps = torch::rand({4, 24, 30}).pow(3);
  maps[2].zero_();
  const auto options = plain().min_area(0.002);
  const auto all = care::find_boxes(maps, options);
  CHECK(all.boxes.num_images() == 4);
  CHECK(all.boxes.boxes_per_image()[2].item<int64_t>() == 0);
  std::vector<care::Boxes> parts;
  for (int64_t i = 0; i < 4; ++i) {
    parts.push_back(care::find_boxes(maps.slice(0, i, i + 1), options).boxes);
  }
  const auto joined = care::Boxes::collate(parts);
  CHECK(joined.num_boxes() > 10);
  CHECK(care_test::identical(all.boxes.xyxy(), joined.xyxy()));
  CHECK(care_test::identical(all.boxes.image_index(), joined.image_index()));
  CHECK(care_test::identical(all.boxes.weights(), joined.weights()));
  CHECK((all.confidence >= 0).all().item<bool>());
  CHECK((all.confidence <= 1).all().item<bool>());
  // Doubles, and memory in another order.
  const auto turned = maps.transpose(1, 2).contiguous().transpose(1, 2);
  CHECK(care_test::identical(
      care::find_boxes(turned.to(torch::kDouble), options).boxes.xyxy(),
      all.boxes.xyxy()));
  // A mask.
  auto mask = torch::zeros({1, 12, 12}, torch::kBool);
  mask.slice(1, 2, 6).slice(2, 3, 9).fill_(true);
  CHECK(care_test::identical(
      care::find_boxes(mask, plain()).boxes.xyxy(), rows({3, 2, 9, 6})));
  CHECK(care::find_boxes(torch::zeros({0, 5, 5})).boxes.num_images() == 0);
}

TEST_CASE("find_boxes: bad input", "[find_boxes]") {
  CARE_REQUIRE_THROWS_AS(
      care::find_boxes(torch::rand({4, 4})),
      c10::ValueError,
      "care::find_boxes: expected maps of shape [N, H, W], but got [4, 4]");
  auto maps = torch::rand({3, 4, 4});
  maps[1][2][3] = 1.0001; // of an interpolation
  CHECK(care::find_boxes(maps).confidence.le(1).all().item<bool>());
  maps[1][2][3] = 1.5;
  CARE_REQUIRE_THROWS_AS(
      care::find_boxes(maps),
      c10::ValueError,
      "care::find_boxes: expected maps in [0, 1], but maps[1] reaches from ");
  maps[0][0][0] = std::numeric_limits<float>::quiet_NaN();
  CARE_REQUIRE_THROWS_AS(
      care::find_boxes(maps), c10::ValueError, "but maps[0] reaches from ");
  CARE_REQUIRE_THROWS_AS(
      care::otsu_threshold(maps),
      c10::ValueError,
      "care::otsu_threshold: expected maps in [0, 1], but maps[0]");

  const auto good = torch::rand({1, 8, 8});
  auto refuses = [&](const BoxFinderOptions& options, const char* message) {
    CARE_REQUIRE_THROWS_AS(
        care::find_boxes(good, options), c10::ValueError, message);
  };
  const auto mean = BoxFinderOptions().threshold(MapThreshold::kMean);
  const auto quantile = BoxFinderOptions().threshold(MapThreshold::kQuantile);
  const auto fixed = BoxFinderOptions().threshold(MapThreshold::kFixed);
  refuses(
      BoxFinderOptions(mean).level(0),
      "expected a level above 0 (multiples of the mean), but got 0");
  refuses(
      BoxFinderOptions(quantile).level(1),
      "expected a level in [0, 1) (a quantile), but got 1");
  refuses(fixed, "expected a level in (0, 1] (a value of the map), but got 2");
  refuses(
      BoxFinderOptions().min_area(0.95),
      "expected min_area from 0 to below max_area, but got 0.95");
  refuses(
      BoxFinderOptions().max_area(1.1),
      "expected max_area up to 1, but got 1.1");
  refuses(
      BoxFinderOptions().max_boxes(0),
      "expected max_boxes of at least 1, but got 0");
  refuses(
      BoxFinderOptions().merge_gap(NAN),
      "expected a finite merge_gap, but got nan");
  refuses(
      BoxFinderOptions().padding(0),
      "expected a padding of at least 0.01, but got 0");
  refuses(
      BoxFinderOptions().min_confidence(2),
      "expected min_confidence in [0, 1], but got 2");
  refuses(
      BoxFinderOptions().centre_prior(-1),
      "expected centre_prior of at least 0, but got -1");
  refuses(
      BoxFinderOptions().border_prior(0.6),
      "expected border_prior in [0, 0.5], but got 0.6");
}
