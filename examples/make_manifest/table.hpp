// A table of the user's own words on pictures that a format tells of.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_MAKE_MANIFEST_TABLE_HPP
#define CARE_EXAMPLES_MAKE_MANIFEST_TABLE_HPP

#include "make_manifest/formats.hpp"

#include <filesystem>
#include <vector>

namespace make_manifest {

/// What the user's own table says of the pictures; those it does not name go.
std::vector<Told> with_table(
    const std::filesystem::path& file,
    const std::vector<Told>& told,
    Complaints& suspicious);

} // namespace make_manifest

#endif // CARE_EXAMPLES_MAKE_MANIFEST_TABLE_HPP
