// What it costs to change a batch at random, beside OpenCV's way: one picture
// after the other, in eight bits.
// SPDX-License-Identifier: Apache-2.0
//
//   augment [--batch 32] [--size 224] [--rounds 15] [--threads 1]
//
// Both begin with 8-bit RGB pictures and end with a batch of float tensors in
// [0, 1]. "convert" is that alone. The others change the pictures on the way,
// in the ranges of the preset "strong"; OpenCV's colours are one matrix on the
// channels, ours are torchvision's four steps. The outside is exchanged in
// every picture. Images a second.
#include "bench.hpp"

#include <care/augment.hpp>

#include <fmt/format.h>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include <array>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace {

/// Smooth coloured pictures with some noise.
std::vector<cv::Mat> pictures(int count, int size) {
  cv::RNG random(7);
  std::vector<cv::Mat> all;
  for (int i = 0; i < count; ++i) {
    cv::Mat small(8, 8, CV_8UC3), picture, noise(size, size, CV_8UC3);
    random.fill(small, cv::RNG::UNIFORM, 30, 220);
    cv::resize(small, picture, {size, size}, 0, 0, cv::INTER_CUBIC);
    random.fill(noise, cv::RNG::UNIFORM, 0, 20);
    all.push_back(picture + noise);
  }
  return all;
}

/// A picture as `[3, H, W]` float in [0, 1].
torch::Tensor to_tensor(const cv::Mat& picture) {
  return torch::from_blob(
             picture.data, {picture.rows, picture.cols, 3}, torch::kUInt8)
      .permute({2, 0, 1})
      .to(torch::kFloat)
      .div_(255);
}

/// Pictures as `[N, 3, H, W]` float in [0, 1].
torch::Tensor to_batch(const std::vector<cv::Mat>& pictures) {
  std::vector<torch::Tensor> bytes;
  for (const auto& picture : pictures) {
    bytes.push_back(torch::from_blob(
        picture.data, {picture.rows, picture.cols, 3}, torch::kUInt8));
  }
  return torch::stack(bytes)
      .permute({0, 3, 1, 2})
      .to(torch::kFloat,
          /*non_blocking=*/false,
          /*copy=*/true,
          torch::MemoryFormat::Contiguous)
      .div_(255);
}

// ------------------------------------------------------------ OpenCV's way ---

struct Steps {
  bool flips = false, warp = false, colour = false;
};

cv::Mat flipped(const cv::Mat& picture, care::Orientation orientation) {
  cv::Mat result = picture;
  const auto replace = [&](auto&& change) {
    cv::Mat changed;
    change(result, changed);
    result = changed;
  };
  if (orientation.hflip) {
    replace([](const cv::Mat& x, cv::Mat& y) { cv::flip(x, y, 1); });
  }
  if (orientation.vflip) {
    replace([](const cv::Mat& x, cv::Mat& y) { cv::flip(x, y, 0); });
  }
  if (orientation.turns > 0) {
    const cv::RotateFlags turns[] = {
        cv::ROTATE_90_COUNTERCLOCKWISE,
        cv::ROTATE_180,
        cv::ROTATE_90_CLOCKWISE};
    replace([&](const cv::Mat& x, cv::Mat& y) {
      cv::rotate(x, y, turns[orientation.turns - 1]);
    });
  }
  return result;
}

cv::Mat warped(const cv::Mat& picture, const care::AffineMap& map) {
  // OpenCV counts from the centre of the first pixel.
  const auto& [a, b, c, d, e, f] = map;
  const cv::Matx23d matrix(
      a, b, c + (a + b - 1) / 2, d, e, f + (d + e - 1) / 2);
  cv::Mat result;
  cv::warpAffine(
      picture,
      result,
      matrix,
      picture.size(),
      cv::INTER_LINEAR,
      cv::BORDER_CONSTANT,
      cv::Scalar::all(128));
  return result;
}

/// Hue turned in YIQ, saturation, contrast, brightness: one 3x4 matrix.
cv::Mat coloured(const cv::Mat& picture, const care::ColourFactors& factors) {
  const cv::Matx33d to_yiq(
      0.299, 0.587, 0.114, 0.596, -0.274, -0.322, 0.211, -0.523, 0.312);
  const double turn = factors.hue() * 2 * 3.14159265358979323846;
  const double cos = factors.saturation() * std::cos(turn);
  const double sin = factors.saturation() * std::sin(turn);
  const cv::Matx33d colour = to_yiq.inv() *
      cv::Matx33d(1, 0, 0, 0, cos, -sin, 0, sin, cos) * to_yiq *
      (factors.brightness() * factors.contrast());
  const auto mean = cv::mean(picture);
  const double grey =
      to_yiq(0, 0) * mean[0] + to_yiq(0, 1) * mean[1] + to_yiq(0, 2) * mean[2];
  cv::Matx34d matrix;
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) {
      matrix(row, column) = colour(row, column);
    }
    matrix(row, 3) = factors.brightness() * (1 - factors.contrast()) * grey;
  }
  cv::Mat result;
  cv::transform(picture, result, matrix);
  return result;
}

torch::Tensor by_opencv(
    const std::vector<cv::Mat>& pictures,
    const care::AugmentOptions& options,
    int64_t epoch) {
  const care::Size size{pictures[0].rows, pictures[0].cols};
  std::vector<torch::Tensor> images;
  for (size_t i = 0; i < pictures.size(); ++i) {
    const auto random = [&](care::detail::DrawFor purpose) {
      return care::detail::Draw(
          options.seed(), epoch, static_cast<int64_t>(i), purpose);
    };
    using care::detail::DrawFor;
    auto picture = flipped(
        pictures[i],
        care::detail::drawn_orientation(
            random(DrawFor::kOrientation), size, options));
    if (options.rotate() > 0) {
      const auto window =
          care::detail::drawn_window(random(DrawFor::kCrop), size, {}, options);
      picture = warped(
          picture,
          care::compose(
              care::crop_map(window, size),
              care::detail::drawn_affine(
                  random(DrawFor::kAffine), size, options)));
    }
    if (options.hue() > 0) {
      picture = coloured(
          picture,
          care::detail::drawn_colour(random(DrawFor::kColour), options));
    }
    images.push_back(to_tensor(picture));
  }
  return torch::stack(images);
}

} // namespace

int main(int argc, char** argv) {
  const auto batch = static_cast<int>(bench::option(argc, argv, "--batch", 32));
  const auto side = static_cast<int>(bench::option(argc, argv, "--size", 224));
  const auto rounds = bench::option(argc, argv, "--rounds", 15);
  const auto threads = bench::set_threads(argc, argv, 1);
  cv::setNumThreads(static_cast<int>(threads));
  bench::Report report(
      "augment",
      fmt::format(
          "batches of {} pictures of {}x{}, {} rounds, {} thread(s)",
          batch,
          side,
          side,
          rounds,
          threads));

  const auto all = pictures(batch, side);
  const auto targets = torch::arange(batch, torch::kLong).remainder(4);
  const auto index = torch::arange(batch, torch::kLong);
  std::vector<std::vector<std::array<double, 4>>> lists(
      static_cast<size_t>(batch));
  for (size_t i = 0; i < lists.size(); ++i) {
    const double at = static_cast<double>(i) / static_cast<double>(batch);
    lists[i].push_back(
        {side * at / 2, side * 0.2, side * (at / 2 + 0.4), side * 0.7});
  }
  const auto boxes = care::Boxes::from_lists(lists, {side, side});

  const auto none = care::AugmentOptions::preset("none");
  const auto flips = care::AugmentOptions::preset("flips");
  const auto strong = care::AugmentOptions::preset("strong");
  auto geometry = strong;
  geometry.brightness(0).contrast(0).saturation(0).hue(0);
  auto colour = none;
  colour.brightness(0.2).contrast(0.2).saturation(0.2).hue(0.02);
  const std::vector<std::pair<std::string, care::AugmentOptions>> settings = {
      {"convert", none},
      {"flips", flips},
      {"geometry", geometry},
      {"colour", colour},
      {"strong", strong}};

  std::vector<std::function<void()>> runs;
  int64_t epoch = 0;
  const auto add_ours = [&](const care::AugmentOptions& options) {
    runs.push_back([&, chosen = options] {
      care::augment(to_batch(all), boxes, targets, index, ++epoch, chosen);
    });
  };
  for (const auto& [name, options] : settings) {
    runs.push_back(
        [&, options = options] { by_opencv(all, options, ++epoch); });
    add_ours(options);
  }
  const auto outside = [](care::OutsideOptions options) {
    return care::AugmentOptions::preset("none").outside(options.share(1));
  };
  const std::vector<std::pair<std::string, care::AugmentOptions>> outsides = {
      {"outside: other class", outside(care::OutsideOptions())},
      {"outside: blur",
       outside(care::OutsideOptions().source(care::Outside::kBlur))},
      {"outside: soft edge", outside(care::OutsideOptions().soft_edge(8))}};
  for (const auto& [name, options] : outsides) {
    add_ours(options);
  }

  const auto contest = bench::in_turns(rounds, runs);
  const auto speed = [&](size_t run) { return batch / contest.median(run); };
  for (size_t i = 0; i < settings.size(); ++i) {
    report.add(
        {{"work", settings[i].first},
         {"opencv", speed(2 * i)},
         {"care", speed(2 * i + 1)},
         {"times_as_many", contest.ratio(2 * i, 2 * i + 1)}});
  }
  for (size_t i = 0; i < outsides.size(); ++i) {
    report.add(
        {{"work", outsides[i].first},
         {"opencv", "-"},
         {"care", speed(2 * settings.size() + i)},
         {"times_as_many", "-"}});
  }
  report.print();
}
