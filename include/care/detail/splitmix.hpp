// splitmix64: numbers that are the same on every machine and standard library.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_SPLITMIX_HPP
#define CARE_DETAIL_SPLITMIX_HPP

#include <cstdint>

namespace care::detail {

/// What splitmix64's state grows by.
inline constexpr uint64_t kSplitmixStep = 0x9e3779b97f4a7c15U;

/// Its finaliser: numbers that differ in one bit become numbers that share
/// nothing. Source: Steele, Lea and Flood 2014; Vigna's constants.
inline uint64_t scrambled(uint64_t x) {
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31U);
}

} // namespace care::detail

#endif // CARE_DETAIL_SPLITMIX_HPP
