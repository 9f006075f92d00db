// Grids: the tables as text, in Markdown and in HTML.
// SPDX-License-Identifier: Apache-2.0
#include "study/grids.hpp"

#include "common/page.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <cmath>
#include <utility>

namespace study {
namespace {

std::string number(double x, bool with_sign) {
  const double shown = std::round(x * 1000) / 1000 + 0.0; // no -0
  return std::isnan(x) ? std::string("-")
      : with_sign      ? fmt::format("{:+.3f}", shown)
                       : fmt::format("{:.3f}", shown);
}

} // namespace

std::string text_of(const Interval& x, bool with_sign) {
  return std::isnan(x.value) ? std::string("-")
                             : fmt::format(
                                   "{} [{}, {}]",
                                   number(x.value, with_sign),
                                   number(x.low, with_sign),
                                   number(x.high, with_sign));
}

std::string share_title(const Plan& plan, double share) {
  return share > 0
      ? fmt::format("{:g} % of each class to learn from", share * 100)
      : plan.has_folds() ? "the folds, put together"
                         : "the manifest's own split";
}

std::vector<Grid> grids_of(const Plan& plan, const Tables& tables) {
  std::vector<Grid> grids;
  double last = -1;
  const auto begin = [&](double share, const char* what, auto head) {
    if (std::exchange(last, share) != share) {
      head.insert(head.end(), tables.titles.begin(), tables.titles.end());
      grids.push_back(
          {fmt::format(
               "{}, test set \"{}\", {}",
               what,
               tables.test_set,
               share_title(plan, share)),
           head,
           {}});
    }
  };
  using Cells = std::vector<std::string>;
  for (const auto& arm : tables.arms) {
    begin(arm.train_share, "Arms", Cells{"arm", "networks", "learnt from"});
    grids.back().rows.push_back(
        {plan.arms[arm.arm].name,
         std::to_string(arm.runs),
         fmt::format(
             "{:.0f}, {:.0f} rare", arm.train_images, arm.rare_images)});
    for (const auto& x : arm.figures) {
      grids.back().rows.back().push_back(text_of(x, false));
    }
  }
  const auto add = [&](const char* what, const std::vector<Comparison>& list) {
    last = -1;
    for (const auto& c : list) {
      begin(c.train_share, what, Cells{"arm", "less", "splits"});
      grids.back().rows.push_back(
          {plan.arms[c.arm].name,
           plan.arms[c.baseline].name,
           std::to_string(c.units)});
      for (size_t i = 0; i < c.difference.size(); ++i) {
        auto text = text_of(c.difference[i], true);
        const auto& t = c.corrected[i];
        if (!std::isnan(t.low)) {
          text +=
              "; [" + number(t.low, true) + ", " + number(t.high, true) + "]";
        }
        grids.back().rows.back().push_back(text);
      }
    }
  };
  add("Differences", tables.comparisons);
  add("The best with CARE less the best without", tables.best);
  return grids;
}

std::string to_markdown(const Grid& grid) {
  auto text = fmt::format(
      "\n### {}\n\n| {} |\n|", grid.title, fmt::join(grid.head, " | "));
  for (size_t i = 0; i < grid.head.size(); ++i) {
    text += "---|";
  }
  for (const auto& row : grid.rows) {
    text += fmt::format("\n| {} |", fmt::join(row, " | "));
  }
  return text + "\n";
}

std::string to_html(const Grid& grid) {
  const auto cells = [](const auto& row, const char* kind) {
    std::string html = "<tr>";
    for (const auto& cell : row) {
      html += fmt::format("<{0}>{1}</{0}>", kind, common::escaped(cell));
    }
    return html + "</tr>\n";
  };
  auto html = fmt::format(
      "<h3>{}</h3>\n<div class=\"scroll\"><table><thead>{}</thead>\n",
      common::escaped(grid.title),
      cells(grid.head, "th"));
  for (const auto& row : grid.rows) {
    html += cells(row, "td");
  }
  return html + "</table></div>\n";
}

} // namespace study
