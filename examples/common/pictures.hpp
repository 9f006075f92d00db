// Picture files in, and what every program does with a picture and its boxes.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_PICTURES_HPP
#define CARE_EXAMPLES_COMMON_PICTURES_HPP

#include "common/manifest.hpp"

#include <care/boxes.hpp>

#include <torch/types.h>
#include <opencv2/core.hpp>

namespace common {

/// The record's picture as 8-bit RGB, as it is stored: EXIF orientation is
/// ignored, so that boxes stay true. Throws std::runtime_error that names the
/// manifest's line and the file when it is missing, cut off or damaged.
cv::Mat read_picture(const Record& record);

/// The record's boxes on its picture of `size`, cut at the border; weighted by
/// their confidence if the manifest gives one. Throws std::runtime_error that
/// names the manifest's line for a box wholly outside.
care::Boxes boxes_on(const Record& record, care::Size size);

/// The picture at another size: a mean over areas when it shrinks, else
/// bilinear. Any number of channels and depth.
cv::Mat resized(const cv::Mat& picture, care::Size size);

/// `[3, H, W]` bytes of 8-bit RGB.
torch::Tensor to_tensor(const cv::Mat& picture);

} // namespace common

#endif // CARE_EXAMPLES_COMMON_PICTURES_HPP
