// verdict: what a summary says, in words.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/verdict.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace trainer {

namespace {

using care::Interval;

std::string percent(double x) {
  return std::isnan(x) ? std::string("none") : fmt::format("{:.1f} %", x * 100);
}

/// "from 50.0 % to 57.0 %: +7.0 points (95 % interval +1.0 to +12.0)".
std::string change(
    const Interval& plain,
    const Interval& care,
    const Interval& difference,
    double level) {
  auto text =
      fmt::format("from {} to {}", percent(plain.value), percent(care.value));
  if (std::isnan(difference.value)) {
    return text;
  }
  return text +
      fmt::format(
             ": {:+.1f} points ({:g} % interval {:+.1f} to {:+.1f}{})",
             difference.value * 100,
             level * 100,
             difference.low * 100,
             difference.high * 100,
             excludes_zero(difference) ? "" : ", which includes zero");
}

/// What the trap of the generated set costs each arm, where there is one.
std::string trap_sentence(const Summary& summary) {
  const auto* trap = summary.test("trap");
  const auto* free = summary.test("as_trained");
  if (trap == nullptr || free == nullptr) {
    return "";
  }
  const auto lost = [&](const char* arm) {
    const auto* with = trap->arm(arm);
    const auto* without = free->arm(arm);
    return with == nullptr || without == nullptr
        ? kNaN
        : without->rare_recall.value - with->rare_recall.value;
  };
  const double plain = lost(kPlain), care = lost(kCare);
  if (std::isnan(plain)) {
    return "";
  }
  auto text = fmt::format(
      " Against the test set without the trap, plain training loses {:.1f} "
      "points of rare recall",
      plain * 100);
  if (!std::isnan(care)) {
    text += fmt::format(", CARE {:.1f}", care * 100);
  }
  return text + ".";
}

} // namespace

std::string arm_title(const std::string& arm) {
  return arm == kPlain ? "Plain training" : arm == kCare ? "CARE" : arm;
}

std::string rare_names(const Summary& summary) {
  std::string names;
  for (const auto c : summary.rare) {
    names +=
        (names.empty() ? "" : ", ") + summary.classes[static_cast<size_t>(c)];
  }
  return names;
}

std::string counted(int64_t n, const char* what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

bool excludes_zero(const Interval& x) {
  return x.low > 0 || x.high < 0;
}

Verdict verdict_parts(const Summary& summary) {
  if (summary.tests.empty() || summary.tests[0].arms.empty()) {
    return {"Nothing was tested.", ""};
  }
  const auto& test = summary.tests[0];
  const auto level = summary.options.level;
  const auto* plain = test.arm(kPlain);
  const auto* care = test.arm(kCare);
  if (plain == nullptr || care == nullptr || !test.difference) {
    const auto& arm = test.arms[0];
    return {
        fmt::format(
            "{} alone: MCA {} ({:g} % interval {} to {}).",
            arm_title(arm.arm),
            percent(arm.mca.value),
            level * 100,
            percent(arm.mca.low),
            percent(arm.mca.high)),
        "One arm was trained; nothing is said on the effect of CARE." +
            trap_sentence(summary)};
  }
  const auto& difference = *test.difference;
  const bool rare = !std::isnan(difference.rare_recall.value);
  const auto& main = rare ? difference.rare_recall : difference.mca;
  const std::string subject = rare
      ? (summary.rare.size() == 1 ? "recall of the rare class ("
                                  : "recall of the rare classes (") +
          rare_names(summary) + ")"
      : "mean class accuracy";
  const auto numbers = change(
      rare ? plain->rare_recall : plain->mca,
      rare ? care->rare_recall : care->mca,
      main,
      level);
  Verdict out;
  if (excludes_zero(main)) {
    out.sentence = fmt::format(
        "With CARE the {} {}, {}.",
        subject,
        main.value > 0 ? "rose" : "fell",
        numbers);
  } else {
    out.sentence = fmt::format(
        "These runs do not show that CARE changes the {}: it went {}.",
        subject,
        numbers);
  }
  if (rare) {
    out.detail = fmt::format(
        "Mean class accuracy went {}. ",
        change(plain->mca, care->mca, difference.mca, level));
  }
  if (!std::isnan(plain->epg.value) || !std::isnan(care->epg.value)) {
    out.detail += fmt::format(
        "The share of attention inside the boxes went {}.",
        change(plain->epg, care->epg, difference.epg, level));
  }
  out.detail += trap_sentence(summary);
  const auto seeds = std::min(plain->seeds.size(), care->seeds.size());
  if (seeds < 2) {
    out.detail +=
        " There is one seed, so the intervals speak of the test images alone.";
  }
  return out;
}

std::string verdict(const Summary& summary) {
  const auto [sentence, detail] = verdict_parts(summary);
  return detail.empty() ? sentence : sentence + " " + detail;
}

} // namespace trainer
