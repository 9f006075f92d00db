// The verdict: what the tables say, in words.
// SPDX-License-Identifier: Apache-2.0
#include "study/report.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <cmath>

namespace study {
namespace {

std::string percent(double x) {
  return std::isnan(x) ? "none" : fmt::format("{:.1f} %", x * 100);
}

std::string points(const Interval& x) {
  return fmt::format("{:+.1f} to {:+.1f}", x.low * 100, x.high * 100);
}

bool excludes_zero(const Interval& x) {
  return x.low > 0 || x.high < 0;
}

/// "from 50.0 % to 57.0 %: +7.0 points (95 % interval +1.0 to +12.0; corrected
/// t ...)", the figure at `place`.
std::string change(const Plan& plan, const Comparison& c, size_t place) {
  const auto &d = c.difference[place], &t = c.over_splits[place];
  auto text = "from " + percent(c.of_baseline[place]) + " to " +
      percent(c.of_arm[place]);
  if (std::isnan(d.value)) {
    return text;
  }
  text += fmt::format(
      ": {:+.1f} points (95 % interval {}", d.value * 100, points(d));
  text += excludes_zero(d) ? "" : ", which includes zero";
  if (!std::isnan(t.low)) {
    const bool own = plan.is_own_split(c.train_share);
    text += (own ? "; t over seeds " : "; corrected t ") + points(t);
  }
  return text + ")";
}

/// The first guided arm of the settings, where it has the most splits.
const Comparison* first_of(const Tables& tables) {
  const Comparison* first = nullptr;
  for (const auto& c : tables.comparisons) {
    if (first == nullptr || c.arm < first->arm ||
        (c.arm == first->arm && c.splits > first->splits)) {
      first = &c;
    }
  }
  return first;
}

} // namespace

std::string verdict(const Data& data, const std::vector<Tables>& all) {
  const auto* c = first_of(all[0]);
  if (c == nullptr) {
    return "No two arms have a split in common yet.";
  }
  const auto& arm = data.plan.arms[c->arm].name;
  const auto& baseline = data.plan.arms[c->baseline].name;
  constexpr auto kRare = Measures::kRareRecall;
  std::vector<std::string> names;
  for (const auto label : data.rare) {
    names.push_back(data.classes[static_cast<size_t>(label)]);
  }
  const auto rare = fmt::format(
      "the recall of the rare class{} ({})",
      names.size() == 1 ? "" : "es",
      fmt::join(names, ", "));
  const auto& d = c->difference[kRare];
  const auto pair = fmt::format("\"{}\" in place of \"{}\"", arm, baseline);
  auto text = excludes_zero(d)
      ? fmt::format(
            "With {} {} {}, ", pair, rare, d.value > 0 ? "rose" : "fell")
      : fmt::format(
            "These runs do not show that {} changes {}: it went ", pair, rare);
  text += fmt::format(
      "{}. Mean class accuracy went {}. The share of attention inside the "
      "region of rare pictures went {}.",
      change(data.plan, *c, kRare),
      change(data.plan, *c, Measures::kMca),
      change(data.plan, *c, Measures::kRecall + data.classes.size()));
  const auto whole = all.size() / data.plan.views().size();
  for (size_t set = whole; set < all.size(); set += whole) {
    const auto* other = first_of(all[set]);
    if (other != nullptr && !std::isnan(other->of_arm[Measures::kMca])) {
      text += fmt::format(
          " On \"{}\" mean class accuracy went {}.",
          all[set].test_set,
          change(data.plan, *other, Measures::kMca));
    }
  }
  for (size_t set = 1; set < whole; ++set) {
    if (const auto* other = first_of(all[set])) {
      const auto lost = [&](std::vector<double> Comparison::*side) {
        return 100 * ((other->*side)[kRare] - (c->*side)[kRare]);
      };
      const double plain = lost(&Comparison::of_baseline);
      const double guided = lost(&Comparison::of_arm);
      if (std::isnan(plain) || std::isnan(guided)) {
        continue; // a set without rare pictures
      }
      text += fmt::format(
          " Against the test set \"{}\", \"{}\" loses {:.1f} points of rare "
          "recall on \"{}\", \"{}\" {:.1f}.",
          all[set].test_set,
          baseline,
          plain,
          all[0].test_set,
          arm,
          guided);
    }
  }
  if (c->units < 2) {
    text +=
        " There is one seed, so the intervals speak of the test images alone.";
  }
  return text;
}

} // namespace study
