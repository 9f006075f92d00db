// What a validation and a test come to: of one class a picture, of several.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_FIGURES_HPP
#define RESNET_TRAINER_FIGURES_HPP

#include "train.hpp"

#include <care/metrics.hpp>

#include <fmt/format.h>
#include <torch/types.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace trainer {

/// Three decimals; "none" for what cannot be had, as the AUC of one class.
inline std::string decimals(double value) {
  return std::isnan(value) ? "none" : fmt::format("{:.3f}", value);
}

inline care::ConfusionMatrix confusion(const Predictions& said) {
  care::ConfusionMatrix matrix(said.probabilities.size(1));
  matrix.update(said.targets, said.probabilities.argmax(1));
  return matrix;
}

/// The area under the ROC curve of each class against the rest, of several
/// labels of each, `[K]`.
inline torch::Tensor auc_of(const Predictions& said) {
  if (said.targets.dim() == 1) {
    return care::one_vs_rest_auc(said.probabilities, said.targets);
  }
  std::vector<torch::Tensor> labels;
  for (int64_t k = 0; k < said.targets.size(1); ++k) {
    const auto p = said.probabilities.select(1, k);
    const auto has = said.targets.select(1, k).to(torch::kLong);
    labels.push_back(
        care::one_vs_rest_auc(torch::stack({1 - p, p}, 1), has)[1]);
  }
  return torch::stack(labels);
}

/// What epochs are compared by: MCA, of several labels the macro AUC.
inline double validation_figure(const Predictions& said) {
  return said.targets.dim() == 1 ? confusion(said).mca()
                                 : care::macro_average(auc_of(said));
}

/// Recalls and the confusion matrix; of several labels the AUC of each.
inline std::string table_of(
    const Predictions& said,
    const std::vector<std::string>& classes) {
  if (said.targets.dim() == 1) {
    return confusion(said).to_string(classes);
  }
  const auto auc = auc_of(said), count = said.targets.sum(0);
  auto table = fmt::format("{:<24}  pictures    AUC\n", "label");
  for (int64_t k = 0; k < auc.size(0); ++k) {
    table += fmt::format(
        "{:<24}  {:8.0f}  {:>5}\n",
        classes[static_cast<size_t>(k)],
        count[k].item<double>(),
        decimals(auc[k].item<double>()));
  }
  return table;
}

} // namespace trainer

#endif // RESNET_TRAINER_FIGURES_HPP
