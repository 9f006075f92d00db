// Tests of care/augment.hpp: one call, drawn from seed, epoch and number alone.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/augment.hpp>
#include <care/masks.hpp>
#include <care/rasterize.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using care::Augmented;
using care::AugmentOptions;
using care::Boxes;
using care::Outside;
using care::OutsideOptions;
using care::Size;

namespace {

struct Sample {
  torch::Tensor images;
  Boxes boxes;
  torch::Tensor targets, index, masks;

  Sample select(const torch::Tensor& rows) const {
    return {
        images.index_select(0, rows),
        boxes.select(rows),
        targets.index_select(0, rows),
        index.index_select(0, rows),
        masks.index_select(0, rows)};
  }
};

/// Images of noise, each with a box that is its mask.
Sample some_images(int64_t count = 6, Size size = {24, 24}) {
  torch::manual_seed(11);
  std::vector<std::vector<std::array<double, 4>>> lists;
  for (int64_t n = 0; n < count; ++n) {
    const auto at = static_cast<double>(n % 6);
    lists.push_back({{at, 2 * at, at + 8, 2 * at + 10}});
  }
  Sample batch;
  batch.images = torch::rand({count, 3, size.height, size.width});
  batch.boxes = Boxes::from_lists(lists, size);
  batch.targets = torch::arange(count, torch::kLong).remainder(3);
  batch.index = torch::arange(count, torch::kLong) * 31 + 2;
  batch.masks = care::pixel_mask(batch.boxes) > 0.5;
  return batch;
}

Augmented run(
    const Sample& batch,
    const AugmentOptions& options,
    int64_t epoch = 3) {
  return care::augment(
      batch.images,
      batch.boxes,
      batch.targets,
      batch.index,
      epoch,
      options,
      batch.masks);
}

} // namespace

TEST_CASE("augment: presets", "[augment]") {
  const auto none = AugmentOptions::preset("none");
  const auto flips = AugmentOptions::preset("flips");
  const auto strong = AugmentOptions::preset("strong");
  CHECK_FALSE(none.hflip());
  CHECK((flips.hflip() && flips.vflip() && !flips.rot90()));
  CHECK((strong.hflip() && strong.vflip() && strong.rot90()));
  CHECK(strong.crop() == 0.7);
  CHECK(strong.rotate() == 15);
  CHECK(strong.shear() == 5);
  CHECK(strong.scale() == 0.1);
  CHECK(strong.translate() == 0);
  CHECK((strong.brightness() == 0.2 && strong.contrast() == 0.2));
  CHECK((strong.saturation() == 0.2 && strong.hue() == 0.02));
  CHECK(strong.outside().source() == Outside::kKeep);
  CARE_REQUIRE_THROWS_AS(
      AugmentOptions::preset("weak"),
      c10::ValueError,
      "expected none, flips or strong, but got weak");
}

TEST_CASE("augment: nothing asked for, nothing done", "[augment]") {
  const auto batch = some_images();
  const auto same = run(batch, AugmentOptions::preset("none"));
  CHECK(same.images.is_same(batch.images));
  CHECK(same.masks.is_same(batch.masks));
  CHECK(care_test::identical(same.boxes.xyxy(), batch.boxes.xyxy()));
  CHECK(same.dropped.sum().item<int64_t>() == 0);
  CHECK((same.outside.source == std::vector<Outside>(6, Outside::kKeep)));
  const auto plain =
      care::augment(batch.images, batch.boxes, {}, batch.index, 0);
  CHECK_FALSE(plain.masks.defined());
}

TEST_CASE("augment: flips and turns are exact", "[augment]") {
  const auto batch = some_images(64);
  const auto moved =
      run(batch, AugmentOptions().hflip(true).vflip(true).rot90(true));
  std::vector<int64_t> seen(8, 0);
  for (int64_t n = 0; n < 64; ++n) {
    bool found = false;
    for (int64_t i = 0; i < 8; ++i) {
      const auto turned = torch::rot90(
          i >= 4 ? batch.images[n].flip(-1) : batch.images[n], i % 4, {1, 2});
      if (torch::equal(turned, moved.images[n])) {
        ++seen[static_cast<size_t>(i)];
        found = true;
      }
    }
    CHECK(found);
  }
  CHECK(*std::min_element(seen.begin(), seen.end()) > 0);
  CHECK(care_test::identical(care::pixel_mask(moved.boxes) > 0.5, moved.masks));
  // Images that are not square turn by halves.
  const auto wide = some_images(16, {20, 26});
  CHECK(
      run(wide, AugmentOptions().rot90(true)).images.sizes() ==
      wide.images.sizes());
}

TEST_CASE("augment: drawn from seed, epoch and number alone", "[augment]") {
  const auto batch = some_images();
  const auto options = AugmentOptions::preset("strong").seed(5);
  const auto whole = run(batch, options);
  CHECK(care_test::identical(run(batch, options).images, whole.images));

  // Another order, and other company.
  const auto rows = torch::tensor({4, 1, 3}, torch::kLong);
  const auto part = run(batch.select(rows), options);
  CHECK(care_test::identical(part.images, whole.images.index_select(0, rows)));
  CHECK(care_test::identical(part.masks, whole.masks.index_select(0, rows)));
  CHECK(
      care_test::identical(part.boxes.xyxy(), whole.boxes.select(rows).xyxy()));

  // Another epoch, seed or number changes every image.
  const auto differs = [&](const Augmented& other) {
    return (other.images != whole.images).flatten(1).any(1).all().item<bool>();
  };
  CHECK(differs(run(batch, options, 4)));
  CHECK(differs(run(batch, AugmentOptions(options).seed(6))));
  auto others = batch;
  others.index = batch.index + 1;
  CHECK(differs(run(others, options)));
}

TEST_CASE("augment: one kind of change leaves the others' draws", "[augment]") {
  const auto batch = some_images(32);
  const auto flips = AugmentOptions::preset("flips").seed(1);
  const auto moved = run(batch, flips);
  // Also turned, an image is the same one mirrored or not.
  const auto turned = run(batch, AugmentOptions(flips).rot90(true));
  // With colours: the same places.
  const auto bright = run(batch, AugmentOptions(flips).brightness(0.2));
  CHECK(care_test::identical(bright.boxes.xyxy(), moved.boxes.xyxy()));
  const auto outside =
      run(batch, AugmentOptions(flips).outside(OutsideOptions().share(1)));
  CHECK(care_test::identical(outside.boxes.xyxy(), moved.boxes.xyxy()));
  // hflip alone mirrors whom hflip and vflip together mirror left to right.
  const auto left = run(batch, AugmentOptions(flips).vflip(false));
  const auto side = [](const Augmented& x, int64_t i) {
    return x.boxes.xyxy().select(1, i);
  };
  CHECK(care_test::identical(side(left, 0), side(moved, 0)));
  CHECK(care_test::identical(turned.boxes.areas(), moved.boxes.areas()));
}

TEST_CASE("augment: the steps one after the other", "[augment]") {
  const auto batch = some_images();
  const auto options = AugmentOptions::preset("strong").seed(2).outside(
      OutsideOptions().share(0.8).fill(care::RegionFill::kBlur).soft_edge(1));
  const auto result = run(batch, options);

  const auto draw = care::draw_outside(
      batch.boxes, batch.targets, batch.index, 3, 2, options.outside());
  CHECK((result.outside.source == draw.source));
  CHECK(result.outside.donor == draw.donor);
  auto images = care::replace_outside(
      batch.images, batch.boxes, draw, options.outside(), batch.masks);
  std::vector<care::AffineMap> maps;
  std::vector<care::ColourFactors> factors;
  const Size size{24, 24};
  for (int64_t n = 0; n < 6; ++n) {
    const auto random = [&](care::detail::DrawFor purpose) {
      return care::detail::Draw(2, 3, batch.index[n].item<int64_t>(), purpose);
    };
    const auto orientation = care::detail::drawn_orientation(
        random(care::detail::DrawFor::kOrientation), size, options);
    const auto window = care::detail::drawn_window(
        random(care::detail::DrawFor::kCrop), size, {}, options);
    const auto bend = care::detail::drawn_affine(
        random(care::detail::DrawFor::kAffine), size, options);
    maps.push_back(care::compose(
        care::compose(
            care::orientation_map(orientation, size),
            care::crop_map(window, size)),
        bend));
    factors.push_back(care::detail::drawn_colour(
        random(care::detail::DrawFor::kColour), options));
  }
  images = care::adjust_colour(care::warp(images, maps, 0.5), factors);
  CHECK(care_test::allclose(result.images, images, 1e-6));
  CHECK(care_test::identical(
      result.boxes.xyxy(), care::warp(batch.boxes, maps).xyxy()));
  CHECK(
      care_test::identical(result.masks, care::warp_masks(batch.masks, maps)));
}

TEST_CASE("augment: a mask goes where its box goes, or with it", "[augment]") {
  auto batch = some_images(60, {48, 48});
  batch.masks = care::pixel_mask(batch.boxes);
  // Along the axes alone: a box stays a box.
  const auto moved =
      run(batch,
          AugmentOptions()
              .hflip(true)
              .crop(0.5)
              .scale(0.2)
              .translate(0.4)
              .min_visible(0.4));
  CHECK(moved.dropped.sum().item<int64_t>() > 5);
  CHECK(moved.boxes.num_boxes() > 20);
  CHECK(moved.masks.max().item<float>() == 1);
  const auto centre = torch::arange(48) + 0.5;
  for (int64_t n = 0; n < 60; ++n) {
    CAPTURE(n);
    const auto box = moved.boxes.select(torch::tensor({n}, torch::kLong));
    const auto& mask = moved.masks[n];
    if (box.num_boxes() == 0) {
      CHECK(mask.max().item<float>() == 0);
      continue;
    }
    const auto side = box.xyxy()[0];
    const auto within = [&](double grow) { // a cell of a map has 4 pixels
      const auto x = (centre >= side[0] - grow) & (centre <= side[2] + grow);
      const auto y = (centre >= side[1] - grow) & (centre <= side[3] + grow);
      return x.unsqueeze(0) & y.unsqueeze(1);
    };
    CHECK_FALSE(((mask > 1e-5) & ~within(2)).any().item<bool>());
    CHECK_FALSE(((mask < 1 - 1e-5) & within(-2)).any().item<bool>());
  }
  // Bool masks, by the nearest pixel, are dropped alike.
  batch.masks = batch.masks > 0.5;
  const auto nearest = run(batch, AugmentOptions().translate(0.6));
  CHECK(nearest.masks.scalar_type() == torch::kBool);
  CHECK(care_test::identical(
      nearest.masks.flatten(1).any(1), nearest.boxes.boxes_per_image() > 0));
}

TEST_CASE("augment: what is wholly seen is not lost", "[augment]") {
  // Of a small mask, sampled anew, less may lie there than before.
  auto batch = some_images(60, {48, 48});
  const auto far = torch::arange(48) - 23.5;
  const auto disc =
      far.square().unsqueeze(0) + far.square().unsqueeze(1) <= 2.5 * 2.5;
  batch.masks = disc.repeat({60, 1, 1});
  batch.boxes = care::boxes_from_masks(batch.masks);
  const auto options = AugmentOptions().rotate(15).scale(0.1).min_visible(1);
  for (const auto dtype : {torch::kBool, torch::kFloat}) {
    batch.masks = batch.masks.to(dtype);
    const auto moved = run(batch, options);
    CHECK(moved.boxes.num_boxes() == 60);
    CHECK((moved.masks.flatten(1).sum(1) > 0).all().item<bool>());
  }
}

TEST_CASE("augment: boxes that leave are dropped and counted", "[augment]") {
  auto batch = some_images(40);
  const auto result =
      run(batch, AugmentOptions().translate(0.6).min_visible(0.5).fill(0));
  CHECK(result.boxes.num_images() == 40);
  CHECK(result.dropped.sum().item<int64_t>() == 40 - result.boxes.num_boxes());
  CHECK(result.dropped.sum().item<int64_t>() > 0);
  CHECK(result.boxes.num_boxes() > 0);
}

TEST_CASE("augment: a crop keeps the stated share of the boxes", "[augment]") {
  const auto batch = some_images(200);
  const auto visible = [&](double keeps) {
    const auto options =
        AugmentOptions().crop(0.2).crop_keeps(keeps).min_visible(0);
    double least = 1;
    for (int64_t n = 0; n < 200; ++n) {
      const auto one = torch::tensor({n}, torch::kLong);
      const auto window = care::detail::drawn_window(
          care::detail::Draw(
              0,
              3,
              batch.index[n].item<int64_t>(),
              care::detail::DrawFor::kCrop),
          {24, 24},
          care::detail::lists_of(batch.boxes.select(one))[0],
          options);
      CHECK((window.left >= 0 && window.left + window.width <= 24 + 1e-9));
      CHECK((window.top >= 0 && window.top + window.height <= 24 + 1e-9));
      CHECK(window.width * window.height >= (0.2 - 1e-9) * 24 * 24);
      least = std::min(
          least,
          care::detail::share_within(
              window, care::detail::lists_of(batch.boxes.select(one))[0]));
    }
    return least;
  };
  CHECK(visible(0) < 0.5);
  CHECK(visible(0.5) >= 0.5);
  CHECK(visible(1) == Approx(1));
  // No box is lost where all of it is kept.
  CHECK(
      run(batch, AugmentOptions().crop(0.2).crop_keeps(1).min_visible(0.999))
          .dropped.sum()
          .item<int64_t>() == 0);
}

TEST_CASE("augment: bytes as their floats", "[augment]") {
  auto batch = some_images();
  const auto bytes = batch.images.mul(255).to(torch::kByte);
  for (const auto* name : {"none", "flips", "strong"}) {
    for (const bool outside : {false, true}) {
      auto options = AugmentOptions::preset(name).seed(3);
      if (outside) {
        options.outside(OutsideOptions().source(Outside::kOther).share(1));
      }
      batch.images = bytes;
      const auto from_bytes = run(batch, options).images;
      batch.images = bytes.to(torch::kFloat).div(255);
      CAPTURE(name, outside);
      CHECK(from_bytes.scalar_type() == torch::kFloat);
      CHECK(care_test::identical(from_bytes, run(batch, options).images));
    }
  }
}

TEST_CASE("augment: half precision, and no gradient", "[augment]") {
  const auto batch = some_images();
  const auto options =
      AugmentOptions::preset("strong").outside(OutsideOptions().share(1));
  const auto expected = run(batch, options).images;
  for (const auto dtype : {torch::kHalf, torch::kBFloat16, torch::kDouble}) {
    auto other = batch;
    other.images = batch.images.to(dtype);
    const auto result = run(other, options);
    CHECK(result.images.scalar_type() == dtype);
    CHECK(care_test::allclose(result.images, expected, 0.02));
  }
  auto leaf = batch;
  leaf.images = batch.images.clone().requires_grad_();
  CHECK_FALSE(run(leaf, options).images.requires_grad());
}

TEST_CASE("augment: an empty batch, and one without boxes", "[augment]") {
  for (const std::string preset : {"none", "flips", "strong"}) {
    const auto options = AugmentOptions::preset(preset).outside(
        OutsideOptions().share(1).source(Outside::kOther));
    const auto none = care::augment(
        torch::empty({0, 3, 8, 8}),
        Boxes::none(0, {8, 8}),
        {},
        torch::empty({0}, torch::kLong),
        0,
        options,
        torch::zeros({0, 8, 8}, torch::kBool));
    CHECK(none.images.sizes() == torch::IntArrayRef({0, 3, 8, 8}));
    const auto bare = care::augment(
        torch::rand({2, 3, 8, 8}),
        Boxes::none(2, {8, 8}),
        {},
        torch::arange(2, torch::kLong),
        0,
        options);
    CHECK(bare.boxes.num_images() == 2);
    CHECK(bare.outside.fallbacks == 0);
  }
}

TEST_CASE("augment: a crop keeps the stated share of the image", "[augment]") {
  for (const double share : {0.5, 0.8, 0.9, 0.99}) {
    CAPTURE(share);
    double least = 1, most = 0;
    for (int64_t n = 0; n < 500; ++n) {
      const auto window = care::detail::drawn_window(
          care::detail::Draw(0, 0, n, care::detail::DrawFor::kCrop),
          {30, 40},
          {},
          AugmentOptions().crop(share));
      const auto area = window.width * window.height / (30 * 40);
      least = std::min(least, area);
      most = std::max(most, area);
      CHECK((window.left >= 0 && window.left + window.width <= 40 + 1e-9));
      CHECK((window.top >= 0 && window.top + window.height <= 30 + 1e-9));
    }
    CHECK(least >= share - 1e-9);
    CHECK(least < share + 0.02 * (1 - share));
    CHECK(most > 1 - 0.02 * (1 - share));
  }
}

TEST_CASE("augment: a sliver that a crop left is lost, not refused") {
  const auto sliver = Boxes::from_lists({{{10, 0, 100.00001, 224}}}, {224, 324})
                          .crop(100, 0, {224, 224}, 0.0);
  REQUIRE(sliver.num_boxes() == 1);
  const auto mirrored = care::orient(sliver, {care::Orientation{true}});
  CHECK(mirrored.num_boxes() == 0);
  const auto images = torch::rand({1, 3, 224, 224});
  const auto index = torch::zeros({1}, torch::kLong);
  for (int64_t epoch = 0; epoch < 8; ++epoch) { // some are mirrored
    const auto flips = AugmentOptions().hflip(true);
    care::augment(images, sliver, {}, index, epoch, flips);
    care::augment(
        images, sliver, {}, index, epoch, AugmentOptions(flips).crop(0.5));
  }
}

TEST_CASE("augment: refuses what does not fit", "[augment]") {
  const auto batch = some_images();
  auto without = batch; // the outside has no region but the masks
  without.boxes = Boxes::none(6, {24, 24});
  CARE_REQUIRE_THROWS_AS(
      run(without,
          AugmentOptions().outside(
              OutsideOptions().source(care::Outside::kOther))),
      c10::ValueError,
      "expected boxes beside the masks (care::boxes_from_masks;");
  CARE_REQUIRE_THROWS_AS(
      run(without, AugmentOptions().crop(0.5).crop_keeps(0.5)),
      c10::ValueError,
      "expected boxes beside the masks");
  run(without, AugmentOptions().crop(0.5)); // asks for none
  without.masks = torch::zeros_like(without.masks); // nobody has a lesion
  run(without, AugmentOptions().crop(0.5).crop_keeps(0.5));
  CARE_REQUIRE_THROWS_AS(
      run(batch, AugmentOptions().rotate(200)),
      c10::ValueError,
      "care::augment: expected rotate in [0, 180], but got 200");
  CARE_REQUIRE_THROWS_AS(
      run(batch, AugmentOptions().outside(OutsideOptions().share(-1))),
      c10::ValueError,
      "expected share in [0, 1], but got -1");
  const auto on = [&](const torch::Tensor& images,
                      const AugmentOptions& options,
                      const torch::Tensor& masks = {}) {
    care::augment(
        images, batch.boxes, batch.targets, batch.index, 0, options, masks);
  };
  CARE_REQUIRE_THROWS_AS(
      on(batch.images * 255, AugmentOptions::preset("strong")),
      c10::ValueError,
      "expected images in [0, 1]");
  // What is filled in is grey or a colour of [0, 1].
  CARE_REQUIRE_THROWS_AS(
      on(batch.images * 255, AugmentOptions().rotate(45)),
      c10::ValueError,
      "expected images in [0, 1]");
  CARE_REQUIRE_THROWS_AS(
      on(batch.images,
         AugmentOptions().hflip(true),
         torch::full({6, 24, 24}, 255)),
      c10::ValueError,
      "expected masks in [0, 1]");
  CARE_REQUIRE_THROWS_AS(
      care::augment(batch.images, Boxes::none(5, {24, 24}), {}, batch.index, 0),
      c10::ValueError,
      "expected boxes on 6 images of 24x24");
  CARE_REQUIRE_THROWS_AS(
      care::augment(
          batch.images, batch.boxes, {}, batch.index.to(torch::kFloat), 0),
      c10::TypeError,
      "expected index to hold integers");
  CARE_REQUIRE_THROWS_AS(
      care::augment(
          torch::rand({2, 5, 8, 8}),
          Boxes::none(2, {8, 8}),
          {},
          torch::arange(2, torch::kLong),
          0,
          AugmentOptions().hue(0.1)),
      c10::ValueError,
      "expected images of 3 channels or 1");
}

TEST_CASE("Draw: even, and unlike its neighbours'", "[augment]") {
  using care::detail::Draw;
  using care::detail::DrawFor;
  double sum = 0, squares = 0, products = 0, before = 0;
  const int64_t count = 20000;
  std::vector<int64_t> quarter(4, 0);
  for (int64_t n = 0; n < count; ++n) {
    Draw random(0, 0, n, DrawFor::kAffine);
    const double u = random.uniform();
    CHECK((u >= 0 && u < 1));
    sum += u;
    squares += u * u;
    products += (u - 0.5) * (before - 0.5);
    before = u;
    ++quarter[static_cast<size_t>(random.below(4))];
  }
  const auto n = static_cast<double>(count);
  CHECK(sum / n == Approx(0.5).margin(4 * 0.289 / std::sqrt(n)));
  CHECK(squares / n == Approx(1.0 / 3).margin(4 * 0.298 / std::sqrt(n)));
  CHECK(products / n == Approx(0).margin(4.0 / 12 / std::sqrt(n)));
  for (const auto times : quarter) {
    CHECK(
        std::abs(static_cast<double>(times) - n / 4) <
        4 * std::sqrt(n * 3 / 16));
  }
}
