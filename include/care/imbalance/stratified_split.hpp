// Divides a data set in two, class by class, without parting a patient.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_IMBALANCE_STRATIFIED_SPLIT_HPP
#define CARE_IMBALANCE_STRATIFIED_SPLIT_HPP

#include <care/imbalance/detail/random.hpp>

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace care {

/// Two parts of a data set: the places of their images, ascending.
struct StratifiedSplit {
  std::vector<size_t> first, second;
  /// Classes without an image in one of the parts, ascending: those whose
  /// images share a single group, or whose groups no draw could place.
  std::vector<int64_t> lacking;
};

namespace detail {

/// The images of each group, groups in the order in which they first appear; an
/// image of the empty name is a group of its own.
inline std::vector<std::vector<size_t>> images_by_group(
    const std::vector<std::string>& groups) {
  std::vector<std::vector<size_t>> images;
  std::map<std::string, size_t> known;
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto [found, is_new] = known.emplace(groups[i], images.size());
    if (groups[i].empty() || is_new) {
      images.push_back({i});
    } else {
      images[found->second].push_back(i);
    }
  }
  return images;
}

/// The groups of each class: a group counts as of its rarest class.
inline std::map<int64_t, std::vector<size_t>> groups_by_rarest_class(
    const std::vector<int64_t>& targets,
    const std::vector<std::vector<size_t>>& groups) {
  std::map<int64_t, size_t> count;
  for (const auto target : targets) {
    ++count[target];
  }
  std::map<int64_t, std::vector<size_t>> strata;
  for (size_t g = 0; g < groups.size(); ++g) {
    const auto rank = [&](size_t image) {
      return std::make_pair(count[targets[image]], targets[image]);
    };
    const auto rarest = *std::min_element(
        groups[g].begin(), groups[g].end(), [&](size_t a, size_t b) {
          return rank(a) < rank(b);
        });
    strata[targets[rarest]].push_back(g);
  }
  return strata;
}

/// The groups of a class, of those in `members` in their order, that bring the
/// first part nearer to the share of its images; of two or more groups neither
/// none nor all.
inline std::vector<size_t> groups_to_take(
    const std::vector<int64_t>& targets,
    const std::vector<std::vector<size_t>>& groups,
    int64_t target,
    const std::vector<size_t>& members,
    double share) {
  const auto size_of = [&](size_t member) { // in images of the class
    return std::count_if(
        groups[member].begin(), groups[member].end(), [&](size_t image) {
          return targets[image] == target;
        });
  };
  const auto smaller = [&](size_t a, size_t b) {
    return size_of(a) < size_of(b);
  };
  double wanted = 0, held = 0;
  for (const auto member : members) {
    wanted += share * static_cast<double>(size_of(member));
  }
  std::vector<size_t> taken;
  for (const auto member : members) {
    const double more = held + static_cast<double>(size_of(member));
    if (std::abs(more - wanted) <= std::abs(held - wanted)) {
      taken.push_back(member);
      held = more;
    }
  }
  if (taken.empty() && members.size() > 1) {
    taken = {*std::min_element(members.begin(), members.end(), smaller)};
  } else if (taken.size() == members.size() && taken.size() > 1) {
    std::reverse(taken.begin(), taken.end()); // of equals the last one goes
    taken.erase(std::min_element(taken.begin(), taken.end(), smaller));
  }
  return taken;
}

/// How many classes have their images in one group each: they lie on one side,
/// however it is drawn.
inline size_t classes_of_one_group(
    const std::vector<int64_t>& targets,
    const std::vector<std::vector<size_t>>& groups) {
  std::map<int64_t, size_t> first_group;
  std::set<int64_t> in_several;
  for (size_t g = 0; g < groups.size(); ++g) {
    for (const auto image : groups[g]) {
      if (first_group.emplace(targets[image], g).first->second != g) {
        in_several.insert(targets[image]);
      }
    }
  }
  return first_group.size() - in_several.size();
}

inline StratifiedSplit draw_split(
    const std::vector<int64_t>& targets,
    const std::vector<std::vector<size_t>>& groups,
    double share,
    EpochRandom& random) {
  std::vector<char> is_first(targets.size());
  for (auto& [target, members] : groups_by_rarest_class(targets, groups)) {
    random.shuffle(members);
    for (const auto member :
         groups_to_take(targets, groups, target, members, share)) {
      for (const auto image : groups[member]) {
        is_first[image] = 1;
      }
    }
  }
  StratifiedSplit split;
  std::map<int64_t, std::pair<bool, bool>> present;
  for (size_t i = 0; i < targets.size(); ++i) {
    const bool first = is_first[i] != 0;
    (first ? split.first : split.second).push_back(i);
    auto& [in_first, in_second] = present[targets[i]];
    (first ? in_first : in_second) = true;
  }
  for (const auto& [target, where] : present) {
    if (!where.first || !where.second) {
      split.lacking.push_back(target);
    }
  }
  return split;
}

} // namespace detail

/// Divides images at random into two parts, `share` of each class's images in
/// the first, to half of its largest group (further off where a class would
/// else lie on one side alone): training and test, or training and validation.
///
/// `targets`: the class of each image. `groups`: what no split may part (a
/// patient, a lesion, a slide); images of one name stay together, those of the
/// empty name are free; an empty list: all are. A group counts as of its rarest
/// class, so that a patient with one rare image among common ones is dealt out
/// with the rare (the common ones of such groups come on top of their class's
/// share). A class of two or more groups gets at least one in each part;
/// a draw in which such a class lacks on one side all the same (its images lie
/// in groups of rarer classes) is drawn again, up to 100 times, and the best
/// one is taken: look at `lacking`. The same images in the same order, share
/// and seed give the same parts on every platform. Throws c10::ValueError for
/// no image, a share outside (0, 1), and groups of another number than the
/// targets.
///
///   auto split = care::stratified_split(targets, patients, 0.8, seed);
inline StratifiedSplit stratified_split(
    const std::vector<int64_t>& targets,
    const std::vector<std::string>& groups,
    double share,
    uint64_t seed) {
  const char* where = "care::stratified_split";
  TORCH_CHECK_VALUE(
      !targets.empty(), where, ": expected at least one image, but got none");
  TORCH_CHECK_VALUE(
      share > 0 && share < 1,
      where,
      ": expected a share between 0 and 1, but got ",
      share);
  TORCH_CHECK_VALUE(
      groups.empty() || groups.size() == targets.size(),
      where,
      ": expected a group for each of ",
      targets.size(),
      " targets or none at all, but got ",
      groups.size());
  const auto images = detail::images_by_group(
      groups.empty() ? std::vector<std::string>(targets.size()) : groups);
  const auto hopeless = detail::classes_of_one_group(targets, images);
  StratifiedSplit best;
  for (uint64_t draw = 0; draw < 100; ++draw) {
    detail::EpochRandom random(seed, draw);
    auto split = detail::draw_split(targets, images, share, random);
    if (draw == 0 || split.lacking.size() < best.lacking.size()) {
      best = std::move(split);
    }
    if (best.lacking.size() <= hopeless) {
      break;
    }
  }
  return best;
}

} // namespace care

#endif // CARE_IMBALANCE_STRATIFIED_SPLIT_HPP
