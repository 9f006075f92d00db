// Guide: map, regions and loss put together for a training loop.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_HPP
#define CARE_GUIDE_HPP

#include <care/attention.hpp>
#include <care/boxes.hpp>
#include <care/capture.hpp>
#include <care/guide/figures.hpp>
#include <care/guide/options.hpp>
#include <care/loss.hpp>
#include <care/rasterize.hpp>
#include <care/schedule.hpp>

#include <torch/serialize/archive.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

namespace care {

/// Adds the attention loss to a training loop.
///
///   L = (1 - alpha) Lc + alpha s La      (or Lc + weight s La)
///
/// with s the schedule's strength and La the loss of the guided images' maps,
/// averaged over them. Guided are the images that have boxes and whose class is
/// listed. The factor of Lc never depends on the batch or on the schedule: a
/// batch without a guided image gives (1 - alpha) Lc, and costs nothing more.
/// The control "no attention" is s = 0: `schedule(ScheduleOptions().start(
/// ScheduleOptions::kManual))`, and no `begin`.
///
/// Policies, both plain callables:
///   Map   (features [G, C, h, w], gradients [G, C, h, w]) -> maps [G, h, w]
///   Loss  (maps [G, h, w], const RegionWeights&) -> [G], one value per image
/// where the gradients are those of the true-class scores (score_gradients).
///
/// Parameters' `.grad` changes only in `loss.backward()`. The guide holds no
/// part of the network. Source: P19 eq. 1 (convex form), section 2.3 (stages).
///
///   care::Guide guide(care::GuideOptions().classes({2}).alpha(0.5));
///   auto seen = guide.watch(features, head);
///   auto loss = guide.loss(
///       F::cross_entropy(seen.logits, target), seen, target, boxes);
///   loss.backward();
template <class Map = GradCam, class Loss = CareLoss>
class Guide {
  static_assert(
      std::is_invocable_r_v<
          torch::Tensor,
          const Map&,
          const torch::Tensor&,
          const torch::Tensor&>,
      "care::Guide: Map must be callable as torch::Tensor(features "
      "[G,C,h,w], gradients [G,C,h,w]); see docs/guide.md");
  static_assert(
      std::is_invocable_r_v<
          torch::Tensor,
          const Loss&,
          const torch::Tensor&,
          const RegionWeights&>,
      "care::Guide: Loss must be callable as torch::Tensor(maps [G,h,w], "
      "const care::RegionWeights&); see docs/guide.md");

 public:
  explicit Guide(const GuideOptions& options = {}, Loss loss = {}, Map map = {})
      : options_(options),
        loss_(std::move(loss)),
        map_(std::move(map)),
        schedule_(options.schedule()) {
    detail::check_options("care::Guide", options_);
  }

  /// The CARE loss with its own lambda, tau, normalisation; its reduction is
  /// not used.
  Guide(const GuideOptions& options, const AttentionLossOptions& loss)
      : Guide(options, CareLoss{loss}) {
    detail::check_options("care::Guide", loss);
  }

  /// Runs the forward of a network that knows nothing of this and keeps its
  /// logits with the features behind them: `capture`, which see.
  template <class Forward>
  Seen watch(Forward&& forward) const {
    return capture(std::forward<Forward>(forward), options_.capture());
  }

  /// Runs `head` (features -> logits, or a module) on `features` and keeps
  /// both. Under torch::NoGradGuard the head alone is recorded, on a detached
  /// copy of the handle, so that the attention figures exist in validation too.
  template <class Head>
  Seen watch(const torch::Tensor& features, Head&& head) const {
    if (torch::GradMode::is_enabled()) {
      return {head(features), features};
    }
    torch::AutoGradMode record(true);
    auto leaf = features.detach().requires_grad_();
    return {head(leaf), leaf};
  }

  /// The total loss of a batch.
  ///
  /// `classification`: scalar Lc. `target` [N] int64 and `boxes` (N images, in
  /// pixels of the network's input) are best kept on the host; a target on a
  /// device costs one synchronisation.
  /// Throws c10::ValueError for shapes that do not fit and for features that
  /// are not on the way to the logits, c10::IndexError for a class outside
  /// [0, K).
  GuidedLoss loss(
      const torch::Tensor& classification,
      const Seen& seen,
      const torch::Tensor& target,
      const Boxes& boxes,
      const Accumulation& accumulation = {}) const {
    const char* where = "care::Guide::loss";
    TORCH_CHECK_VALUE(
        classification.defined() && classification.dim() == 0,
        where,
        ": expected the classification loss as a scalar, but got ",
        detail::sizes_of(classification));
    TORCH_CHECK_VALUE(
        accumulation.steps > 0 && accumulation.guided >= 0,
        where,
        ": expected accumulation steps > 0 and guided >= 0, but got ",
        accumulation.steps,
        " and ",
        accumulation.guided);
    const bool additive = options_.weight().has_value();
    const double strength = schedule_.strength();
    const double weight =
        strength * (additive ? *options_.weight() : options_.alpha());
    GuidedLoss result;
    result.classification = classification.detach();
    result.strength = strength;
    result.total =
        additive ? classification : (1 - options_.alpha()) * classification;
    auto rows = check_batch(where, seen, target, boxes);
    if (weight == 0) {
      rows.clear();
    }
    auto attended = attend(rows, seen, target, boxes);
    if (!rows.empty()) {
      TORCH_CHECK_VALUE(
          attended.per_image.requires_grad() || !torch::GradMode::is_enabled(),
          where,
          ": expected an attention loss with a gradient history, but the map "
          "or the loss policy detached it");
      const auto count = accumulation.guided > 0
          ? static_cast<double>(accumulation.guided) /
              static_cast<double>(accumulation.steps)
          : static_cast<double>(rows.size());
      result.total = result.total + weight * (attended.per_image.sum() / count);
    }
    result.attention = figures(attended);
    return result;
  }

  /// The attention figures of a batch, whatever the schedule says: for
  /// validation, also under torch::NoGradGuard (`watch`), and for the control
  /// arm. Arguments and errors as `loss`.
  AttentionFigures evaluate(
      const Seen& seen,
      const torch::Tensor& target,
      const Boxes& boxes) const {
    auto rows = check_batch("care::Guide::evaluate", seen, target, boxes);
    torch::NoGradGuard no_grad;
    return figures(attend(rows, seen, target, boxes));
  }

  /// How many images of a batch are guided (see `Accumulation`).
  int64_t count(const torch::Tensor& target, const Boxes& boxes) const {
    return static_cast<int64_t>(guided(target, boxes).size());
  }

  /// Counts one epoch (or step) of the schedule.
  void advance() {
    schedule_.advance();
  }
  /// Turns the attention loss on: stage 2 begins.
  void begin() {
    schedule_.begin();
  }
  const Schedule& schedule() const {
    return schedule_;
  }
  const GuideOptions& options() const {
    return options_;
  }

  /// `torch::save(guide, path)` and `torch::load` keep the schedule's state.
  friend torch::serialize::OutputArchive& operator<<(
      torch::serialize::OutputArchive& archive,
      const Guide& guide) {
    guide.schedule_.save(archive);
    return archive;
  }
  friend torch::serialize::InputArchive& operator>>(
      torch::serialize::InputArchive& archive,
      Guide& guide) {
    guide.schedule_.load(archive);
    return archive;
  }

 private:
  struct Attended {
    torch::Tensor maps; // [G, h, w]
    RegionWeights regions;
    torch::Tensor per_image; // [G]
    torch::Tensor boxes; // [G, h, w] the boxes' share of each cell, flat
    torch::Tensor image; // [h, w] the whole image's
  };

  bool listed(int64_t label) const {
    const auto& classes = options_.classes();
    return !classes ||
        std::find(classes->begin(), classes->end(), label) != classes->end();
  }

  /// The images with a box that speaks for their class, if that is guided.
  std::vector<int64_t> guided(const torch::Tensor& target, const Boxes& boxes)
      const {
    std::vector<int64_t> rows;
    if (boxes.count() == 0) {
      return rows;
    }
    auto host = target.to(torch::kCPU, torch::kLong).contiguous();
    auto speaking = boxes.for_classes(host);
    if (speaking.has_weights()) {
      speaking = speaking.filter(speaking.weights() > 0);
    }
    auto counts = speaking.counts().to(torch::kCPU);
    for (int64_t i = 0; i < host.size(0); ++i) {
      if (counts.data_ptr<int64_t>()[i] > 0 &&
          listed(host.data_ptr<int64_t>()[i])) {
        rows.push_back(i);
      }
    }
    return rows;
  }

  std::vector<int64_t> check_batch(
      const char* where,
      const Seen& seen,
      const torch::Tensor& target,
      const Boxes& boxes) const {
    detail::check_features(where, seen.features);
    const auto n = seen.features.size(0);
    TORCH_CHECK_VALUE(
        seen.logits.defined() && seen.logits.dim() == 2 &&
            seen.logits.size(0) == n,
        where,
        ": expected logits of shape [",
        n,
        ", K] beside ",
        n,
        " features, but got ",
        detail::sizes_of(seen.logits));
    const auto classes = seen.logits.size(1);
    detail::check_classes(where, target, n, classes);
    if (options_.classes()) {
      for (auto label : *options_.classes()) {
        TORCH_CHECK_INDEX(
            label < classes,
            where,
            ": expected guided classes in [0, ",
            classes,
            "), but got ",
            label);
      }
    }
    TORCH_CHECK_VALUE(
        boxes.images() == n,
        where,
        ": expected boxes of ",
        n,
        " images, but got those of ",
        boxes.images());
    return guided(target, boxes);
  }

  /// Maps, regions and loss of the images in `rows`.
  Attended attend(
      const std::vector<int64_t>& rows,
      const Seen& seen,
      const torch::Tensor& target,
      const Boxes& boxes) const {
    if (rows.empty()) {
      return {};
    }
    const auto device = seen.features.device();
    auto host_rows = torch::tensor(rows, torch::kLong);
    auto index = host_rows.to(device, /*non_blocking=*/true);
    // Without a graph to extend, the full order has nothing to offer.
    const auto order = torch::GradMode::is_enabled() ? options_.order()
                                                     : GradientOrder::kFirst;
    torch::Tensor gradients;
    {
      torch::AutoGradMode record(true);
      auto scores = class_scores(seen.logits, target).index_select(0, index);
      gradients = score_gradients(seen.features, scores, order);
    }
    Attended result;
    result.maps = map_(
        seen.features.index_select(0, index), gradients.index_select(0, index));
    const auto g = static_cast<int64_t>(rows.size());
    TORCH_CHECK_VALUE(
        result.maps.defined() && result.maps.dim() == 3 &&
            result.maps.size(0) == g,
        "care::Guide: expected the map policy to return [",
        g,
        ", h, w], but got ",
        detail::sizes_of(result.maps));
    const Size map_size{result.maps.size(1), result.maps.size(2)};
    const auto& raster = options_.raster();
    auto chosen =
        boxes.for_classes(target).select(host_rows.to(boxes.device()));
    result.regions = rasterize(chosen, map_size, raster).to(device);
    result.boxes = result.regions.inside;
    if (chosen.has_weights()) {
      auto flat = chosen.filter(chosen.weights() > 0);
      flat = flat.with_weights(torch::ones_like(flat.weights()));
      result.boxes = rasterize(flat, map_size, raster).inside.to(device);
    }
    result.image = detail::image_to_cells(
        boxes.size(), map_size, raster.mode(), result.boxes);
    result.per_image = loss_(result.maps, result.regions);
    detail::check_shape(
        "care::Guide", "the loss policy's result", result.per_image, {g});
    return result;
  }

  static AttentionFigures figures(const Attended& attended) {
    AttentionFigures result;
    if (!attended.maps.defined()) {
      auto zero = torch::zeros({});
      result.loss = result.inner = result.outer = result.inside_share = zero;
      result.flat = torch::zeros({}, torch::kLong);
      return result;
    }
    torch::NoGradGuard no_grad;
    auto maps = attended.maps.detach();
    auto terms = attention_terms(maps, attended.regions);
    auto positive = normalise(maps, Normalisation::kSum).maps;
    auto sum = [&](const torch::Tensor& weights) {
      return (positive * weights.to(positive.scalar_type())).sum({1, 2});
    };
    auto inside = sum(attended.boxes);
    auto all = sum(attended.image);
    auto share = inside / torch::where(all > 0, all, torch::ones_like(all));
    result.loss = attended.per_image.detach().mean();
    result.inner = terms.inner.mean();
    result.outer = terms.outer.mean();
    result.inside_share = share.sum() / (all > 0).sum().clamp_min(1);
    result.flat = terms.flat.sum();
    result.guided = attended.maps.size(0);
    return result;
  }

  GuideOptions options_;
  Loss loss_;
  Map map_;
  Schedule schedule_;
};

Guide(const GuideOptions&, const AttentionLossOptions&)
    ->Guide<GradCam, CareLoss>;
Guide()->Guide<GradCam, CareLoss>;

} // namespace care

#endif // CARE_GUIDE_HPP
