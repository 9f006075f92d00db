// Maps, regions and attention loss of a batch's guided images.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_ATTENDED_HPP
#define CARE_GUIDE_ATTENDED_HPP

#include <care/attention.hpp>
#include <care/detail/to_device.hpp>
#include <care/guide/figures.hpp>
#include <care/guide/guided.hpp>
#include <care/guide/options.hpp>
#include <care/guide/region_cells.hpp>
#include <care/guide/regions.hpp>
#include <care/loss.hpp>
#include <care/map_layout.hpp>
#include <care/normalise.hpp>
#include <care/seen.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

namespace care::detail {

/// The guided (image, class) pairs of a batch, G of them.
struct Attended {
  torch::Tensor maps; // [G, h, w]
  RegionCells regions;
  torch::Tensor per_image; // [G] the loss

  int64_t pairs() const {
    return maps.defined() ? maps.size(0) : 0;
  }

  void append(const Attended& other) {
    if (!maps.defined()) {
      *this = other;
      return;
    }
    const auto add = [](torch::Tensor& x, const torch::Tensor& y) {
      x = torch::cat({x, y});
    };
    add(maps, other.maps);
    add(regions.weights.inside, other.regions.weights.inside);
    add(regions.weights.outside, other.regions.weights.outside);
    add(regions.weights.weight, other.regions.weights.weight);
    add(regions.inside, other.regions.inside);
    add(regions.whole, other.regions.whole);
    add(per_image, other.per_image);
  }
};

/// The logits that maps are the scores of: with a frozen head those it gives of
/// all images, for it may take more than features (each image's age, say).
inline torch::Tensor map_logits(const Seen& seen) {
  if (!seen.frozen_head) {
    return seen.logits;
  }
  torch::AutoGradMode record(true);
  return seen.frozen_head(seen.features);
}

/// The maps of a round's images, each of its own class, those of several layers
/// fused.
template <class Map>
torch::Tensor guided_maps(
    const Map& map,
    const GuideOptions& options,
    const Guided& guided,
    const Seen& seen,
    const torch::Tensor& logits,
    bool multi_label) {
  // Without a graph to extend, the full order has nothing to offer.
  const auto order =
      torch::GradMode::is_enabled() ? options.order() : GradientOrder::kFirst;
  torch::AutoGradMode record(true);
  const auto rows = torch::tensor(guided.row_class, torch::kLong);
  const auto asked = (rows >= 0).nonzero().view(-1);
  const auto classes = rows.index_select(0, asked);
  const auto chosen = asked.size(0) == logits.size(0)
      ? logits
      : logits.index_select(0, to_device(asked, logits.device()));
  const auto scores = multi_label
      ? class_scores(chosen, torch::arange(asked.size(0)), classes)
      : class_scores(chosen, classes, options.score());
  const auto map_of = [&](const torch::Tensor& layer, const MapLayout& layout) {
    const auto gradients = score_gradients(layer, scores, order, layout);
    const auto x = layout.to_map(layer);
    if constexpr (std::is_same_v<Map, GradCam>) {
      // One pass over the features, which costs less than to copy some.
      return guided_part(map(x, gradients), guided);
    } else {
      return map(guided_part(x, guided), guided_part(gradients, guided));
    }
  };
  std::vector<torch::Tensor> layers{map_of(seen.features, seen.layout())};
  for (const auto& layer : seen.more) {
    layers.push_back(map_of(layer, seen.layout(layers.size())));
  }
  return layers.size() == 1 ? layers[0] : fuse(layers, options.fusion());
}

/// One round: each image at most once.
template <class Map, class Loss>
Attended attend(
    const char* where,
    const Map& map,
    const Loss& loss,
    const GuideOptions& options,
    const Guided& guided,
    const Seen& seen,
    const torch::Tensor& logits,
    bool multi_label,
    const Regions& regions) {
  const auto g = static_cast<int64_t>(guided.images.size());
  Attended result;
  result.maps = guided_maps(map, options, guided, seen, logits, multi_label);
  TORCH_CHECK_VALUE(
      result.maps.defined() && result.maps.dim() == 3 &&
          result.maps.size(0) == g,
      where,
      ": expected the map policy to return [",
      g,
      ", h, w], but got ",
      sizes_of(result.maps));
  result.regions = region_cells(
      where,
      regions,
      guided,
      {result.maps.size(1), result.maps.size(2)},
      options.raster(),
      seen.features.device());
  result.per_image = loss(result.maps, result.regions.weights);
  check_shape(where, "the loss policy's result", result.per_image, {g});
  return result;
}

/// All guided pairs of a batch; several of one image come in later rounds.
template <class Map, class Loss>
Attended attend(
    const char* where,
    const Map& map,
    const Loss& loss,
    const GuideOptions& options,
    const Seen& seen,
    const torch::Tensor& target,
    const Regions& regions) {
  const auto classes = num_classes(seen.logits);
  Attended result;
  torch::Tensor logits;
  for (const auto& round : guided_images(
           where, target, regions, seen.rows, options.classes(), classes)) {
    if (!logits.defined()) {
      logits = map_logits(seen);
    }
    result.append(attend(
        where,
        map,
        loss,
        options,
        round,
        seen,
        logits,
        is_multi_label(target),
        regions));
  }
  return result;
}

/// A loss that asks for no more attention inside than `options.tau()`.
template <class Loss, class = void>
struct HasTau : std::false_type {};
template <class Loss>
struct HasTau<
    Loss,
    std::void_t<decltype(std::declval<const Loss&>().options.tau())>>
    : std::true_type {};

/// How a loss brings maps to [0, 1]: `options.normalisation()`, or by minimum
/// and maximum where it has no such option.
template <class Loss, class = void>
struct NormalisationOf {
  static Normalisation of(const Loss& /*loss*/) {
    return Normalisation::kMinMax;
  }
};
template <class Loss>
struct NormalisationOf<
    Loss,
    std::void_t<
        decltype(std::declval<const Loss&>().options.normalisation())>> {
  static Normalisation of(const Loss& loss) {
    return loss.options.normalisation();
  }
};

/// What of it is logged.
template <class Loss>
AttentionFigures figures(const Attended& attended, const Loss& loss) {
  AttentionFigures result;
  if (!attended.maps.defined()) {
    auto zero = torch::zeros({});
    result.loss = result.inner = result.outer = result.inside_share = zero;
    result.flat = result.saturated = torch::zeros({}, torch::kLong);
    return result;
  }
  torch::NoGradGuard no_grad;
  auto maps = attended.maps.detach();
  auto terms = attention_terms(maps, attended.regions.weights);
  auto positive = normalise(maps, Normalisation::kSum).maps;
  auto sum = [&](const torch::Tensor& weights) {
    return (positive * weights.to(positive.scalar_type())).sum({1, 2});
  };
  auto inside = sum(attended.regions.inside);
  auto all = sum(attended.regions.whole);
  auto share = inside / torch::where(all > 0, all, torch::ones_like(all));
  result.loss = attended.per_image.detach().mean();
  result.inner = terms.inner.mean();
  result.outer = terms.outer.mean();
  result.inside_share = share.sum() / (all > 0).sum().clamp_min(1);
  result.flat = terms.flat.sum();
  result.saturated = torch::zeros_like(result.flat);
  if constexpr (HasTau<Loss>::value) {
    const auto own = NormalisationOf<Loss>::of(loss);
    const auto inner = own == Normalisation::kMinMax
        ? terms.inner
        : attention_terms(maps, attended.regions.weights, own).inner;
    if (loss.options.tau() < 1) { // at 1 all attention is inside: no limit
      result.saturated = (inner >= loss.options.tau()).sum();
    }
  } else {
    static_cast<void>(loss);
  }
  result.guided = attended.pairs();
  return result;
}

} // namespace care::detail

#endif // CARE_GUIDE_ATTENDED_HPP
