// The figures of networks: of one, and of many with their intervals.
// SPDX-License-Identifier: Apache-2.0
#include "study/figures.hpp"

#include <care/metrics/bootstrap.hpp>
#include <care/metrics/comparison.hpp>

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace study {
namespace {

using torch::Tensor;

/// What units said of images, each image once.
struct Sheet {
  std::map<std::string, int64_t> place; // of each image
  Tensor target, subgroup; // [N]
  Tensor hits, epg; // [S, N], NaN where there is none

  explicit Sheet(const std::vector<Answers>& units) {
    std::vector<int64_t> targets, subgroups;
    for (const auto& answers : units) {
      for (const auto& a : answers) {
        const auto next = static_cast<int64_t>(targets.size());
        if (place.emplace(a.id, next).second) {
          targets.push_back(a.target);
          subgroups.push_back(a.subgroup);
        }
      }
    }
    target = torch::tensor(targets, torch::kLong);
    subgroup = torch::tensor(subgroups, torch::kLong);
    fill(units);
  }

  /// `units` said something of the images of another sheet alone.
  Sheet(const std::vector<Answers>& units, const Sheet& images)
      : Sheet(images) {
    fill(units);
  }

 private:
  void fill(const std::vector<Answers>& units) {
    const auto s = static_cast<int64_t>(units.size());
    hits = torch::full({s, target.size(0)}, kNaN, torch::kDouble);
    epg = torch::full_like(hits, kNaN);
    auto hit = hits.accessor<double, 2>(), share = epg.accessor<double, 2>();
    for (int64_t unit = 0; unit < s; ++unit) {
      for (const auto& a : units[static_cast<size_t>(unit)]) {
        hit[unit][place.at(a.id)] = a.predicted == a.target ? 1 : 0;
        share[unit][place.at(a.id)] = a.epg;
      }
    }
  }
};

/// The accuracy of the worst of the subgroups, the mean over units.
double worst(
    const Sheet& sheet,
    int64_t subgroups,
    const std::vector<int64_t>& images,
    const std::vector<int64_t>& units) {
  const auto hit = sheet.hits.accessor<double, 2>();
  const auto group = sheet.subgroup.accessor<int64_t, 1>();
  double sum = 0;
  for (const auto unit : units) {
    std::vector<double> right(static_cast<size_t>(subgroups));
    auto count = right;
    for (const auto image : images) {
      if (!std::isnan(hit[unit][image])) {
        const auto g = static_cast<size_t>(group[image]);
        right[g] += hit[unit][image];
        count[g] += 1;
      }
    }
    double least = kNaN;
    for (size_t g = 0; g < right.size(); ++g) {
      least = std::fmin(least, right[g] / count[g]); // 0 / 0 is left out
    }
    sum += least;
  }
  return sum / static_cast<double>(units.size());
}

} // namespace

Figures bootstrap(
    const std::vector<Answers>& units,
    const std::vector<Answers>& less,
    const Measures& of,
    int64_t repeats) {
  const Sheet a(units);
  Sheet b(less, a);
  if (less.empty()) {
    b.hits = b.epg = torch::zeros_like(a.hits);
  }
  if (a.place.empty()) {
    return Figures(of.count());
  }
  const auto options = care::BootstrapOptions().repeats(repeats);
  const auto difference = [&](const Tensor& x,
                              const Tensor& y,
                              const Tensor& group,
                              int64_t groups) {
    return care::paired_differences(x, y, group, groups, options);
  };
  const auto rare = torch::isin(a.target, torch::tensor(of.rare, torch::kLong));
  const auto all = torch::zeros_like(a.target);
  const auto of_rare = [&](const Tensor& x) {
    return x.masked_fill(rare.logical_not(), kNaN);
  };
  Figures figures;
  const auto add = [&](const care::Interval& x) {
    figures.push_back({x.value, x.low, x.high});
  };
  const auto recalls = difference(a.hits, b.hits, a.target, of.classes);
  add(recalls.macro);
  add(difference(a.hits, b.hits, all, 1).macro);
  add(difference(of_rare(a.hits), b.hits, a.target, of.classes).macro);
  add(difference(a.epg, b.epg, all, 1).macro);
  for (const auto& recall : recalls.by_group) {
    add(recall);
  }
  add(difference(of_rare(a.epg), b.epg, all, 1).macro);
  if (const auto n = of.subgroups; n > 0) {
    for (const auto& accuracy :
         difference(a.hits, b.hits, a.subgroup, n).by_group) {
      add(accuracy);
    }
    add(care::bootstrap_interval(
        [&](const auto& images, const auto& drawn) {
          return worst(a, n, images, drawn) - worst(b, n, images, drawn);
        },
        a.target.size(0),
        a.hits.size(0),
        options));
  }
  return figures;
}

std::vector<double> figures_of(
    const std::vector<Answers>& units,
    const Measures& of,
    const std::vector<Answers>& less) {
  std::vector<double> values;
  for (const auto& figure : bootstrap(units, less, of, 2)) {
    values.push_back(figure.value);
  }
  return values;
}

Figures t_intervals(
    const std::vector<std::vector<double>>& differences,
    double test_over_train) {
  // The formula wants a ratio above 0: this one adds nothing to 1 / J.
  const double ratio =
      std::max(test_over_train, std::numeric_limits<double>::min());
  Figures figures(differences.empty() ? 0 : differences[0].size());
  for (size_t i = 0; i < figures.size(); ++i) {
    std::vector<double> finite;
    for (const auto& difference : differences) {
      if (std::isfinite(difference[i])) {
        finite.push_back(difference[i]);
      }
    }
    if (finite.size() >= 2) {
      const auto x = care::corrected_resampled_t(finite, ratio);
      figures[i] = {x.value, x.low, x.high};
    }
  }
  return figures;
}

} // namespace study
