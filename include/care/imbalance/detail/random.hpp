// Random numbers and decks of cards for the samplers, alike on every platform.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_IMBALANCE_DETAIL_RANDOM_HPP
#define CARE_IMBALANCE_DETAIL_RANDOM_HPP

#include <care/detail/splitmix.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <utility>
#include <vector>

namespace care::detail {

/// The generator of one epoch. The standard fixes what its engine yields but
/// not what its distributions make of it, so the draws are written out.
class EpochRandom {
 public:
  EpochRandom(uint64_t seed, uint64_t epoch)
      : engine_(scrambled(
            kSplitmixStep + (seed ^ scrambled(kSplitmixStep + epoch)))) {}

  /// In [0, 1).
  double uniform() {
    return static_cast<double>(engine_() >> 11U) * 0x1p-53;
  }

  /// In [0, count); the bias is count / 2^64.
  size_t below(size_t count) {
    return static_cast<size_t>(engine_() % count);
  }

  void shuffle(std::vector<size_t>& items) {
    for (size_t i = items.size(); i > 1; --i) {
      std::swap(items[i - 1], items[below(i)]);
    }
  }

 private:
  std::mt19937_64 engine_;
};

/// Images dealt out one by one, shuffled anew when they run out.
class Deck {
 public:
  void add(size_t image) {
    images_.push_back(image);
    next_ = images_.size(); // the first deal shuffles
  }
  size_t size() const {
    return images_.size();
  }

  /// Appends `count` images to `hand`: different ones, as long as there are
  /// enough of them in the deck.
  void deal(size_t count, EpochRandom& random, std::vector<size_t>& hand) {
    const auto start = static_cast<std::ptrdiff_t>(hand.size());
    for (size_t i = 0; i < count; ++i) {
      if (next_ == images_.size()) {
        random.shuffle(images_);
        // What this hand holds already goes to the bottom.
        std::stable_partition(
            images_.begin(), images_.end(), [&](size_t image) {
              return std::find(hand.begin() + start, hand.end(), image) ==
                  hand.end();
            });
        next_ = 0;
      }
      hand.push_back(images_[next_++]);
    }
  }

 private:
  std::vector<size_t> images_;
  size_t next_ = 0;
};

/// A deck for each class that occurs, by class.
inline std::vector<Deck> decks_by_class(const std::vector<int64_t>& targets) {
  std::map<int64_t, Deck> by_class;
  for (size_t i = 0; i < targets.size(); ++i) {
    by_class[targets[i]].add(i);
  }
  std::vector<Deck> decks;
  decks.reserve(by_class.size());
  for (auto& entry : by_class) {
    decks.push_back(std::move(entry.second));
  }
  return decks;
}

} // namespace care::detail

#endif // CARE_IMBALANCE_DETAIL_RANDOM_HPP
