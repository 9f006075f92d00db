// Guide: map, regions and loss put together for a training loop.
//
// Its parts, in the order of a step:
//   capture.hpp             a forward -> Seen: logits, and the features behind
//   guide/head.hpp          the same of features and a head handed over
//   guide/options.hpp       what a guide can be told
//   guide/regions.hpp       boxes, masks or weights as one argument
//   guide/batch.hpp         do logits, target, regions, options fit together?
//   guide/guided.hpp        which images are guided, and for which class
//   guide/region_cells.hpp  their regions at the size of their maps
//   guide/attended.hpp      their maps and losses
//   guide/ranks.hpp         several processes that train one network
//   guide/balance.hpp       how strong that loss shall be, by the gradients
//   guide/figures.hpp       the total, and the figures to log
//   guide/audit.hpp         does the loss reach the network?
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_HPP
#define CARE_GUIDE_HPP

#include <care/attention.hpp>
#include <care/capture.hpp>
#include <care/guide/attended.hpp>
#include <care/guide/audit.hpp>
#include <care/guide/balance.hpp>
#include <care/guide/batch.hpp>
#include <care/guide/figures.hpp>
#include <care/guide/guided.hpp>
#include <care/guide/head.hpp>
#include <care/guide/options.hpp>
#include <care/guide/ranks.hpp>
#include <care/guide/regions.hpp>
#include <care/loss.hpp>
#include <care/region_weights.hpp>
#include <care/schedule.hpp>

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
/// averaged over them. Guided are the images that have a region (a box, a mask
/// that is not empty) and whose class is listed. The factor of Lc never depends
/// on the batch or on the schedule: a batch without a guided image gives
/// (1 - alpha) Lc, and costs nothing more. The control "no attention" is s = 0:
/// `schedule(ScheduleOptions().start(ScheduleOptions::kManual))`, no `begin`.
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
    if constexpr (std::is_same_v<Loss, CareLoss>) {
      detail::check_options("care::Guide", loss_.options);
    }
  }

  /// The CARE loss with its own lambda, tau, normalisation; its reduction is
  /// not used.
  Guide(const GuideOptions& options, const AttentionLossOptions& loss)
      : Guide(options, CareLoss{loss}) {}

  /// Runs the forward of a network that knows nothing of this and keeps its
  /// logits with the features behind them: `capture`, which see.
  ///
  /// While the attention loss is off (strength, alpha or weight 0), a frozen
  /// backbone is no error: the features stay undefined, `loss` is that of the
  /// classification, `evaluate` reports that nothing was guided, `audit` why.
  template <class Forward>
  auto watch(Forward&& forward) const {
    detail::check_not_frozen(options_);
    return detail::capture(
        forward, options_.target_layers(), torch::nullopt, frozen_backbone());
  }
  /// The same for a module (also a TorchScript one) and its images.
  template <
      class Module,
      class = std::enable_if_t<
          !std::is_same_v<std::decay_t<Module>, torch::Tensor>>>
  auto watch(Module&& module, const torch::Tensor& images) const {
    detail::check_not_frozen(options_);
    return detail::capture_module(
        module, images, options_.target_layers(), frozen_backbone());
  }

  /// Runs `head` (features -> logits, or a module) on `features` and keeps
  /// both, the logits in float32 at least. Under torch::NoGradGuard the head
  /// alone is recorded, so that the attention figures exist in validation too.
  /// With `frozen_statistics` the head must be a module. It runs once more in
  /// `loss`: one that no shared_ptr owns (`torch::nn::Linear`, `net->head` are
  /// owned) must live until then.
  template <class Head>
  Seen watch(const torch::Tensor& features, Head&& head) const {
    if (auto* module = detail::module_in(head)) {
      return watch(features, head, *module);
    }
    detail::check_not_frozen(options_);
    return detail::watch_head(options_, features, head);
  }
  /// The same for a head that is a function: `module` is the one whose
  /// statistics it uses (a network of which the head is a part will do).
  template <class Head>
  Seen watch(
      const torch::Tensor& features,
      Head&& head,
      torch::nn::Module& module) const {
    return detail::watch_head(options_, features, head, module);
  }

  /// The total loss of a batch.
  ///
  /// `classification`: scalar Lc. `regions` are those of the N images: Boxes
  /// (in pixels of the network's input), masks [N, H, W] or RegionWeights, see
  /// `Regions`. They and `target` are best kept on the host; a device is waited
  /// for, of boxes several times. What the head is, the shapes tell:
  ///   logits [N, K], target [N]             one class per image
  ///   logits [N, 1] or [N], target [N, 1]   binary; 0 takes minus the logit.
  ///     or [N], of integers or floats
  ///   logits [N, K], target [N, K] of 0, 1  multi-label: one map for each
  ///                                         guided (image, class) pair
  /// Where several images share a row of logits (bags, crops, videos), say so
  /// by `Seen::rows`: features and regions are then those of the images, logits
  /// and target those of the rows.
  /// Throws c10::ValueError for shapes that do not fit, for features that are
  /// not on the way to the logits and for options that `seen` does not serve
  /// (frozen_statistics, several target_layers), and for an accumulation whose
  /// guided images are fewer than this batch's; c10::IndexError for a class or
  /// a box's label outside [0, K). Warns once of logits that are probabilities,
  /// and of boxes on images that stand where the maps lie.
  GuidedLoss loss(
      const torch::Tensor& classification,
      const Seen& seen,
      const torch::Tensor& target,
      const Regions& regions,
      const Accumulation& accumulation = {}) const {
    return total(classification, seen, target, regions, accumulation, nullptr);
  }

  /// The same with the strength set by the gradients: L = Lc + s w La with w
  /// the weight of `balance`, which takes this batch in first; alpha and weight
  /// of the options are not used. Throws c10::ValueError for a detached Lc.
  GuidedLoss loss(
      const torch::Tensor& classification,
      const Seen& seen,
      const torch::Tensor& target,
      const Regions& regions,
      Balance& balance) const {
    return total(classification, seen, target, regions, {}, &balance);
  }

  /// The attention figures of a batch, whatever the schedule says: for
  /// validation (also under torch::NoGradGuard) and the control arm. Call it
  /// before `backward`, which frees the graph. Otherwise as `loss`.
  AttentionFigures evaluate(
      const Seen& given,
      const torch::Tensor& target,
      const Regions& regions) const {
    const Seen seen = detail::laid_out(given, options_);
    if (has_nothing_to_guide(seen)) {
      return detail::figures(detail::Attended(), loss_);
    }
    const char* where = "care::Guide::evaluate";
    detail::check_batch(where, seen, target, regions, options_);
    torch::NoGradGuard no_grad;
    return detail::figures(
        detail::attend(where, map_, loss_, options_, seen, target, regions),
        loss_);
  }

  /// Whether the attention loss of a batch really reaches `parameters` (those
  /// that are trained): see `Audit`. Call it before `backward`, once in a
  /// while: it costs two backward passes. Changes nothing; throws as `loss`.
  ///
  ///   auto audit = guide.audit(Lc, seen, target, boxes, net->parameters());
  ///   fmt::print("{}\n", audit.str());
  Audit audit(
      const torch::Tensor& classification,
      const Seen& seen,
      const torch::Tensor& target,
      const Regions& regions,
      const std::vector<torch::Tensor>& parameters) const {
    Audit result;
    if (has_nothing_to_guide(seen)) {
      result.batches = 1;
      result.add_inert("the backbone is frozen or detached, the loss off");
    } else {
      result = detail::audit_batch(
          map_,
          loss_,
          options_,
          classification,
          detail::laid_out(seen, options_),
          target,
          regions,
          parameters);
    }
    result.strength = schedule_.strength();
    return result;
  }

  /// How many maps of a batch are guided: images, or (image, class) pairs of
  /// multi-label data (see `Accumulation`). `rows` as in `Seen`.
  int64_t count(
      const torch::Tensor& target,
      const Regions& regions,
      const torch::Tensor& rows = {}) const {
    size_t pairs = 0;
    for (const auto& round : detail::guided_images(
             "care::Guide::count",
             target,
             regions,
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
      const Seen& given,
      const torch::Tensor& target,
      const Regions& regions,
      const Accumulation& accumulation,
      Balance* balance) const {
    const char* where = "care::Guide::loss";
    const Seen seen = detail::laid_out(given, options_);
    detail::check_step(where, classification, accumulation);
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
    detail::check_batch(where, seen, target, regions, options_);
    detail::Attended attended;
    if (weight != 0) {
      attended =
          detail::attend(where, map_, loss_, options_, seen, target, regions);
      add_attention(
          result,
          classification,
          weight,
          attended,
          seen,
          accumulation,
          balance);
    }
    result.attention = detail::figures(attended, loss_);
    return result;
  }

  /// Adds `weight` La to the total.
  void add_attention(
      GuidedLoss& result,
      const torch::Tensor& classification,
      double weight,
      const detail::Attended& attended,
      const Seen& seen,
      const Accumulation& accumulation,
      Balance* balance) const {
    const bool given = accumulation.guided > 0;
    TORCH_CHECK_VALUE(
        !given || accumulation.guided >= attended.pairs(),
        "care::Guide::loss: expected accumulation.guided to count this batch's "
        "guided images too, which are ",
        attended.pairs(),
        ", but got ",
        accumulation.guided);
    const auto here = given ? accumulation.guided : attended.pairs();
    // By what the sum over this batch's maps is divided.
    const double count =
        detail::mean_over_ranks(options_.sum_over_ranks(), here) /
        static_cast<double>(given ? accumulation.steps : 1);
    torch::Tensor attention; // undefined: no map of this batch is guided
    if (attended.pairs() > 0) {
      TORCH_CHECK_VALUE(
          attended.per_image.requires_grad() || !torch::GradMode::is_enabled(),
          "care::Guide::loss: expected an attention loss with a gradient "
          "history, but the map or the loss policy detached it");
      attention = attended.per_image.sum() / count;
    }
    if (balance != nullptr && count > 0) {
      auto features = seen.more;
      features.push_back(seen.features);
      // Without the schedule's share: a warm-up shall not be undone.
      balance->update(
          classification, attention, features, options_.sum_over_ranks());
    }
    if (attention.defined()) {
      attention = weight * attention;
      result.total = result.total +
          (balance != nullptr ? balance->weight() * attention : attention);
    }
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
