// Tables: what the finished runs say, arm by arm and as paired differences.
// SPDX-License-Identifier: Apache-2.0
#include "study/tables.hpp"

#include "common/csv.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <utility>

namespace study {
namespace {

/// One network on one test set.
struct Tested {
  const Job* job = nullptr;
  Answers answers;
  std::vector<double> figures;
  int64_t undefined = 0; ///< boxed images without an EPG
};

Measures measures_of(const Data& data) {
  return {
      static_cast<int64_t>(data.classes.size()),
      static_cast<int64_t>(data.subgroups.size()),
      data.rare};
}

std::vector<std::string> titles_of(const Data& data) {
  std::vector<std::string> titles{"MCA", "accuracy", "rare recall", "EPG"};
  for (const auto& name : data.classes) {
    titles.push_back("recall " + name);
  }
  titles.emplace_back("EPG rare");
  for (const auto& name : data.subgroups) {
    titles.push_back("accuracy " + name);
  }
  if (!data.subgroups.empty()) {
    titles.emplace_back("worst subgroup");
  }
  return titles;
}

std::vector<Tested> tested_on(
    size_t set,
    const Data& data,
    const std::vector<Finished>& finished) {
  std::map<std::string, const Row*> rows;
  for (const auto& row : data.rows) {
    rows[row.path] = &row;
  }
  std::vector<Tested> all;
  for (const auto& one : finished) {
    auto& tested = all.emplace_back();
    tested.job = &one.job;
    for (const auto& p : one.run.predictions) {
      const auto& row = *rows.at(p.id);
      if (data.test_set_of(row, p.view) == set) {
        tested.answers.push_back(
            {p.id,
             data.target_of(row),
             p.predicted(),
             data.subgroup_of(row),
             p.epg.value_or(kNaN)});
        tested.undefined += p.boxed && !p.epg && p.view == View::kWhole ? 1 : 0;
      }
    }
    tested.figures = figures_of(tested.answers, measures_of(data));
  }
  return all;
}

/// What the bootstrap draws beside the images: a split with its seed; of folds,
/// which together test every image once, a seed. Its networks, by split.
using Unit = std::map<int64_t, const Tested*>;
using UnitKey = std::pair<int64_t, int64_t>; // split (0 of folds), seed
using Units = std::map<UnitKey, Unit>;
using Arms = std::map<size_t, Units>; // of one share, by their place

std::set<int64_t> splits_of(const Unit& unit) {
  std::set<int64_t> splits;
  for (const auto& item : unit) {
    splits.insert(item.first);
  }
  return splits;
}

/// Of folds: the seeds for which both have all folds that either has.
std::vector<UnitKey> in_both(const Units& a, const Units& b) {
  std::vector<UnitKey> keys;
  for (const auto& [key, unit] : a) {
    const auto other = b.find(key);
    if (other != b.end() && splits_of(unit) == splits_of(other->second)) {
      keys.push_back(key);
    }
  }
  return keys;
}

std::vector<Answers> answers_of(
    const Units& units,
    const std::vector<UnitKey>& keys) {
  std::vector<Answers> all;
  for (const auto& key : keys) {
    auto& answers = all.emplace_back();
    for (const auto& [split, one] : units.at(key)) {
      answers.insert(answers.end(), one->answers.begin(), one->answers.end());
    }
  }
  return all;
}

ArmTable table_of(const Data& data, size_t arm, const Units& units) {
  ArmTable table;
  table.arm = arm;
  for (const auto& [key, unit] : units) {
    for (const auto& [number, one] : unit) {
      const auto& split = data.split(*one->job);
      table.train_share = one->job->train_share;
      table.train_images += static_cast<double>(split.train);
      table.rare_images += static_cast<double>(split.rare);
      ++table.runs;
    }
  }
  table.train_images /= static_cast<double>(table.runs);
  table.rare_images /= static_cast<double>(table.runs);
  const auto whole = in_both(units, units);
  table.figures = bootstrap(answers_of(units, whole), {}, measures_of(data));
  return table;
}

/// Of the differences over networks.
Figures corrected(
    const Data& data,
    const Units& a,
    const Units& b,
    const std::vector<UnitKey>& keys) {
  std::vector<std::vector<double>> differences;
  double ratio = 0;
  for (const auto& key : keys) {
    for (const auto& [number, one] : a.at(key)) {
      const auto& other = b.at(key).at(number)->figures;
      ratio += static_cast<double>(one->answers.size()) /
          static_cast<double>(data.split(*one->job).train);
      auto& difference = differences.emplace_back(one->figures);
      for (size_t i = 0; i < difference.size(); ++i) {
        difference[i] -= other[i];
      }
    }
  }
  return corrected_t(
      differences, ratio / static_cast<double>(differences.size()));
}

/// Adds the comparison of two arms, where they have units in common.
void compare(
    const Data& data,
    const Arms& arms,
    size_t arm,
    size_t baseline,
    std::vector<Comparison>& list) {
  const auto found = arms.find(baseline);
  if (found == arms.end()) {
    return;
  }
  const auto &a = arms.at(arm), &b = found->second;
  const auto keys = in_both(a, b);
  if (keys.empty()) {
    return;
  }
  const auto of = measures_of(data);
  const auto mine = answers_of(a, keys), theirs = answers_of(b, keys);
  list.push_back(
      {arm,
       baseline,
       a.begin()->second.begin()->second->job->train_share,
       static_cast<int64_t>(keys.size()),
       bootstrap(mine, theirs, of),
       corrected(data, a, b, keys),
       bootstrap(mine, {}, of),
       bootstrap(theirs, {}, of)});
}

/// Compares the best of three arms or more. Those with less than three quarters
/// of the most units are left out, and only the units that all others have are
/// looked at: an arm must not win by easy splits.
void compare_best(
    const Data& data,
    const Arms& arms,
    std::vector<Comparison>& list) {
  size_t most = 0;
  for (const auto& [arm, units] : arms) {
    most = std::max(most, units.size());
  }
  std::map<size_t, const Units*> candidates;
  std::map<UnitKey, size_t> count; // of the candidates that have a unit
  for (const auto& [place, units] : arms) {
    const auto& arm = data.plan.arms[place];
    const bool wanted = !arm.is_guided() ||
        (arm.guidance == Guidance::kCare && arm.boxes != "shuffled");
    if (wanted && 4 * units.size() >= 3 * most) {
      candidates[place] = &units;
      for (const auto& key : in_both(units, *candidates.begin()->second)) {
        ++count[key];
      }
    }
  }
  std::array<std::pair<double, size_t>, 2> best{{{-1, 0}, {-1, 0}}};
  for (const auto& [place, units] : candidates) {
    double sum = 0, networks = 0;
    for (const auto& [key, unit] : *units) {
      for (const auto& [number, one] : unit) {
        const bool shared = count[key] == candidates.size();
        sum += shared ? one->figures[Measures::kMca] : 0;
        networks += shared ? 1 : 0;
      }
    }
    auto& mine = best[data.plan.arms[place].is_guided() ? 0 : 1];
    if (sum / networks > mine.first) { // 0 / 0 is not
      mine = {sum / networks, place};
    }
  }
  if (candidates.size() > 2 && best[0].first >= 0 && best[1].first >= 0) {
    compare(data, arms, best[0].second, best[1].second, list);
  }
}

} // namespace

std::vector<Tables> make_tables(
    const Data& data,
    const std::vector<Finished>& finished) {
  std::vector<Tables> all;
  for (size_t set = 0; set < data.test_sets.size(); ++set) {
    const auto tested = tested_on(set, data, finished);
    std::map<double, Arms> shares;
    for (const auto& one : tested) {
      const auto& job = *one.job;
      const UnitKey key{job.train_share > 0 ? job.split : 0, job.seed};
      shares[job.train_share][job.arm][key][job.split] = &one;
    }
    auto& tables = all.emplace_back();
    tables.test_set = data.test_sets[set];
    tables.titles = titles_of(data);
    for (const auto& [share, arms] : shares) {
      for (const auto& [arm, units] : arms) {
        tables.arms.push_back(table_of(data, arm, units));
        const auto& baseline = data.plan.arms[arm].baseline;
        if (!baseline.empty()) {
          const auto place = data.plan.arm(baseline);
          compare(data, arms, arm, place, tables.comparisons);
        }
      }
      compare_best(data, arms, tables.best);
    }
  }
  return all;
}

std::string runs_csv(const Data& data, const std::vector<Finished>& finished) {
  using common::csv_quoted;
  const auto titles = titles_of(data);
  std::string csv =
      "arm,train_share,split,seed,test_images,mca,accuracy,rare_recall,epg,"
      "undefined_maps,seconds";
  for (size_t i = Measures::kRecall; i < titles.size(); ++i) {
    csv += "," + csv_quoted(titles[i]);
  }
  csv += ",test_set\n";
  for (size_t set = 0; set < data.test_sets.size(); ++set) {
    const auto tested = tested_on(set, data, finished);
    for (size_t i = 0; i < tested.size(); ++i) {
      const auto& job = *tested[i].job;
      std::vector<std::string> figures;
      for (const auto x : tested[i].figures) {
        figures.push_back(std::isnan(x) ? "" : fmt::format("{}", x));
      }
      const auto recalls = figures.begin() + Measures::kRecall;
      csv += fmt::format(
          "{},{},{},{},{},{},{},{},{},{}\n",
          csv_quoted(data.plan.arms[job.arm].name),
          job.train_share,
          job.split,
          job.seed,
          tested[i].answers.size(),
          fmt::join(figures.begin(), recalls, ","),
          tested[i].undefined,
          finished[i].run.seconds,
          fmt::join(recalls, figures.end(), ","),
          csv_quoted(data.test_sets[set]));
    }
  }
  return csv;
}

} // namespace study
