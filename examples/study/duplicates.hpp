// Near-duplicate pictures: found by a perceptual hash, a trap for any split.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_DUPLICATES_HPP
#define CARE_EXAMPLES_STUDY_DUPLICATES_HPP

#include "study/data.hpp"

#include <fmt/format.h>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include <bitset>
#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace study {

/// Of each cell of a 16 x 16 grid whether it is darker than its neighbour on
/// the right (the difference hash). What is scaled, saved again or brightened
/// keeps nearly all of them.
using Hash = std::bitset<256>;
using Pairs = std::vector<std::pair<size_t, size_t>>;

inline Hash difference_hash(const cv::Mat& rgb) {
  cv::Mat grey, small;
  cv::cvtColor(rgb, grey, cv::COLOR_RGB2GRAY);
  cv::resize(grey, small, {17, 16}, 0, 0, cv::INTER_AREA);
  Hash hash;
  for (int y = 0; y < 16; ++y) {
    for (int x = 0; x < 16; ++x) {
      hash[static_cast<size_t>(16 * y + x)] =
          small.at<uchar>(y, x) < small.at<uchar>(y, x + 1);
    }
  }
  return hash;
}

/// More are not looked for: pictures that are mostly of one colour are all
/// alike.
inline constexpr size_t kMostPairs = 10000;

/// Pairs of pictures whose hashes differ in at most `most` bits, by their
/// places, the first the smaller; no more than `kMostPairs`.
inline Pairs near_duplicates(
    const std::vector<Hash>& hashes,
    size_t most = 10) {
  Pairs pairs;
  for (size_t i = 0; i < hashes.size(); ++i) {
    for (size_t j = i + 1; j < hashes.size(); ++j) {
      if ((hashes[i] ^ hashes[j]).count() <= most) {
        pairs.emplace_back(i, j);
        if (pairs.size() == kMostPairs) {
          return pairs;
        }
      }
    }
  }
  return pairs;
}

namespace detail {

inline std::set<std::string> paths_of(const std::vector<Row>& rows) {
  std::set<std::string> paths;
  for (const auto& row : rows) {
    paths.insert(row.path);
  }
  return paths;
}

} // namespace detail

/// One sentence for each set of splits in which a picture to learn from has a
/// near-duplicate among those to be tested; empty if there is none.
inline std::vector<std::string> straddling(
    const Data& data,
    const Pairs& pairs) {
  std::vector<std::string> warnings;
  for (const auto& set : data.plan.splits) {
    std::set<std::pair<std::string, std::string>> apart;
    for (const auto number : set.all()) {
      const auto parts = data.parts({0, set.train_share, number, 0});
      const auto learnt = detail::paths_of(parts.train),
                 tested = detail::paths_of(parts.test);
      for (const auto& [i, j] : pairs) {
        const auto &a = data.rows[i].path, &b = data.rows[j].path;
        if ((learnt.count(a) > 0 && tested.count(b) > 0) ||
            (learnt.count(b) > 0 && tested.count(a) > 0)) {
          apart.emplace(a, b);
        }
      }
    }
    const bool all = pairs.size() < kMostPairs;
    if (apart.empty() && !all) {
      warnings.push_back(fmt::format(
          "more than {} pairs of pictures look nearly alike: whether such are "
          "on both sides of a split was not looked at for all of them.",
          kMostPairs));
    }
    if (!apart.empty()) {
      warnings.push_back(fmt::format(
          "{}{} pairs of pictures look nearly alike and are on both sides of a "
          "split ({}): what was learnt may be tested. The first: {} and {}. If "
          "they show the same thing, give them one group in the manifest.",
          all ? "" : "at least ",
          apart.size(),
          data.plan.title(set.train_share),
          apart.begin()->first,
          apart.begin()->second));
    }
  }
  return warnings;
}

} // namespace study

#endif // CARE_EXAMPLES_STUDY_DUPLICATES_HPP
