// Student's t distribution, for intervals of means.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_METRICS_DETAIL_STUDENT_HPP
#define CARE_METRICS_DETAIL_STUDENT_HPP

#include <cmath>
#include <cstdint>

namespace care {
namespace detail {

/// P(|T| <= t) of Student's t with whole degrees of freedom, as a function of
/// angle = atan(t / sqrt(degrees)): a finite sum (Abramowitz and Stegun 26.7.3
/// and 26.7.4).
inline double student_within(double angle, int64_t degrees) {
  const double sine = std::sin(angle), cosine = std::cos(angle);
  const bool odd = degrees % 2 == 1;
  double term = odd ? cosine : 1, sum = 0;
  for (int64_t i = odd ? 3 : 2; i <= degrees; i += 2) {
    sum += term;
    const auto k = static_cast<double>(i);
    term *= cosine * cosine * (k - 1) / k;
  }
  return odd ? (angle + sine * sum) * 2 / 3.14159265358979323846 : sine * sum;
}

/// The t that |T| stays below with probability `level`.
inline double student_quantile(double level, int64_t degrees) {
  double low = 0, high = 1.57079632679489661923; // of the angle
  for (int i = 0; i < 200 && low < high; ++i) {
    const double middle = low + (high - low) / 2;
    if (middle == low || middle == high) {
      break;
    }
    (student_within(middle, degrees) < level ? low : high) = middle;
  }
  return std::tan(low) * std::sqrt(static_cast<double>(degrees));
}

} // namespace detail
} // namespace care

#endif // CARE_METRICS_DETAIL_STUDENT_HPP
