// Ranking metrics: area under the ROC curve and average precision.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_METRICS_RANKING_HPP
#define CARE_METRICS_RANKING_HPP

#include <care/detail/check.hpp>

#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

namespace care {

namespace detail {

/// Images with equal scores, from the highest score on.
struct ScoreStep {
  double positive = 0;
  double negative = 0;
};

/// The steps of one class: `scores` and `positive` [N] on the host.
inline std::vector<ScoreStep> score_steps(
    const torch::Tensor& scores,
    const torch::Tensor& positive) {
  const auto values = scores.to(torch::kDouble).contiguous();
  const auto truth = positive.to(torch::kBool).contiguous();
  const auto* value = values.data_ptr<double>();
  const auto* is_true = truth.data_ptr<bool>();
  std::vector<int64_t> order(static_cast<size_t>(values.size(0)));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return value[a] > value[b];
  });
  std::vector<ScoreStep> steps;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || value[order[i]] < value[order[i - 1]]) {
      steps.emplace_back();
    }
    (is_true[order[i]] ? steps.back().positive : steps.back().negative) += 1;
  }
  return steps;
}

/// Positives and negatives in all.
inline ScoreStep total(const std::vector<ScoreStep>& steps) {
  ScoreStep sum;
  for (const auto& step : steps) {
    sum.positive += step.positive;
    sum.negative += step.negative;
  }
  return sum;
}

/// The share of (positive, negative) pairs in the right order, equal ones half.
inline double area_under_roc(const std::vector<ScoreStep>& steps) {
  const auto all = total(steps);
  if (all.positive == 0 || all.negative == 0) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  double above = 0, pairs = 0;
  for (const auto& step : steps) {
    pairs += step.negative * (above + step.positive / 2);
    above += step.positive;
  }
  return pairs / (all.positive * all.negative);
}

/// sum over the steps of (rise in recall) * precision.
inline double step_precision(const std::vector<ScoreStep>& steps) {
  const auto all = total(steps);
  if (all.positive == 0) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  double found = 0, taken = 0, sum = 0;
  for (const auto& step : steps) {
    found += step.positive;
    taken += step.positive + step.negative;
    sum += step.positive * found / taken;
  }
  return sum / all.positive;
}

/// `figure` of each class against the rest, `[K]` double on the host.
template <typename Figure>
torch::Tensor one_against_rest(
    const char* where,
    const torch::Tensor& scores,
    const torch::Tensor& targets,
    Figure&& figure) {
  TORCH_CHECK_VALUE(
      scores.defined() && scores.dim() == 2 && scores.size(1) > 0,
      where,
      ": expected scores of shape [N, K], but got ",
      sizes_of(scores));
  check_floating(where, "scores", scores);
  check_shape(where, "targets", targets, {scores.size(0)});
  check_integral(where, "targets", targets);
  const auto k = scores.size(1);
  const auto value = scores.detach().to(torch::kCPU);
  const auto label = targets.to(torch::kCPU, torch::kLong);
  const auto broken = first_false(value.isnan().any(1).logical_not());
  TORCH_CHECK_VALUE(
      broken < 0,
      where,
      ": expected scores that can be compared, but image ",
      broken,
      " has a NaN");
  check_in_range(where, "classes", "targets", label, 0, k);
  auto result = torch::empty({k}, torch::kDouble);
  for (int64_t c = 0; c < k; ++c) {
    result[c] = figure(score_steps(value.select(1, c), label == c));
  }
  return result;
}

} // namespace detail

/// The area under the ROC curve of each class against the rest: the probability
/// that an image of the class scores higher in it than one of another class,
/// equal scores counting half.
///
/// Shapes: scores [N, K] floating, larger for more likely (logits or softmax;
/// the two rank images differently!), targets [N] integers -> [K] double on the
/// host; NaN for a class that none or all of the images have. No gradient.
/// Throws c10::ValueError for wrong shapes and NaN scores, c10::IndexError for
/// a class outside [0, K). Cost: K sorts on the host. The macro average is that
/// of the classes that occur: `macro_average`. Source: Hanley and McNeil 1982;
/// as scikit-learn's roc_auc_score, one against rest.
inline torch::Tensor one_vs_rest_auc(
    const torch::Tensor& scores,
    const torch::Tensor& targets) {
  return detail::one_against_rest(
      "care::one_vs_rest_auc", scores, targets, detail::area_under_roc);
}

/// The average precision of each class against the rest: the sum over falling
/// thresholds of the rise in recall times the precision, not interpolated.
/// Arguments, result and errors as `one_vs_rest_auc`; NaN for a class that does
/// not occur. By chance it is the class's share. As scikit-learn's
/// average_precision_score.
inline torch::Tensor one_vs_rest_average_precision(
    const torch::Tensor& scores,
    const torch::Tensor& targets) {
  return detail::one_against_rest(
      "care::one_vs_rest_average_precision",
      scores,
      targets,
      detail::step_precision);
}

/// The mean of the figures that are not NaN, NaN if none is: macro AUC, macro
/// average precision, macro F1. `per_class`: [K] floating.
inline double macro_average(const torch::Tensor& per_class) {
  const char* where = "care::macro_average";
  detail::check_floating(where, "per_class", per_class);
  const auto values = per_class.detach().to(torch::kDouble);
  return values.masked_select(values.isnan().logical_not())
      .mean()
      .item<double>();
}

} // namespace care

#endif // CARE_METRICS_RANKING_HPP
