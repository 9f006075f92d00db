// Random changes to a picture that take its boxes along.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_AUGMENT_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_AUGMENT_HPP

#include "common/random.hpp"

#include <care/boxes.hpp>

#include <opencv2/core.hpp>

#include <utility>

namespace trainer {

/// What may be changed, and how far. By default nothing is.
struct AugmentOptions {
  bool hflip = false; ///< mirror left to right, half of the time
  bool vflip = false; ///< mirror top to bottom, half of the time
  bool rot90 = false; ///< quarter turns; half turns unless the image is square
  double crop_scale_min = 1; ///< least share of the area a crop keeps; 1: none
  double rotate = 0; ///< degrees, either way
  double shear = 0; ///< degrees, either way
  double scale = 0; ///< zoom by a factor in [1 - scale, 1 + scale]
  double brightness = 0; ///< factor in [1 - brightness, 1 + brightness]
  double contrast = 0; ///< likewise
  double saturation = 0; ///< likewise
  double hue = 0; ///< share of the colour circle, either way: at most 0.5
  double min_visible = 0.25; ///< a box of which less is left is dropped
};

/// Throws std::invalid_argument that names the option out of its range.
void check(const AugmentOptions& options);

/// A changed picture of the same size and the boxes that fit it.
///
/// `image` is 8-bit RGB, `boxes` belong to this one image. What comes in from
/// beyond the border is mid-grey: a mirrored lesion would have no box.
std::pair<cv::Mat, care::Boxes> augment(
    const cv::Mat& image,
    const care::Boxes& boxes,
    const AugmentOptions& options,
    common::Random& random);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_AUGMENT_HPP
