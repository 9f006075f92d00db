// Checks that logits, features, target and regions speak of the same batch.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_BATCH_HPP
#define CARE_GUIDE_BATCH_HPP

#include <care/attention/scores.hpp>
#include <care/detail/check.hpp>
#include <care/detail/probabilities.hpp>
#include <care/guide/figures.hpp>
#include <care/guide/options.hpp>
#include <care/guide/regions.hpp>
#include <care/seen.hpp>
#include <care/size.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <variant>

namespace care::detail {

/// How many classes the logits speak for.
inline int64_t num_classes(const torch::Tensor& logits) {
  return is_binary(logits) ? 2 : logits.size(1);
}

/// A target [N, K] of 0 and 1. One of [N, 1] is that of a binary head.
inline bool is_multi_label(const torch::Tensor& target) {
  return target.dim() == 2 && target.size(1) != 1;
}

/// The values of a target, on the host, as classes [N] or labels [N, K]; with
/// `classes`, in [0, classes).
inline torch::Tensor host_target(
    const char* where,
    const torch::Tensor& target,
    const torch::optional<int64_t>& classes) {
  TORCH_CHECK_VALUE(
      target.defined() && (target.dim() == 1 || target.dim() == 2),
      where,
      ": expected target of shape [N] or [N, K], but got ",
      sizes_of(target));
  const auto host = target.detach().to(torch::kCPU);
  if (is_multi_label(host)) {
    const auto bad = first_false(((host == 0) | (host == 1)).flatten());
    TORCH_CHECK_VALUE(
        bad < 0,
        where,
        ": expected a multi-label target of 0 and 1, but target[",
        bad / host.size(1),
        "][",
        bad % host.size(1),
        "] is ",
        host.flatten()[bad].item<double>());
    return host.to(torch::kLong).contiguous();
  }
  const bool integral =
      c10::isIntegralType(host.scalar_type(), /*includeBool=*/false);
  const auto flat = integral ? host.reshape({host.size(0)})
                             : binary_classes(where, host, host.size(0));
  if (classes) {
    check_classes(where, flat, host.size(0), *classes);
  }
  return flat.to(torch::kLong).contiguous();
}

/// The row of logits each of `images` images leads to, [images] on the host.
inline torch::Tensor host_rows(
    const char* where,
    const torch::Tensor& rows,
    int64_t images,
    int64_t logit_rows) {
  if (!rows.defined()) {
    TORCH_CHECK_VALUE(
        images == logit_rows,
        where,
        ": expected a target and logits of ",
        images,
        " images, but got ",
        logit_rows,
        " rows (where images share a row, say by Seen::rows which one)");
    return torch::arange(images, torch::kLong);
  }
  const auto host = rows.to(torch::kCPU);
  check_indices(where, "rows", "rows of logits", host, images, logit_rows);
  return host.to(torch::kLong).contiguous();
}

/// `seen`, if made by hand, with the layouts of `target_layers`.
inline Seen laid_out(Seen seen, const GuideOptions& options) {
  const auto& layers = options.target_layers();
  if (seen.layouts.empty() && layers.size() == seen.more.size() + 1) {
    for (const auto& layer : layers) {
      seen.layouts.push_back(layer.layout());
    }
  }
  return seen;
}

/// Warns once where the maps lie and the boxes' images stand, or the other way
/// round: then height and width may have been swapped.
inline void warn_if_turned(
    const char* where,
    const Size& map,
    const Regions& regions) {
  const auto* boxes = std::get_if<Boxes>(&regions.form());
  if (boxes == nullptr) {
    return; // masks may have any size
  }
  const auto frame = boxes->image_size();
  const bool lies = map.width > map.height && frame.width < frame.height;
  const bool stands = map.width < map.height && frame.width > frame.height;
  if (lies || stands) {
    TORCH_WARN_ONCE(
        where,
        ": the maps are ",
        map.height,
        "x",
        map.width,
        " (height x width), but the boxes lie on images of ",
        frame.height,
        "x",
        frame.width,
        ": are height and width swapped? (Not if the network's strides differ "
        "in the two.)");
  }
}

/// Checks that logits, features, target and regions speak of the same images
/// and classes, and that the options fit what was seen. Nothing here waits for
/// a device: values of a target that lies on one are checked when it is brought
/// to the host (`host_target`).
inline void check_batch(
    const char* where,
    const Seen& seen,
    const torch::Tensor& target,
    const Regions& regions,
    const GuideOptions& options) {
  TORCH_CHECK_VALUE(
      seen.features.defined(),
      where,
      ": expected the features behind the logits, but got none: the forward "
      "was watched while the attention loss was off (alpha or weight 0, or "
      "before its start), and the backbone is frozen");
  check_features(where, seen.features, seen.layout());
  const auto images = seen.features.size(0);
  size_t layer = 0;
  for (const auto& features : seen.more) {
    check_features(where, features, seen.layout(++layer));
    TORCH_CHECK_VALUE(
        features.size(0) == images,
        where,
        ": expected features of ",
        images,
        " images in every layer, but got ",
        sizes_of(features));
  }
  const auto layers = options.target_layers().size();
  TORCH_CHECK_VALUE(
      layers == 1 || seen.more.size() + 1 == layers,
      where,
      ": expected the maps of ",
      layers,
      " layers, because of target_layers, but got those of ",
      seen.more.size() + 1);
  TORCH_CHECK_VALUE(
      !options.frozen_statistics() || seen.frozen_head,
      where,
      ": expected a Seen with a frozen_head, because of frozen_statistics, but "
      "it has none; make it by watch(features, module)");
  TORCH_CHECK_VALUE(
      !seen.frozen_head || seen.more.empty(),
      where,
      ": expected the maps of one layer beside a frozen_head, but got those "
      "of ",
      seen.more.size() + 1);

  const auto& logits = seen.logits;
  TORCH_CHECK_VALUE(
      logits.defined() && (logits.dim() == 2 || logits.dim() == 1) &&
          (seen.rows.defined() || logits.size(0) == images),
      where,
      ": expected logits of shape [",
      images,
      ", K] (or [",
      images,
      "] of a binary head) beside ",
      images,
      " features, but got ",
      sizes_of(logits));
  const auto n = logits.size(0);
  if (seen.rows.defined()) {
    check_shape(where, "rows", seen.rows, {images});
    check_integral(where, "rows", seen.rows);
  }
  const auto classes = num_classes(logits);
  if (is_binary(logits)) {
    binary_classes(where, target, n);
  } else if (target.defined() && target.dim() == 2) {
    check_shape(where, "target", target, {n, classes});
  } else {
    check_classes(where, target, n, classes);
  }
  if (target.device().is_cpu()) {
    host_target(where, target, classes);
  }
  TORCH_CHECK_VALUE(
      options.score() == Score::kLogit || !is_multi_label(target),
      where,
      ": expected Score::kLogit for a multi-label target, whose classes do not "
      "exclude each other, but got kMargin");
  if (options.classes()) {
    for (auto label : *options.classes()) {
      TORCH_CHECK_INDEX(
          label < classes,
          where,
          ": expected guided classes in [0, ",
          classes,
          "), but got ",
          label);
    }
  }
  const auto given = num_images(where, regions);
  TORCH_CHECK_VALUE(
      given == images,
      where,
      ": expected ",
      name_of(regions),
      " of ",
      images,
      " images, but got those of ",
      given);
  warn_if_turned(where, seen.layout().map_size(seen.features.sizes()), regions);
  const auto end = probabilities_by(logits);
  if (!end.empty()) {
    TORCH_WARN_ONCE(
        where,
        ": the logits come from a ",
        end,
        ". Class attention maps are those of raw logits; those of "
        "probabilities fade as the network grows sure. Hand over what the ",
        end,
        " is taken of.");
  }
}

/// What `Guide::loss` gets beside the batch.
inline void check_step(
    const char* where,
    const torch::Tensor& classification,
    const Accumulation& accumulation) {
  TORCH_CHECK_VALUE(
      classification.defined() && classification.dim() == 0,
      where,
      ": expected the classification loss as a scalar, but got ",
      sizes_of(classification));
  TORCH_CHECK_VALUE(
      accumulation.steps > 0 && accumulation.guided >= 0,
      where,
      ": expected accumulation steps > 0 and guided >= 0, but got ",
      accumulation.steps,
      " and ",
      accumulation.guided);
}

} // namespace care::detail

#endif // CARE_GUIDE_BATCH_HPP
