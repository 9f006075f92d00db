// Tests of care/saliency.hpp: each method on pictures with a known answer.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/amp.hpp>
#include <care/find_boxes.hpp>
#include <care/saliency.hpp>

#include <cmath>
#include <limits>

using care::Boxes;
using care::Size;

namespace {

using Method = std::function<torch::Tensor(const torch::Tensor&)>;

const std::map<std::string, Method>& methods() {
  static const std::map<std::string, Method> all = {
      {"spectral_residual",
       [](const torch::Tensor& x) { return care::spectral_residual(x); }},
      {"frequency_tuned",
       [](const torch::Tensor& x) { return care::frequency_tuned(x); }},
      {"robust_background",
       [](const torch::Tensor& x) { return care::robust_background(x); }},
      {"lesion_contrast",
       [](const torch::Tensor& x) { return care::lesion_contrast(x); }},
      {"object_contrast",
       [](const torch::Tensor& x) { return care::object_contrast(x); }}};
  return all;
}

torch::Tensor colour(double r, double g, double b) {
  return torch::tensor({r, g, b}).to(torch::kFloat).view({3, 1, 1});
}

const auto kSkin = [] { return colour(0.85, 0.70, 0.62); };
const auto kBrown = [] { return colour(0.45, 0.28, 0.20); };

/// [H, W] bool: a disc.
torch::Tensor disc(Size size, double y, double x, double radius) {
  auto v = torch::arange(size.height, torch::kFloat).view({-1, 1}) + 0.5 - y;
  auto u = torch::arange(size.width, torch::kFloat).view({1, -1}) + 0.5 - x;
  return (v * v + u * u) <= radius * radius;
}

/// Paints `what` [3, 1, 1] on `image` [3, H, W] where `mask` [H, W] is true.
torch::Tensor painted_over(
    const torch::Tensor& image,
    const torch::Tensor& mask,
    const torch::Tensor& what) {
  return torch::where(mask.unsqueeze(0), what, image);
}

constexpr Size kSize{120, 160};
constexpr double kY = 50, kX = 95, kRadius = 22;

torch::Tensor lesion() {
  return disc(kSize, kY, kX, kRadius);
}

/// The lesion's box: x0, y0, x1, y1.
const std::array<double, 4> kBox = {
    kX - kRadius,
    kY - kRadius,
    kX + kRadius,
    kY + kRadius};

torch::Tensor skin() {
  return kSkin().expand({3, kSize.height, kSize.width}).clone();
}

/// Light that falls from left to right.
torch::Tensor slope() {
  return torch::linspace(1.0, 0.75, kSize.width).view({1, 1, -1});
}

torch::Tensor grain(double deviation) {
  torch::manual_seed(3);
  return torch::randn({3, kSize.height, kSize.width}) * deviation;
}

double overlap(const torch::Tensor& box, const std::array<double, 4>& truth) {
  const auto b = box.to(torch::kDouble);
  const auto x0 = b[0].item<double>(), y0 = b[1].item<double>();
  const auto x1 = b[2].item<double>(), y1 = b[3].item<double>();
  const auto w = std::min(x1, truth[2]) - std::max(x0, truth[0]);
  const auto h = std::min(y1, truth[3]) - std::max(y0, truth[1]);
  const auto both = std::max(0.0, w) * std::max(0.0, h);
  return both /
      ((x1 - x0) * (y1 - y0) + (truth[2] - truth[0]) * (truth[3] - truth[1]) -
       both);
}

/// The IoU of the most certain box of a map with the lesion's.
double box_overlap(const torch::Tensor& maps, double padding = 1.1) {
  const auto found =
      care::find_boxes(maps, care::BoxFinderOptions().padding(padding));
  return found.boxes.num_boxes() == 0 ? 0.0
                                      : overlap(found.boxes.xyxy()[0], kBox);
}

double mean_in(const torch::Tensor& map, const torch::Tensor& mask) {
  return map.masked_select(mask).mean().item<double>();
}

double correlation(const torch::Tensor& a, const torch::Tensor& b) {
  auto x = a.to(torch::kDouble).flatten(), y = b.to(torch::kDouble).flatten();
  x = x - x.mean();
  y = y - y.mean();
  return ((x * y).sum() / torch::sqrt((x * x).sum() * (y * y).sum()))
      .item<double>();
}

/// Lesions on a plain, a sloping and a grainy ground: [3, 3, H, W].
torch::Tensor scenes() {
  auto plain = painted_over(skin(), lesion(), kBrown());
  return torch::stack({plain, plain * slope(), plain + grain(0.03)})
      .clamp(0, 1);
}

} // namespace

TEST_CASE(
    "saliency: a lesion on plain, sloping and grainy skin",
    "[saliency]") {
  const auto images = scenes();
  for (const auto& [name, method] : methods()) {
    const auto maps = method(images);
    REQUIRE(maps.sizes() == torch::IntArrayRef({3, 120, 160}));
    if (name == "object_contrast") {
      continue; // to it the lesion is the object: see below
    }
    CHECK(maps.scalar_type() == torch::kFloat);
    CHECK_FALSE(maps.requires_grad());
    for (int64_t i = 0; i < 3; ++i) {
      INFO(name << ", scene " << i);
      const auto map = maps[i];
      CHECK(map.min().item<double>() == 0.0);
      CHECK(map.max().item<double>() == Approx(1.0));
      const auto in = mean_in(map, lesion());
      const auto out = mean_in(map, lesion().logical_not());
      // The outline is blurred to both sides.
      const auto iou = box_overlap(
          maps.slice(0, i, i + 1), name == "spectral_residual" ? 0.9 : 1.1);
      CAPTURE(in, out, iou);
      if (name == "spectral_residual") {
        CHECK(in > 2 * out); // the outline, not the whole
        CHECK(in > out + 0.1);
      } else {
        CHECK(in > out + 0.5);
      }
      CHECK(iou >= 0.7);
    }
  }
}

TEST_CASE("saliency: a flat image gives a zero map", "[saliency]") {
  auto images = torch::cat(
      {torch::zeros({1, 3, 40, 56}),
       torch::ones({1, 3, 40, 56}),
       colour(0.7, 0.5, 0.31).expand({1, 3, 40, 56}),
       // Rounding, as of a change of format, is no saliency.
       (colour(0.7, 0.5, 0.31) + torch::rand({1, 3, 40, 56}) * 0.0015)});
  for (const auto& [name, method] : methods()) {
    INFO(name);
    const auto maps = method(images);
    CHECK(care_test::identical(maps, torch::zeros({4, 40, 56})));
    CHECK(care::find_boxes(maps).boxes.num_boxes() == 0);
  }
}

TEST_CASE("saliency: odd sizes never give a NaN", "[saliency]") {
  const std::vector<Size> sizes = {
      {1, 1}, {1, 300}, {300, 2}, {3, 5}, {7, 64}, {65, 33}};
  for (const auto& size : sizes) {
    const auto images = torch::rand({2, 3, size.height, size.width});
    for (const auto& [name, method] : methods()) {
      INFO(name << " at " << size);
      const auto maps = method(images);
      CHECK(maps.sizes() == torch::IntArrayRef({2, size.height, size.width}));
      CHECK(torch::isfinite(maps).all().item<bool>());
      CHECK((maps >= 0).all().item<bool>());
      CHECK((maps <= 1).all().item<bool>());
    }
  }
  // Black and white, pixel by pixel.
  auto extremes = (torch::rand({1, 1, 48, 48}) > 0.5).to(torch::kFloat);
  for (const auto& [name, method] : methods()) {
    INFO(name);
    const auto maps = method(extremes.expand({1, 3, 48, 48}));
    CHECK(torch::isfinite(maps).all().item<bool>());
  }
}

TEST_CASE("saliency: a batch is its images one by one", "[saliency]") {
  const auto images = scenes();
  for (const auto& [name, method] : methods()) {
    INFO(name);
    const auto all = method(images);
    for (int64_t i = 0; i < 3; ++i) {
      CHECK(care_test::allclose(
          method(images.slice(0, i, i + 1))[0], all[i], 1e-4));
    }
    CHECK(
        method(images.slice(0, 0, 0)).sizes() ==
        torch::IntArrayRef({0, 120, 160}));
    // Another dtype, and memory in another order.
    CHECK(care_test::allclose(method(images.to(torch::kDouble)), all, 1e-4));
    CHECK(care_test::allclose(
        method(images.contiguous(torch::MemoryFormat::ChannelsLast)),
        all,
        1e-4));
  }
}

TEST_CASE("saliency: a mirrored image gives the mirrored map", "[saliency]") {
  const auto images = scenes();
  for (const auto& [name, method] : methods()) {
    INFO(name);
    const auto maps = method(images);
    const auto flipped = method(images.flip({3})).flip({2});
    // Ties between superpixels are broken one way; object contrast starts from
    // them.
    if (name == "robust_background" || name == "object_contrast") {
      CHECK(correlation(maps, flipped) > 0.99);
    } else {
      CHECK(care_test::allclose(flipped, maps, 2e-3));
    }
  }
}

TEST_CASE("saliency: bad input", "[saliency]") {
  for (const auto& entry : methods()) { // no binding: lambdas capture it
    const auto& name = entry.first;
    const auto& method = entry.second;
    INFO(name);
    CARE_REQUIRE_THROWS_AS(
        method(torch::rand({1, 1, 8, 8})),
        c10::ValueError,
        "care::" + name +
            ": expected images of shape [N, 3, H, W], but got [1, 1, 8, 8]");
    CARE_REQUIRE_THROWS_AS(
        method(torch::Tensor()),
        c10::ValueError,
        "but got an undefined tensor");
    CARE_REQUIRE_THROWS_AS(
        method(torch::zeros({1, 3, 8, 8}, torch::kByte)),
        c10::TypeError,
        "care::" + name + ": expected images to hold floating point numbers");
    auto normalised = torch::zeros({2, 3, 8, 8});
    normalised[1][0][0][0] = -2;
    CARE_REQUIRE_THROWS_AS(
        method(normalised),
        c10::ValueError,
        "care::" + name +
            ": expected images in [0, 1] (RGB, before any mean and deviation "
            "are taken off), but images[1] reaches from -2 to 0");
    auto broken = torch::rand({1, 3, 8, 8});
    broken[0][1][2][3] = std::numeric_limits<float>::quiet_NaN();
    CARE_REQUIRE_THROWS_AS(
        method(broken), c10::ValueError, "but images[0] reaches from ");
  }
  const auto image = torch::rand({1, 3, 16, 16});
  CARE_REQUIRE_THROWS_AS(
      care::spectral_residual(image, care::SpectralResidualOptions().size(4)),
      c10::ValueError,
      "care::spectral_residual: expected size of at least 8, but got 4");
  CARE_REQUIRE_THROWS_AS(
      care::spectral_residual(image, care::SpectralResidualOptions().sigma(0)),
      c10::ValueError,
      "expected sigma above 0, but got 0");
  CARE_REQUIRE_THROWS_AS(
      care::robust_background(image, care::RobustBackgroundOptions().cells(2)),
      c10::ValueError,
      "care::robust_background: expected cells of at least 3, but got 2");
  CARE_REQUIRE_THROWS_AS(
      care::lesion_contrast(image, care::LesionContrastOptions().line_width(4)),
      c10::ValueError,
      "care::lesion_contrast: expected an odd line_width of at least 1, but "
      "got 4");
  CARE_REQUIRE_THROWS_AS(
      care::lesion_contrast(image, care::LesionContrastOptions().rim(1.5)),
      c10::ValueError,
      "care::lesion_contrast: expected rim in [0, 1], but got 1.5");
  CARE_REQUIRE_THROWS_AS(
      care::object_contrast(image, care::ObjectContrastOptions().margin(-1)),
      c10::ValueError,
      "care::object_contrast: expected margin of at least 0, but got -1");
  CARE_REQUIRE_THROWS_AS(
      care::object_contrast(
          image, care::ObjectContrastOptions().brightness(-1)),
      c10::ValueError,
      "care::object_contrast: expected brightness of at least 0, but got -1");
}

TEST_CASE("object_contrast: a spot on a leaf, and not the leaf", "[saliency]") {
  // A green leaf, brighter to the right, with a light vein and a brown spot.
  auto v = torch::arange(kSize.height, torch::kFloat).view({-1, 1});
  auto u = torch::arange(kSize.width, torch::kFloat).view({1, -1});
  const auto leaf = ((v - 60) / 45).square() + ((u - 80) / 70).square() <= 1.0;
  const auto vein = leaf & ((v - 60).abs() < 1) & (u > 0);
  const auto spot = disc(kSize, 45, 100, 9);
  const auto ground = colour(0.85, 0.83, 0.80).expand({3, 120, 160});
  auto bare = painted_over(ground, leaf, colour(0.30, 0.50, 0.15));
  bare = painted_over(bare, vein, colour(0.50, 0.65, 0.35)) * slope();
  const auto sick = painted_over(bare, spot, colour(0.35, 0.22, 0.12));

  const auto maps = care::object_contrast(torch::stack({bare, sick}));
  const auto options = care::BoxFinderOptions()
                           .threshold(care::MapThreshold::kMean)
                           .level(12)
                           .merge_gap(0)
                           .min_area(0.0005);
  const auto found = care::find_boxes(maps.slice(0, 1), options);
  REQUIRE(found.boxes.num_boxes() == 1);
  CHECK(overlap(found.boxes.xyxy()[0], {91, 36, 109, 54}) > 0.6);
  CHECK(mean_in(maps[1], spot) > 0.6);
  CHECK(mean_in(maps[1], leaf & ~disc(kSize, 45, 100, 14)) < 0.05);
  CHECK(mean_in(maps[1], leaf.logical_not()) < 0.01);
  // What stands out in the whole is the leaf.
  const auto other =
      care::find_boxes(care::robust_background(sick.unsqueeze(0)));
  REQUIRE(other.boxes.num_boxes() == 1);
  CHECK(overlap(other.boxes.xyxy()[0], {91, 36, 109, 54}) < 0.1);
}

TEST_CASE("object_contrast: white pictures of any size", "[saliency]") {
  for (const auto& size : {Size{69, 95}, {78, 91}, {87, 100}, {1, 1}}) {
    CAPTURE(size);
    auto image = torch::ones({1, 3, size.height, size.width});
    image.slice(2, size.height / 3, size.height / 2).fill_(0.4);
    const auto map = care::object_contrast(image);
    CHECK(torch::isfinite(map).all().item<bool>());
  }
}

TEST_CASE("saliency: autocast loses nothing", "[saliency]") {
  const auto images = torch::rand({1, 3, 24, 30});
  for (const auto& entry : methods()) { // no binding: lambdas capture it
    INFO(entry.first);
    const auto expected = entry.second(images);
    const care::Autocast autocast(torch::kCPU, torch::kBFloat16);
    CHECK(care_test::identical(entry.second(images), expected));
  }
}

TEST_CASE("lab: known colours", "[saliency]") {
  // Values of any table of sRGB in CIELAB under D65, to two digits.
  const auto known = [](double r, double g, double b) {
    return care::detail::lab(colour(r, g, b).unsqueeze(0)).flatten();
  };
  const auto expected = [](double l, double a, double b) {
    return torch::tensor({l, a, b});
  };
  CHECK(care_test::allclose(known(0, 0, 0), expected(0, 0, 0), 0.02));
  CHECK(care_test::allclose(known(1, 1, 1), expected(100, 0, 0), 0.02));
  CHECK(
      care_test::allclose(known(1, 0, 0), expected(53.24, 80.09, 67.20), 0.02));
  CHECK(care_test::allclose(
      known(0, 1, 0), expected(87.73, -86.18, 83.18), 0.02));
  CHECK(care_test::allclose(
      known(0, 0, 1), expected(32.30, 79.19, -107.86), 0.02));
  CHECK(care_test::allclose(known(0.5, 0.5, 0.5), expected(53.39, 0, 0), 0.02));
  // In the dark the curve is a straight line: L = 903.3 Y.
  CHECK(
      known(0.02, 0.02, 0.02)[0].item<double>() ==
      Approx(903.3 * 0.02 / 12.92).epsilon(1e-3));
}

TEST_CASE("spectral_residual: the formula with its phase", "[saliency]") {
  const auto image = torch::rand({1, 3, 16, 24});
  // The same the long way round, at the image's own size.
  const auto grey =
      image[0][0] * 0.299 + image[0][1] * 0.587 + image[0][2] * 0.114;
  const auto spectrum = torch::fft_fft2(grey.to(torch::kDouble));
  const auto log = torch::log(torch::abs(spectrum));
  const auto phase = torch::angle(spectrum);
  auto trend = torch::zeros_like(log);
  for (int64_t y = 0; y < 16; ++y) {
    for (int64_t x = 0; x < 24; ++x) {
      for (int64_t j = -1; j <= 1; ++j) {
        for (int64_t i = -1; i <= 1; ++i) {
          trend[y][x] += log[(y + j + 16) % 16][(x + i + 24) % 24] / 9;
        }
      }
    }
  }
  const auto amplitude = torch::exp(log - trend);
  auto map = torch::abs(torch::fft_ifft2(torch::polar(amplitude, phase)));
  map = map * map;
  map = (map - map.min()) / (map.max() - map.min());
  // A blur of 0.1 pixels is none.
  const auto actual = care::spectral_residual(
      image, care::SpectralResidualOptions().size(16).sigma(0.1));
  CHECK(care_test::allclose(actual[0], map, 1e-4));
  // At a size of thousands the values are tiny, and the map is there still.
  CHECK(
      care::spectral_residual(image, care::SpectralResidualOptions().size(2000))
          .max()
          .item<float>() == 1);
}

TEST_CASE("spectral_residual: like OpenCV's", "[saliency]") {
  const auto golden = care_test::load_dictionary(
      care_test::data_dir() / "golden_saliency" / "spectral_residual.pt");
  REQUIRE(golden.size() == 6);
  for (int i = 0; i < 3; ++i) {
    const auto image = golden.at("image_" + std::to_string(i));
    const auto expected = golden.at("map_" + std::to_string(i));
    const auto images = image.to(torch::kFloat).unsqueeze(0) / 255;
    const auto actual = care::spectral_residual(images)[0];
    // OpenCV's mean of the spectrum does not wrap round, its blur is a box of
    // five; of picture 2 (96 pixels) it takes the size of 64 without averaging.
    INFO("picture " << i);
    CHECK(correlation(actual, expected) > (i == 2 ? 0.92 : 0.975));
  }
}

TEST_CASE("frequency_tuned: greys by hand", "[saliency]") {
  // Half black (L 0), a quarter mid-grey (53.389), a quarter white (100): the
  // mean is 38.347, and away from the edges S is 38.347, 15.042 and 61.653.
  auto image = torch::zeros({1, 3, 16, 64});
  image.slice(3, 32, 48).fill_(0.5);
  image.slice(3, 48, 64).fill_(1);
  const auto map = care::frequency_tuned(image)[0];
  const auto black = map[8][10].item<double>();
  const auto grey = map[8][40].item<double>();
  const auto white = map[8][56].item<double>();
  CHECK(white == Approx(1.0));
  CHECK(
      (white - black) / (white - grey) ==
      Approx((61.653 - 38.347) / (61.653 - 15.042)).epsilon(1e-3));
}

TEST_CASE("robust_background: superpixels are a partition", "[saliency]") {
  const auto image = scenes().slice(0, 0, 1);
  const auto lab = care::detail::lab(care::detail::resized(image, {96, 128}));
  const auto parts = care::detail::superpixels(lab, 12, 16, 10.0);
  const int64_t k = 12 * 16;
  CHECK(parts.label.sizes() == torch::IntArrayRef({1, 96, 128}));
  CHECK(parts.label.min().item<int64_t>() >= 0);
  CHECK(parts.label.max().item<int64_t>() < k);
  CHECK(parts.share.sum().item<double>() == Approx(k));
  // The mean colours are those of the pixels.
  const auto painted_back =
      parts.colour[0].index_select(0, parts.label.flatten());
  for (const int64_t part : {0, 70, 150}) {
    const auto mine = parts.label[0] == part;
    REQUIRE(mine.any().item<bool>());
    CHECK(care_test::allclose(
        parts.colour[0][part],
        lab[0].masked_select(mine).view({3, -1}).mean(1),
        1e-3));
  }
  // They follow the lesion's edge: nearly all have one colour.
  const auto miss = (painted_back - lab[0].flatten(1).t()).abs().amax(1);
  CHECK((miss < 5).to(torch::kFloat).mean().item<double>() > 0.95);
  // Neighbours are mutual, and nobody is his own.
  CHECK(care_test::identical(
      parts.adjacent, parts.adjacent.transpose(1, 2).contiguous()));
  CHECK(parts.adjacent.diagonal(0, 1, 2).sum().item<double>() == 0);
  CHECK(parts.border[0][0].item<double>() == 1);
  CHECK(parts.border[0][5 * 16 + 8].item<double>() == 0);
}

TEST_CASE("robust_background: shortest ways", "[saliency]") {
  constexpr float kFar = 1e6F;
  const auto length = torch::tensor({0.F,
                                     1.F,
                                     5.F,
                                     kFar,
                                     1.F,
                                     0.F,
                                     2.F,
                                     9.F,
                                     5.F,
                                     2.F,
                                     0.F,
                                     3.F,
                                     kFar,
                                     9.F,
                                     3.F,
                                     0.F})
                          .view({1, 4, 4});
  const auto expected = torch::tensor({0.F,
                                       1.F,
                                       3.F,
                                       6.F,
                                       1.F,
                                       0.F,
                                       2.F,
                                       5.F,
                                       3.F,
                                       2.F,
                                       0.F,
                                       3.F,
                                       6.F,
                                       5.F,
                                       3.F,
                                       0.F})
                            .view({1, 4, 4});
  CHECK(care_test::identical(care::detail::shortest_ways(length), expected));
}

TEST_CASE(
    "robust_background: touching the border is not being background",
    "[saliency]") {
  // A disc cut by the left side stays salient; a band along the whole lower
  // side, of the same colour, does not.
  const auto cut = disc(kSize, 60, 8, 24);
  auto band = torch::zeros({kSize.height, kSize.width}, torch::kBool);
  band.slice(0, 96).fill_(true);
  const auto with_disc = painted_over(skin(), cut, kBrown());
  const auto with_band = painted_over(
      painted_over(skin(), band, kBrown()), lesion(), colour(0.6, 0.2, 0.3));
  const auto maps =
      care::robust_background(torch::stack({with_disc, with_band}));
  CHECK(mean_in(maps[0], cut) > 0.6);
  CHECK(mean_in(maps[0], cut.logical_not()) < 0.1);
  CHECK(mean_in(maps[1], lesion()) > 0.7);
  CHECK(mean_in(maps[1], band) < 0.3);
  // The frequency-tuned map is drawn to the band.
  const auto tuned = care::frequency_tuned(with_band.unsqueeze(0));
  CHECK(mean_in(tuned[0], band) > 0.3);
}

TEST_CASE(
    "lesion_contrast: hair, ruler, rim and reflections are not lesions",
    "[saliency]") {
  auto y = torch::arange(kSize.height).view({-1, 1});
  auto x = torch::arange(kSize.width).view({1, -1});
  const auto plain = painted_over(skin() * slope(), lesion(), kBrown());

  SECTION("hair across skin and lesion") {
    auto image = plain;
    for (const int64_t offset : {-60, -20, 30, 75, 120}) {
      image = painted_over(
          image, (y * 2 + x - 100 - offset).abs() < 3, colour(0.1, 0.07, 0.05));
    }
    const auto map = care::lesion_contrast(image.unsqueeze(0));
    CHECK(box_overlap(map) >= 0.7);
    CHECK(mean_in(map[0], lesion().logical_not()) < 0.1);
    // It is the closing that does it.
    const auto without = care::lesion_contrast(
        image.unsqueeze(0), care::LesionContrastOptions().line_width(1));
    CHECK(
        mean_in(without[0], lesion().logical_not()) >
        2 * mean_in(map[0], lesion().logical_not()));
  }
  SECTION("a ruler with ticks, a white sticker, a bubble") {
    auto image = painted_over(
        plain, (y > 104) & (x < 160) & ((x % 8) < 2), colour(0.1, 0.1, 0.1));
    auto sticker = ((y < 30) & (x < 36)).expand({kSize.height, kSize.width});
    image = painted_over(image, sticker, colour(0.97, 0.97, 0.97));
    image = painted_over(image, disc(kSize, 80, 30, 7), colour(1, 1, 1));
    const auto map = care::lesion_contrast(image.unsqueeze(0));
    CHECK(box_overlap(map) >= 0.7);
    CHECK(mean_in(map[0], sticker) < 0.05);
    CHECK(mean_in(map[0], disc(kSize, 80, 30, 7)) < 0.05);
    CHECK(mean_in(map[0], (y > 104).expand({kSize.height, kSize.width})) < 0.1);
  }
  SECTION("the dark rim of the instrument, with shading towards it") {
    auto v = (y.to(torch::kFloat) - 60) / 100;
    auto u = (x.to(torch::kFloat) - 80) / 100;
    auto shading = 1 - (v * v + u * u) * 0.4;
    auto inside = disc(kSize, 60, 80, 84);
    const auto image = painted_over(
        plain * shading.unsqueeze(0),
        inside.logical_not(),
        colour(0.02, 0.02, 0.03));
    const auto map = care::lesion_contrast(image.unsqueeze(0));
    CHECK(box_overlap(map) >= 0.7);
    CHECK(mean_in(map[0], inside.logical_not()) < 0.01);
    // Taken for skin, the rim is what stands out.
    const auto without = care::lesion_contrast(
        image.unsqueeze(0), care::LesionContrastOptions().rim(0));
    CHECK(mean_in(without[0], inside.logical_not()) > 0.3);
  }
  SECTION("a red lesion that is hardly darker") {
    const auto image =
        painted_over(skin() * slope(), lesion(), colour(0.85, 0.45, 0.42));
    CHECK(box_overlap(care::lesion_contrast(image.unsqueeze(0))) >= 0.7);
  }
  SECTION("exposure and dark skin") {
    const auto map = care::lesion_contrast(plain.unsqueeze(0));
    const auto darker = care::lesion_contrast(plain.unsqueeze(0) * 0.6);
    CHECK(care_test::allclose(darker, map, 0.02));
    const auto image = painted_over(
        colour(0.42, 0.28, 0.2).expand({3, 120, 160}),
        lesion(),
        colour(0.2, 0.11, 0.07));
    CHECK(box_overlap(care::lesion_contrast(image.unsqueeze(0))) >= 0.7);
  }
  SECTION("a lesion that fills a third of the picture, and one at the side") {
    const auto large = disc(kSize, 60, 80, 45);
    auto map = care::lesion_contrast(
        painted_over(skin() * slope(), large, kBrown()).unsqueeze(0));
    CHECK(mean_in(map[0], large) > 0.7);
    CHECK(mean_in(map[0], large.logical_not()) < 0.1);
    const auto side = disc(kSize, 60, 5, 25);
    map = care::lesion_contrast(
        painted_over(skin() * slope(), side, kBrown()).unsqueeze(0));
    CHECK(mean_in(map[0], side) > 0.6);
    CHECK(mean_in(map[0], side.logical_not()) < 0.1);
  }
}

TEST_CASE("saliency: the same on a GPU", "[saliency][gpu]") {
  if (!torch::cuda::is_available()) {
    WARN("skipped: no GPU here");
    return;
  }
  const auto images = scenes();
  for (const auto& [name, method] : methods()) {
    INFO(name);
    const auto on_device = method(images.to(torch::kCUDA));
    CHECK(on_device.device().is_cuda());
    CHECK(correlation(on_device.to(torch::kCPU), method(images)) > 0.999);
  }
}
