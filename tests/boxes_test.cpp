// Tests of care/boxes.hpp: formats, checks, and moving with the image.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/boxes.hpp>
#include <care/rasterize.hpp>

#include <cmath>

using care::Boxes;
using care::BoxFormat;
using care::BoxUnit;
using care::Size;

namespace {

torch::Tensor index(std::vector<int64_t> list) {
  return torch::tensor(list, torch::kLong);
}

/// Three images with two, none and one box, weighted and labelled.
Boxes sample(Size size = {12, 20}) {
  return Boxes::from_lists(
             {{{2, 3, 7, 5}, {10, 0, 18, 12}}, {}, {{0, 6, 4, 11}}}, size)
      .with_weights(torch::tensor({0.5, 1.0, 2.0}))
      .with_labels(index({4, -1, 2}));
}

/// The boxes as a picture; moving the picture must move the boxes.
torch::Tensor picture(const Boxes& boxes) {
  return care::pixel_mask(boxes);
}

torch::Tensor double_rows(std::vector<double> numbers) {
  return torch::tensor(numbers, torch::kDouble).view({-1, 4});
}

} // namespace

TEST_CASE("Boxes: formats and units", "[boxes]") {
  const Size size{100, 200};
  const auto image = index({0});
  const auto xyxy = double_rows({20, 10, 60, 40});
  auto same = [&](const torch::Tensor& numbers,
                  BoxFormat format,
                  BoxUnit unit) {
    Boxes boxes(numbers, image, 1, size, format, unit);
    CHECK(care_test::allclose(boxes.xyxy(), xyxy, 1e-9));
    CHECK(care_test::allclose(boxes.coordinates(format, unit), numbers, 1e-9));
  };
  const auto pixels = BoxUnit::kPixels, fractions = BoxUnit::kFractions;
  same(xyxy, BoxFormat::kXYXY, pixels);
  same(double_rows({20, 10, 40, 30}), BoxFormat::kXYWH, pixels);
  same(double_rows({40, 25, 40, 30}), BoxFormat::kCXCYWH, pixels);
  same(double_rows({0.1, 0.1, 0.3, 0.4}), BoxFormat::kXYXY, fractions);
  same(double_rows({0.1, 0.1, 0.2, 0.3}), BoxFormat::kXYWH, fractions);
  same(double_rows({0.2, 0.25, 0.2, 0.3}), BoxFormat::kCXCYWH, fractions);
}

TEST_CASE("Boxes: what they hold", "[boxes]") {
  auto boxes = sample();
  CHECK(boxes.num_boxes() == 3);
  CHECK(boxes.num_images() == 3);
  CHECK(boxes.image_size() == Size{12, 20});
  CHECK(boxes.image_size() != Size{20, 12});
  CHECK(care_test::identical(boxes.boxes_per_image(), index({2, 0, 1})));
  CHECK(care_test::identical(boxes.image_index(), index({0, 0, 2})));
  CHECK(care_test::identical(boxes.areas(), torch::tensor({10.F, 96.F, 20.F})));
  CHECK(care_test::identical(boxes.weights(), torch::tensor({0.5F, 1.F, 2.F})));
  CHECK(care_test::identical(boxes.labels(), index({4, -1, 2})));
  CHECK(boxes.has_labels());
  CHECK(boxes.device().is_cpu());

  auto plain = Boxes::from_lists({{{1, 2, 3, 4}}}, {8, 8});
  CHECK_FALSE(plain.has_weights());
  CHECK_FALSE(plain.has_labels());
  CHECK(care_test::identical(plain.weights(), torch::ones({1})));
  CHECK(care_test::identical(plain.labels(), index({-1})));

  for (const auto& none :
       {Boxes::none(4, {8, 8}), Boxes::from_lists({{}, {}, {}, {}}, {8, 8})}) {
    CHECK(none.num_boxes() == 0);
    CHECK(none.num_images() == 4);
    CHECK(care_test::identical(none.boxes_per_image(), index({0, 0, 0, 0})));
    CHECK(
        none.hflip()
            .rot90()
            .crop(1, 1, {4, 4})
            .resize({9, 9})
            .dilate(2)
            .num_boxes() == 0);
  }
  CHECK(Boxes().num_images() == 0);
  CHECK(Boxes().clip().num_images() == 0);
  CHECK(Boxes::from_lists({}, {8, 8}).boxes_per_image().numel() == 0);
}

TEST_CASE("Boxes: lists in other formats", "[boxes]") {
  const auto coco = Boxes::from_lists(
      {{}, {{10, 20, 30, 40}}}, {80, 100}, torch::nullopt, BoxFormat::kXYWH);
  CHECK(care_test::allclose(
      coco.xyxy(), torch::tensor({{10., 20., 40., 60.}}).to(torch::kFloat)));
  const auto yolo = Boxes::from_lists(
      {{{0.5, 0.5, 0.2, 0.5}}},
      {80, 100},
      care::BoxUnit::kFractions,
      BoxFormat::kCXCYWH);
  CHECK(care_test::allclose(
      yolo.xyxy(), torch::tensor({{40., 20., 60., 60.}}).to(torch::kFloat)));
  CARE_REQUIRE_THROWS_AS(
      Boxes::from_lists({{}, {{50, 10, 20, 30}}}, {80, 100}),
      c10::ValueError,
      "but got (50, 10, 20, 30) at index 0 (image 1)");
}

TEST_CASE("Boxes: dtypes and devices", "[boxes]") {
  auto make = [](const torch::Tensor& xyxy) {
    return Boxes(xyxy, index({0}), 1, {50, 50}).xyxy().scalar_type();
  };
  auto numbers = double_rows({1, 2, 3, 4});
  CHECK(make(numbers) == torch::kDouble);
  for (const auto dtype :
       {torch::kFloat,
        torch::kHalf,
        torch::kBFloat16,
        torch::kInt,
        torch::kLong}) {
    CHECK(make(numbers.to(dtype)) == torch::kFloat);
  }
  CHECK(
      Boxes(numbers, index({0}).to(torch::kInt), 1, {8, 8})
          .image_index()
          .scalar_type() == torch::kLong);
  auto twice = sample().to(torch::kDouble);
  CHECK(twice.xyxy().scalar_type() == torch::kDouble);
  CHECK(twice.weights().scalar_type() == torch::kDouble);
  // No rounding on the way to float32.
  auto fine = Boxes::from_lists({{{0.1, 0.2, 1023.3, 2047.7}}}, {2048, 2048});
  CHECK(care_test::identical(fine.to(torch::kHalf).xyxy(), fine.xyxy()));
  auto moved = sample().to(torch::Device(torch::kCPU));
  CHECK(care_test::identical(moved.xyxy(), sample().xyxy()));
  CHECK(care_test::identical(moved.labels(), sample().labels()));
}

TEST_CASE("Boxes: flips and turns move with the picture", "[boxes]") {
  auto boxes = sample();
  CHECK(care_test::identical(picture(boxes.hflip()), picture(boxes).flip(2)));
  CHECK(care_test::identical(picture(boxes.vflip()), picture(boxes).flip(1)));
  for (int64_t turns = -5; turns <= 5; ++turns) {
    CAPTURE(turns);
    auto turned = boxes.rot90(turns);
    CHECK(care_test::identical(
        picture(turned), torch::rot90(picture(boxes), turns, {1, 2})));
    CHECK(care_test::identical(turned.labels(), boxes.labels()));
  }
  CHECK(care_test::identical(boxes.hflip().hflip().xyxy(), boxes.xyxy()));
  CHECK(care_test::identical(boxes.rot90(4).xyxy(), boxes.xyxy()));
}

TEST_CASE("Boxes: a crop moves with the picture", "[boxes]") {
  auto boxes = sample();
  for (const auto& [left, top, size] :
       {std::tuple<int64_t, int64_t, Size>{3, 2, {6, 9}},
        {0, 0, {12, 20}},
        {12, 4, {8, 8}}}) {
    CAPTURE(left, top, size);
    auto cropped = boxes.crop(left, top, size, 0);
    CHECK(cropped.image_size() == size);
    CHECK(cropped.num_images() == 3);
    CHECK(care_test::identical(
        picture(cropped),
        picture(boxes)
            .slice(1, top, top + size.height)
            .slice(2, left, left + size.width)));
  }
  // Padding: a crop that reaches beyond the image.
  auto wide = boxes.crop(-5, -3, {20, 30});
  CHECK(care_test::identical(
      picture(wide), torch::constant_pad_nd(picture(boxes), {5, 5, 3, 5})));
}

TEST_CASE("Boxes: a crop drops what it hardly shows", "[boxes]") {
  auto boxes = Boxes::from_lists({{{0, 0, 10, 10}}}, {20, 20});
  auto left_of = [&](int64_t left, double min_visible) {
    return boxes.crop(left, 0, {20, 20}, min_visible).num_boxes();
  };
  CHECK(left_of(7, 0.25) == 1); // 30 % left
  CHECK(left_of(8, 0.25) == 0);
  CHECK(left_of(5, 0.5) == 1); // exactly the share
  CHECK(left_of(9, 0) == 1);
  CHECK(left_of(10, 0) == 0); // nothing left
  CHECK(left_of(0, 1) == 1);
  CHECK(left_of(1, 1) == 0);
  // A larger picture shows all of every box, wherever it lies.
  torch::manual_seed(0);
  const auto corner = torch::rand({200, 2}) * 100;
  const Boxes many(
      torch::cat({corner, corner + torch::rand({200, 2}) * 99 + 1}, 1),
      torch::zeros({200}, torch::kLong),
      1,
      {200, 200});
  CHECK(many.crop(-100, -100, {424, 424}, 1).num_boxes() == 200);
  auto both = sample().crop(0, 0, {12, 8}, 0.5);
  CHECK(care_test::identical(both.labels(), index({4, 2})));
  CHECK(care_test::identical(both.weights(), torch::tensor({0.5F, 2.F})));
}

TEST_CASE("Boxes: clip cuts at the border", "[boxes]") {
  auto boxes = Boxes::from_lists(
      {{{-5, -5, 4, 4}, {30, 0, 40, 4}, {2, 2, 50, 60}, {-4, 1, 0, 3}}},
      {10, 20});
  auto clipped = boxes.clip();
  CHECK(care_test::allclose(
      clipped.xyxy(), double_rows({0, 0, 4, 4, 2, 2, 20, 10})));
}

TEST_CASE("Boxes: a box beyond what its area can say", "[boxes]") {
  // Writers of "the whole picture": 2^31, 1e20; 1e39 square pixels and more are
  // infinite in float32, 1e308 in float64.
  const auto whole = double_rows({0, 0, 20, 10});
  for (const auto dtype : {torch::kFloat, torch::kDouble}) {
    for (const double far : {2147483648.0, 1e20, 3e38, 1e300}) {
      if (dtype == torch::kFloat && far > 3.4e38) {
        continue;
      }
      CAPTURE(dtype, far);
      const Boxes boxes(
          double_rows({-far, -far, far, far, 5, 2, far, far}).to(dtype),
          index({0, 0}),
          1,
          {10, 20});
      const auto both = double_rows({0, 0, 20, 10, 5, 2, 20, 10});
      CHECK(care_test::identical(boxes.clip().xyxy(), both.to(dtype)));
      CHECK(care_test::identical(
          boxes.crop(0, 0, {10, 20}, 0).xyxy(), both.to(dtype)));
      // All that there is of it is seen, and a quarter of that.
      CHECK(boxes.crop(0, 0, {10, 20}, 1).num_boxes() == 2);
      CHECK(
          boxes.select(index({0})).crop(0, 0, {5, 10}, 0.25).num_boxes() == 1);
      CHECK(boxes.affine({1, 0, 0, 0, 1, 0}, {10, 20}, 1).num_boxes() == 2);
      CHECK(care_test::identical(
          boxes.dilate(2).clip().xyxy()[0], whole.to(dtype)[0]));
      CHECK(care_test::allclose(
          boxes.resize({40, 40}).clip().xyxy()[0],
          double_rows({0, 0, 40, 40})[0]));
    }
  }
  // Grown beyond the dtype, the sides are infinite.
  const auto grown =
      Boxes::from_lists({{{4, 4, 8, 8}}}, {10, 20}).dilate(1e300).clip();
  CHECK(care_test::allclose(grown.xyxy(), whole));
  // And an area too small for it is no reason to drop a box.
  const Boxes tiny(
      double_rows({0, 0, 1e-30, 1e-30}).to(torch::kFloat),
      index({0}),
      1,
      {10, 16});
  CHECK(tiny.clip().num_boxes() == 1);
  CHECK(tiny.crop(0, 0, {5, 5}, 1).num_boxes() == 1);
}

TEST_CASE("Boxes: pixels taken for fractions", "[boxes]") {
  CARE_REQUIRE_THROWS_AS(
      Boxes::from_lists(
          {{{-0.1, 0, 0.5, 1.2}, {0, 0, 60, 80}}},
          {224, 224},
          BoxUnit::kFractions),
      c10::ValueError,
      "care::Boxes: expected boxes as fractions of the image, in [0, 1], but "
      "got (0, 0, 60, 80) at index 1");
}

TEST_CASE("Boxes: fractions taken for pixels", "[boxes]") {
  const auto yolo = double_rows({0.5, 0.5, 0.2, 0.4, 0.1, 0.1, 0.2, 0.2000001});
  const auto image = index({0, 1});
  const char* message =
      "care::Boxes: expected pixels, but all 2 boxes lie within [0, 1], on "
      "images of 100x200 (height x width); say BoxUnit::kFractions";
  CARE_REQUIRE_THROWS_AS(
      Boxes(yolo, image, 2, {100, 200}, BoxFormat::kCXCYWH),
      c10::ValueError,
      message);
  CARE_REQUIRE_THROWS_AS(
      Boxes::from_lists({{{0.1, 0.2, 0.6, 1}}, {{0, 0, 1, 1}}}, {100, 200}),
      c10::ValueError,
      message);
  // What the message says to do.
  const Boxes meant(
      yolo, image, 2, {100, 200}, BoxFormat::kCXCYWH, BoxUnit::kFractions);
  CHECK(
      care_test::allclose(meant.xyxy()[0], double_rows({80, 30, 120, 70})[0]));
  const auto corner =
      Boxes::from_lists({{{0, 0, 1, 1}}}, {100, 200}, BoxUnit::kPixels);
  CHECK(care_test::allclose(corner.xyxy(), double_rows({0, 0, 1, 1})));
  const auto half =
      Boxes::from_lists({{{0, 0, 0.5, 1}}}, {100, 200}, BoxUnit::kFractions);
  CHECK(care_test::allclose(half.xyxy(), double_rows({0, 0, 100, 100})));
  // One box beyond it, a small image, no box, and boxes moved there.
  CHECK(
      Boxes::from_lists({{{0, 0, 1, 1}}, {{3, 0, 5, 2}}}, {100, 200})
          .num_boxes() == 2);
  CHECK(Boxes::from_lists({{{0, 0, 1, 1}}}, {16, 200}).num_boxes() == 1);
  CHECK(Boxes::none(2, {100, 200}).num_boxes() == 0);
  CHECK(
      Boxes::from_lists({{{0, 0, 4, 4}}}, {800, 800})
          .resize({200, 200})
          .num_boxes() == 1);
}

TEST_CASE("Boxes: resize, dilate, pad", "[boxes]") {
  auto boxes = Boxes::from_lists({{{4, 6, 10, 8}}}, {20, 40});
  auto half = boxes.resize({10, 80});
  CHECK(half.image_size() == Size{10, 80});
  CHECK(care_test::allclose(half.xyxy(), double_rows({8, 3, 20, 4})));
  CHECK(care_test::allclose(
      half.coordinates(BoxFormat::kXYXY, BoxUnit::kFractions),
      boxes.coordinates(BoxFormat::kXYXY, BoxUnit::kFractions)));
  CHECK(care_test::allclose(
      boxes.dilate(1.5).xyxy(), double_rows({2.5, 5.5, 11.5, 8.5})));
  CHECK(care_test::allclose(
      boxes.dilate(0.5).xyxy(), double_rows({5.5, 6.5, 8.5, 7.5})));
  CHECK(care_test::identical(boxes.dilate(1).xyxy(), boxes.xyxy()));
  CHECK(
      care_test::allclose(boxes.pad(8).xyxy(), double_rows({-4, -2, 18, 16})));
  CHECK(care_test::identical(boxes.pad(0).xyxy(), boxes.xyxy()));
}

TEST_CASE("Boxes: affine maps", "[boxes]") {
  auto boxes = sample();
  CHECK(care_test::identical(
      boxes.affine({1, 0, 0, 0, 1, 0}, boxes.image_size()).xyxy(),
      boxes.xyxy()));
  // A mirror, a scale with a shift, and a quarter turn are known already.
  CHECK(care_test::identical(
      boxes.affine({-1, 0, 20, 0, 1, 0}, boxes.image_size()).xyxy(),
      boxes.hflip().xyxy()));
  CHECK(care_test::allclose(
      boxes.affine({2, 0, 0, 0, 0.5, 0}, {6, 40}).xyxy(),
      boxes.resize({6, 40}).xyxy()));
  CHECK(care_test::allclose(
      boxes.affine({1, 0, -3, 0, 1, -2}, {6, 9}).xyxy(),
      boxes.crop(3, 2, {6, 9}).xyxy()));
  CHECK(care_test::allclose(
      boxes.affine({0, 1, 0, -1, 0, 20}, {20, 12}).xyxy(),
      boxes.rot90().xyxy()));
  // A rotation: the box around the moved corners.
  const double r = std::sqrt(0.5);
  auto turned = Boxes::from_lists({{{0, 0, 4, 4}}}, {40, 40})
                    .affine({r, -r, 20, r, r, 10}, {40, 40});
  CHECK(care_test::allclose(
      turned.xyxy(),
      double_rows({20 - 4 * r, 10, 20 + 4 * r, 10 + 8 * r}),
      1e-5));
  // A shear, as a picture: every moved pixel lies in the moved box.
  CHECK(care_test::allclose(
      Boxes::from_lists({{{2, 4, 6, 8}}}, {30, 30})
          .affine({1, 0.5, 0, 0, 1, 0}, {30, 30})
          .xyxy(),
      double_rows({4, 4, 10, 8})));
  CHECK(
      boxes.affine({1, 0, 100, 0, 1, 0}, boxes.image_size()).num_boxes() == 0);
  CHECK(boxes.affine({0, 0, 5, 0, 0, 5}, boxes.image_size()).num_boxes() == 0);
}

TEST_CASE("Boxes: filter, select, for_classes", "[boxes]") {
  auto boxes = sample();
  auto kept = boxes.filter(torch::tensor({true, false, true}));
  CHECK(kept.num_images() == 3);
  CHECK(care_test::identical(kept.image_index(), index({0, 2})));
  CHECK(care_test::identical(kept.labels(), index({4, 2})));
  CHECK(care_test::identical(kept.weights(), torch::tensor({0.5F, 2.F})));

  auto chosen = boxes.select(index({2, 1, 0}));
  CHECK(chosen.num_images() == 3);
  CHECK(care_test::identical(chosen.boxes_per_image(), index({1, 0, 2})));
  CHECK(care_test::identical(
      picture(chosen), picture(boxes).index_select(0, index({2, 1, 0}))));
  auto last = boxes.select(index({2}));
  CHECK(last.num_images() == 1);
  CHECK(care_test::allclose(last.xyxy(), double_rows({0, 6, 4, 11})));
  CHECK(care_test::identical(last.labels(), index({2})));
  CHECK(boxes.select(index({})).num_images() == 0);
  CHECK(boxes.select(index({1})).num_boxes() == 0);

  CHECK(care_test::identical(
      boxes.for_classes(index({4, 0, 0})).labels(), index({4, -1})));
  CHECK(care_test::identical(
      boxes.for_classes(index({0, 0, 2})).labels(), index({-1, 2})));
  auto unlabelled = Boxes::from_lists({{{1, 2, 3, 4}}}, {8, 8});
  CHECK(unlabelled.for_classes(index({3})).num_boxes() == 1);
}

TEST_CASE("Boxes: collate", "[boxes]") {
  auto a = sample();
  auto b = Boxes::from_lists({{}, {{1, 1, 2, 2}}}, {12, 20});
  auto joined = Boxes::collate({a, Boxes::none(1, {12, 20}), b});
  CHECK(joined.num_images() == 6);
  CHECK(care_test::identical(joined.image_index(), index({0, 0, 2, 5})));
  CHECK(care_test::identical(
      joined.weights(), torch::tensor({0.5F, 1.F, 2.F, 1.F})));
  CHECK(care_test::identical(joined.labels(), index({4, -1, 2, -1})));
  CHECK(care_test::identical(joined.select(index({0, 1, 2})).xyxy(), a.xyxy()));
  CHECK_FALSE(Boxes::collate({b, b}).has_weights());
  CHECK(Boxes::collate({}).num_images() == 0);
  Boxes all; // in a loop
  for (const auto& next : {a, b}) {
    all = Boxes::collate({all, next});
  }
  CHECK(all.num_images() == 5);
  CHECK(care_test::identical(all.xyxy(), joined.xyxy()));
  CARE_REQUIRE_THROWS_AS(
      Boxes::collate({Boxes(), a, Boxes::none(1, {20, 12})}),
      c10::ValueError,
      "care::Boxes::collate: expected images of 12x20 (height x width), but "
      "batch 2 has 20x12 (height x width)");
  CHECK(Boxes::collate({Boxes()}).num_images() == 0);
}

TEST_CASE("Boxes: coordinates keep their history", "[boxes]") {
  auto xyxy = double_rows({2, 3, 7, 5}).requires_grad_();
  auto boxes = Boxes(xyxy, index({0}), 1, {12, 20});
  boxes.hflip().rot90().resize({40, 24}).dilate(1.5).areas().sum().backward();
  // 1.5 * 1.5 * 2 * 2 = 9 times the area.
  CHECK(
      care_test::allclose(xyxy.grad(), double_rows({-18, -45, 18, 45}), 1e-9));
}

TEST_CASE("Boxes: bad boxes are named", "[boxes]") {
  auto make = [](const torch::Tensor& xyxy, const torch::Tensor& image) {
    return Boxes(xyxy, image, 2, {100, 100});
  };
  auto good = double_rows({1, 2, 3, 4});
  auto with = [&](std::vector<double> bad) {
    return torch::cat({good, double_rows(std::move(bad))});
  };
  const auto two = index({0, 1});
  CARE_REQUIRE_THROWS_AS(
      make(with({5, 6, 4, 8}), two),
      c10::ValueError,
      "care::Boxes: expected x0 < x1 and y0 < y1, but got (5, 6, 4, 8) at "
      "index "
      "1");
  CARE_REQUIRE_THROWS_AS(
      make(with({5, 6, 9, 6}), two),
      c10::ValueError,
      "(5, 6, 9, 6) at index 1");
  CARE_REQUIRE_THROWS_AS(
      make(with({5, NAN, 9, 8}), two),
      c10::ValueError,
      "care::Boxes: expected finite coordinates, but got (5, nan, 9, 8) at "
      "index 1");
  CARE_REQUIRE_THROWS_AS(
      make(with({5, 6, INFINITY, 8}), two),
      c10::ValueError,
      "expected finite coordinates, but got (5, 6, inf, 8) at index 1");
  CARE_REQUIRE_THROWS_AS(
      make(good, index({2})),
      c10::IndexError,
      "care::Boxes: expected image indices in [0, 2), but image[0] is 2");
  CARE_REQUIRE_THROWS_AS(
      make(good, index({-1})), c10::IndexError, "but image[0] is -1");
  CARE_REQUIRE_THROWS_AS(
      make(good, two),
      c10::ValueError,
      "care::Boxes: expected image of shape [1], but got [2]");
  CARE_REQUIRE_THROWS_AS(
      make(good, torch::zeros({1})),
      c10::TypeError,
      "care::Boxes: expected image to hold integers, but got Float");
  CARE_REQUIRE_THROWS_AS(
      make(good.view({2, 2}), two),
      c10::ValueError,
      "care::Boxes: expected coordinates of shape [M, 4], but got [2, 2]");
  CARE_REQUIRE_THROWS_AS(
      make(torch::Tensor(), two),
      c10::ValueError,
      "expected coordinates of shape [M, 4], but got an undefined tensor");
  CARE_REQUIRE_THROWS_AS(
      make(good, torch::Tensor()),
      c10::ValueError,
      "expected image of shape [1], but got an undefined tensor");
  CARE_REQUIRE_THROWS_AS(
      Boxes(good, index({0}), -1, {8, 8}),
      c10::ValueError,
      "expected images >= 0, but got -1");
  CARE_REQUIRE_THROWS_AS(
      Boxes(good, index({0}), 1, {0, 8}),
      c10::ValueError,
      "expected a size of at least 1x1, but got 0x8");
  CARE_REQUIRE_THROWS_AS(
      Boxes(
          double_rows({1, 2, -3, 4}), index({0}), 1, {8, 8}, BoxFormat::kXYWH),
      c10::ValueError,
      "expected x0 < x1 and y0 < y1, but got (1, 2, -2, 6) at index 0");
  CARE_REQUIRE_THROWS_AS(
      Boxes::from_lists({{{1, 2, 3, 4}}, {{3, 1, 2, 4}}}, {8, 8}),
      c10::ValueError,
      "at index 1");
}

TEST_CASE("Boxes: weights come and go", "[boxes]") {
  const auto weighted = sample();
  const auto plain = weighted.without_weights();
  CHECK(weighted.has_weights()); // a value: it has not changed
  CHECK_FALSE(plain.has_weights());
  CHECK(torch::equal(plain.weights(), torch::ones({3})));
  CHECK(torch::equal(plain.xyxy(), weighted.xyxy()));
  CHECK(torch::equal(plain.labels(), weighted.labels()));
  CHECK_FALSE(plain.without_weights().has_weights());
}

TEST_CASE("Boxes: those that count", "[boxes]") {
  const auto weighted = sample().with_weights(torch::tensor({0.5, 0.0, 2.0}));
  const auto counting = weighted.counting();
  CHECK_FALSE(counting.has_weights());
  CHECK(counting.num_images() == 3);
  CHECK(care_test::identical(counting.image_index(), index({0, 2})));
  CHECK(care_test::identical(counting.labels(), index({4, 2})));
  const auto plain = sample().without_weights();
  CHECK(care_test::identical(plain.counting().xyxy(), plain.xyxy()));
}

TEST_CASE("Boxes: weights that the boxes' dtype cannot hold", "[boxes]") {
  const auto boxes = Boxes::from_lists({{{0, 0, 4, 4}}}, {8, 8});
  CARE_REQUIRE_THROWS_AS(
      boxes.with_weights(torch::tensor({1e39}, torch::kDouble)),
      c10::ValueError,
      "expected finite weights of at least 0, but got (inf) at index 0");
}

TEST_CASE("Boxes: bad arguments", "[boxes]") {
  auto boxes = sample();
  CARE_REQUIRE_THROWS_AS(
      boxes.with_weights(torch::ones({2})),
      c10::ValueError,
      "care::Boxes::with_weights: expected weight of shape [3], but got [2]");
  CARE_REQUIRE_THROWS_AS(
      boxes.with_weights(torch::tensor({1.0, -0.5, 1.0})),
      c10::ValueError,
      "expected finite weights of at least 0, but got (-0.5) at index 1");
  CARE_REQUIRE_THROWS_AS(
      boxes.with_weights(torch::tensor({1.0, 1.0, NAN + 0.0})),
      c10::ValueError,
      "(nan) at index 2");
  CARE_REQUIRE_THROWS_AS(
      boxes.with_labels(index({1})),
      c10::ValueError,
      "care::Boxes::with_labels: expected label of shape [3], but got [1]");
  CARE_REQUIRE_THROWS_AS(
      boxes.with_labels(torch::ones({3})),
      c10::TypeError,
      "expected label to hold integers");
  CARE_REQUIRE_THROWS_AS(
      boxes.with_labels(index({0, -1, -100})),
      c10::ValueError,
      "expected classes, or -1 for none, but got (-100) at index 2");
  for (const auto type : {torch::kByte, torch::kChar, torch::kInt}) {
    const auto three = index({0, 3, 100});
    CHECK(care_test::identical(
        boxes.with_labels(three.to(type)).labels(), three));
  }
  CARE_REQUIRE_THROWS_AS( // an order, which it would not put them into
      boxes.filter(index({2, 0, 1})),
      c10::TypeError,
      "care::Boxes::filter: expected keep to hold bools, but got Long");
  CARE_REQUIRE_THROWS_AS(
      boxes.filter(torch::ones({2}, torch::kBool)),
      c10::ValueError,
      "care::Boxes::filter: expected keep of shape [3], but got [2]");
  CARE_REQUIRE_THROWS_AS(
      boxes.select(index({0, 3})),
      c10::IndexError,
      "care::Boxes::select: expected images in [0, 3), but images[1] is 3");
  CARE_REQUIRE_THROWS_AS(
      boxes.select(index({-1})), c10::IndexError, "but images[0] is -1");
  CARE_REQUIRE_THROWS_AS(
      boxes.for_classes(index({0})),
      c10::ValueError,
      "care::Boxes::for_classes: expected target of shape [3], but got [1]");
  CARE_REQUIRE_THROWS_AS(
      boxes.for_classes(torch::tensor({0.0, 0.5, 1.0})),
      c10::TypeError,
      "care::Boxes::for_classes: expected target to hold integers");
  CARE_REQUIRE_THROWS_AS(
      boxes.select(index({1, 1})),
      c10::ValueError,
      "care::Boxes::select: expected each image at most once, but images[0] is "
      "1, and so is a later one");
  CARE_REQUIRE_THROWS_AS(
      boxes.resize({0, 4}),
      c10::ValueError,
      "care::Boxes::resize: expected a size of at least 1x1");
  CARE_REQUIRE_THROWS_AS(
      boxes.crop(0, 0, {4, -4}), c10::ValueError, "care::Boxes::crop");
  CARE_REQUIRE_THROWS_AS(
      boxes.crop(0, 0, {4, 4}, 1.5),
      c10::ValueError,
      "care::Boxes::crop: expected min_visible in [0, 1], but got 1.5");
  CARE_REQUIRE_THROWS_AS(
      boxes.affine({1, 0, NAN, 0, 1, 0}, {8, 8}),
      c10::ValueError,
      "care::Boxes::affine: expected a finite matrix, but got nan");
  for (const double factor : {0.0, -1.0, static_cast<double>(INFINITY)}) {
    CARE_REQUIRE_THROWS_AS(
        boxes.dilate(factor),
        c10::ValueError,
        "care::Boxes::dilate: expected a factor above 0, but got");
  }
  CARE_REQUIRE_THROWS_AS( // nothing is left of it in float
      Boxes::from_lists({{{1000, 1000, 1001, 1001}}}, {2000, 2000})
          .dilate(1e-6),
      c10::ValueError,
      "care::Boxes::dilate: expected a factor that leaves each box an area, "
      "but 1e-06 makes of one (1000.5, 1000.5, 1000.5, 1000.5) at index 0");
  CARE_REQUIRE_THROWS_AS(
      boxes.pad(-1),
      c10::ValueError,
      "care::Boxes::pad: expected at least 0 pixels, but got -1");
}
