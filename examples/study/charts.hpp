// The study's charts: scalable pictures of its tables.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_CHARTS_HPP
#define CARE_EXAMPLES_STUDY_CHARTS_HPP

#include "study/plan.hpp"
#include "study/tables.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace study {

/// One chart, to stand in a page and in a file of its own.
struct Chart {
  std::string name; ///< of its file, without extension
  std::string caption;
  std::string svg; ///< empty: nothing to show
};

/// The differences of the figure at `place` as points, arm by arm; thick:
/// bootstrap; thin below: corrected t.
Chart forest_chart(
    const Plan& plan,
    const Tables& tables,
    double share,
    size_t place);

/// The figure at `place` against the number of rare images to learn from: a
/// line for each arm that has at least two shares.
Chart learning_curve(const Plan& plan, const Tables& tables, size_t place);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_CHARTS_HPP
