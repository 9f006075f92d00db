// Where training takes its boxes from, and faults to try it with.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_FAULTS_HPP
#define CARE_EXAMPLES_STUDY_FAULTS_HPP

#include "resnet_trainer/manifest.hpp"
#include "study/plan.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace study {

using trainer::Row;

/// The rows with the boxes that another manifest has for their pictures, say
/// one of auto_boxes. Two rows mean the same picture when their paths lead to
/// the same file. Throws std::runtime_error for a picture that `manifest` does
/// not list (one without a box has a row without one).
std::vector<Row> with_boxes_of(
    const std::filesystem::path& manifest,
    std::vector<Row> rows);

/// The rows with the boxes that training shall see, in this order:
///
///   shuffled      each picture with boxes gets those of another one
///   box_missing   this share of all boxes is taken away
///   box_shift     each box is moved by this share of its width and height in a
///                 random direction, but not beyond the border
///   dilate        each box is scaled about its centre, and cut at the border
///
/// The same seed gives the same. A box of confidence 0 is none, unless boxes
/// are weighed. Throws std::invalid_argument when there are no two pictures
/// with boxes to shuffle them between.
std::vector<Row> with_faults(
    std::vector<Row> rows,
    const Arm& arm,
    uint64_t seed);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_FAULTS_HPP
