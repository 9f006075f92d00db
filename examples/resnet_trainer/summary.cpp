// summary: the runs put together, each figure with its interval.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <map>
#include <set>
#include <stdexcept>
#include <string_view>
#include <tuple>
#include <utility>

namespace trainer {

namespace {

using Counts = std::vector<std::vector<int64_t>>;

size_t at(int64_t i) {
  return static_cast<size_t>(i);
}

double ratio(double a, double b) {
  return b > 0 ? a / b : kNaN;
}

/// Counts and attention of some predictions of one network.
class Tally {
 public:
  explicit Tally(size_t classes)
      : counts_(classes, std::vector<int64_t>(classes)),
        epg_(classes),
        maps_(classes) {}

  void add(int64_t target, int64_t predicted, double epg) {
    ++counts_[at(target)][at(predicted)];
    if (!std::isnan(epg)) {
      epg_[at(target)] += epg;
      ++maps_[at(target)];
    }
  }

  void clear() {
    *this = Tally(counts_.size());
  }

  const Counts& counts() const {
    return counts_;
  }

  /// MCA, accuracy, rare recall, EPG; then recall, precision, F1 and EPG of
  /// each class.
  std::vector<double> figures(const std::vector<int64_t>& rare) const {
    const auto k = counts_.size();
    std::vector<double> out(4 + 4 * k, kNaN);
    double hits = 0, images = 0, recalls = 0, occur = 0, epg = 0, maps = 0;
    for (size_t c = 0; c < k; ++c) {
      double row = 0, column = 0;
      for (size_t j = 0; j < k; ++j) {
        row += static_cast<double>(counts_[c][j]);
        column += static_cast<double>(counts_[j][c]);
      }
      const auto hit = static_cast<double>(counts_[c][c]);
      out[4 + c] = ratio(hit, row);
      out[4 + k + c] = ratio(hit, column);
      out[4 + 2 * k + c] = ratio(2 * hit, row + column);
      out[4 + 3 * k + c] = ratio(epg_[c], maps_[c]);
      hits += hit;
      images += row;
      epg += epg_[c];
      maps += maps_[c];
      if (row > 0) {
        recalls += out[4 + c];
        ++occur;
      }
    }
    double rare_recalls = 0, rare_occur = 0;
    for (const auto c : rare) {
      if (!std::isnan(out[4 + at(c)])) {
        rare_recalls += out[4 + at(c)];
        ++rare_occur;
      }
    }
    out[0] = ratio(recalls, occur);
    out[1] = ratio(hits, images);
    out[2] = ratio(rare_recalls, rare_occur);
    out[3] = ratio(epg, maps);
    return out;
  }

 private:
  Counts counts_;
  std::vector<double> epg_;
  std::vector<double> maps_;
};

template <typename T>
std::vector<T> part(const std::vector<T>& all, size_t first, size_t count) {
  const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(count)};
}

/// What a `RunSummary` and `Figures` have in common, in the order of
/// `Tally::figures`.
template <typename To, typename T>
void assign_common(To& to, const std::vector<T>& all, size_t k) {
  to.mca = all[0];
  to.accuracy = all[1];
  to.rare_recall = all[2];
  to.epg = all[3];
  to.recall = part(all, 4, k);
  to.precision = part(all, 4 + k, k);
  to.f1 = part(all, 4 + 2 * k, k);
}

void assign(Figures& to, const std::vector<care::Interval>& all, size_t k) {
  assign_common(to, all, k);
  to.epg_by_class = part(all, 4 + 3 * k, k);
}

struct Cell {
  int64_t predicted;
  double epg;
};

/// The predictions of one arm by seed and image. Folds put together: a cell has
/// one prediction, or several where the folds share their test images.
using Grid = std::vector<std::vector<std::vector<Cell>>>;

/// The images of one test set, over all arms.
struct Images {
  std::map<std::string, int64_t> index;
  std::vector<int64_t> target;
};

std::vector<int64_t> seeds_of(const std::vector<const Run*>& runs) {
  std::set<int64_t> seeds;
  for (const auto* run : runs) {
    seeds.insert(run->seed);
  }
  return {seeds.begin(), seeds.end()};
}

Grid grid_of(
    const std::vector<const Run*>& runs,
    const std::vector<int64_t>& seeds,
    const Images& images) {
  Grid grid(seeds.size(), std::vector<std::vector<Cell>>(images.target.size()));
  for (const auto* run : runs) {
    const auto seed = std::find(seeds.begin(), seeds.end(), run->seed);
    if (seed == seeds.end()) {
      continue;
    }
    auto& row = grid[at(seed - seeds.begin())];
    for (const auto& p : run->predictions) {
      row[at(images.index.at(p.id))].push_back({p.predicted(), p.epg});
    }
  }
  return grid;
}

/// The figures of `grid` on the drawn images and seeds: of each seed, then the
/// mean over the seeds in which they are defined.
std::vector<double> mean_over_seeds(
    const Grid& grid,
    const Images& images,
    const Summary& summary,
    const std::vector<int64_t>& drawn,
    const std::vector<int64_t>& seeds) {
  std::vector<double> sum, defined;
  Tally tally(summary.classes.size());
  for (const auto seed : seeds) {
    tally.clear();
    for (const auto i : drawn) {
      for (const auto& cell : grid[at(seed)][at(i)]) {
        tally.add(images.target[at(i)], cell.predicted, cell.epg);
      }
    }
    const auto figures = tally.figures(summary.rare);
    sum.resize(figures.size());
    defined.resize(figures.size());
    for (size_t f = 0; f < figures.size(); ++f) {
      if (!std::isnan(figures[f])) {
        sum[f] += figures[f];
        ++defined[f];
      }
    }
  }
  for (size_t f = 0; f < sum.size(); ++f) {
    sum[f] = ratio(sum[f], defined[f]);
  }
  return sum;
}

template <typename Statistic>
Figures intervals(
    const Statistic& statistic,
    const Images& images,
    size_t seeds,
    const Summary& summary) {
  Figures result;
  const auto k = summary.classes.size();
  if (images.target.empty() || seeds == 0) {
    assign(result, std::vector<care::Interval>(4 + 4 * k), k);
    return result;
  }
  const auto options = care::BootstrapOptions()
                           .repeats(summary.options.repeats)
                           .level(summary.options.level)
                           .seed(summary.options.seed);
  assign(
      result,
      care::bootstrap_intervals(
          statistic,
          static_cast<int64_t>(images.target.size()),
          static_cast<int64_t>(seeds),
          options),
      k);
  return result;
}

RunSummary figures_of(
    const Run& run,
    size_t classes,
    const std::vector<int64_t>& rare) {
  RunSummary out;
  out.fold = run.fold;
  out.seed = run.seed;
  out.images = static_cast<int64_t>(run.predictions.size());
  Tally tally(classes);
  for (const auto& p : run.predictions) {
    tally.add(p.target, p.predicted(), p.epg);
    out.boxed += p.boxed ? 1 : 0;
    out.undefined_maps += p.boxed && std::isnan(p.epg) ? 1 : 0;
  }
  assign_common(out, tally.figures(rare), classes);
  out.confusion = tally.counts();
  return out;
}

ArmSummary summarize_arm(
    const std::string& name,
    const std::vector<const Run*>& runs,
    const Images& images,
    const Summary& summary) {
  const auto k = summary.classes.size();
  ArmSummary arm;
  arm.seeds = seeds_of(runs);
  const auto grid = grid_of(runs, arm.seeds, images);
  const auto statistic = [&](const auto& drawn, const auto& seeds) {
    return mean_over_seeds(grid, images, summary, drawn, seeds);
  };
  static_cast<Figures&>(arm) =
      intervals(statistic, images, arm.seeds.size(), summary);
  arm.arm = name;
  arm.confusion = Counts(k, std::vector<int64_t>(k));
  std::set<int64_t> folds;
  std::set<std::string> ids;
  for (const auto* run : runs) {
    folds.insert(run->fold);
    for (const auto& p : run->predictions) {
      ids.insert(p.id);
    }
    arm.runs.push_back(figures_of(*run, k, summary.rare));
    const auto& last = arm.runs.back();
    arm.maps += last.boxed;
    arm.undefined_maps += last.undefined_maps;
    for (size_t i = 0; i < k; ++i) {
      for (size_t j = 0; j < k; ++j) {
        arm.confusion[i][j] += last.confusion[i][j];
      }
    }
  }
  arm.images = static_cast<int64_t>(ids.size());
  arm.folds.assign(folds.begin(), folds.end());
  return arm;
}

Difference compare(
    const std::vector<const Run*>& plain,
    const std::vector<const Run*>& care,
    const Images& images,
    const Summary& summary) {
  const auto one = seeds_of(plain), two = seeds_of(care);
  std::vector<int64_t> seeds;
  std::set_intersection(
      one.begin(),
      one.end(),
      two.begin(),
      two.end(),
      std::back_inserter(seeds));
  auto a = grid_of(plain, seeds, images);
  auto b = grid_of(care, seeds, images);
  for (size_t s = 0; s < seeds.size(); ++s) { // what one arm lacks, none has
    for (size_t i = 0; i < images.target.size(); ++i) {
      if (a[s][i].size() != b[s][i].size()) {
        a[s][i].clear();
        b[s][i].clear();
      }
    }
  }
  const auto statistic = [&](const auto& drawn, const auto& drawn_seeds) {
    auto difference = mean_over_seeds(b, images, summary, drawn, drawn_seeds);
    const auto base = mean_over_seeds(a, images, summary, drawn, drawn_seeds);
    for (size_t f = 0; f < difference.size(); ++f) {
      difference[f] -= base[f];
    }
    return difference;
  };
  return intervals(statistic, images, seeds.size(), summary);
}

std::string name_of(const Run& run) {
  return fmt::format(
      "run '{}', fold {}, seed {}, test set '{}'",
      run.arm,
      run.fold,
      run.seed,
      run.test_set);
}

void check_run(const Run& run, size_t classes) {
  std::set<std::string_view> ids;
  for (const auto& p : run.predictions) {
    if (p.target < 0 || at(p.target) >= classes ||
        p.probability.size() != classes) {
      throw std::invalid_argument(fmt::format(
          "{}: expected a target and a probability for each of {} classes, but "
          "image '{}' has target {} and {} probabilities",
          name_of(run),
          classes,
          p.id,
          p.target,
          p.probability.size()));
    }
    if (!ids.insert(p.id).second) {
      throw std::invalid_argument(
          fmt::format("{}: image '{}' is there twice", name_of(run), p.id));
    }
  }
}

/// 0 for plain, 1 for care, then others as they came.
void sort_arms(std::vector<std::string>& arms) {
  const auto rank = [](const std::string& arm) {
    return arm == kPlain ? 0 : arm == kCare ? 1 : 2;
  };
  std::stable_sort(arms.begin(), arms.end(), [&](const auto& a, const auto& b) {
    return rank(a) < rank(b);
  });
}

void add_unless_there(
    std::vector<std::string>& names,
    const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    names.push_back(name);
  }
}

TestSummary summarize_test(
    const std::string& name,
    const std::vector<Run>& runs,
    const Summary& summary) {
  TestSummary test;
  test.test_set = name;
  Images images;
  std::vector<std::string> arms;
  std::map<std::string, std::vector<const Run*>> by_arm;
  for (const auto& run : runs) {
    if (run.test_set != name) {
      continue;
    }
    add_unless_there(arms, run.arm);
    by_arm[run.arm].push_back(&run);
    for (const auto& p : run.predictions) {
      const auto next = static_cast<int64_t>(images.target.size());
      const auto [entry, fresh] = images.index.emplace(p.id, next);
      if (fresh) {
        images.target.push_back(p.target);
      } else if (images.target[at(entry->second)] != p.target) {
        throw std::invalid_argument(fmt::format(
            "{}: image '{}' has another class in another run",
            name_of(run),
            p.id));
      }
    }
  }
  sort_arms(arms);
  for (const auto& arm : arms) {
    test.arms.push_back(summarize_arm(arm, by_arm[arm], images, summary));
  }
  if (by_arm.count(kPlain) > 0 && by_arm.count(kCare) > 0) {
    test.difference = compare(by_arm[kPlain], by_arm[kCare], images, summary);
  }
  return test;
}

} // namespace

RunSummary summarize_run(
    const Run& run,
    size_t classes,
    const std::vector<int64_t>& rare) {
  check_run(run, classes);
  return figures_of(run, classes, rare);
}

const ArmSummary* TestSummary::arm(const std::string& name) const {
  for (const auto& a : arms) {
    if (a.arm == name) {
      return &a;
    }
  }
  return nullptr;
}

const TestSummary* Summary::test(const std::string& name) const {
  for (const auto& t : tests) {
    if (t.test_set == name) {
      return &t;
    }
  }
  return nullptr;
}

Summary summarize(
    const std::vector<Run>& runs,
    const std::vector<std::string>& classes,
    const std::vector<int64_t>& rare,
    const SummaryOptions& options) {
  Summary summary{classes, rare, {}, options};
  for (const auto c : rare) {
    if (c < 0 || at(c) >= classes.size()) {
      throw std::invalid_argument(fmt::format(
          "summarize: expected rare classes in [0, {}), but got {}",
          classes.size(),
          c));
    }
  }
  std::set<std::tuple<std::string, int64_t, int64_t, std::string>> seen;
  std::vector<std::string> names;
  for (const auto& run : runs) {
    check_run(run, classes.size());
    if (!seen.emplace(run.arm, run.fold, run.seed, run.test_set).second) {
      throw std::invalid_argument(name_of(run) + " is there twice");
    }
    add_unless_there(names, run.test_set);
  }
  for (const auto& name : names) {
    summary.tests.push_back(summarize_test(name, runs, summary));
  }
  return summary;
}

} // namespace trainer
