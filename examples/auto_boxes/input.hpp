// Which pictures: those of a manifest, or those in a folder.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_INPUT_HPP
#define CARE_EXAMPLES_AUTO_BOXES_INPUT_HPP

#include "common/manifest.hpp"

#include <filesystem>
#include <vector>

namespace auto_boxes {

/// The records of a manifest, or of all pictures below a folder (by their
/// endings: jpg, jpeg, png, bmp, tif, tiff, webp), sorted by path. The label of
/// a picture in a folder is the name of the folder it lies in, and
/// "unlabelled" for those that lie in `input` itself. What lies below the
/// folder `except` (that of the results, say) is left out. Throws
/// std::runtime_error for a path that is neither, a folder without pictures,
/// and a name that is not UTF-8.
std::vector<common::Record> read_input(
    const std::filesystem::path& input,
    const std::filesystem::path& except = {});

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_INPUT_HPP
