// Tables: what the finished runs say, arm by arm and as paired differences.
// SPDX-License-Identifier: Apache-2.0
#include "study/tables.hpp"

#include <fmt/format.h>

#include <algorithm>
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
    const Plan& plan,
    const Data& data,
    const std::vector<Runs::Finished>& finished) {
  std::map<std::string, const Row*> rows;
  for (const auto& row : data.rows) {
    rows[row.path] = &row;
  }
  std::vector<Tested> all;
  for (const auto& one : finished) {
    Tested tested;
    tested.job = &one.job;
    for (const auto& p : one.run.predictions) {
      const auto& row = *rows.at(p.id);
      if (data.test_set_of(plan, row) == set) {
        tested.answers.push_back(
            {p.id,
             static_cast<int64_t>(data.target_of(row)),
             p.predicted(),
             data.subgroup_of(plan, row),
             p.epg.value_or(kNaN)});
        tested.undefined += p.boxed && !p.epg ? 1 : 0;
      }
    }
    tested.figures = figures_of(tested.answers, measures_of(data));
    all.push_back(std::move(tested));
  }
  return all;
}

/// What the bootstrap draws beside the images: a split with its seed; of folds,
/// which together test every image once, a seed.
using Unit = std::pair<int64_t, int64_t>;
using Units = std::map<Unit, std::vector<const Tested*>>;
using Key = std::pair<double, size_t>; // share, arm

std::set<int64_t> splits_of(const std::vector<const Tested*>& networks) {
  std::set<int64_t> splits;
  for (const auto* one : networks) {
    splits.insert(one->job->split);
  }
  return splits;
}

/// Of folds: the seeds for which both have all folds that either has.
std::vector<Unit> in_both(const Units& a, const Units& b) {
  std::vector<Unit> units;
  for (const auto& [unit, networks] : a) {
    const auto found = b.find(unit);
    if (found != b.end() && splits_of(found->second) == splits_of(networks)) {
      units.push_back(unit);
    }
  }
  return units;
}

std::vector<Answers> answers_of(
    const Units& arm,
    const std::vector<Unit>& units) {
  std::vector<Answers> all;
  for (const auto& unit : units) {
    Answers answers;
    for (const auto* one : arm.at(unit)) {
      answers.insert(answers.end(), one->answers.begin(), one->answers.end());
    }
    all.push_back(std::move(answers));
  }
  return all;
}

class Maker {
 public:
  Maker(const Plan& plan, const Data& data, const std::vector<Tested>& tested)
      : plan_(plan),
        data_(data),
        of_(measures_of(data)) {
    for (const auto& one : tested) {
      const auto& job = *one.job;
      const Unit unit{job.train_share > 0 ? job.split : 0, job.seed};
      arms_[{job.train_share, job.arm}][unit].push_back(&one);
    }
  }

  Tables make() const {
    Tables tables;
    tables.titles = titles_of(data_);
    for (const auto& [key, units] : arms_) {
      tables.arms.push_back(arm_table(key, units));
      const auto& arm = plan_.arms[key.second];
      if (!arm.baseline.empty()) {
        add(tables.comparisons, key, plan_.arm(arm.baseline));
      }
    }
    std::set<double> shares;
    for (const auto& entry : arms_) {
      if (shares.insert(entry.first.first).second) {
        add_best(tables.best, entry.first.first);
      }
    }
    return tables;
  }

 private:
  ArmTable arm_table(const Key& key, const Units& units) const {
    ArmTable table;
    table.train_share = key.first;
    table.arm = key.second;
    for (const auto& [unit, networks] : units) {
      for (const auto* one : networks) {
        const auto& split =
            data_.splits.at({one->job->train_share, one->job->split});
        table.train_images += static_cast<double>(split.train);
        table.rare_images += static_cast<double>(split.rare);
        ++table.runs;
      }
    }
    table.train_images /= static_cast<double>(table.runs);
    table.rare_images /= static_cast<double>(table.runs);
    const auto all = in_both(units, units);
    table.figures = bootstrap(answers_of(units, all), nullptr, of_);
    return table;
  }

  void add(std::vector<Comparison>& list, const Key& key, size_t baseline)
      const {
    const auto found = arms_.find({key.first, baseline});
    if (found == arms_.end()) {
      return;
    }
    const auto& a = arms_.at(key);
    const auto& b = found->second;
    const auto units = in_both(a, b);
    if (units.empty()) {
      return;
    }
    Comparison c;
    c.arm = key.second;
    c.baseline = baseline;
    c.train_share = key.first;
    c.units = static_cast<int64_t>(units.size());
    const auto mine = answers_of(a, units), theirs = answers_of(b, units);
    c.difference = bootstrap(mine, &theirs, of_);
    c.of_arm = bootstrap(mine, nullptr, of_);
    c.of_baseline = bootstrap(theirs, nullptr, of_);
    c.corrected = corrected(a, b, units);
    list.push_back(std::move(c));
  }

  /// Over the networks.
  Figures corrected(
      const Units& a,
      const Units& b,
      const std::vector<Unit>& units) const {
    std::vector<std::vector<double>> differences;
    double ratio = 0;
    for (const auto& unit : units) {
      for (const auto* one : a.at(unit)) {
        for (const auto* other : b.at(unit)) {
          if (one->job->split == other->job->split) {
            const auto& split =
                data_.splits.at({one->job->train_share, one->job->split});
            ratio += static_cast<double>(one->answers.size()) /
                static_cast<double>(split.train);
            auto difference = one->figures;
            for (size_t i = 0; i < difference.size(); ++i) {
              difference[i] -= other->figures[i];
            }
            differences.push_back(std::move(difference));
          }
        }
      }
    }
    return corrected_t(
        differences, ratio / static_cast<double>(differences.size()));
  }

  /// Of three arms or more. Those with less than three quarters of the most
  /// units are left out, and only the units that all others have are looked at:
  /// an arm must not win by easy splits.
  void add_best(std::vector<Comparison>& list, double share) const {
    size_t most = 0;
    for (const auto& [key, units] : arms_) {
      most = key.first == share ? std::max(most, units.size()) : most;
    }
    std::map<size_t, const Units*> candidates;
    std::vector<Unit> shared;
    for (const auto& [key, units] : arms_) {
      const auto& arm = plan_.arms[key.second];
      const bool wanted = !arm.is_guided() ||
          (arm.guidance == Guidance::kCare && arm.boxes != "shuffled");
      if (key.first == share && wanted && 4 * units.size() >= 3 * most) {
        const auto both = in_both(
            units, candidates.empty() ? units : *candidates.begin()->second);
        std::vector<Unit> rest;
        std::set_intersection(
            shared.begin(),
            shared.end(),
            both.begin(),
            both.end(),
            std::back_inserter(rest));
        shared = candidates.empty() ? both : rest;
        candidates[key.second] = &units;
      }
    }
    std::array<std::pair<double, size_t>, 2> best{
        {{-1, plan_.arms.size()}, {-1, plan_.arms.size()}}};
    for (const auto& [arm, units] : candidates) {
      auto& mine = best[plan_.arms[arm].is_guided() ? 0 : 1];
      mine =
          std::max(mine, {mean_mca(*units, shared), arm}, [](auto a, auto b) {
            return a.first < b.first;
          });
    }
    if (candidates.size() > 2 && best[0].first >= 0 && best[1].first >= 0) {
      add(list, {share, best[0].second}, best[1].second);
    }
  }

  static double mean_mca(const Units& arm, const std::vector<Unit>& units) {
    double sum = 0, count = 0;
    for (const auto& unit : units) {
      for (const auto* one : arm.at(unit)) {
        sum += one->figures[Measures::kMca];
        count += 1;
      }
    }
    return sum / count;
  }

  const Plan& plan_;
  const Data& data_;
  Measures of_;
  std::map<Key, Units> arms_;
};

} // namespace

std::vector<Tables> make_tables(
    const Plan& plan,
    const Data& data,
    const std::vector<Runs::Finished>& finished) {
  std::vector<Tables> all;
  for (size_t set = 0; set < data.test_sets.size(); ++set) {
    const auto tested = tested_on(set, plan, data, finished);
    all.push_back(Maker(plan, data, tested).make());
    all.back().test_set = data.test_sets[set];
  }
  return all;
}

std::string runs_csv(
    const Plan& plan,
    const Data& data,
    const std::vector<Runs::Finished>& finished) {
  const auto quoted = [](std::string name) {
    for (size_t at = 0; (at = name.find('"', at)) != std::string::npos;
         at += 2) {
      name.insert(at, 1, '"');
    }
    return "\"" + name + "\"";
  };
  const auto figure = [](double x) {
    return std::isnan(x) ? std::string() : fmt::format("{}", x);
  };
  const auto titles = titles_of(data);
  std::string csv =
      "arm,train_share,split,seed,test_images,mca,accuracy,rare_recall,epg,"
      "undefined_maps,seconds";
  for (size_t i = Measures::kRecall; i < titles.size(); ++i) {
    csv += "," + quoted(titles[i]);
  }
  csv += ",test_set\n";
  for (size_t set = 0; set < data.test_sets.size(); ++set) {
    const auto tested = tested_on(set, plan, data, finished);
    for (size_t i = 0; i < tested.size(); ++i) {
      const auto& job = *tested[i].job;
      const auto& f = tested[i].figures;
      csv += fmt::format(
          "{},{},{},{},{}",
          quoted(plan.arms[job.arm].name),
          job.train_share,
          job.split,
          job.seed,
          tested[i].answers.size());
      for (size_t k = 0; k < f.size(); ++k) {
        if (k == Measures::kRecall) {
          csv += fmt::format(
              ",{},{}", tested[i].undefined, finished[i].run.seconds);
        }
        csv += "," + figure(f[k]);
      }
      csv += "," + quoted(data.test_sets[set]) + "\n";
    }
  }
  return csv;
}

} // namespace study
