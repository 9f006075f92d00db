// Bootstrap intervals over test images and runs together.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_METRICS_BOOTSTRAP_HPP
#define CARE_METRICS_BOOTSTRAP_HPP

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <type_traits>
#include <vector>

namespace care {

/// A figure and the interval it lies in.
struct Interval {
  double value = std::numeric_limits<double>::quiet_NaN();
  double low = std::numeric_limits<double>::quiet_NaN();
  double high = std::numeric_limits<double>::quiet_NaN();
};

/// Options of `bootstrap_interval`.
struct BootstrapOptions {
  /// How often images and runs are drawn anew. Default: 2000.
  TORCH_ARG(int64_t, repeats) = 2000;
  /// The share of the draws inside the interval. Default: 0.95.
  TORCH_ARG(double, level) = 0.95;
  /// The seed of the draws. Default: 0.
  TORCH_ARG(uint64_t, seed) = 0;
};

namespace detail {

/// The q-quantile of sorted values, linear between neighbours.
inline double sorted_quantile(const std::vector<double>& sorted, double q) {
  const auto position = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const auto above = std::min(below + 1, sorted.size() - 1);
  const auto share = position - static_cast<double>(below);
  if (share == 0 || sorted[below] == sorted[above] ||
      std::isinf(sorted[below])) {
    return sorted[below];
  }
  return sorted[below] + share * (sorted[above] - sorted[below]);
}

} // namespace detail

/// Percentile intervals of several figures by a two-way bootstrap.
///
/// Each repeat draws `n_images` test images and `n_runs` runs (seeds), both
/// with replacement, and calls `statistic(images, runs)` with two
/// `std::vector<int64_t>` of indices; it returns a `std::vector<double>` of one
/// length. The values come from one call with all images and runs in order. A
/// paired difference is a statistic that subtracts two arms on the same
/// indices. A repeat in which a figure is NaN (no image of a class was drawn)
/// is left out for that figure. With a single run the interval speaks of the
/// images alone. Equal seeds give equal intervals on every platform. Throws
/// c10::ValueError for an empty set, fewer than 2 repeats, or a level outside
/// (0, 1). Cost: repeats + 1 calls. Percentile method: Efron 1979; images and
/// runs drawn independently: Owen 2007 (the pigeonhole bootstrap).
template <typename Statistic>
std::vector<Interval> bootstrap_intervals(
    Statistic&& statistic,
    int64_t n_images,
    int64_t n_runs,
    const BootstrapOptions& options = {}) {
  using Indices = std::vector<int64_t>;
  static_assert(
      std::is_invocable_r_v<
          std::vector<double>,
          Statistic&,
          const Indices&,
          const Indices&>,
      "care::bootstrap_intervals: the statistic must take two "
      "const std::vector<int64_t>& (images, runs) and return a "
      "std::vector<double>");
  const char* where = "care::bootstrap_intervals";
  TORCH_CHECK_VALUE(
      n_images > 0 && n_runs > 0,
      where,
      ": expected at least 1 image and 1 run, but got ",
      n_images,
      " and ",
      n_runs);
  TORCH_CHECK_VALUE(
      options.repeats() >= 2,
      where,
      ": expected at least 2 repeats, but got ",
      options.repeats());
  TORCH_CHECK_VALUE(
      options.level() > 0 && options.level() < 1,
      where,
      ": expected a level between 0 and 1, but got ",
      options.level());
  Indices images(static_cast<size_t>(n_images));
  Indices runs(static_cast<size_t>(n_runs));
  std::iota(images.begin(), images.end(), 0);
  std::iota(runs.begin(), runs.end(), 0);
  const std::vector<double> values = statistic(images, runs);
  std::vector<std::vector<double>> draws(values.size());
  std::mt19937_64 generator(options.seed());
  // The standard's distributions differ between platforms, this does not; its
  // bias is n / 2^64.
  const auto draw = [&generator](Indices& indices) {
    for (auto& index : indices) {
      index = static_cast<int64_t>(generator() % indices.size());
    }
  };
  for (int64_t repeat = 0; repeat < options.repeats(); ++repeat) {
    draw(images);
    draw(runs);
    const std::vector<double> drawn = statistic(images, runs);
    TORCH_CHECK_VALUE(
        drawn.size() == values.size(),
        where,
        ": expected ",
        values.size(),
        " figures from every call, but got ",
        drawn.size());
    for (size_t i = 0; i < drawn.size(); ++i) {
      if (!std::isnan(drawn[i])) {
        draws[i].push_back(drawn[i]);
      }
    }
  }
  const double tail = (1 - options.level()) / 2;
  std::vector<Interval> result(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    result[i].value = values[i];
    if (std::isnan(values[i]) || draws[i].empty()) {
      continue;
    }
    std::sort(draws[i].begin(), draws[i].end());
    result[i].low = detail::sorted_quantile(draws[i], tail);
    result[i].high = detail::sorted_quantile(draws[i], 1 - tail);
  }
  return result;
}

/// `bootstrap_intervals` of one figure: `statistic` returns a double.
template <typename Statistic>
Interval bootstrap_interval(
    Statistic&& statistic,
    int64_t n_images,
    int64_t n_runs,
    const BootstrapOptions& options = {}) {
  using Indices = std::vector<int64_t>;
  const auto one = [&statistic](const Indices& images, const Indices& runs) {
    return std::vector<double>{statistic(images, runs)};
  };
  return bootstrap_intervals(one, n_images, n_runs, options)[0];
}

} // namespace care

#endif // CARE_METRICS_BOOTSTRAP_HPP
