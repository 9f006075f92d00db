// ConfusionMatrix: recall, precision, F1, MCA and a table of them.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_METRICS_CONFUSION_HPP
#define CARE_METRICS_CONFUSION_HPP

#include <care/detail/check.hpp>

#include <fmt/format.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace care {

/// Counts of true against predicted classes, and the figures that follow.
///
/// Counts live on the host. A figure that divides by zero is NaN: the recall of
/// a class that does not occur, the precision of one that is never predicted.
///
///   care::ConfusionMatrix matrix(3);
///   matrix.update(targets, logits.argmax(1)); // once for each batch
///   double mca = matrix.mca();
///   fmt::print("{}", matrix.to_string({"mole", "cyst", "wart"}));
class ConfusionMatrix {
 public:
  /// Throws c10::ValueError for fewer than one class.
  explicit ConfusionMatrix(int64_t classes) {
    TORCH_CHECK_VALUE(
        classes > 0,
        "care::ConfusionMatrix: expected at least 1 class, but got ",
        classes);
    counts_ = torch::zeros({classes, classes}, torch::kLong);
  }

  /// Counts `[N]` integer targets and predictions, on any device (a device
  /// tensor is copied to the host). Throws c10::IndexError for a class outside
  /// [0, K); then nothing is counted.
  void update(const torch::Tensor& targets, const torch::Tensor& predictions) {
    const auto row = checked("targets", targets);
    const auto column = checked("predictions", predictions);
    TORCH_CHECK_VALUE(
        row.size(0) == column.size(0),
        "care::ConfusionMatrix::update: expected as many predictions as "
        "targets, but got ",
        column.size(0),
        " and ",
        row.size(0));
    const auto k = classes();
    counts_ = counts_ + // not in place: copies share the tensor
        torch::bincount(row * k + column, {}, k * k).view({k, k});
  }

  /// Adds `[K, K]` integer counts, rows true and columns predicted.
  void add(const torch::Tensor& counts) {
    const char* where = "care::ConfusionMatrix::add";
    detail::check_shape(where, "counts", counts, {classes(), classes()});
    detail::check_integral(where, "counts", counts);
    const auto host = counts.to(torch::kCPU, torch::kLong);
    TORCH_CHECK_VALUE(
        (host >= 0).all().item<bool>(),
        where,
        ": expected counts of at least 0, but got ",
        host.min().item<int64_t>());
    counts_ = counts_ + host;
  }

  /// Adds the counts of another matrix over the same classes.
  void merge(const ConfusionMatrix& other) {
    add(other.counts_);
  }

  /// K.
  int64_t classes() const {
    return counts_.size(0);
  }

  /// `[K, K]` int64 on the host, rows true and columns predicted; a copy.
  torch::Tensor counts() const {
    return counts_.clone();
  }

  /// `[K]` double, TP / (TP + FN).
  torch::Tensor recall() const {
    return hits() / true_totals();
  }

  /// `[K]` double, TP / (TP + FP).
  torch::Tensor precision() const {
    return hits() / predicted_totals();
  }

  /// `[K]` double, 2 TP / (2 TP + FP + FN): 0, not NaN, for a class that occurs
  /// and is never found.
  torch::Tensor f1() const {
    return 2 * hits() / (true_totals() + predicted_totals());
  }

  /// `[K]` double, TN / (TN + FP): the share of the other classes' images that
  /// are not taken for this one.
  torch::Tensor specificity() const {
    const auto others = counts_.sum().to(torch::kDouble) - true_totals();
    return (others - (predicted_totals() - hits())) / others;
  }

  /// Mean class accuracy: the mean recall of the classes that occur (balanced
  /// accuracy). NaN when nothing was counted.
  double mca() const {
    const auto r = recall();
    return r.masked_select(r.isfinite()).mean().item<double>();
  }

  /// The share of images that were classified rightly. NaN when nothing was
  /// counted.
  double accuracy() const {
    const auto total = counts_.sum().to(torch::kDouble);
    return (hits().sum() / total).item<double>();
  }

  /// A table for people: a row for each true class with its counts and recall,
  /// then precision, MCA and accuracy. Names default to the class indices.
  std::string to_string(std::vector<std::string> class_names = {}) const {
    const auto k = classes();
    if (class_names.empty()) {
      for (int64_t i = 0; i < k; ++i) {
        class_names.push_back(fmt::format("{}", i));
      }
    }
    TORCH_CHECK_VALUE(
        static_cast<int64_t>(class_names.size()) == k,
        "care::ConfusionMatrix::to_string: expected ",
        k,
        " class names, but got ",
        class_names.size());
    const std::string corner = "true \\ predicted";
    size_t first = corner.size();
    for (const auto& name : class_names) {
      first = std::max(first, name.size());
    }
    auto text = fmt::format("{:<{}}", corner, first);
    for (const auto& name : class_names) {
      text += fmt::format("  {:>{}}", name, column_width(name));
    }
    text += "  recall\n";
    const auto rows = recall(), columns = precision();
    for (int64_t i = 0; i < k; ++i) {
      text += fmt::format("{:<{}}", class_names[index(i)], first);
      for (int64_t j = 0; j < k; ++j) {
        text += fmt::format(
            "  {:>{}}",
            counts_[i][j].item<int64_t>(),
            column_width(class_names[index(j)]));
      }
      text += fmt::format("  {:>6}\n", figure(rows[i].item<double>()));
    }
    text += fmt::format("{:<{}}", "precision", first);
    for (int64_t j = 0; j < k; ++j) {
      text += fmt::format(
          "  {:>{}}",
          figure(columns[j].item<double>()),
          column_width(class_names[index(j)]));
    }
    return text +
        fmt::format(
               "\nMCA {}, accuracy {}\n", figure(mca()), figure(accuracy()));
  }

 private:
  static size_t index(int64_t i) {
    return static_cast<size_t>(i);
  }
  static size_t column_width(const std::string& name) {
    return std::max<size_t>(name.size(), 6);
  }
  static std::string figure(double x) {
    return std::isnan(x) ? std::string("-") : fmt::format("{:.3f}", x);
  }

  torch::Tensor hits() const {
    return counts_.diag().to(torch::kDouble);
  }
  torch::Tensor true_totals() const {
    return counts_.sum(1).to(torch::kDouble);
  }
  torch::Tensor predicted_totals() const {
    return counts_.sum(0).to(torch::kDouble);
  }

  torch::Tensor checked(const char* name, const torch::Tensor& labels) const {
    const char* where = "care::ConfusionMatrix::update";
    detail::check_integral(where, name, labels);
    TORCH_CHECK_VALUE(
        labels.dim() == 1,
        where,
        ": expected ",
        name,
        " of shape [N], but got ",
        labels.sizes());
    auto host = labels.to(torch::kCPU, torch::kLong);
    detail::check_in_range(where, name, name, host, 0, classes());
    return host;
  }

  torch::Tensor counts_; // [K, K] int64, host
};

} // namespace care

#endif // CARE_METRICS_CONFUSION_HPP
