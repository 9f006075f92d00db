// Grids: the tables as text, in Markdown and in HTML.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_GRIDS_HPP
#define CARE_EXAMPLES_STUDY_GRIDS_HPP

#include "common/page.hpp"
#include "study/tables.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace study {

using Cells = std::vector<std::string>;

struct Grid {
  std::string title;
  std::vector<Cells> rows; ///< the first: the head
};

namespace detail {

inline std::string number(double x, bool with_sign) {
  const double shown = std::round(x * 1000) / 1000 + 0.0; // no -0
  return with_sign ? fmt::format("{:+.3f}", shown)
                   : fmt::format("{:.3f}", shown);
}

inline std::string range(const Interval& x, bool with_sign) {
  return std::isnan(x.low)
      ? std::string("[-, -]")
      : fmt::format(
            "[{}, {}]", number(x.low, with_sign), number(x.high, with_sign));
}

} // namespace detail

/// "0.576 [0.524, 0.630]"; signed: "+0.083 [+0.042, +0.124]"; "-" for NaN.
inline std::string text_of(const Interval& x, bool with_sign) {
  return std::isnan(x.value)
      ? std::string("-")
      : detail::number(x.value, with_sign) + " " + detail::range(x, with_sign);
}

/// Arms, differences, and the best two, share by share.
inline std::vector<Grid> grids_of(const Plan& plan, const Tables& tables) {
  std::vector<Grid> grids;
  double last = -1;
  /// A row that begins with these cells, of a new grid where the share is new.
  const auto row =
      [&](const char* what, double share, Cells head, Cells cells) -> Cells& {
    if (std::exchange(last, share) != share) {
      head.insert(head.end(), tables.titles.begin(), tables.titles.end());
      grids.push_back(
          {fmt::format(
               "{}, test set \"{}\", {}",
               what,
               tables.test_set,
               plan.title(share)),
           {head}});
    }
    return grids.back().rows.emplace_back(std::move(cells));
  };
  for (const auto& arm : tables.arms) {
    auto& cells =
        row("Arms",
            arm.train_share,
            {"arm", "networks", "learnt from"},
            {plan.arms[arm.arm].name,
             std::to_string(arm.runs),
             fmt::format(
                 "{:.0f}, {:.0f} rare", arm.train_images, arm.rare_images)});
    for (const auto& x : arm.figures) {
      cells.push_back(text_of(x, false));
    }
  }
  const auto add = [&](const char* what, const std::vector<Comparison>& list) {
    last = -1;
    for (const auto& c : list) {
      auto& cells =
          row(what,
              c.train_share,
              {"arm",
               "compared with",
               plan.is_own_split(c.train_share) ? "seeds" : "splits"},
              {plan.arms[c.arm].name,
               plan.arms[c.baseline].name,
               std::to_string(c.splits)});
      for (size_t i = 0; i < c.difference.size(); ++i) {
        const auto& t = c.over_splits[i];
        cells.push_back(
            text_of(c.difference[i], true) +
            (std::isnan(t.low) ? "" : "; " + detail::range(t, true)));
      }
    }
  };
  add("Differences", tables.comparisons);
  add("The best with CARE less the best without", tables.best);
  return grids;
}

inline std::string to_markdown(const Grid& grid) {
  auto text = fmt::format("\n### {}\n\n", grid.title);
  for (size_t i = 0; i < grid.rows.size(); ++i) {
    for (const auto& cell : grid.rows[i]) {
      text += "| ";
      for (const char c : cell) {
        text += c == '|' ? "\\|" : std::string(1, c); // else a cell's end
      }
      text += ' ';
    }
    text += "|\n";
    if (i == 0) {
      const Cells lines(grid.rows[0].size(), "---");
      text += fmt::format("|{}|\n", fmt::join(lines, "|"));
    }
  }
  return text;
}

inline std::string to_html(const Grid& grid) {
  auto html = fmt::format(
      "<h3>{}</h3>\n<div class=\"scroll\"><table>\n",
      common::escaped(grid.title));
  for (size_t i = 0; i < grid.rows.size(); ++i) {
    html += "<tr>";
    for (const auto& cell : grid.rows[i]) {
      html += fmt::format(
          "<{0}>{1}</{0}>", i == 0 ? "th" : "td", common::escaped(cell));
    }
    html += "</tr>\n";
  }
  return html + "</table></div>\n";
}

} // namespace study

#endif // CARE_EXAMPLES_STUDY_GRIDS_HPP
