// Random numbers that are the same on every machine and standard library.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_RANDOM_HPP
#define CARE_EXAMPLES_COMMON_RANDOM_HPP

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <utility>
#include <vector>

namespace common {

/// One well-mixed number from several (splitmix64's finaliser, chained): the
/// seed of what belongs to, say, (seed, epoch, index).
inline uint64_t mix(std::initializer_list<uint64_t> parts) {
  uint64_t state = 0;
  for (const auto part : parts) {
    state = (state ^ part) + 0x9e3779b97f4a7c15U;
    state = (state ^ (state >> 30U)) * 0xbf58476d1ce4e5b9U;
    state = (state ^ (state >> 27U)) * 0x94d049bb133111ebU;
    state ^= state >> 31U;
  }
  return state;
}

/// A random generator with the few draws we need. The standard fixes what
/// std::mt19937_64 yields, but not what its distributions make of it, so the
/// draws are written out here.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  /// A number in [0, 1).
  double uniform() {
    return static_cast<double>(engine_() >> 11U) * 0x1.0p-53;
  }
  /// A number in [low, high).
  double uniform(double low, double high) {
    return low + (high - low) * uniform();
  }
  /// A whole number in [0, count).
  int64_t below(int64_t count) {
    return static_cast<int64_t>(uniform() * static_cast<double>(count));
  }
  /// True with the given probability.
  bool chance(double probability) {
    return uniform() < probability;
  }
  /// A normal number, mean 0 and standard deviation 1 (Box and Muller).
  double normal() {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }

  /// Puts the items in random order (Fisher and Yates).
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) {
      const auto j = static_cast<size_t>(below(static_cast<int64_t>(i)));
      std::swap(items[i - 1], items[j]);
    }
  }

 private:
  std::mt19937_64 engine_;
};

} // namespace common

#endif // CARE_EXAMPLES_COMMON_RANDOM_HPP
