// Random numbers from seed, epoch and an image's number alone.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AUGMENT_DETAIL_DRAW_HPP
#define CARE_AUGMENT_DETAIL_DRAW_HPP

#include <care/detail/splitmix.hpp>

#include <cstdint>
#include <initializer_list>

namespace care::detail {

/// What a number is drawn for. Each purpose has a stream of its own, so that
/// changing colours, say, leaves every flip as it was.
enum class DrawFor : uint64_t {
  kOrientation,
  kCrop,
  kAffine,
  kColour,
  kOutside
};

/// The stream of one image in one epoch for one purpose (splitmix64, whose
/// numbers are the same on every machine and standard library).
class Draw {
 public:
  Draw(uint64_t seed, int64_t epoch, int64_t image, DrawFor purpose) {
    for (const auto part :
         {seed,
          static_cast<uint64_t>(epoch),
          static_cast<uint64_t>(image),
          static_cast<uint64_t>(purpose)}) {
      state_ = scrambled((state_ ^ part) + kSplitmixStep);
    }
  }

  uint64_t next() {
    state_ += kSplitmixStep;
    return scrambled(state_);
  }
  /// In [0, 1).
  double uniform() {
    return static_cast<double>(next() >> 11U) * 0x1.0p-53;
  }
  double uniform(double low, double high) {
    return low + (high - low) * uniform();
  }
  /// A whole number in [0, count).
  int64_t below(int64_t count) {
    return static_cast<int64_t>(uniform() * static_cast<double>(count));
  }
  bool chance(double probability) {
    return uniform() < probability;
  }

 private:
  uint64_t state_ = 0;
};

} // namespace care::detail

#endif // CARE_AUGMENT_DETAIL_DRAW_HPP
