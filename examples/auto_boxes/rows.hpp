// Checks of what is asked of a manifest's rows, and a manifest of found boxes.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_ROWS_HPP
#define CARE_EXAMPLES_AUTO_BOXES_ROWS_HPP

#include "auto_boxes/find.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace auto_boxes {

/// Throws std::invalid_argument that names `option` unless each of `wanted` is
/// the value of `column` in some row.
void check_known(
    const char* option,
    const std::vector<trainer::Row>& rows,
    std::string trainer::Row::*column,
    const std::vector<std::string>& wanted);

/// Writes all columns of the rows (of several rows of a picture the first's)
/// with the found boxes in place of their own, and `method` and `confidence`.
/// Paths are from the manifest's folder.
void write_rows(
    const std::filesystem::path& manifest,
    const std::vector<Found>& found);

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_ROWS_HPP
