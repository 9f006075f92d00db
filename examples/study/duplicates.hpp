// Near-duplicate pictures: found by a perceptual hash, a trap for any split.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_DUPLICATES_HPP
#define CARE_EXAMPLES_STUDY_DUPLICATES_HPP

#include "study/runs.hpp"

#include <opencv2/core.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace study {

/// 256 bits of a picture: whether each cell of a 16 x 16 grid is darker than
/// its neighbour on the right (the difference hash). What is scaled, saved
/// again or brightened keeps nearly all of them.
std::array<uint64_t, 4> difference_hash(const cv::Mat& rgb);

/// In how many bits two hashes differ, 0 to 256.
int distance(
    const std::array<uint64_t, 4>& a,
    const std::array<uint64_t, 4>& b);

/// Pairs of pictures whose hashes differ in at most `most` bits, by their
/// places; the first is the smaller.
std::vector<std::pair<size_t, size_t>> near_duplicates(
    const std::vector<common::Sample>& samples,
    int most = 10);

/// One sentence for each set of splits in which a picture to learn from has a
/// near-duplicate among those to be tested; empty if there is none.
std::vector<std::string> straddling(const Runs& runs);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_DUPLICATES_HPP
