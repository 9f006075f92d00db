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
      const auto& job = one->network->job;
      const auto& split = data.split(job);
      table.train_share = job.train_share;
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

/// What two networks of one split and seed said of the images that both were
/// asked about; an EPG that one lacks is left out of both.
std::pair<Answers, Answers> paired(const Answers& a, const Answers& b) {
  std::map<std::string, const Answer*> others;
  for (const auto& answer : b) {
    others[answer.id] = &answer;
  }
  std::pair<Answers, Answers> both;
  for (auto mine : a) {
    if (const auto found = others.find(mine.id); found != others.end()) {
      auto other = *found->second;
      if (std::isnan(mine.epg) || std::isnan(other.epg)) {
        mine.epg = other.epg = kNaN;
      }
      both.first.push_back(std::move(mine));
      both.second.push_back(std::move(other));
    }
  }
  return both;
}

/// The mean of each figure; what is NaN is left out.
std::vector<double> means_of(const std::vector<std::vector<double>>& networks) {
  std::vector<double> means;
  for (size_t i = 0; i < networks[0].size(); ++i) {
    double sum = 0, count = 0;
    for (const auto& figures : networks) {
      if (!std::isnan(figures[i])) {
        sum += figures[i];
        count += 1;
      }
    }
    means.push_back(sum / count); // 0 / 0 is NaN
  }
  return means;
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
  auto& c = list.emplace_back();
  c.arm = arm;
  c.baseline = baseline;
  c.train_share = a.begin()->second.begin()->second->network->job.train_share;
  c.units = static_cast<int64_t>(keys.size());
  const bool own = data.plan.is_own_split(c.train_share);
  std::vector<Answers> mine, theirs; // of the units
  std::map<int64_t, std::vector<std::vector<double>>> by_split; // or by seed
  // Images to test over those to learn from: of the split, also where a test
  // set or a view has but a part of them, for splits share that part alike.
  double ratio = 0, networks = 0;
  for (const auto& key : keys) {
    auto &of_arm = mine.emplace_back(), &of_baseline = theirs.emplace_back();
    for (const auto& [split, one] : a.at(key)) {
      const auto [x, y] = paired(one->answers, b.at(key).at(split)->answers);
      by_split[own ? key.second : split].push_back(figures_of({x}, of, {y}));
      of_arm.insert(of_arm.end(), x.begin(), x.end());
      of_baseline.insert(of_baseline.end(), y.begin(), y.end());
      const auto& divided = data.split(one->network->job);
      ratio += static_cast<double>(divided.test) /
          static_cast<double>(divided.train);
      networks += 1;
    }
  }
  std::vector<std::vector<double>> differences; // the seeds of a split are one
  for (const auto& item : by_split) {
    differences.push_back(means_of(item.second));
  }
  c.splits = static_cast<int64_t>(differences.size());
  c.difference = bootstrap(mine, theirs, of);
  c.over_splits = t_intervals(differences, own ? 0 : ratio / networks);
  c.of_arm = figures_of(mine, of);
  c.of_baseline = figures_of(theirs, of);
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

TestedSets tested_sets(
    const Data& data,
    const std::vector<Finished>& finished) {
  std::map<std::string, const Row*> rows;
  for (const auto& row : data.rows) {
    rows[row.path] = &row;
  }
  TestedSets sets;
  for (size_t set = 0; set < data.test_sets.size(); ++set) {
    auto& networks = sets.emplace_back();
    for (const auto& one : finished) {
      auto& tested = networks.emplace_back();
      tested.network = &one;
      for (const auto& p : one.run.predictions) {
        const auto& row = *rows.at(p.id);
        if (data.test_set_of(row, p.view) == set) {
          tested.answers.push_back(
              {p.id,
               data.target_of(row),
               p.predicted(),
               data.subgroup_of(row),
               p.epg.value_or(kNaN)});
          const bool looked = p.boxed && p.view == View::kWhole;
          tested.undefined += looked && !p.epg ? 1 : 0;
        }
      }
      tested.figures = figures_of({tested.answers}, measures_of(data));
    }
  }
  return sets;
}

std::vector<Tables> make_tables(const Data& data, const TestedSets& sets) {
  std::vector<Tables> all;
  for (const auto& networks : sets) {
    std::map<double, Arms> shares;
    for (const auto& one : networks) {
      const auto& job = one.network->job;
      const UnitKey key{job.train_share > 0 ? job.split : 0, job.seed};
      shares[job.train_share][job.arm][key][job.split] = &one;
    }
    auto& tables = all.emplace_back();
    tables.test_set = data.test_sets[all.size() - 1];
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

std::string runs_csv(const Data& data, const TestedSets& sets) {
  using common::csv_quoted;
  const auto titles = titles_of(data);
  std::string csv =
      "arm,train_share,split,seed,test_images,mca,accuracy,rare_recall,epg,"
      "undefined_maps,seconds";
  for (size_t i = Measures::kRecall; i < titles.size(); ++i) {
    csv += "," + csv_quoted(titles[i]);
  }
  csv += ",train_images,split_test_images,test_set\n";
  for (size_t set = 0; set < sets.size(); ++set) {
    for (const auto& one : sets[set]) {
      const auto& job = one.network->job;
      std::vector<std::string> figures;
      for (const auto x : one.figures) {
        figures.push_back(std::isnan(x) ? "" : fmt::format("{}", x));
      }
      const auto recalls = figures.begin() + Measures::kRecall;
      csv += fmt::format(
          "{},{},{},{},{},{},{},{},{},{},{},{}\n",
          csv_quoted(data.plan.arms[job.arm].name),
          job.train_share,
          job.split,
          job.seed,
          one.answers.size(),
          fmt::join(figures.begin(), recalls, ","),
          one.undefined,
          one.network->run.seconds,
          fmt::join(recalls, figures.end(), ","),
          data.split(job).train,
          data.split(job).test,
          csv_quoted(data.test_sets[set]));
    }
  }
  return csv;
}

} // namespace study
