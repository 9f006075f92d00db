// What a guide can be told: which classes, how strongly, when.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_OPTIONS_HPP
#define CARE_GUIDE_OPTIONS_HPP

#include <care/attention.hpp>
#include <care/capture/target_layer.hpp>
#include <care/guide/ranks.hpp>
#include <care/rasterize.hpp>
#include <care/schedule.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/types.h>

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace care {

/// The classes that make up less than `share` (0 to 1) of the data; `counts`
/// holds the number of images of each class. For `GuideOptions::classes`.
inline std::vector<int64_t> classes_rarer_than(
    double share,
    const std::vector<int64_t>& counts) {
  TORCH_CHECK_VALUE(
      share > 0 && share <= 1,
      "care::classes_rarer_than: expected a share in (0, 1], but got ",
      share);
  double total = 0;
  for (auto count : counts) {
    TORCH_CHECK_VALUE(
        count >= 0,
        "care::classes_rarer_than: expected counts of at least 0, but got ",
        count);
    total += static_cast<double>(count);
  }
  std::vector<int64_t> rare;
  for (size_t k = 0; k < counts.size(); ++k) {
    if (static_cast<double>(counts[k]) < share * total) {
      rare.push_back(static_cast<int64_t>(k));
    }
  }
  return rare;
}

/// Options of `Guide`.
class GuideOptions {
 public:
  /// The guided classes. Not called: every class whose images have regions. An
  /// empty list guides nothing.
  GuideOptions& classes(std::vector<int64_t> classes) {
    classes_ = std::move(classes);
    return *this;
  }
  const torch::optional<std::vector<int64_t>>& classes() const {
    return classes_;
  }

  /// Which maps `watch` takes from a forward that is not split by hand; the
  /// maps of several are fused. Features by hand take the layout of a single
  /// one (tokens, channels_last). Default: the last one.
  GuideOptions& target_layers(TargetLayers layers) {
    target_layers_ = std::move(layers);
    return *this;
  }
  const TargetLayers& target_layers() const {
    return target_layers_;
  }

  /// The paper's convex form: L = (1 - alpha) Lc + alpha La. Default: 0.5.
  TORCH_ARG(double, alpha) = 0.5;
  /// The additive form, if given: L = Lc + weight La; alpha is then not used.
  TORCH_ARG(torch::optional<double>, weight) = torch::nullopt;
  /// Which parameters La can move. Default: GradientOrder::kFirst.
  TORCH_ARG(GradientOrder, order) = GradientOrder::kFirst;
  /// What of its class an image's map is of: the logit, or the margin over the
  /// strongest other class (see `class_scores`). Of a binary head both are the
  /// same; multi-label data has no margin. Default: Score::kLogit.
  TORCH_ARG(Score, score) = Score::kLogit;
  /// How boxes and masks become weights.
  TORCH_ARG(RasterizeOptions, raster);
  /// How the maps of several layers become one. Default: Fusion::kMean.
  TORCH_ARG(Fusion, fusion) = Fusion::kMean;
  /// Take the maps' scores from the head in evaluation mode: without dropout,
  /// and with the running statistics that its BatchNorm1d to 3d had before the
  /// batch. Then, given the features, an image's map does not depend on the
  /// other images of the batch. The logits stay those of the mode the head is
  /// in. For `watch(features, head)` alone; costs one more pass of the
  /// features through the head in each `loss`, `evaluate` and `audit`: what a
  /// function refers to must live until then. Default: false.
  TORCH_ARG(bool, frozen_statistics) = false;
  /// When La is on.
  TORCH_ARG(ScheduleOptions, schedule);
  /// Where several processes train one network, each on a share of the batch,
  /// and then average their gradients: what adds a tensor up over all of them.
  /// La is then the mean over the guided images of all shares, and `Balance`
  /// sees the gradients of the whole batch. Each process must call `loss` for
  /// each of its batches, also for one without a guided image. It is given
  /// tensors on the host, by `Balance` on the network's device. Costs a small
  /// sum over the processes per batch, and waits for it. Default: none.
  TORCH_ARG(SumOverRanks, sum_over_ranks);

 private:
  torch::optional<std::vector<int64_t>> classes_;
  TargetLayers target_layers_{TargetLayer()};
};

namespace detail {

inline void check_options(const char* where, const GuideOptions& options) {
  TORCH_CHECK_VALUE(
      options.alpha() >= 0 && options.alpha() <= 1,
      where,
      ": expected alpha in [0, 1], but got ",
      options.alpha());
  TORCH_CHECK_VALUE(
      !options.weight() ||
          (std::isfinite(*options.weight()) && *options.weight() >= 0),
      where,
      ": expected a weight of at least 0, but got ",
      options.weight().value_or(0));
  check_options(where, options.raster());
  check_layers(where, options.target_layers());
  if (options.classes()) {
    for (auto label : *options.classes()) {
      TORCH_CHECK_INDEX(
          label >= 0, where, ": expected classes >= 0, but got ", label);
    }
  }
}

} // namespace detail

} // namespace care

#endif // CARE_GUIDE_OPTIONS_HPP
