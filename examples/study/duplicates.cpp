// Near-duplicate pictures: found by a perceptual hash, a trap for any split.
// SPDX-License-Identifier: Apache-2.0
#include "study/duplicates.hpp"

#include <fmt/format.h>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <bitset>
#include <set>

namespace study {

std::array<uint64_t, 4> difference_hash(const cv::Mat& rgb) {
  cv::Mat grey, small;
  cv::cvtColor(rgb, grey, cv::COLOR_RGB2GRAY);
  cv::resize(grey, small, {17, 16}, 0, 0, cv::INTER_AREA);
  std::array<uint64_t, 4> hash{};
  for (int y = 0; y < 16; ++y) {
    for (int x = 0; x < 16; ++x) {
      const auto bit = static_cast<size_t>(16 * y + x);
      if (small.at<uchar>(y, x) < small.at<uchar>(y, x + 1)) {
        hash[bit / 64] |= uint64_t{1} << (bit % 64);
      }
    }
  }
  return hash;
}

int distance(
    const std::array<uint64_t, 4>& a,
    const std::array<uint64_t, 4>& b) {
  size_t bits = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    bits += std::bitset<64>(a[i] ^ b[i]).count();
  }
  return static_cast<int>(bits);
}

std::vector<std::pair<size_t, size_t>> near_duplicates(
    const std::vector<common::Sample>& samples,
    int most) {
  std::vector<std::array<uint64_t, 4>> hashes;
  for (const auto& sample : samples) {
    hashes.push_back(difference_hash(sample.image));
  }
  std::vector<std::pair<size_t, size_t>> pairs;
  for (size_t i = 0; i < hashes.size(); ++i) {
    for (size_t j = i + 1; j < hashes.size(); ++j) {
      if (distance(hashes[i], hashes[j]) <= most) {
        pairs.emplace_back(i, j);
      }
    }
  }
  return pairs;
}

std::vector<std::string> straddling(const Runs& runs) {
  const auto& pool = runs.data().pool;
  const auto pairs = near_duplicates(pool);
  std::vector<std::string> warnings;
  if (pairs.empty()) {
    return warnings;
  }
  for (const auto& set : runs.plan().split_sets) {
    std::set<std::pair<size_t, size_t>> apart;
    for (const auto number : set.splits) {
      std::set<std::string> tested;
      Job job;
      job.train_share = set.train_share;
      job.split = number;
      for (const auto& sample : runs.split(job).second) {
        tested.insert(sample.id);
      }
      for (const auto& pair : pairs) {
        if (tested.count(pool[pair.first].id) !=
            tested.count(pool[pair.second].id)) {
          apart.insert(pair);
        }
      }
    }
    if (!apart.empty()) {
      const auto& pair = *apart.begin();
      warnings.push_back(fmt::format(
          "{} pairs of pictures look nearly alike and are on both sides of a "
          "split ({}): what was learnt may be tested. The first: {} and {}. If "
          "they show the same thing, give them one group in the manifest.",
          apart.size(),
          set.train_share > 0
              ? fmt::format("{:g} % to learn from", set.train_share * 100)
              : std::string("folds"),
          pool[pair.first].id,
          pool[pair.second].id));
    }
  }
  return warnings;
}

} // namespace study
