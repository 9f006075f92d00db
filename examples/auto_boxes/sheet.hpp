// The contact sheet: found boxes to look through, as a page and as a picture.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_SHEET_HPP
#define CARE_EXAMPLES_AUTO_BOXES_SHEET_HPP

#include "auto_boxes/find.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace auto_boxes {

/// Writes sheet.html, which needs nothing else, with up to `limit` pictures,
/// and sheet.png with the first 48 of them: pictures without a box come first,
/// then the least certain (by their most certain box), equals in their order.
/// Found boxes are white, manual ones blue. `summary` stands at the head of the
/// page. Throws std::runtime_error for a picture that can no longer be read.
void write_sheet(
    const std::filesystem::path& folder,
    std::vector<Found> found,
    size_t limit,
    const std::string& summary);

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_SHEET_HPP
