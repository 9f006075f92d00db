// Looks at every picture that a format tells of.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_MAKE_MANIFEST_CHECK_HPP
#define CARE_EXAMPLES_MAKE_MANIFEST_CHECK_HPP

#include "make_manifest/formats.hpp"

#include <vector>

namespace make_manifest {

/// The pictures that can be read, their boxes in pixels of the stored picture
/// and cut at its border. `told` has its `file` and
/// `mask`; a picture without boxes gets those round the connected parts of its
/// mask that cover at least `least_part` of the picture.
///
/// Complains of a picture that is missing or damaged, or of another size than
/// told; of an EXIF orientation that nobody spoke of; of boxes that are empty
/// or outside; of a mask that cannot be read, is empty, of another size, of the
/// turned picture or another picture's, too; of one file under two names, two
/// files with one content, and a group, or a content, in two parts.
std::vector<Told> check(
    std::vector<Told> told,
    double least_part,
    Complaints& suspicious);

} // namespace make_manifest

#endif // CARE_EXAMPLES_MAKE_MANIFEST_CHECK_HPP
