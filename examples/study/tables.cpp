// Tables: what the finished runs say, arm by arm and as paired differences.
// SPDX-License-Identifier: Apache-2.0
#include "study/tables.hpp"

#include "resnet_trainer/dataset.hpp"
#include "resnet_trainer/summary.hpp"

#include <care/metrics/comparison.hpp>

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

namespace study {
namespace {

using trainer::kNaN;
using trainer::RunSummary;

/// What the bootstrap draws beside the images: a split with its seed; of folds,
/// which together test every image once, a seed.
using Unit = std::pair<int64_t, int64_t>;

/// The runs of one arm at one share.
struct ArmRuns {
  std::map<Unit, std::vector<const Finished*>> units;

  std::vector<const Finished*> all() const {
    std::vector<const Finished*> runs;
    for (const auto& unit : units) {
      runs.insert(runs.end(), unit.second.begin(), unit.second.end());
    }
    return runs;
  }
};

using Key = std::pair<double, size_t>; // share, arm
using ByArm = std::map<Key, ArmRuns>;

ByArm by_arm(const std::vector<Finished>& finished) {
  ByArm result;
  for (const auto& one : finished) {
    const auto& job = one.job;
    const Unit unit{job.train_share > 0 ? job.split : 0, job.seed};
    result[{job.train_share, job.arm}].units[unit].push_back(&one);
  }
  return result;
}

/// The images of all runs at one share.
struct Images {
  std::map<std::string, int64_t> index;
  std::vector<int64_t> target;

  explicit Images(const std::vector<const Finished*>& runs) {
    for (const auto* one : runs) {
      for (const auto& p : one->run.predictions) {
        const auto next = static_cast<int64_t>(target.size());
        if (index.emplace(p.id, next).second) {
          target.push_back(p.target);
        }
      }
    }
  }
};

using FigureOf = std::function<double(const trainer::Prediction&)>;

/// [S, N]: a figure for each unit and image, NaN where there is none.
torch::Tensor matrix(
    const ArmRuns& arm,
    const std::vector<Unit>& units,
    const Images& images,
    const FigureOf& figure_of) {
  const auto n = static_cast<int64_t>(images.target.size());
  auto result = torch::full(
      {static_cast<int64_t>(units.size()), n}, kNaN, torch::kDouble);
  auto* row = result.data_ptr<double>();
  for (const auto& unit : units) {
    for (const auto* one : arm.units.at(unit)) {
      for (const auto& p : one->run.predictions) {
        row[images.index.at(p.id)] = figure_of(p);
      }
    }
    row += n;
  }
  return result;
}

double hit(const trainer::Prediction& p) {
  return p.predicted() == p.target ? 1 : 0;
}

class Maker {
 public:
  Maker(
      const Runs& runs,
      const std::vector<Finished>& finished,
      const care::BootstrapOptions& options)
      : runs_(runs),
        options_(options),
        arms_(by_arm(finished)) {
    const auto k = runs.data().classes.size();
    for (const auto& one : finished) {
      summaries_[&one] = trainer::summarize_run(one.run, k, runs.rare());
    }
  }

  Tables make() const {
    Tables tables;
    tables.classes = runs_.data().classes;
    tables.rare = runs_.rare();
    for (const auto& entry : arms_) {
      tables.arms.push_back(arm_table(entry.first, entry.second));
    }
    for (const auto& entry : arms_) {
      const auto& arm = runs_.plan().arms[entry.first.second];
      if (arm.baseline.empty()) {
        continue;
      }
      const auto baseline = runs_.plan().arm(arm.baseline);
      const auto found = arms_.find({entry.first.first, baseline});
      if (found != arms_.end() &&
          !common(entry.second, found->second).empty()) {
        tables.comparisons.push_back(compare(entry.first, baseline));
      }
    }
    for (const auto& share : shares()) {
      if (const auto best = best_two(share)) {
        tables.best.push_back(compare({share, best->first}, best->second));
      }
    }
    return tables;
  }

 private:
  std::set<double> shares() const {
    std::set<double> all;
    for (const auto& entry : arms_) {
      all.insert(entry.first.first);
    }
    return all;
  }

  static std::set<int64_t> splits_of(const std::vector<const Finished*>& runs) {
    std::set<int64_t> splits;
    for (const auto* one : runs) {
      splits.insert(one->job.split);
    }
    return splits;
  }

  static std::vector<Unit> common(const ArmRuns& a, const ArmRuns& b) {
    std::vector<Unit> units;
    for (const auto& unit : a.units) {
      // Folds: the seeds for which both have all folds that either has.
      const auto found = b.units.find(unit.first);
      if (found != b.units.end() &&
          splits_of(found->second) == splits_of(unit.second)) {
        units.push_back(unit.first);
      }
    }
    return units;
  }

  /// Figures of `a`, less those of `b` where there is one.
  Figures figures(
      const ArmRuns& a,
      const ArmRuns* b,
      const std::vector<Unit>& units) const {
    const Images images(a.all());
    const auto k = static_cast<int64_t>(runs_.data().classes.size());
    const auto target = torch::tensor(images.target, torch::kLong);
    const auto one_group = torch::zeros_like(target);
    auto rare = torch::zeros({k}, torch::kBool);
    for (const auto c : runs_.rare()) {
      rare[c] = true;
    }
    const auto common = rare.index_select(0, target).logical_not();
    const auto difference = [&](const FigureOf& figure,
                                const torch::Tensor& group,
                                const torch::Tensor& left_out) {
      auto x = matrix(a, units, images, figure);
      const auto y = b != nullptr ? matrix(*b, units, images, figure)
                                  : torch::zeros_like(x);
      if (left_out.defined()) {
        x.masked_fill_(left_out.unsqueeze(0), kNaN);
      }
      return care::paired_differences(x, y, group, k, options_);
    };
    Figures result;
    const auto recalls = difference(hit, target, {});
    result.mca = recalls.macro;
    result.recall = recalls.by_group;
    result.rare_recall = difference(hit, target, common).macro;
    result.accuracy = difference(hit, one_group, {}).macro;
    result.epg =
        difference([](const auto& p) { return p.epg; }, one_group, {}).macro;
    return result;
  }

  ArmTable arm_table(const Key& key, const ArmRuns& arm) const {
    ArmTable table;
    table.train_share = key.first;
    table.arm = key.second;
    std::vector<Unit> units;
    for (const auto& unit : arm.units) {
      units.push_back(unit.first);
    }
    table.units = static_cast<int64_t>(units.size());
    const auto all = arm.all();
    table.runs = static_cast<int64_t>(all.size());
    for (const auto* one : all) {
      const auto sizes = sizes_of(one->job);
      table.train_images += sizes.train / static_cast<double>(all.size());
      table.rare_images += sizes.rare / static_cast<double>(all.size());
    }
    table.figures = figures(arm, nullptr, units);
    return table;
  }

  Comparison compare(const Key& key, size_t baseline) const {
    const auto& a = arms_.at(key);
    const auto& b = arms_.at({key.first, baseline});
    Comparison result;
    result.arm = key.second;
    result.baseline = baseline;
    result.train_share = key.first;
    const auto units = common(a, b);
    result.units = static_cast<int64_t>(units.size());
    result.difference = figures(a, &b, units);
    result.corrected = corrected(a, b, units);
    const auto mean_epg = [&](const ArmRuns& arm) {
      return figures(arm, nullptr, units).epg.value;
    };
    const auto base = mean_epg(b);
    result.epg_ratio = base > 0 ? mean_epg(a) / base : kNaN;
    return result;
  }

  /// The corrected t of each figure, over the networks.
  Figures corrected(
      const ArmRuns& a,
      const ArmRuns& b,
      const std::vector<Unit>& units) const {
    std::vector<std::pair<const RunSummary*, const RunSummary*>> pairs;
    double ratio = 0;
    for (const auto& unit : units) {
      for (const auto* one : a.units.at(unit)) {
        for (const auto* other : b.units.at(unit)) {
          if (one->job.split == other->job.split) {
            pairs.emplace_back(&summaries_.at(one), &summaries_.at(other));
            ratio += static_cast<double>(one->run.predictions.size()) /
                sizes_of(one->job).train;
          }
        }
      }
    }
    ratio /= static_cast<double>(pairs.size());
    const auto t = [&](const auto& figure_of) {
      std::vector<double> differences;
      for (const auto& pair : pairs) {
        const double d = figure_of(*pair.first) - figure_of(*pair.second);
        if (std::isfinite(d)) {
          differences.push_back(d);
        }
      }
      return differences.size() < 2
          ? care::Interval()
          : care::corrected_resampled_t(differences, ratio, options_.level());
    };
    Figures result;
    result.mca = t([](const RunSummary& x) { return x.mca; });
    result.accuracy = t([](const RunSummary& x) { return x.accuracy; });
    result.rare_recall = t([](const RunSummary& x) { return x.rare_recall; });
    result.epg = t([](const RunSummary& x) { return x.epg; });
    for (size_t c = 0; c < runs_.data().classes.size(); ++c) {
      result.recall.push_back(
          t([c](const RunSummary& x) { return x.recall[c]; }));
    }
    return result;
  }

  /// The best arm with CARE, the best without guidance, by MCA. Arms with less
  /// than three quarters of the most units are left out, and only the units
  /// that all others have are looked at: an arm must not win by easy splits.
  std::optional<std::pair<size_t, size_t>> best_two(double share) const {
    size_t most = 0;
    for (const auto& entry : arms_) {
      if (entry.first.first == share) {
        most = std::max(most, entry.second.units.size());
      }
    }
    std::map<size_t, const ArmRuns*> candidates;
    std::vector<Unit> units;
    for (const auto& entry : arms_) {
      const auto& arm = runs_.plan().arms[entry.first.second];
      const bool wanted = !arm.is_guided() ||
          (arm.guidance == "care" && arm.boxes != "shuffled");
      if (entry.first.first == share && wanted &&
          4 * entry.second.units.size() >= 3 * most) {
        const auto shared = common(
            entry.second,
            candidates.empty() ? entry.second : *candidates.begin()->second);
        units = candidates.empty() ? shared : both(units, shared);
        candidates[entry.first.second] = &entry.second;
      }
    }
    std::optional<size_t> with, without;
    double with_mca = -1, without_mca = -1;
    for (const auto& candidate : candidates) {
      const auto mca = mean_mca(*candidate.second, units);
      const bool guided = runs_.plan().arms[candidate.first].is_guided();
      auto& best = guided ? with : without;
      auto& best_mca = guided ? with_mca : without_mca;
      if (mca > best_mca) {
        best = candidate.first;
        best_mca = mca;
      }
    }
    if (!with || !without) {
      return std::nullopt;
    }
    return std::make_pair(*with, *without);
  }

  /// What two sorted lists have in common.
  static std::vector<Unit> both(
      const std::vector<Unit>& a,
      const std::vector<Unit>& b) {
    std::vector<Unit> result;
    std::set_intersection(
        a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(result));
    return result;
  }

  double mean_mca(const ArmRuns& arm, const std::vector<Unit>& units) const {
    double sum = 0, count = 0;
    for (const auto& unit : units) {
      for (const auto* one : arm.units.at(unit)) {
        sum += summaries_.at(one).mca;
        count += 1;
      }
    }
    return sum / count;
  }

  struct Sizes {
    double train = 0, rare = 0;
  };

  const Sizes& sizes_of(const Job& job) const {
    auto& sizes = sizes_[{job.train_share, job.split}];
    if (sizes.train == 0) {
      for (const auto& sample : runs_.split(job).first.train) {
        sizes.train += 1;
        const auto& rare = runs_.rare();
        sizes.rare +=
            std::count(rare.begin(), rare.end(), sample.target) > 0 ? 1 : 0;
      }
    }
    return sizes;
  }

  const Runs& runs_;
  care::BootstrapOptions options_;
  ByArm arms_;
  std::map<const Finished*, RunSummary> summaries_;
  mutable std::map<std::pair<double, int64_t>, Sizes> sizes_;
};

std::string number(double x, bool with_sign) {
  if (std::isnan(x)) {
    return "-";
  }
  const double shown = std::round(x * 1000) / 1000 + 0.0; // no -0
  return with_sign ? fmt::format("{:+.3f}", shown)
                   : fmt::format("{:.3f}", shown);
}

std::string interval(const care::Interval& x, bool with_sign) {
  return std::isnan(x.value) ? std::string("-")
                             : fmt::format(
                                   "{} [{}, {}]",
                                   number(x.value, with_sign),
                                   number(x.low, with_sign),
                                   number(x.high, with_sign));
}

std::string share_title(double share) {
  return share > 0
      ? fmt::format("{:g} % of each class to learn from", share * 100)
      : std::string("The folds, put together");
}

std::string comparison_row(const Plan& plan, const Comparison& c) {
  const auto cell = [](const care::Interval& boot, const care::Interval& t) {
    return std::isnan(t.low) ? interval(boot, true)
                             : fmt::format(
                                   "{}; [{}, {}]",
                                   interval(boot, true),
                                   number(t.low, true),
                                   number(t.high, true));
  };
  return fmt::format(
      "| {} | {} | {} | {} | {} | {} | {} |\n",
      plan.arms[c.arm].name,
      plan.arms[c.baseline].name,
      c.units,
      cell(c.difference.mca, c.corrected.mca),
      cell(c.difference.rare_recall, c.corrected.rare_recall),
      cell(c.difference.accuracy, c.corrected.accuracy),
      std::isnan(c.epg_ratio) ? std::string("-")
                              : fmt::format("x {:.1f}", c.epg_ratio));
}

} // namespace

Tables make_tables(
    const Runs& runs,
    const std::vector<Finished>& finished,
    const care::BootstrapOptions& options) {
  return Maker(runs, finished, options).make();
}

std::string runs_csv(const Runs& runs, const std::vector<Finished>& finished) {
  const auto number_or_empty = [](double x) {
    return std::isnan(x) ? std::string() : fmt::format("{}", x);
  };
  const auto quoted = [](const std::string& name) {
    std::string text = "\"";
    for (const char c : name) {
      text += c == '"' ? std::string("\"\"") : std::string(1, c);
    }
    return text + "\"";
  };
  const auto& classes = runs.data().classes;
  std::string csv =
      "arm,train_share,split,seed,test_images,mca,accuracy,rare_recall,epg,"
      "undefined_maps,seconds";
  for (const auto& name : classes) {
    csv += "," + quoted("recall " + name);
  }
  csv += "\n";
  for (const auto& one : finished) {
    const auto s = trainer::summarize_run(one.run, classes.size(), runs.rare());
    csv += fmt::format(
        "{},{},{},{},{},{},{},{},{},{},{}",
        quoted(one.run.arm),
        one.job.train_share,
        one.job.split,
        one.job.seed,
        s.images,
        number_or_empty(s.mca),
        number_or_empty(s.accuracy),
        number_or_empty(s.rare_recall),
        number_or_empty(s.epg),
        s.undefined_maps,
        number_or_empty(one.run.seconds));
    for (const auto recall : s.recall) {
      csv += "," + number_or_empty(recall);
    }
    csv += "\n";
  }
  return csv;
}

std::string to_markdown(const Plan& plan, const Tables& tables) {
  std::string text;
  double share = -1;
  for (const auto& arm : tables.arms) {
    if (arm.train_share != share) {
      share = arm.train_share;
      text += fmt::format(
          "\n### {}\n\n{:.0f} training images, {:.0f} of them rare.\n\n"
          "| arm | networks | MCA | rare recall | accuracy | EPG |\n"
          "|---|---|---|---|---|---|\n",
          share_title(share),
          arm.train_images,
          arm.rare_images);
    }
    text += fmt::format(
        "| {} | {} | {} | {} | {} | {} |\n",
        plan.arms[arm.arm].name,
        arm.runs,
        interval(arm.figures.mca, false),
        interval(arm.figures.rare_recall, false),
        interval(arm.figures.accuracy, false),
        interval(arm.figures.epg, false));
  }
  const auto add = [&](const char* title, const std::vector<Comparison>& all) {
    double last = -1;
    for (const auto& c : all) {
      if (c.train_share != last) {
        last = c.train_share;
        text += fmt::format(
            "\n### {}: {}\n\n| arm | less | splits | MCA | rare recall | "
            "accuracy | EPG |\n|---|---|---|---|---|---|---|\n",
            title,
            share_title(last));
      }
      text += comparison_row(plan, c);
    }
  };
  add("Differences", tables.comparisons);
  add("The best with CARE less the best without guidance", tables.best);
  return text +
      "\nIn brackets: 95 % intervals, a two-way bootstrap over images and "
      "splits; after the semicolon the corrected resampled t interval over "
      "splits (Nadeau and Bengio).\n";
}

} // namespace study
