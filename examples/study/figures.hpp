// The figures of networks: of one, and of many with their intervals.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_FIGURES_HPP
#define CARE_EXAMPLES_STUDY_FIGURES_HPP

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace study {

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// A figure and the interval it lies in: of NaN where there is none.
struct Interval {
  double value = kNaN, low = kNaN, high = kNaN;
};
using Figures = std::vector<Interval>;

/// What one network made of one test image.
struct Answer {
  std::string id; ///< of the image
  int64_t target = 0, predicted = 0;
  int64_t subgroup = -1;
  double epg = kNaN; ///< no box, or a map without a positive cell
};
using Answers = std::vector<Answer>;

/// What figures there are.
struct Measures {
  int64_t classes = 0, subgroups = 0;
  std::vector<int64_t> rare;

  /// The places of the figures: first come MCA, accuracy, rare recall and EPG;
  /// then the recall of each class, the EPG of the rare ones, and, with
  /// subgroups, the accuracy of each and that of the worst.
  enum Place : size_t { kMca, kAccuracy, kRareRecall, kEpg, kRecall };
  size_t rare_epg() const {
    return kRecall + static_cast<size_t>(classes);
  }
  size_t count() const {
    const auto groups = static_cast<size_t>(subgroups);
    return rare_epg() + 1 + (groups > 0 ? groups + 1 : 0);
  }
};

/// Means over units (networks, or the folds of a seed put together) with
/// two-way bootstrap intervals over images and units. With `less`, of the same
/// units, the paired differences: what is NaN in one is left out of both. NaN
/// where nothing was measured.
Figures bootstrap(
    const std::vector<Answers>& units,
    const std::vector<Answers>& less,
    const Measures& of,
    int64_t repeats = 2000);

/// The same without intervals.
std::vector<double> figures_of(
    const std::vector<Answers>& units,
    const Measures& of,
    const std::vector<Answers>& less = {});

/// The t interval of each figure of paired differences: over splits the
/// corrected resampled one (Nadeau and Bengio); over the seeds of one split,
/// with `test_over_train` 0, the plain one. NaN for fewer than two.
Figures t_intervals(
    const std::vector<std::vector<double>>& differences,
    double test_over_train);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_FIGURES_HPP
