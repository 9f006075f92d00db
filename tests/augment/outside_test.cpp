// Tests of care/augment/outside.hpp: who gets whose outside, and how.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/augment/outside.hpp>

#include <algorithm>
#include <set>
#include <vector>

using care::Boxes;
using care::Outside;
using care::OutsideDraw;
using care::OutsideOptions;
using care::RegionFill;
using care_test::longs;

namespace {

/// Four images of 8x8 with a flat outside each: .1, .2, .3, .4. All but the
/// last have a box, of 1 within.
struct FourImages {
  Boxes boxes = Boxes::from_lists(
      {{{1, 1, 4, 4}}, {{2, 3, 6, 8}}, {{0, 0, 2, 8}}, {}},
      {8, 8});
  torch::Tensor images = torch::tensor({0.1F, 0.2F, 0.3F, 0.4F})
                             .view({4, 1, 1, 1})
                             .repeat({1, 3, 8, 8});
  torch::Tensor targets = longs({0, 0, 1, 1});
  torch::Tensor index = longs({10, 11, 12, 13});

  FourImages() {
    for (int64_t n = 0; n < 4; ++n) {
      images[n].masked_fill_(inside(n), 1);
    }
  }
  torch::Tensor inside(int64_t n) const {
    return care::detail::touched_pixels(boxes)[n];
  }
};

OutsideDraw give(std::vector<int64_t> donor) {
  OutsideDraw draw;
  for (const auto d : donor) {
    draw.source.push_back(d < 0 ? Outside::kKeep : Outside::kOther);
  }
  draw.donor = std::move(donor);
  return draw;
}

OutsideDraw all(Outside source, size_t images) {
  return {
      std::vector<Outside>(images, source),
      std::vector<int64_t>(images, -1),
      0};
}

} // namespace

TEST_CASE(
    "replace_outside: another image's, and its lesion stays",
    "[augment]") {
  const FourImages batch;
  for (const auto fill : {RegionFill::kMean, RegionFill::kBlur}) {
    const auto options = OutsideOptions().fill(fill);
    const auto result = care::replace_outside(
        batch.images, batch.boxes, give({1, 3, -1, 0}), options);
    // The donor's box lies where the outside goes, and its 1 goes nowhere.
    for (const auto& [n, outside] :
         {std::pair<int64_t, double>{0, 0.2}, {1, 0.4}, {2, 0.3}}) {
      CAPTURE(n);
      const auto expected =
          torch::full({3, 8, 8}, outside).masked_fill(batch.inside(n), 1);
      CHECK(care_test::allclose(result[n], expected, 1e-5));
    }
    // Without a box it is left alone.
    CHECK(care_test::identical(result[3], batch.images[3]));
  }
}

TEST_CASE(
    "replace_outside: the donor's region takes its mean outside",
    "[augment]") {
  auto images = torch::zeros({2, 1, 1, 4}, torch::kDouble);
  images[1].copy_(torch::tensor({1., 2., 4., 9.}).view({1, 1, 4}) / 10);
  const auto boxes =
      Boxes::from_lists({{{0, 0, 1, 1}}, {{2.5, 0, 3, 1}}}, {1, 4});
  // The box touches the third pixel only: the mean of .1, .2, .9 is .4.
  CHECK(care_test::allclose(
      care::replace_outside(images, boxes, give({1, -1}))[0],
      torch::tensor({0., 0.2, 0.4, 0.9}).view({1, 1, 4}),
      1e-12));
}

TEST_CASE("replace_outside: a colour", "[augment]") {
  const FourImages batch;
  const auto result = care::replace_outside(
      batch.images,
      batch.boxes,
      all(Outside::kColour, 4),
      OutsideOptions().colour(0.7));
  for (int64_t n = 0; n < 3; ++n) {
    CHECK(care_test::allclose(
        result[n],
        torch::full({3, 8, 8}, 0.7).masked_fill(batch.inside(n), 1)));
  }
  CHECK(care_test::identical(result[3], batch.images[3]));
}

TEST_CASE(
    "replace_outside: a blur takes nothing of the region along",
    "[augment]") {
  const FourImages batch;
  const auto blurred =
      care::replace_outside(batch.images, batch.boxes, all(Outside::kBlur, 4));
  CHECK(care_test::allclose(blurred, batch.images, 1e-5)); // flat already

  // Of noise it keeps the mean, and evens out the rest.
  const auto noise = torch::rand({1, 3, 64, 64});
  const auto box = Boxes::from_lists({{{20, 20, 50, 45}}}, {64, 64});
  const auto inside = care::detail::touched_pixels(box)[0];
  const auto result =
      care::replace_outside(noise, box, all(Outside::kBlur, 1))[0];
  CHECK(care_test::identical(
      result.masked_select(inside), noise[0].masked_select(inside)));
  const auto outside = result.masked_select(~inside);
  CHECK(outside.std().item<double>() < 0.06); // of .29
  CHECK(outside.mean().item<double>() == Approx(0.5).margin(0.03));
}

TEST_CASE(
    "replace_outside: with masks the edge follows the lesion",
    "[augment]") {
  const FourImages batch;
  auto masks = torch::zeros({4, 8, 8}, torch::kBool);
  masks[0].slice(0, 2, 3).slice(1, 1, 3).fill_(true); // two pixels of the box
  masks[3].slice(0, 5, 7).fill_(true); // of an image without a box
  for (const bool floating : {false, true}) {
    const auto result = care::replace_outside(
        batch.images,
        batch.boxes,
        give({3, 0, -1, 1}),
        {},
        floating ? masks.to(torch::kFloat) * 0.9 : masks);
    CHECK(care_test::allclose(
        result[0], torch::full({3, 8, 8}, 0.4).masked_fill(masks[0], 1), 1e-5));
    // The donor, too, gives all but its mask: of its box a good deal is left.
    const auto given = batch.images[0].masked_fill(
        masks[0],
        batch.images[0][0].masked_select(~masks[0]).mean().item<float>());
    CHECK(care_test::allclose(
        result[1],
        torch::where(batch.inside(1), torch::ones({}), given),
        1e-5));
    CHECK(care_test::identical(result[3], batch.images[3]));
  }
}

TEST_CASE("replace_outside: a soft edge", "[augment]") {
  auto images = torch::zeros({2, 1, 1, 9});
  images[0].fill_(1);
  const auto boxes = Boxes::from_lists({{{0, 0, 3, 1}}, {}}, {1, 9});
  const auto soft = care::replace_outside(
      images, boxes, give({1, -1}), OutsideOptions().soft_edge(3));
  CHECK(care_test::allclose(
      soft[0].view(-1),
      torch::tensor({1.F, 1.F, 1.F, 0.75F, 0.5F, 0.25F, 0.F, 0.F, 0.F})));
}

TEST_CASE("replace_outside: dtypes, and the images given stay", "[augment]") {
  const FourImages batch;
  const auto before = batch.images.clone();
  const auto draw = give({1, 2, 0, -1});
  const auto expected = care::replace_outside(batch.images, batch.boxes, draw);
  CHECK(care_test::identical(batch.images, before));
  for (const auto dtype : {torch::kDouble, torch::kHalf, torch::kBFloat16}) {
    const auto other =
        care::replace_outside(batch.images.to(dtype), batch.boxes, draw);
    CHECK(other.scalar_type() == dtype);
    CHECK(care_test::allclose(other, expected, 0.01));
  }
  CHECK(
      care::replace_outside(
          torch::empty({0, 3, 8, 8}), Boxes::none(0, {8, 8}), {})
          .size(0) == 0);
}

TEST_CASE("draw_outside: donors are of another class", "[augment]") {
  const FourImages batch;
  std::set<int64_t> donors;
  for (int64_t epoch = 0; epoch < 40; ++epoch) {
    const auto draw = care::draw_outside(
        batch.boxes,
        batch.targets,
        batch.index,
        epoch,
        7,
        OutsideOptions().share(1));
    CHECK(draw.fallbacks == 0);
    CHECK(
        (draw.source ==
         std::vector<Outside>{
             Outside::kOtherClass,
             Outside::kOtherClass,
             Outside::kOtherClass,
             Outside::kKeep})); // without a box, but it may give
    CHECK(draw.donor[3] == -1);
    CHECK(draw.donor[0] >= 2);
    CHECK(draw.donor[1] >= 2);
    CHECK(draw.donor[2] <= 1);
    donors.insert(draw.donor.begin(), draw.donor.end());
  }
  CHECK(donors == std::set<int64_t>{-1, 0, 1, 2, 3});
}

TEST_CASE("draw_outside: any other, but not itself", "[augment]") {
  const FourImages batch;
  std::set<int64_t> donors;
  for (int64_t epoch = 0; epoch < 40; ++epoch) {
    // The second image is the first once more.
    const auto draw = care::draw_outside(
        batch.boxes,
        {},
        longs({10, 10, 12, 13}),
        epoch,
        7,
        OutsideOptions().source(Outside::kOther).share(1));
    CHECK(draw.donor[0] == draw.donor[1]);
    donors.insert(draw.donor[0]);
  }
  CHECK(donors == std::set<int64_t>{2, 3});
}

TEST_CASE("draw_outside: who falls back, and to what", "[augment]") {
  const FourImages batch;
  const auto one_class = longs({1, 1, 1, 1});
  const auto with = [&](Outside fallback) {
    return care::draw_outside(
        batch.boxes,
        one_class,
        batch.index,
        0,
        0,
        OutsideOptions().share(1).fallback(fallback));
  };
  for (const auto fallback :
       {Outside::kKeep, Outside::kColour, Outside::kBlur}) {
    const auto draw = with(fallback);
    CHECK(draw.fallbacks == 3);
    CHECK(
        (draw.source ==
         std::vector<Outside>{fallback, fallback, fallback, Outside::kKeep}));
    CHECK(draw.donor == std::vector<int64_t>{-1, -1, -1, -1});
  }
  const auto draw = with(Outside::kOther);
  CHECK(draw.fallbacks == 3);
  CHECK(draw.source[0] == Outside::kOther);
  CHECK(draw.donor[0] > 0);
  // A batch of one image.
  const auto alone = care::draw_outside(
      Boxes::from_lists({{{1, 1, 4, 4}}}, {8, 8}),
      longs({1}),
      longs({5}),
      0,
      0,
      OutsideOptions().share(1).fallback(Outside::kOther));
  CHECK(alone.fallbacks == 1);
  CHECK(alone.source[0] == Outside::kKeep);
}

TEST_CASE(
    "draw_outside: an image that its boxes cover gives nothing",
    "[augment]") {
  const auto boxes = Boxes::from_lists(
      {{{1, 1, 4, 4}}, {{0, 0, 8, 5}, {0, 4.5, 8, 8}}, {{-3, -3, 9, 9}}},
      {8, 8});
  const auto draw = care::draw_outside(
      boxes,
      {},
      longs({0, 1, 2}),
      0,
      0,
      OutsideOptions().source(Outside::kOther).share(1));
  CHECK(draw.fallbacks == 1);
  CHECK(draw.donor == std::vector<int64_t>{-1, 0, 0});
}

TEST_CASE("draw_outside: shares and classes", "[augment]") {
  const int64_t count = 4000;
  const auto boxes = Boxes(
      torch::tensor({{2.F, 2.F, 6.F, 6.F}}).repeat({count, 1}),
      torch::arange(count, torch::kLong),
      count,
      {8, 8});
  const auto targets = torch::arange(count, torch::kLong).remainder(4);
  const auto index = torch::arange(count, torch::kLong);
  const auto drawn = [&](const OutsideOptions& options) {
    const auto draw = care::draw_outside(
        boxes,
        targets,
        index,
        1,
        2,
        OutsideOptions(options).source(Outside::kBlur));
    return count -
        std::count(draw.source.begin(), draw.source.end(), Outside::kKeep);
  };
  CHECK(drawn(OutsideOptions().share(0)) == 0);
  CHECK(drawn(OutsideOptions().share(1)) == count);
  // Within four deviations of the binomial.
  CHECK(std::abs(drawn(OutsideOptions().share(0.3)) - 1200) < 4 * 29);
  CHECK(drawn(OutsideOptions().share(1).classes({1, 3})) == count / 2);
}

TEST_CASE("draw_outside: each donor is as likely as another", "[augment]") {
  const FourImages batch;
  std::vector<int64_t> times(4, 0);
  const int64_t epochs = 3000;
  for (int64_t epoch = 0; epoch < epochs; ++epoch) {
    const auto draw = care::draw_outside(
        batch.boxes,
        {},
        batch.index,
        epoch,
        3,
        OutsideOptions().source(Outside::kOther).share(1));
    ++times[static_cast<size_t>(draw.donor[0])];
  }
  CHECK(times[0] == 0);
  for (size_t n = 1; n < 4; ++n) {
    CHECK(std::abs(times[n] - epochs / 3) < 4 * 26); // deviations
  }
}

TEST_CASE("draw_outside: neither order nor company matters", "[augment]") {
  const int64_t count = 12;
  const auto boxes = Boxes(
      torch::tensor({{2.F, 2.F, 6.F, 6.F}}).repeat({count, 1}),
      torch::arange(count, torch::kLong),
      count,
      {8, 8});
  const auto targets = torch::arange(count, torch::kLong).remainder(3);
  const auto index = torch::arange(count, torch::kLong) * 17 + 5;
  const auto options = OutsideOptions().share(0.7);
  const auto draw = care::draw_outside(boxes, targets, index, 4, 9, options);
  const auto donor_of =
      [](const OutsideDraw& drawn, const torch::Tensor& number, int64_t n) {
        const auto donor = drawn.donor[static_cast<size_t>(n)];
        return donor < 0 ? -1 : number[donor].item<int64_t>();
      };
  for (int round = 0; round < 10; ++round) {
    const auto order = torch::randperm(count);
    const auto numbers_now = index.index_select(0, order);
    const auto shuffled = care::draw_outside(
        boxes.select(order),
        targets.index_select(0, order),
        numbers_now,
        4,
        9,
        options);
    for (int64_t n = 0; n < count; ++n) {
      CHECK(
          donor_of(shuffled, numbers_now, n) ==
          donor_of(draw, index, order[n].item<int64_t>()));
    }
  }
  // Without the last image, only those whose donor it was have another one.
  const auto rest = torch::arange(count - 1, torch::kLong);
  const auto fewer = care::draw_outside(
      boxes.select(rest),
      targets.slice(0, 0, count - 1),
      index.slice(0, 0, count - 1),
      4,
      9,
      options);
  for (size_t n = 0; n + 1 < static_cast<size_t>(count); ++n) {
    CHECK(fewer.source[n] == draw.source[n]);
    if (draw.donor[n] != count - 1) {
      CHECK(fewer.donor[n] == draw.donor[n]);
    }
  }
  // Another epoch or seed is another draw.
  CHECK(
      care::draw_outside(boxes, targets, index, 5, 9, options).donor !=
      draw.donor);
  CHECK(
      care::draw_outside(boxes, targets, index, 4, 8, options).donor !=
      draw.donor);
}

TEST_CASE("outside: refuses what does not fit", "[augment]") {
  const FourImages batch;
  const auto draw = [&](const OutsideOptions& options) {
    return care::draw_outside(
        batch.boxes, batch.targets, batch.index, 0, 0, options);
  };
  CARE_REQUIRE_THROWS_AS(
      draw(OutsideOptions().share(1.5)),
      c10::ValueError,
      "care::draw_outside: expected share in [0, 1], but got 1.5");
  CARE_REQUIRE_THROWS_AS(
      draw(OutsideOptions().fallback(Outside::kOtherClass)),
      c10::ValueError,
      "a fallback that needs no other class");
  CARE_REQUIRE_THROWS_AS(
      draw(OutsideOptions().soft_edge(-1)), c10::ValueError, "soft_edge");
  CARE_REQUIRE_THROWS_AS(
      care::draw_outside(batch.boxes, {}, batch.index, 0, 0),
      c10::TypeError,
      "expected targets to hold integers, but got nothing");
  CARE_REQUIRE_THROWS_AS(
      care::draw_outside(batch.boxes, batch.targets, longs({1, 2}), 0, 0),
      c10::ValueError,
      "expected index of shape [4], but got [2]");
  CARE_REQUIRE_THROWS_AS(
      care::replace_outside(
          batch.images, Boxes::none(4, {8, 9}), give({1, 0, 0, 0})),
      c10::ValueError,
      "expected boxes on 4 images of 8x8");
  CARE_REQUIRE_THROWS_AS(
      care::replace_outside(batch.images, batch.boxes, give({4, 0, 0, 0})),
      c10::IndexError,
      "expected donors in [0, 4), but donor[0] is 4");
  CARE_REQUIRE_THROWS_AS(
      care::replace_outside(batch.images, batch.boxes, give({1})),
      c10::ValueError,
      "expected sources for 4 images, but got 1");
  CARE_REQUIRE_THROWS_AS(
      care::replace_outside(
          batch.images,
          batch.boxes,
          give({1, 0, 0, 0}),
          {},
          torch::zeros({4, 8, 7})),
      c10::ValueError,
      "expected masks of shape [4, 8, 8]");
}
