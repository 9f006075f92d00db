// Where training takes its boxes from, and faults to try it with.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_BOX_SOURCE_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_BOX_SOURCE_HPP

#include "common/manifest.hpp"
#include "common/sample.hpp"

#include <care/boxes.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace trainer {

/// The boxes of samples by their ids, each in the pixels of its sample.
using BoxesById = std::map<std::string, care::Boxes>;

/// Boxes for `samples` from another manifest, say of auto_boxes.
///
/// `records` are those the samples were loaded from, in the same order. Two
/// manifests mean the same picture when the paths in them lead to the same
/// file. A column `confidence` becomes the boxes' weight. Throws
/// std::runtime_error for a picture that `manifest` does not list (one without
/// a box has a row without one), and for a box outside its picture.
BoxesById read_boxes(
    const std::filesystem::path& manifest,
    const std::vector<common::Record>& records,
    const std::vector<common::Sample>& samples);

/// The samples with those boxes in place of their own.
std::vector<common::Sample> with_boxes(
    std::vector<common::Sample> samples,
    const BoxesById& boxes);

/// Faults to put into boxes. (Boxes too large or too small: Boxes::dilate.)
struct BoxNoise {
  /// Each box is moved by this share of its width and height in a random
  /// direction, but not beyond the border.
  double shift = 0;
  double missing = 0; ///< share of the boxes that are taken away
  bool shuffled = false; ///< each image with boxes gets those of another one
};

/// Throws std::invalid_argument that names the value out of its range.
void check(const BoxNoise& noise);

/// The samples with that noise in their boxes; the same seed gives the same.
/// Throws std::invalid_argument when there are no two images with boxes to
/// shuffle them between.
std::vector<common::Sample> with_noise(
    std::vector<common::Sample> samples,
    const BoxNoise& noise,
    uint64_t seed);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_BOX_SOURCE_HPP
