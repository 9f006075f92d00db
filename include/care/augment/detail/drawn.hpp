// What is drawn for one image: orientation, crop, affine map, colours.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_DETAIL_DRAWN_HPP
#define CARE_AUGMENT_DETAIL_DRAWN_HPP

#include <care/augment/affine_map.hpp>
#include <care/augment/colour.hpp>
#include <care/augment/detail/draw.hpp>
#include <care/augment/options.hpp>
#include <care/boxes.hpp>
#include <care/size.hpp>

#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace care::detail {

inline Orientation drawn_orientation(
    Draw random,
    Size size,
    const AugmentOptions& options) {
  const bool hflip = random.chance(0.5), vflip = random.chance(0.5);
  const auto turns = random.below(4);
  const bool square = size.height == size.width;
  return {
      options.hflip() && hflip,
      options.vflip() && vflip,
      !options.rot90() ? 0
          : square     ? turns
                       : turns / 2 * 2};
}

/// The share of the area of `boxes` ([K] of x0, y0, x1, y1) within a window; 1
/// without boxes.
inline double share_within(
    const Window& window,
    const std::vector<std::array<double, 4>>& boxes) {
  double all = 0, within = 0;
  for (const auto& [x0, y0, x1, y1] : boxes) {
    const double w =
        std::min(x1, window.left + window.width) - std::max(x0, window.left);
    const double h =
        std::min(y1, window.top + window.height) - std::max(y0, window.top);
    all += (x1 - x0) * (y1 - y0);
    within += std::max(w, 0.0) * std::max(h, 0.0);
  }
  return all > 0 ? within / all : 1;
}

/// What the crop keeps; the whole image where there is none.
inline Window drawn_window(
    Draw random,
    Size size,
    const std::vector<std::array<double, 4>>& boxes,
    const AugmentOptions& options) {
  const auto width = static_cast<double>(size.width);
  const auto height = static_cast<double>(size.height);
  const int tries = options.crop() < 1 ? 10 : 0;
  for (int i = 0; i < tries; ++i) {
    const double area = random.uniform(options.crop(), 1);
    // No shape that would stick out and lose area to the border.
    const double limit = std::min(std::log(4.0 / 3.0), -std::log(area));
    const double aspect = std::exp(random.uniform(-limit, limit));
    const double w = std::sqrt(area * aspect) * width;
    const double h = std::sqrt(area / aspect) * height;
    const double left = random.uniform(0, width - w);
    const double top = random.uniform(0, height - h);
    const Window window{left, top, w, h};
    if (share_within(window, boxes) >= options.crop_keeps()) {
      return window;
    }
  }
  return {0, 0, width, height};
}

inline AffineMap drawn_affine(
    Draw random,
    Size size,
    const AugmentOptions& options) {
  const auto within = [&](double range) {
    return random.uniform(-range, range);
  };
  AffineParameters parameters;
  parameters.angle(within(options.rotate()));
  parameters.shear_x(within(options.shear()));
  parameters.scale(1 + within(options.scale()));
  parameters.translate_x(
      within(options.translate()) * static_cast<double>(size.width));
  parameters.translate_y(
      within(options.translate()) * static_cast<double>(size.height));
  return affine_map(parameters, size);
}

inline ColourFactors drawn_colour(Draw random, const AugmentOptions& options) {
  const auto factor = [&](double range) {
    return 1 + random.uniform(-range, range);
  };
  ColourFactors factors;
  factors.brightness(factor(options.brightness()));
  factors.contrast(factor(options.contrast()));
  factors.saturation(factor(options.saturation()));
  factors.hue(random.uniform(-options.hue(), options.hue()));
  return factors;
}

/// The boxes of each image as numbers on the host.
inline std::vector<std::vector<std::array<double, 4>>> lists_of(
    const Boxes& boxes) {
  std::vector<std::vector<std::array<double, 4>>> lists(
      static_cast<size_t>(boxes.num_images()));
  const auto xyxy =
      boxes.xyxy().detach().to(torch::kCPU, torch::kDouble).contiguous();
  const auto image = boxes.image_index().to(torch::kCPU).contiguous();
  for (int64_t m = 0; m < boxes.num_boxes(); ++m) {
    const auto* box = xyxy.data_ptr<double>() + 4 * m;
    lists[static_cast<size_t>(image.data_ptr<int64_t>()[m])].push_back(
        {box[0], box[1], box[2], box[3]});
  }
  return lists;
}

} // namespace care::detail

#endif // CARE_AUGMENT_DETAIL_DRAWN_HPP
