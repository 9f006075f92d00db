// Near-duplicate pictures: found by a perceptual hash, a trap for any split.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_DUPLICATES_HPP
#define CARE_EXAMPLES_STUDY_DUPLICATES_HPP

#include "study/data.hpp"
#include "study/plan.hpp"

#include <opencv2/core.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace study {

/// 256 bits of a picture: whether each cell of a 16 x 16 grid is darker than
/// its neighbour on the right (the difference hash). What is scaled, saved
/// again or brightened keeps nearly all of them.
using Hash = std::array<uint64_t, 4>;
Hash difference_hash(const cv::Mat& rgb);

/// Pairs of pictures whose hashes differ in at most `most` bits, by their
/// places; the first is the smaller.
std::vector<std::pair<size_t, size_t>> near_duplicates(
    const std::vector<Hash>& hashes,
    int most = 10);

/// One sentence for each set of splits in which a picture to learn from has a
/// near-duplicate among those to be tested; empty if there is none. The pairs
/// are kept in `folder`: the pictures are read once.
std::vector<std::string> straddling(
    const Plan& plan,
    const Data& data,
    const std::filesystem::path& folder);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_DUPLICATES_HPP
