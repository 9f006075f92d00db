// The rows that boxes are found for, and their manifest with the boxes.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_ROWS_HPP
#define CARE_EXAMPLES_AUTO_BOXES_ROWS_HPP

#include "auto_boxes/find.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace auto_boxes {

/// The rows of a manifest, or of all pictures below a folder but `except` (that
/// of the results); see trainer::read_folder. Pictures in `input` itself are
/// labelled "unlabelled". Throws std::runtime_error for a name that is not
/// UTF-8.
std::vector<trainer::Row> read_rows(
    const std::filesystem::path& input,
    const std::filesystem::path& except);

/// Throws std::invalid_argument that names `option` unless each of `wanted` is
/// the value of `column` in some row.
void check_known(
    const char* option,
    const std::vector<trainer::Row>& rows,
    std::string trainer::Row::*column,
    const std::vector<std::string>& wanted);

/// Writes a manifest of the pictures that were not skipped: all columns of the
/// input (of several rows of a picture the first's) with the found boxes in
/// place of its own, and `method` and `confidence`. Paths are from the
/// manifest's folder.
void write_rows(
    const std::filesystem::path& manifest,
    const std::vector<trainer::Row>& rows,
    const std::vector<Found>& found);

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_ROWS_HPP
