// Lesion masks: which file is whose.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_MASKS_HPP
#define CARE_EXAMPLES_COMMON_MASKS_HPP

#include "resnet_trainer/manifest.hpp"

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

} // namespace common

#endif // CARE_EXAMPLES_COMMON_MASKS_HPP
