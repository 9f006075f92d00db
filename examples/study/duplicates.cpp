// Near-duplicate pictures: found by a perceptual hash, a trap for any split.
// SPDX-License-Identifier: Apache-2.0
#include "study/duplicates.hpp"

#include "common/files.hpp"
#include "resnet_trainer/picture.hpp"

#include <fmt/format.h>
#include <opencv2/imgproc.hpp>

#include <bitset>
#include <set>

namespace study {
namespace {

using Pairs = std::vector<std::pair<size_t, size_t>>;

Pairs pairs_of(const Data& data, const std::filesystem::path& folder) {
  const auto file = folder / "near_duplicates.json";
  if (std::filesystem::exists(file)) {
    return common::read_json(file).get<Pairs>();
  }
  std::vector<Hash> hashes;
  for (const auto& row : data.rows) {
    hashes.push_back(difference_hash(trainer::read_picture(row.file)));
  }
  const auto pairs = near_duplicates(hashes);
  common::write_json(file, pairs);
  return pairs;
}

} // namespace

Hash difference_hash(const cv::Mat& rgb) {
  cv::Mat grey, small;
  cv::cvtColor(rgb, grey, cv::COLOR_RGB2GRAY);
  cv::resize(grey, small, {17, 16}, 0, 0, cv::INTER_AREA);
  Hash hash{};
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

std::vector<std::pair<size_t, size_t>> near_duplicates(
    const std::vector<Hash>& hashes,
    int most) {
  Pairs pairs;
  for (size_t i = 0; i < hashes.size(); ++i) {
    for (size_t j = i + 1; j < hashes.size(); ++j) {
      size_t bits = 0;
      for (size_t k = 0; k < 4; ++k) {
        bits += std::bitset<64>(hashes[i][k] ^ hashes[j][k]).count();
      }
      if (bits <= static_cast<size_t>(most)) {
        pairs.emplace_back(i, j);
      }
    }
  }
  return pairs;
}

std::vector<std::string> straddling(
    const Plan& plan,
    const Data& data,
    const std::filesystem::path& folder) {
  const auto pairs = pairs_of(data, folder);
  std::vector<std::string> warnings;
  for (const auto& set : plan.splits) {
    std::set<std::pair<size_t, size_t>> apart;
    for (const auto number :
         pairs.empty() ? std::vector<int64_t>() : set.all()) {
      const auto parts = data.parts(plan, {0, set.train_share, number, 0});
      std::set<std::string> learnt, tested;
      for (const auto& row : parts.train) {
        learnt.insert(row.path);
      }
      for (const auto& row : parts.test) {
        tested.insert(row.path);
      }
      for (const auto& [i, j] : pairs) {
        const auto &a = data.rows[i].path, &b = data.rows[j].path;
        if ((learnt.count(a) > 0 && tested.count(b) > 0) ||
            (learnt.count(b) > 0 && tested.count(a) > 0)) {
          apart.emplace(i, j);
        }
      }
    }
    if (!apart.empty()) {
      warnings.push_back(fmt::format(
          "{} pairs of pictures look nearly alike and are on both sides of a "
          "split ({}): what was learnt may be tested. The first: {} and {}. If "
          "they show the same thing, give them one group in the manifest.",
          apart.size(),
          set.train_share > 0
              ? fmt::format("{:g} % to learn from", set.train_share * 100)
              : std::string("folds"),
          data.rows[apart.begin()->first].path,
          data.rows[apart.begin()->second].path));
    }
  }
  return warnings;
}

} // namespace study
