// Tests of care/imbalance/stratified_split.hpp.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"

#include <care/imbalance/stratified_split.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace {

using Targets = std::vector<int64_t>;
using Groups = std::vector<std::string>;

int64_t count_of(
    const std::vector<size_t>& part,
    const Targets& targets,
    int64_t target) {
  return std::count_if(
      part.begin(), part.end(), [&](size_t i) { return targets[i] == target; });
}

/// Twelve patients with two images each: the first one common, the second rare
/// (three patients) or other.
void mixed_patients(Targets& targets, Groups& groups, bool reversed) {
  for (int patient = 0; patient < 12; ++patient) {
    targets.insert(targets.end(), {0, patient < 3 ? 2 : 1});
    groups.insert(groups.end(), 2, "p" + std::to_string(patient));
  }
  if (reversed) {
    std::reverse(targets.begin(), targets.end());
    std::reverse(groups.begin(), groups.end());
  }
}

} // namespace

TEST_CASE("stratified_split: shares each class", "[imbalance]") {
  Targets targets(100, 0);
  std::fill(targets.begin() + 80, targets.end(), 1);
  const auto split = care::stratified_split(targets, {}, 0.7, 5);
  CHECK(count_of(split.first, targets, 0) == 56);
  CHECK(count_of(split.first, targets, 1) == 14);
  CHECK(split.second.size() == 30);
  CHECK(split.lacking.empty());
  std::set<size_t> all(split.first.begin(), split.first.end());
  all.insert(split.second.begin(), split.second.end());
  CHECK(all.size() == 100);
  CHECK(std::is_sorted(split.first.begin(), split.first.end()));

  CHECK(care::stratified_split(targets, {}, 0.7, 5).first == split.first);
  CHECK(care::stratified_split(targets, {}, 0.7, 6).first != split.first);
}

TEST_CASE("stratified_split: a class of two is on both sides", "[imbalance]") {
  const Targets targets{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2};
  for (const double share : {0.01, 0.5, 0.99}) {
    const auto split = care::stratified_split(targets, {}, share, 1);
    CHECK(count_of(split.first, targets, 1) == 1);
    CHECK(count_of(split.second, targets, 1) == 1);
    CHECK(split.lacking == Targets{2}); // which has one image
  }
}

TEST_CASE("stratified_split: parts no group", "[imbalance]") {
  Targets targets;
  Groups groups;
  mixed_patients(targets, groups, false);
  targets.insert(targets.end(), {0, 1, 2});
  groups.insert(groups.end(), {"", "", ""}); // free ones
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    const auto split = care::stratified_split(targets, groups, 0.5, seed);
    std::set<std::string> first, second;
    for (const auto i : split.first) {
      first.insert(groups[i]);
    }
    for (const auto i : split.second) {
      second.insert(groups[i]);
    }
    for (int patient = 0; patient < 12; ++patient) {
      const auto name = "p" + std::to_string(patient);
      REQUIRE(first.count(name) + second.count(name) == 1);
    }
  }
}

TEST_CASE(
    "stratified_split: a group counts as of its rarest class",
    "[imbalance]") {
  // By the class of the first image 5 of 30 such halves tested no rare one.
  for (const bool reversed : {false, true}) {
    Targets targets;
    Groups groups;
    mixed_patients(targets, groups, reversed);
    for (uint64_t seed = 0; seed < 1000; ++seed) {
      const auto split = care::stratified_split(targets, groups, 0.5, seed);
      REQUIRE(split.lacking.empty());
      REQUIRE(count_of(split.first, targets, 2) == 2); // of 3
      REQUIRE(count_of(split.second, targets, 2) == 1);
    }
  }
}

TEST_CASE("stratified_split: shares images, not groups", "[imbalance]") {
  // Patients of 1 to 20 images: one side is off by half a patient at most.
  Targets targets;
  Groups groups;
  for (size_t patient = 1; patient <= 20; ++patient) {
    targets.insert(targets.end(), patient, 0);
    groups.insert(groups.end(), patient, std::to_string(patient));
  }
  for (const double share : {0.2, 0.5, 0.8}) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
      const auto split = care::stratified_split(targets, groups, share, seed);
      const auto off = static_cast<double>(split.first.size()) -
          share * static_cast<double>(targets.size());
      REQUIRE(std::abs(off) <= 10);
      REQUIRE_FALSE(split.second.empty());
    }
  }
  // One patient with nearly all of them.
  targets.assign(100, 0);
  groups.assign(100, "large");
  for (size_t i = 0; i < 9; ++i) {
    groups[i] = std::to_string(i);
  }
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const auto most = care::stratified_split(targets, groups, 0.9, seed);
    REQUIRE(most.first.size() >= 91);
    const auto few = care::stratified_split(targets, groups, 0.05, seed);
    REQUIRE(few.first.size() == 5);
  }
}

TEST_CASE("stratified_split: draws again, and says what lacks", "[imbalance]") {
  // Class 0 lies only in groups of the rarer classes 1 and 2: a draw can put
  // both of its groups on one side, another one does not.
  const Targets targets{0, 0, 0, 1, 1, 2, 0, 0, 0, 2};
  const Groups groups{"a", "a", "a", "a", "b", "c", "d", "d", "d", "d"};
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    REQUIRE(care::stratified_split(targets, groups, 0.5, seed).lacking.empty());
  }
  const auto one =
      care::stratified_split({0, 0, 1, 1}, {"", "", "x", "x"}, .5, 0);
  CHECK(one.lacking == Targets{1});
  // A class that can lie on one side alone does not end the search for the
  // others: 3 is one patient's.
  auto more_targets = targets;
  auto more_groups = groups;
  more_targets.insert(more_targets.end(), {3, 3});
  more_groups.insert(more_groups.end(), {"e", "e"});
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    REQUIRE(
        care::stratified_split(more_targets, more_groups, 0.5, seed).lacking ==
        Targets{3});
  }
}

TEST_CASE("stratified_split: a single group goes where it belongs") {
  Targets targets(30, 0);
  targets.resize(60, 1);
  Groups groups(30, "");
  groups.resize(60, "patient");
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto tenth = care::stratified_split(targets, groups, 0.1, seed);
    CHECK(tenth.first.size() == 3);
    CHECK(tenth.lacking == Targets{1});
    const auto most = care::stratified_split(targets, groups, 0.9, seed);
    CHECK(most.first.size() == 57);
  }
}

TEST_CASE("stratified_split: refuses what cannot be split", "[imbalance]") {
  CARE_REQUIRE_THROWS_AS(
      care::stratified_split({}, {}, 0.5, 0),
      c10::ValueError,
      "at least one image");
  for (const double share : {0.0, 1.0, -1.0, std::nan("")}) {
    CARE_REQUIRE_THROWS_AS(
        care::stratified_split({0, 1}, {}, share, 0),
        c10::ValueError,
        "between 0 and 1");
  }
  CARE_REQUIRE_THROWS_AS(
      care::stratified_split({0, 1}, {"a"}, 0.5, 0),
      c10::ValueError,
      "group for each");
}
