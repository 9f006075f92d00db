// Grids: the tables as text, in Markdown and in HTML.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_GRIDS_HPP
#define CARE_EXAMPLES_STUDY_GRIDS_HPP

#include "study/tables.hpp"

#include <string>
#include <vector>

namespace study {

struct Grid {
  std::string title;
  std::vector<std::string> head;
  std::vector<std::vector<std::string>> rows;
};

/// Arms, differences, and the best two, share by share.
std::vector<Grid> grids_of(const Plan& plan, const Tables& tables);

std::string to_markdown(const Grid& grid);
std::string to_html(const Grid& grid);

/// "0.576 [0.524, 0.630]"; signed: "+0.083 [+0.042, +0.124]"; "-" for NaN.
std::string text_of(const Interval& x, bool with_sign);

/// "20 % of each class to learn from", and so on.
std::string share_title(const Plan& plan, double share);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_GRIDS_HPP
