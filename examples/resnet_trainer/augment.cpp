// Random changes to a picture that take its boxes along.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/augment.hpp"

#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace trainer {
namespace {

constexpr double kPi = 3.14159265358979323846;

/// An affine map of the image plane as care::Boxes takes it: {a, b, c, d, e, f}
/// with x' = a x + b y + c and y' = d x + e y + f; the image's corner is 0, 0.
using Affine = std::array<double, 6>;

/// First `inner`, then `outer`.
Affine compose(const Affine& outer, const Affine& inner) {
  const auto& [a, b, c, d, e, f] = outer;
  const auto& [p, q, r, s, t, u] = inner;
  return {
      a * p + b * s,
      a * q + b * t,
      a * r + b * u + c,
      d * p + e * s,
      d * q + e * t,
      d * r + e * u + f};
}

/// A random part of the picture, blown up to the whole. Its area is a share in
/// [least, 1] of the picture's, its shape up to 4:3 wider or taller.
Affine random_crop(
    double width,
    double height,
    double least,
    common::Random& random) {
  const double area = random.uniform(least, 1);
  const double limit = std::log(4.0 / 3.0);
  const double aspect = std::exp(random.uniform(-limit, limit));
  const double w = std::min(1.0, std::sqrt(area * aspect)) * width;
  const double h = std::min(1.0, std::sqrt(area / aspect)) * height;
  const double left = random.uniform(0, width - w);
  const double top = random.uniform(0, height - h);
  const double x = width / w, y = height / h;
  return {x, 0, -left * x, 0, y, -top * y};
}

/// Turned, sheared and zoomed about the picture's centre.
Affine random_affine(
    double width,
    double height,
    const AugmentOptions& options,
    common::Random& random) {
  const double turn = random.uniform(-1, 1) * options.rotate * kPi / 180;
  const double lean =
      std::tan(random.uniform(-1, 1) * options.shear * kPi / 180);
  const double zoom = 1 + random.uniform(-1, 1) * options.scale;
  const double cos = zoom * std::cos(turn), sin = zoom * std::sin(turn);
  const Affine about_origin{cos, cos * lean - sin, 0, sin, sin * lean + cos, 0};
  const Affine to_origin{1, 0, -width / 2, 0, 1, -height / 2};
  const Affine back{1, 0, width / 2, 0, 1, height / 2};
  return compose(back, compose(about_origin, to_origin));
}

cv::Mat warp(const cv::Mat& image, const Affine& map) {
  // OpenCV counts from the centre of the first pixel, half a pixel further in.
  const auto& [a, b, c, d, e, f] = map;
  const cv::Matx23d matrix(
      a, b, c + (a + b - 1) / 2, d, e, f + (d + e - 1) / 2);
  cv::Mat warped;
  cv::warpAffine(
      image,
      warped,
      matrix,
      image.size(),
      cv::INTER_LINEAR,
      cv::BORDER_CONSTANT,
      cv::Scalar::all(128));
  return warped;
}

/// Colour as one 3x4 matrix on RGB: hue turns it about the grey axis (in YIQ),
/// saturation moves it from its grey, contrast from the picture's mean grey.
cv::Mat jitter(
    const cv::Mat& image,
    const AugmentOptions& options,
    common::Random& random) {
  const auto factor = [&](double range) {
    return 1 + random.uniform(-1, 1) * range;
  };
  const double brightness = factor(options.brightness);
  const double contrast = factor(options.contrast);
  const double saturation = factor(options.saturation);
  const double hue = random.uniform(-1, 1) * options.hue * 2 * kPi;

  const cv::Matx33d to_yiq(
      0.299, 0.587, 0.114, 0.596, -0.274, -0.322, 0.211, -0.523, 0.312);
  const double cos = saturation * std::cos(hue);
  const double sin = saturation * std::sin(hue);
  const cv::Matx33d turn(1, 0, 0, 0, cos, -sin, 0, sin, cos);
  const cv::Matx33d colour =
      to_yiq.inv() * turn * to_yiq * (brightness * contrast);

  const auto mean = cv::mean(image);
  const double grey =
      to_yiq(0, 0) * mean[0] + to_yiq(0, 1) * mean[1] + to_yiq(0, 2) * mean[2];
  const double shift = brightness * (1 - contrast) * grey;
  cv::Matx34d matrix;
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) {
      matrix(row, column) = colour(row, column);
    }
    matrix(row, 3) = shift;
  }
  cv::Mat result;
  cv::transform(image, result, matrix); // saturates at 0 and 255
  return result;
}

void check_range(const char* name, double value, double least, double most) {
  if (!(value >= least && value <= most)) {
    throw std::invalid_argument(
        std::string("augmentation: expected ") + name + " in [" +
        std::to_string(least) + ", " + std::to_string(most) + "], but got " +
        std::to_string(value));
  }
}

} // namespace

void check(const AugmentOptions& options) {
  check_range("crop_scale_min", options.crop_scale_min, 0.01, 1);
  check_range("rotate", options.rotate, 0, 180);
  check_range("shear", options.shear, 0, 60);
  check_range("scale", options.scale, 0, 0.9);
  check_range("brightness", options.brightness, 0, 1);
  check_range("contrast", options.contrast, 0, 1);
  check_range("saturation", options.saturation, 0, 1);
  check_range("hue", options.hue, 0, 0.5);
  check_range("min_visible", options.min_visible, 0, 1);
}

std::pair<cv::Mat, care::Boxes> augment(
    const cv::Mat& image,
    const care::Boxes& boxes,
    const AugmentOptions& options,
    common::Random& random) {
  cv::Mat picture = image;
  care::Boxes moved = boxes;
  if (options.hflip && random.chance(0.5)) {
    cv::Mat mirrored;
    cv::flip(picture, mirrored, 1);
    picture = mirrored;
    moved = moved.hflip();
  }
  if (options.vflip && random.chance(0.5)) {
    cv::Mat mirrored;
    cv::flip(picture, mirrored, 0);
    picture = mirrored;
    moved = moved.vflip();
  }
  if (options.rot90) {
    const bool square = picture.rows == picture.cols;
    const auto turns = square ? random.below(4) : 2 * random.below(2);
    if (turns > 0) {
      constexpr std::array<cv::RotateFlags, 3> kTurns{
          cv::ROTATE_90_COUNTERCLOCKWISE,
          cv::ROTATE_180,
          cv::ROTATE_90_CLOCKWISE};
      cv::Mat turned;
      cv::rotate(picture, turned, kTurns[static_cast<size_t>(turns - 1)]);
      picture = turned;
      moved = moved.rot90(turns);
    }
  }

  // Crop and affine map are one warp: the picture is interpolated once.
  const bool crops = options.crop_scale_min < 1;
  const bool warps =
      options.rotate > 0 || options.shear > 0 || options.scale > 0;
  Affine map{1, 0, 0, 0, 1, 0};
  if (crops) {
    map =
        random_crop(picture.cols, picture.rows, options.crop_scale_min, random);
  }
  if (warps) {
    map = compose(
        random_affine(picture.cols, picture.rows, options, random), map);
  }
  if (crops || warps) {
    picture = warp(picture, map);
    moved = moved.affine(map, moved.size(), options.min_visible);
  }

  if (options.brightness > 0 || options.contrast > 0 ||
      options.saturation > 0 || options.hue > 0) {
    picture = jitter(picture, options, random);
  }
  return {picture, moved};
}

} // namespace trainer
