// The generated lesion set as files: pictures, masks and a manifest.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_GENERATED_SET_HPP
#define CARE_EXAMPLES_AUTO_BOXES_GENERATED_SET_HPP

#include "common/generated.hpp"

#include <filesystem>

namespace auto_boxes {

/// Draws the set into `folder` as images/, masks/ and manifest.csv, unless the
/// manifest, which is written last, is there already. Returns its path.
std::filesystem::path write_generated(
    const std::filesystem::path& folder,
    const common::GeneratedOptions& options,
    int jobs);

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_GENERATED_SET_HPP
