// The mean of one effect over several datasets.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_METRICS_RANDOM_EFFECTS_HPP
#define CARE_METRICS_RANDOM_EFFECTS_HPP

#include <care/metrics/bootstrap.hpp>
#include <care/metrics/detail/student.hpp>

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace care {

/// An effect over several datasets.
struct PooledEffect {
  Interval mean;
  /// The standard deviation of the effect from dataset to dataset, beyond what
  /// the standard errors explain.
  double between = 0;
};

namespace detail {

/// The mean of effects weighted by 1 / (error^2 + between^2).
struct WeightedEffects {
  double mean = 0, weight = 0; ///< weight: the sum of the weights
  double spread = 0; ///< the weighted sum of squares about the mean

  WeightedEffects(
      const std::vector<double>& effects,
      const std::vector<double>& errors,
      double between) {
    for (size_t i = 0; i < effects.size(); ++i) {
      const double w = 1 / (errors[i] * errors[i] + between * between);
      weight += w;
      const double off = effects[i] - mean;
      mean += off * w / weight;
      spread += w * off * (effects[i] - mean);
    }
  }
};

} // namespace detail

/// The mean of an effect over K datasets by a random-effects model: each set
/// has an effect of its own, measured with its own error.
///
/// `effects`: K >= 2 finite numbers (the differences in MCA on each set, say);
/// `errors`: their standard errors, above 0 (`corrected_resampled_error`). The
/// variance between sets is Paule and Mandel's (1982): the one for which the
/// weighted squares about the mean come to K - 1, or 0. The interval is Hartung
/// and Knapp's (2001), mean +- t(level, K - 1) sqrt(1 / sum of weights): with
/// that variance their factor on the error is 1, and where the variance is 0 it
/// is not taken below 1 (Roever et al. 2015). It asks what the mean would be
/// over all such datasets, so with two or three it is wide, as it must be.
/// Datasets must not share images. Throws c10::ValueError for other input, a
/// level outside (0, 1), and errors and differences that double cannot hold
/// together (the least error below 1e-150 of the largest of them).
///
///   auto pooled = care::random_effects({.14, .08, .06}, {.04, .03, .02});
///   pooled.mean.low > 0; // the effect holds over such sets
inline PooledEffect random_effects(
    std::vector<double> effects,
    std::vector<double> errors,
    double level = 0.95) {
  const char* where = "care::random_effects";
  TORCH_CHECK_VALUE(
      effects.size() >= 2,
      where,
      ": expected at least 2 effects, but got ",
      effects.size());
  TORCH_CHECK_VALUE(
      errors.size() == effects.size(),
      where,
      ": expected ",
      effects.size(),
      " errors, one for each effect, but got ",
      errors.size());
  TORCH_CHECK_VALUE(
      level > 0 && level < 1,
      where,
      ": expected a level between 0 and 1, but got ",
      level);
  double unit = 0; // so that squares neither vanish nor overflow
  for (size_t i = 0; i < effects.size(); ++i) {
    TORCH_CHECK_VALUE(
        std::isfinite(effects[i]),
        where,
        ": expected finite effects, but effects[",
        i,
        "] is ",
        effects[i]);
    TORCH_CHECK_VALUE(
        std::isfinite(errors[i]) && errors[i] > 0,
        where,
        ": expected errors above 0, but errors[",
        i,
        "] is ",
        errors[i]);
    unit = std::max({unit, std::abs(effects[i]), errors[i]});
  }
  const auto least =
      std::min_element(errors.begin(), errors.end()) - errors.begin();
  TORCH_CHECK_VALUE(
      errors[static_cast<size_t>(least)] / unit >= 1e-150,
      where,
      ": expected errors of at least 1e-150 of the largest effect or error (",
      unit,
      "), but errors[",
      least,
      "] is ",
      errors[static_cast<size_t>(least)]);
  double high = 0; // no variance between sets can be larger
  for (size_t i = 0; i < effects.size(); ++i) {
    effects[i] /= unit;
    errors[i] /= unit;
    high = std::hypot(high, effects[i] - effects[0]);
  }
  const auto degrees = static_cast<int64_t>(effects.size()) - 1;
  const auto spread = [&](double between) {
    return detail::WeightedEffects(effects, errors, between).spread;
  };
  double low = 0; // the spread falls as the variance grows
  if (spread(0) <= static_cast<double>(degrees)) {
    high = 0;
  }
  for (int i = 0; i < 200 && low < high; ++i) {
    const double middle = low + (high - low) / 2;
    if (middle == low || middle == high) {
      break;
    }
    (spread(middle) > static_cast<double>(degrees) ? low : high) = middle;
  }
  const detail::WeightedEffects pooled(effects, errors, high);
  const double reach =
      detail::student_quantile(level, degrees) / std::sqrt(pooled.weight);
  return {
      {pooled.mean * unit,
       (pooled.mean - reach) * unit,
       (pooled.mean + reach) * unit},
      high * unit};
}

} // namespace care

#endif // CARE_METRICS_RANDOM_EFFECTS_HPP
