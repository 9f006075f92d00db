// The figures of networks: of one, and of many with their intervals.
// SPDX-License-Identifier: Apache-2.0
#include "study/figures.hpp"

#include <care/metrics/bootstrap.hpp>
#include <care/metrics/comparison.hpp>
#include <care/metrics/confusion.hpp>

#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

namespace study {
namespace {

using torch::Tensor;

Interval to_interval(const care::Interval& x) {
  return {x.value, x.low, x.high};
}

/// The images of several units, each once.
struct Images {
  std::map<std::string, int64_t> place;
  std::vector<int64_t> target, subgroup;

  explicit Images(const std::vector<Answers>& units) {
    for (const auto& answers : units) {
      for (const auto& a : answers) {
        if (place.emplace(a.id, static_cast<int64_t>(target.size())).second) {
          target.push_back(a.target);
          subgroup.push_back(a.subgroup);
        }
      }
    }
  }
};

/// [S, N]: a figure of each unit and image, NaN where there is none.
template <class FigureOf>
Tensor matrix(
    const std::vector<Answers>& units,
    const Images& images,
    const FigureOf& figure_of) {
  const auto s = static_cast<int64_t>(units.size());
  const auto n = static_cast<int64_t>(images.target.size());
  auto result = torch::full({s, n}, kNaN, torch::kDouble);
  auto* row = result.data_ptr<double>();
  for (const auto& answers : units) {
    for (const auto& a : answers) {
      row[images.place.at(a.id)] = figure_of(a);
    }
    row += n;
  }
  return result;
}

double hit(const Answer& a) {
  return a.predicted == a.target ? 1 : 0;
}

double epg(const Answer& a) {
  return a.epg;
}

/// The accuracy of the worst subgroup, the mean over units.
double worst(
    const Tensor& hits, // [S, N]
    const std::vector<int64_t>& subgroup,
    int64_t subgroups,
    const std::vector<int64_t>& images,
    const std::vector<int64_t>& units) {
  const auto* first = hits.data_ptr<double>();
  double sum = 0;
  for (const auto unit : units) {
    const auto size = static_cast<size_t>(subgroups);
    std::vector<double> right(size), count(size);
    for (const auto image : images) {
      const double x = first[unit * hits.size(1) + image];
      if (!std::isnan(x)) {
        const auto g =
            static_cast<size_t>(subgroup[static_cast<size_t>(image)]);
        right[g] += x;
        count[g] += 1;
      }
    }
    double least = kNaN;
    for (size_t g = 0; g < size; ++g) {
      least = count[g] > 0 ? std::fmin(least, right[g] / count[g]) : least;
    }
    sum += least;
  }
  return sum / static_cast<double>(units.size());
}

} // namespace

std::vector<double> figures_of(const Answers& answers, const Measures& of) {
  std::vector<int64_t> targets, predicted;
  const auto groups = static_cast<size_t>(of.subgroups);
  std::vector<double> right(groups), count(groups);
  std::array<double, 2> attention{}, maps{}; // of all, of the rare classes
  for (const auto& a : answers) {
    targets.push_back(a.target);
    predicted.push_back(a.predicted);
    const bool is_rare =
        std::count(of.rare.begin(), of.rare.end(), a.target) > 0;
    for (size_t i = 0; !std::isnan(a.epg) && i < (is_rare ? 2 : 1); ++i) {
      attention[i] += a.epg;
      maps[i] += 1;
    }
    if (of.subgroups > 0) {
      right[static_cast<size_t>(a.subgroup)] += hit(a);
      count[static_cast<size_t>(a.subgroup)] += 1;
    }
  }
  care::ConfusionMatrix matrix(of.classes);
  matrix.update(
      torch::tensor(targets, torch::kLong),
      torch::tensor(predicted, torch::kLong));
  const auto recall = matrix.recall().to(torch::kDouble).contiguous();
  const auto rare =
      recall.index_select(0, torch::tensor(of.rare, torch::kLong));
  const auto known = rare.masked_select(rare.isfinite());
  std::vector<double> figures{
      matrix.mca(),
      matrix.accuracy(),
      known.mean().item<double>(),
      attention[0] / maps[0]};
  const auto* first = recall.data_ptr<double>();
  figures.insert(figures.end(), first, first + of.classes);
  figures.push_back(attention[1] / maps[1]);
  if (groups > 0) {
    double least = kNaN;
    for (size_t g = 0; g < groups; ++g) {
      figures.push_back(right[g] / count[g]);
      least = std::fmin(least, figures.back());
    }
    figures.push_back(least);
  }
  return figures;
}

Figures bootstrap(
    const std::vector<Answers>& units,
    const std::vector<Answers>* less,
    const Measures& of) {
  const Images images(units);
  const auto target = torch::tensor(images.target, torch::kLong);
  const auto difference = [&](const auto& figure_of,
                              const Tensor& group,
                              int64_t groups,
                              const Tensor& left_out) {
    auto x = matrix(units, images, figure_of);
    const auto y = less != nullptr ? matrix(*less, images, figure_of)
                                   : torch::zeros_like(x);
    if (left_out.defined()) {
      x.masked_fill_(left_out.unsqueeze(0), kNaN);
    }
    return care::paired_differences(x, y, group, groups);
  };
  auto is_rare = torch::zeros({of.classes}, torch::kBool);
  for (const auto label : of.rare) {
    is_rare[label] = true;
  }
  const auto common = is_rare.index_select(0, target).logical_not();
  const auto together = torch::zeros_like(target);
  const auto recalls = difference(hit, target, of.classes, {});
  Figures figures{
      to_interval(recalls.macro),
      to_interval(difference(hit, together, 1, {}).macro),
      to_interval(difference(hit, target, of.classes, common).macro),
      to_interval(difference(epg, together, 1, {}).macro)};
  for (const auto& recall : recalls.by_group) {
    figures.push_back(to_interval(recall));
  }
  figures.push_back(to_interval(difference(epg, together, 1, common).macro));
  if (of.subgroups > 0) {
    const auto group = torch::tensor(images.subgroup, torch::kLong);
    for (const auto& accuracy :
         difference(hit, group, of.subgroups, {}).by_group) {
      figures.push_back(to_interval(accuracy));
    }
    const auto x = matrix(units, images, hit);
    const auto y = less != nullptr ? matrix(*less, images, hit) : Tensor();
    const auto n = of.subgroups;
    figures.push_back(to_interval(care::bootstrap_interval(
        [&](const auto& drawn, const auto& of_units) {
          return worst(x, images.subgroup, n, drawn, of_units) -
              (y.defined() ? worst(y, images.subgroup, n, drawn, of_units) : 0);
        },
        x.size(1),
        x.size(0))));
  }
  return figures;
}

Figures corrected_t(
    const std::vector<std::vector<double>>& differences,
    double test_over_train) {
  Figures figures(differences.empty() ? 0 : differences[0].size());
  for (size_t i = 0; i < figures.size(); ++i) {
    std::vector<double> finite;
    for (const auto& difference : differences) {
      if (std::isfinite(difference[i])) {
        finite.push_back(difference[i]);
      }
    }
    if (finite.size() >= 2) {
      figures[i] =
          to_interval(care::corrected_resampled_t(finite, test_over_train));
    }
  }
  return figures;
}

} // namespace study
