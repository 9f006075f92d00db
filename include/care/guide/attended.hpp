// Maps, regions and attention loss of a batch's guided images.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_ATTENDED_HPP
#define CARE_GUIDE_ATTENDED_HPP

#include <care/attention.hpp>
#include <care/boxes.hpp>
#include <care/detail/to_device.hpp>
#include <care/guide/figures.hpp>
#include <care/guide/guided.hpp>
#include <care/guide/options.hpp>
#include <care/loss.hpp>
#include <care/rasterize.hpp>
#include <care/region_weights.hpp>
#include <care/seen.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <type_traits>
#include <vector>

namespace care::detail {

/// The guided (image, class) pairs of a batch, G of them.
struct Attended {
  torch::Tensor maps; // [G, h, w]
  RegionWeights regions;
  torch::Tensor per_image; // [G] the loss
  torch::Tensor boxes; // [G, h, w] the boxes' share of each cell, flat
  torch::Tensor image; // [h, w] the whole image's

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
    add(regions.inside, other.regions.inside);
    add(regions.outside, other.regions.outside);
    add(regions.weight, other.regions.weight);
    add(per_image, other.per_image);
    add(boxes, other.boxes);
  }
};

/// The maps of `images` (on the network's device), each of its own class, those
/// of several layers fused.
template <class Map>
torch::Tensor guided_maps(
    const Map& map,
    const GuideOptions& options,
    const torch::Tensor& images,
    const torch::Tensor& classes,
    const Seen& seen,
    bool multi_label) {
  // Without a graph to extend, the full order has nothing to offer.
  const auto order =
      torch::GradMode::is_enabled() ? options.order() : GradientOrder::kFirst;
  const auto scores_of = [&](const torch::Tensor& logits) {
    return multi_label
        ? class_scores(logits, torch::arange(images.size(0)), classes)
        : class_scores(logits, classes);
  };
  torch::AutoGradMode record(true);
  if (seen.frozen_head) {
    const auto features = seen.features.index_select(0, images);
    const auto scores = scores_of(seen.frozen_head(features));
    return map(features, score_gradients(features, scores, order));
  }
  // They come in order: where all are guided, nothing needs to be copied.
  const bool all = images.size(0) == seen.features.size(0);
  const auto guided = [&](const torch::Tensor& x) {
    return all ? x : x.index_select(0, images);
  };
  const auto scores = scores_of(guided(seen.logits));
  const auto map_of = [&](const torch::Tensor& features) {
    const auto gradients = score_gradients(features, scores, order);
    if constexpr (std::is_same_v<Map, GradCam>) {
      // One pass over the features, which costs less than to copy some.
      return guided(map(features, gradients));
    } else {
      return map(guided(features), guided(gradients));
    }
  };
  if (seen.more.empty()) {
    return map_of(seen.features);
  }
  std::vector<torch::Tensor> layers{map_of(seen.features)};
  for (const auto& features : seen.more) {
    layers.push_back(map_of(features));
  }
  return fuse(layers, options.fusion());
}

/// One round: each image at most once.
template <class Map, class Loss>
Attended attend(
    const Map& map,
    const Loss& loss,
    const GuideOptions& options,
    const Guided& guided,
    const Seen& seen,
    bool multi_label,
    const Boxes& boxes) {
  const auto device = seen.features.device();
  const auto images = torch::tensor(guided.images, torch::kLong);
  const auto classes = torch::tensor(guided.classes, torch::kLong);
  Attended result;
  result.maps = guided_maps(
      map, options, to_device(images, device), classes, seen, multi_label);
  const auto g = images.size(0);
  TORCH_CHECK_VALUE(
      result.maps.defined() && result.maps.dim() == 3 &&
          result.maps.size(0) == g,
      "care::Guide: expected the map policy to return [",
      g,
      ", h, w], but got ",
      sizes_of(result.maps));
  const Size map_size{result.maps.size(1), result.maps.size(2)};
  const auto& raster = options.raster();
  const auto on_boxes = [&](const torch::Tensor& x) {
    return x.to(boxes.device());
  };
  auto chosen =
      g == boxes.num_images() ? boxes : boxes.select(on_boxes(images));
  chosen = chosen.for_classes(on_boxes(classes));
  result.regions = rasterize(chosen, map_size, raster).to(device);
  result.boxes = result.regions.inside;
  if (chosen.has_weights()) {
    const auto flat = chosen.filter(chosen.weights() > 0).without_weights();
    result.boxes = rasterize(flat, map_size, raster).to(device).inside;
  }
  const auto image =
      image_to_cells(boxes.image_size(), map_size, raster.mode());
  result.image = to_device(image.to(result.boxes.scalar_type()), device);
  result.per_image = loss(result.maps, result.regions);
  check_shape("care::Guide", "the loss policy's result", result.per_image, {g});
  return result;
}

/// All guided pairs of a batch; several of one image come in later rounds.
template <class Map, class Loss>
Attended attend(
    const Map& map,
    const Loss& loss,
    const GuideOptions& options,
    const Seen& seen,
    const torch::Tensor& target,
    const Boxes& boxes) {
  const bool multi_label = target.dim() == 2;
  Attended result;
  for (const auto& round : guided_images(target, boxes, options.classes())) {
    result.append(attend(map, loss, options, round, seen, multi_label, boxes));
  }
  return result;
}

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
  result.saturated = torch::zeros_like(result.flat);
  if constexpr (HasTau<Loss>::value) {
    const auto own = NormalisationOf<Loss>::of(loss);
    const auto inner = own == Normalisation::kMinMax
        ? terms.inner
        : attention_terms(maps, attended.regions, own).inner;
    result.saturated = (inner >= loss.options.tau()).sum();
  } else {
    static_cast<void>(loss);
  }
  result.guided = attended.pairs();
  return result;
}

} // namespace care::detail

#endif // CARE_GUIDE_ATTENDED_HPP
