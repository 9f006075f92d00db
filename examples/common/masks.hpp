// Lesion masks: which file is whose, and what it shows.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_MASKS_HPP
#define CARE_EXAMPLES_COMMON_MASKS_HPP

#include "resnet_trainer/manifest.hpp"

#include <opencv2/core.hpp>

#include <filesystem>
#include <string>

namespace common {

/// The file in `folder` that is called as `pattern` says, in which {} stands
/// for the row's picture's name without its ending: under the picture's path
/// or, where there is none, bare. Empty where there is neither.
std::filesystem::path mask_of(
    const trainer::Row& row,
    const std::filesystem::path& folder,
    std::string pattern);

/// The mask in `file` of a picture of `size`: CV_8U, 255 on the lesion.
///
/// Lesion is what is not black, whatever the depth and also in a palette; in a
/// JPEG, whose black is never quite black, from half of white on. Throws
/// std::runtime_error that names the file where it cannot be read, has another
/// size, or has its shape in its transparency alone.
cv::Mat read_mask(const std::filesystem::path& file, cv::Size size);

} // namespace common

#endif // CARE_EXAMPLES_COMMON_MASKS_HPP
