// Lesion masks: which file is whose.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_MASKS_HPP
#define CARE_EXAMPLES_COMMON_MASKS_HPP

#include "resnet_trainer/manifest.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace common {

/// The file in `folder` that is called as `pattern` says, in which {} stands
/// for the row's picture's name without its ending: under the picture's path
/// or, where there is none, bare. Empty where there is neither.
std::filesystem::path mask_of(
    const trainer::Row& row,
    const std::filesystem::path& folder,
    std::string pattern);

/// Makes that file each row's `mask`. Throws std::runtime_error for a mask of
/// two pictures.
void find_masks(
    std::vector<trainer::Row>& rows,
    const std::filesystem::path& folder,
    const std::string& pattern);

} // namespace common

#endif // CARE_EXAMPLES_COMMON_MASKS_HPP
