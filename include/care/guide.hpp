// Guide: map, regions and loss put together for a training loop.
//
// Its parts, in the order of a step:
//   capture.hpp         a forward -> Seen: logits, and the features behind them
//   guide/head.hpp      the same of features and a head handed over
//   guide/options.hpp   what a guide can be told
//   guide/batch.hpp     do logits, target, boxes and options fit together?
//   guide/guided.hpp    which images are guided, for which class, by which
//   boxes guide/attended.hpp  their maps, regions and losses guide/balance.hpp
//   how strong that loss shall be, by the gradients guide/figures.hpp   the
//   total, and the figures to log guide/audit.hpp     does the loss reach the
//   network?
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_HPP
#define CARE_GUIDE_HPP

#include <care/attention.hpp>
#include <care/boxes.hpp>
#include <care/capture.hpp>
#include <care/detail/at_least_float.hpp>
#include <care/guide/attended.hpp>
#include <care/guide/audit.hpp>
#include <care/guide/balance.hpp>
#include <care/guide/batch.hpp>
#include <care/guide/figures.hpp>
#include <care/guide/guided.hpp>
#include <care/guide/head.hpp>
#include <care/guide/options.hpp>
#include <care/loss.hpp>
#include <care/rasterize.hpp>
#include <care/schedule.hpp>

#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/serialize/archive.h>
#include <torch/types.h>
#include <torch/utils.h>

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
  ///
  /// While the attention loss is off (strength, alpha or weight 0), a frozen
  /// backbone is no error: what it returns has no gradient history, so that the
  /// features stay undefined; `loss` is then that of the classification, and
  /// `evaluate` and `audit` report that nothing was guided.
  template <class Forward>
  auto watch(Forward&& forward) const {
    check_not_frozen();
    return detail::capture(
        forward, options_.target_layers(), torch::nullopt, frozen_backbone());
  }
  /// The same for a module (also a TorchScript one) and its images.
  template <
      class Module,
      class = std::enable_if_t<
          !std::is_same_v<std::decay_t<Module>, torch::Tensor>>>
  auto watch(Module&& module, const torch::Tensor& images) const {
    check_not_frozen();
    return detail::capture_module(
        module, images, options_.target_layers(), frozen_backbone());
  }

  /// Runs `head` (features -> logits, or a module) on `features` and keeps
  /// both, the logits in float32 at least. Under torch::NoGradGuard the head
  /// alone is recorded, on a detached copy of the handle, so that the attention
  /// figures exist in validation too. With `frozen_statistics` the head must be
  /// a module. It runs once more in `loss`: one that no shared_ptr owns
  /// (`torch::nn::Linear`, `net->head` are owned) must live until then.
  template <class Head>
  Seen watch(const torch::Tensor& features, Head&& head) const {
    if (auto* module = detail::module_in(head)) {
      return watch(features, head, *module);
    }
    check_not_frozen();
    return run(features, head);
  }
  /// The same for a head that is a function: `module` is the one whose
  /// statistics it uses (a network of which the head is a part will do).
  template <class Head>
  Seen watch(
      const torch::Tensor& features,
      Head&& head,
      torch::nn::Module& module) const {
    if (!options_.frozen_statistics()) {
      return run(features, head);
    }
    detail::FrozenStatistics statistics(module); // before this batch moves them
    auto seen = run(features, head);
    seen.frozen_head = [call = detail::kept_head(head),
                        statistics](const torch::Tensor& x) mutable {
      const detail::FrozenMode frozen(statistics);
      return call(x);
    };
    return seen;
  }

  /// The total loss of a batch.
  ///
  /// `classification`: scalar Lc. `target` and `boxes` (N images, in pixels of
  /// the network's input) are best kept on the host; a target on a device costs
  /// one synchronisation. What the head is, the shapes tell:
  ///   logits [N, K], target [N]             one class per image
  ///   logits [N, 1] or [N], target [N, 1]   binary; 0 takes minus the logit.
  ///     or [N], of integers or floats
  ///   logits [N, K], target [N, K] of 0, 1  multi-label: one map for each
  ///                                         guided (image, class) pair
  /// Where several images share a row of logits (bags, crops, videos), say so
  /// by `Seen::rows`: features and boxes are then those of the images, logits
  /// and target those of the rows.
  /// Throws c10::ValueError for shapes that do not fit, for features that are
  /// not on the way to the logits and for options that `seen` does not serve
  /// (frozen_statistics, several target_layers); c10::IndexError for a class
  /// outside [0, K). Warns once of logits that are probabilities.
  GuidedLoss loss(
      const torch::Tensor& classification,
      const Seen& seen,
      const torch::Tensor& target,
      const Boxes& boxes,
      const Accumulation& accumulation = {}) const {
    return total(classification, seen, target, boxes, accumulation, nullptr);
  }

  /// The same with the strength set by the gradients: L = Lc + s w La with w
  /// the weight of `balance`, which takes this batch into its means first.
  /// alpha and weight of the options are not used. Throws c10::ValueError for a
  /// classification loss without a gradient at the features (detached).
  GuidedLoss loss(
      const torch::Tensor& classification,
      const Seen& seen,
      const torch::Tensor& target,
      const Boxes& boxes,
      Balance& balance) const {
    return total(classification, seen, target, boxes, {}, &balance);
  }

  /// The attention figures of a batch, whatever the schedule says: for
  /// validation, also under torch::NoGradGuard (`watch`), and for the control
  /// arm. Arguments and errors as `loss`.
  AttentionFigures evaluate(
      const Seen& seen,
      const torch::Tensor& target,
      const Boxes& boxes) const {
    if (has_nothing_to_guide(seen)) {
      return detail::figures(detail::Attended(), loss_);
    }
    const char* where = "care::Guide::evaluate";
    detail::check_batch(where, seen, target, boxes, options_);
    torch::NoGradGuard no_grad;
    return detail::figures(attend(where, seen, target, boxes), loss_);
  }

  /// Whether the attention loss of a batch really reaches `parameters` (those
  /// that are trained): see `Audit`. Call it before `backward`, once in a
  /// while: it costs two backward passes through the network. Changes nothing,
  /// and throws only for arguments that do not fit, as `loss`.
  ///
  ///   auto audit = guide.audit(Lc, seen, target, boxes, net->parameters());
  ///   fmt::print("{}\n", audit.str());
  Audit audit(
      const torch::Tensor& classification,
      const Seen& seen,
      const torch::Tensor& target,
      const Boxes& boxes,
      const std::vector<torch::Tensor>& parameters) const {
    Audit result;
    if (has_nothing_to_guide(seen)) {
      result.batches = 1;
      result.add_inert("the backbone is frozen, and the attention loss is off");
    } else {
      result = detail::audit_batch(
          map_,
          loss_,
          options_,
          classification,
          seen,
          target,
          boxes,
          parameters);
    }
    result.strength = schedule_.strength();
    return result;
  }

  /// How many maps of a batch are guided: images, or of multi-label data
  /// (image, class) pairs (see `Accumulation`). `rows` as in `Seen`.
  int64_t count(
      const torch::Tensor& target,
      const Boxes& boxes,
      const torch::Tensor& rows = {}) const {
    size_t pairs = 0;
    for (const auto& round : detail::guided_images(
             "care::Guide::count",
             target,
             boxes,
             rows,
             options_.classes(),
             torch::nullopt)) {
      pairs += round.images.size();
    }
    return static_cast<int64_t>(pairs);
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
  GuidedLoss total(
      const torch::Tensor& classification,
      const Seen& seen,
      const torch::Tensor& target,
      const Boxes& boxes,
      const Accumulation& accumulation,
      Balance* balance) const {
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
    const bool additive = balance != nullptr || options_.weight().has_value();
    const double strength = schedule_.strength();
    const double weight = strength *
        (balance != nullptr ? 1.0
             : additive     ? *options_.weight()
                            : options_.alpha());
    GuidedLoss result;
    result.classification = classification.detach();
    result.strength = strength;
    result.total =
        additive ? classification : (1 - options_.alpha()) * classification;
    if (weight == 0 && has_nothing_to_guide(seen)) {
      result.attention = detail::figures(detail::Attended(), loss_);
      return result;
    }
    detail::check_batch(where, seen, target, boxes, options_);
    const auto attended =
        weight == 0 ? detail::Attended() : attend(where, seen, target, boxes);
    if (attended.pairs() > 0) {
      TORCH_CHECK_VALUE(
          attended.per_image.requires_grad() || !torch::GradMode::is_enabled(),
          where,
          ": expected an attention loss with a gradient history, but the map "
          "or the loss policy detached it");
      const auto count = accumulation.guided > 0
          ? static_cast<double>(accumulation.guided) /
              static_cast<double>(accumulation.steps)
          : static_cast<double>(attended.pairs());
      auto attention = weight * (attended.per_image.sum() / count);
      if (balance != nullptr) {
        auto features = seen.more;
        features.push_back(seen.features);
        // Without the schedule's share: a warm-up shall not be undone.
        balance->update(classification, attention / weight, features);
        attention = balance->weight() * attention;
      }
      result.total = result.total + attention;
    }
    result.attention = detail::figures(attended, loss_);
    return result;
  }

  /// Whether the loss has no attention in it, whatever the batch.
  bool is_off() const {
    return schedule_.strength() == 0 ||
        (options_.weight() ? *options_.weight() : options_.alpha()) == 0;
  }

  detail::Frozen frozen_backbone() const {
    return is_off() ? detail::Frozen::kNoFeatures : detail::Frozen::kRefuse;
  }

  /// A network with a frozen backbone, watched while the loss is off.
  bool has_nothing_to_guide(const Seen& seen) const {
    return is_off() && !seen.features.defined();
  }

  void check_not_frozen() const {
    TORCH_CHECK_VALUE(
        !options_.frozen_statistics(),
        "care::Guide::watch: expected the head as a module, because of "
        "frozen_statistics, but got a function; use watch(features, module) or "
        "watch(features, function, module)");
  }

  template <class Head>
  Seen run(const torch::Tensor& features, Head& head) const {
    TORCH_CHECK_VALUE(
        !c10::InferenceMode::is_enabled(),
        "care::Guide::watch: expected to record the head, but "
        "c10::InferenceMode is on, which no guard undoes: use "
        "torch::NoGradGuard");
    const auto& layers = options_.target_layers();
    TORCH_CHECK_VALUE(
        layers.size() == 1 && layers[0].is_default(),
        "care::Guide::watch: expected a forward to choose a map from, because "
        "of target_layers, but got features by hand");
    const bool recording = torch::GradMode::is_enabled();
    const auto known =
        recording ? features : features.detach().requires_grad_();
    torch::AutoGradMode record(true);
    return {detail::at_least_float(detail::run_head(head, known)), known};
  }

  detail::Attended attend(
      const char* where,
      const Seen& seen,
      const torch::Tensor& target,
      const Boxes& boxes) const {
    return detail::attend(where, map_, loss_, options_, seen, target, boxes);
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
