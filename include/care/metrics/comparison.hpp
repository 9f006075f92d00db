// Paired differences of two arms over images and splits, with intervals.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_METRICS_COMPARISON_HPP
#define CARE_METRICS_COMPARISON_HPP

#include <care/detail/check.hpp>
#include <care/metrics/bootstrap.hpp>
#include <care/metrics/detail/student.hpp>

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace care {

/// How much larger the figures of one arm are than those of another.
struct PairedDifferences {
  Interval macro; ///< the mean over the groups; of recalls: MCA
  std::vector<Interval> by_group; ///< [G]
};

/// The difference `a` - `b` of two arms that were trained and tested on the
/// same splits (or seeds), by a two-way bootstrap over images and splits.
///
/// `a` and `b`: [S, N] floating, a figure for each of S splits and N images,
/// NaN where the image was not tested in the split (or the figure does not
/// exist). What is NaN in one arm is left out of both. `group`: [N] integers in
/// [0, groups), the class of each image. In each split the figures are averaged
/// by group, the groups' means to a macro mean; then follows the mean over the
/// splits, the difference, and the interval of `bootstrap_intervals`. With
/// figures of 1 for right and 0 for wrong, and classes as groups, the groups
/// give the differences in recall and the macro mean that in MCA; with EPG and
/// one group, that in EPG.
///
/// A group without a figure in a split is left out there, a split without any
/// too. Throws c10::ValueError for wrong shapes and options, c10::IndexError
/// for a group outside. Cost: O(repeats S N) on the host. The interval is
/// conservative when both images and splits vary little (Owen 2007). Beside it
/// print `corrected_resampled_t`.
///
///   auto d = care::paired_differences(hits_care, hits_ce, targets, 4);
///   d.macro.low > 0; // CARE raises MCA
inline PairedDifferences paired_differences(
    const torch::Tensor& a,
    const torch::Tensor& b,
    const torch::Tensor& group,
    int64_t groups,
    const BootstrapOptions& options = {}) {
  const char* where = "care::paired_differences";
  TORCH_CHECK_VALUE(
      a.defined() && a.dim() == 2,
      where,
      ": expected figures of shape [S, N], but got ",
      detail::sizes_of(a));
  detail::check_floating(where, "a", a);
  detail::check_shape(where, "b", b, a.sizes());
  detail::check_floating(where, "b", b);
  detail::check_shape(where, "group", group, {a.size(1)});
  detail::check_integral(where, "group", group);
  TORCH_CHECK_VALUE(
      groups > 0, where, ": expected at least 1 group, but got ", groups);
  const auto n = a.size(1);
  const auto index = group.to(torch::kCPU, torch::kLong).contiguous();
  detail::check_in_range(where, "groups", "group", index, 0, groups);
  // The same images and groups are averaged in both arms, so that the mean of
  // the differences is the difference of the means.
  const auto difference = (a.detach().to(torch::kCPU, torch::kDouble) -
                           b.detach().to(torch::kCPU, torch::kDouble))
                              .contiguous();
  const auto* value = difference.data_ptr<double>();
  const auto* group_of = index.data_ptr<int64_t>();

  using Indices = std::vector<int64_t>;
  const auto statistic = [&](const Indices& images, const Indices& splits) {
    const auto width = static_cast<size_t>(groups);
    std::vector<double> sums(width + 1), counts(width + 1);
    std::vector<double> sum(width), count(width);
    for (const auto split : splits) {
      std::fill(sum.begin(), sum.end(), 0.0);
      std::fill(count.begin(), count.end(), 0.0);
      for (const auto image : images) {
        const double d = value[split * n + image];
        if (!std::isnan(d)) {
          const auto g = static_cast<size_t>(group_of[image]);
          sum[g] += d;
          count[g] += 1;
        }
      }
      double macro = 0, present = 0;
      for (size_t g = 0; g < width; ++g) {
        if (count[g] > 0) {
          const double mean = sum[g] / count[g];
          sums[g] += mean;
          counts[g] += 1;
          macro += mean;
          present += 1;
        }
      }
      if (present > 0) {
        sums[width] += macro / present;
        counts[width] += 1;
      }
    }
    for (size_t g = 0; g <= width; ++g) {
      sums[g] /= counts[g]; // 0 / 0 is NaN, which the bootstrap leaves out
    }
    return sums;
  };
  auto intervals = bootstrap_intervals(statistic, n, a.size(0), options);
  PairedDifferences result;
  result.macro = intervals.back();
  intervals.pop_back();
  result.by_group = std::move(intervals);
  return result;
}

/// The standard error of a mean of differences over random splits of one
/// dataset, with an allowance for the splits' sharing images:
///
///   sqrt((1 / J + n_test / n_train) variance)
///
/// `differences`: one for each of J splits, at least 2, finite (of MCA, say,
/// from the same split in both arms); `test_over_train`: n_test / n_train of
/// one split, above 0: 1 for halves, 0.25 for five folds. Throws
/// c10::ValueError for fewer or other differences and ratios. Source: Nadeau
/// and Bengio 2003, section 5.
inline double corrected_resampled_error(
    const std::vector<double>& differences,
    double test_over_train) {
  const char* where = "care::corrected_resampled_error";
  TORCH_CHECK_VALUE(
      differences.size() >= 2,
      where,
      ": expected at least 2 differences, but got ",
      differences.size());
  TORCH_CHECK_VALUE(
      std::isfinite(test_over_train) && test_over_train > 0,
      where,
      ": expected test_over_train above 0, but got ",
      test_over_train);
  const auto splits = static_cast<double>(differences.size());
  double mean = 0;
  for (size_t i = 0; i < differences.size(); ++i) {
    TORCH_CHECK_VALUE(
        std::isfinite(differences[i]),
        where,
        ": expected finite differences, but differences[",
        i,
        "] is ",
        differences[i]);
    mean += differences[i] / splits;
  }
  double variance = 0;
  for (const auto difference : differences) {
    variance += (difference - mean) * (difference - mean) / (splits - 1);
  }
  return std::sqrt((1 / splits + test_over_train) * variance);
}

/// The mean of differences over random splits of one dataset, with the
/// interval of `corrected_resampled_error`: mean +- t(level, J - 1) error. The
/// plain t interval of random splits (the same with n_test / n_train of 0) is
/// far too narrow. Throws as that does, and for a level outside (0, 1).
///
///   auto interval = care::corrected_resampled_t({0.08, 0.11, 0.02}, 1.0);
inline Interval corrected_resampled_t(
    const std::vector<double>& differences,
    double test_over_train,
    double level = 0.95) {
  TORCH_CHECK_VALUE(
      level > 0 && level < 1,
      "care::corrected_resampled_t: expected a level between 0 and 1, but got ",
      level);
  const double error = corrected_resampled_error(differences, test_over_train);
  const auto splits = static_cast<int64_t>(differences.size());
  const double reach = detail::student_quantile(level, splits - 1) * error;
  const double mean =
      std::accumulate(differences.begin(), differences.end(), 0.0) /
      static_cast<double>(splits);
  return {mean, mean - reach, mean + reach};
}

} // namespace care

#endif // CARE_METRICS_COMPARISON_HPP
