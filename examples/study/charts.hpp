// The study's charts: scalable pictures of its tables.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_CHARTS_HPP
#define CARE_EXAMPLES_STUDY_CHARTS_HPP

#include "study/plan.hpp"
#include "study/tables.hpp"

#include <string>
#include <vector>

namespace study {

/// One chart, to stand in a page or in a file of its own.
struct Chart {
  std::string name; ///< of its file, without extension
  std::string caption;
  std::string said; ///< what it shows, for those who cannot see it
  double width = 0, height = 0;
  std::string body; ///< SVG elements
};

/// The rules of the page's style sheet that charts need.
const char* chart_style();

/// One of the figures that have intervals.
using Member = care::Interval Figures::*;

/// The differences of one figure as points, arm by arm; thick: bootstrap; thin
/// below: corrected t. Without a row that has an interval the body is empty.
Chart forest_chart(
    const Plan& plan,
    const std::vector<Comparison>& rows,
    const std::string& caption,
    Member member);

/// The recall of class `c`, a bar for each arm.
Chart recall_chart(
    const Plan& plan,
    const Tables& tables,
    const std::vector<const ArmTable*>& arms,
    size_t c);

/// EPG across, MCA up: a point for each arm.
Chart scatter_chart(const Plan& plan, const std::vector<const ArmTable*>& arms);

/// One figure against the number of rare images to learn from: a line for each
/// arm that has at least two shares; an empty body without such an arm.
Chart learning_curve_chart(
    const Plan& plan,
    const Tables& tables,
    const std::string& caption,
    Member member);

/// A <figure> of a page; empty for a chart without a body.
std::string to_html(const Chart& chart);

/// An SVG file that needs no page around it.
std::string to_svg(const Chart& chart);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_CHARTS_HPP
