// Random numbers that are the same on every machine and standard library.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_RANDOM_HPP
#define CARE_EXAMPLES_COMMON_RANDOM_HPP

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

namespace common {

/// Splitmix64 (Vigna), begun with several numbers: of what belongs to, say,
/// (seed, index). What the standard's distributions make of an engine differs
/// between libraries, so the draws are written out.
class Random {
 public:
  Random(std::initializer_list<uint64_t> parts) {
    for (const auto part : parts) {
      state_ ^= part;
      state_ = next();
    }
  }

  /// In [low, high).
  double uniform(double low = 0, double high = 1) {
    return low + (high - low) * static_cast<double>(next() >> 11U) * 0x1.0p-53;
  }
  /// In [0, count); the bias is count / 2^64.
  size_t below(size_t count) {
    return static_cast<size_t>(next() % count);
  }
  bool chance(double probability) {
    return uniform() < probability;
  }
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) {
      std::swap(items[i - 1], items[below(i)]);
    }
  }

 private:
  uint64_t next() {
    uint64_t x = state_ += 0x9e3779b97f4a7c15U;
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31U);
  }

  uint64_t state_ = 0;
};

} // namespace common

#endif // CARE_EXAMPLES_COMMON_RANDOM_HPP
