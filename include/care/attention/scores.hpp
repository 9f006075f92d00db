// Scores of chosen classes, and their gradients with respect to features.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_ATTENTION_SCORES_HPP
#define CARE_ATTENTION_SCORES_HPP

#include <care/attention/detail/pooled.hpp>
#include <care/detail/at_least_float.hpp>
#include <care/detail/check.hpp>
#include <care/detail/to_device.hpp>
#include <care/map_layout.hpp>

#include <torch/autograd.h>
#include <torch/types.h>

#include <cstdint>
#include <limits>

namespace care {

/// How far the gradient of a loss on the map reaches.
enum class GradientOrder {
  /// The channel weights are constants, as in the authors' code. The loss moves
  /// the parameters that make the features, and none behind them: not the head.
  kFirst,
  /// The channel weights are differentiated too. The loss also moves the
  /// parameters between features and scores (of a linear head: its weight, not
  /// its bias). Costs a second backward pass through the head.
  kFull,
};

namespace detail {

inline void check_features(
    const char* where,
    const torch::Tensor& features,
    const MapLayout& layout = {}) {
  TORCH_CHECK_VALUE(
      features.defined() && layout.fits(features.sizes()),
      where,
      ": expected features of shape ",
      layout.str(),
      ", but got ",
      sizes_of(features));
  check_floating(where, "features", features);
}

/// That `index` [count] holds integers in [0, bound): `name` is the argument,
/// `what` it counts.
inline void check_indices(
    const char* where,
    const char* name,
    const char* what,
    const torch::Tensor& index,
    int64_t count,
    int64_t bound) {
  check_shape(where, name, index, {count});
  check_integral(where, name, index);
  if (!index.device().is_cpu()) {
    return; // the gather on the device reports it, without waiting for it here
  }
  check_in_range(where, what, name, index, 0, bound);
}

inline void check_classes(
    const char* where,
    const torch::Tensor& target,
    int64_t images,
    int64_t classes) {
  check_indices(where, "target", "classes", target, images, classes);
}

/// One logit speaks for two classes.
inline bool is_binary(const torch::Tensor& logits) {
  return logits.dim() == 1 || logits.size(1) == 1;
}

/// The target of a binary head as classes [N]: [N] or [N, 1], of integers, or
/// of floating 0 and 1 as a binary cross-entropy wants it.
inline torch::Tensor binary_classes(
    const char* where,
    const torch::Tensor& target,
    int64_t images) {
  TORCH_CHECK_VALUE(
      target.defined() &&
          (target.sizes() == torch::IntArrayRef({images}) ||
           target.sizes() == torch::IntArrayRef({images, 1})),
      where,
      ": expected target of shape [",
      images,
      "] or [",
      images,
      ", 1], but got ",
      sizes_of(target));
  auto flat = target.detach().reshape({images});
  if (c10::isIntegralType(flat.scalar_type(), /*includeBool=*/false)) {
    check_classes(where, flat, images, 2);
    return flat;
  }
  const auto ok = (flat == 0) | (flat == 1);
  if (flat.device().is_cpu()) {
    const auto bad = first_false(ok);
    TORCH_CHECK_VALUE(
        bad < 0,
        where,
        ": expected a binary target of 0 and 1, but target[",
        bad,
        "] is ",
        flat[bad].item<double>());
  }
  // On a device the gather reports what is no class.
  return torch::where(
      ok, flat.to(torch::kLong), torch::full_like(ok, 2, torch::kLong));
}

} // namespace detail

/// What of a class the map is of.
enum class Score {
  kLogit, ///< its logit
  /// Its logit less the largest of the other classes': the map shows what tells
  /// the class from the one it is confused with. Of classes that exclude each
  /// other.
  kMargin,
};

/// The score of one class per image: its raw logit, or its margin.
///
///   kLogit   z[n, t]
///   kMargin  z[n, t] - max over k != t of z[n, k]
///
/// Shapes: `logits` [N, K] with K of at least 2, `target` [N] integers -> [N].
/// Gradient of the margin: 1 to the class's logit, and -1 to the strongest
/// other one; of several that are equal, each gets its equal share of the -1.
/// A binary head has one logit per image, [N, 1] or [N], that speaks for class
/// 1; its target is [N] or [N, 1], of integers or floating 0 and 1. Its score
/// is the logit where the target is 1, and minus the logit where it is 0: the
/// map of "not the lesion", which is not where the lesion is. That is its
/// margin too: the logit of two classes is by how much one is ahead. Throws
/// c10::IndexError for a class outside [0, K), of a binary head outside [0, 2);
/// c10::ValueError for wrong shapes and a binary target between 0 and 1;
/// c10::TypeError for another target that is not of integers. (Values of a
/// target on a device are left to the gather there.)
inline torch::Tensor class_scores(
    const torch::Tensor& logits,
    const torch::Tensor& target,
    Score score = Score::kLogit) {
  const char* where = "care::class_scores";
  TORCH_CHECK_VALUE(
      logits.defined() && (logits.dim() == 1 || logits.dim() == 2),
      where,
      ": expected logits of shape [N, K], or [N, 1] or [N] of a binary head, "
      "but got ",
      detail::sizes_of(logits));
  const bool binary = detail::is_binary(logits);
  const auto one = binary ? logits.view({logits.size(0)}) : logits;
  const auto all = binary ? torch::stack({-one, one}, 1) : logits;
  const auto classes =
      binary ? detail::binary_classes(where, target, all.size(0)) : target;
  detail::check_classes(where, classes, all.size(0), all.size(1));
  const auto own =
      detail::to_device(classes, all.device()).to(torch::kLong).unsqueeze(1);
  auto scores = all.gather(1, own).squeeze(1);
  if (score == Score::kLogit || binary) {
    return scores;
  }
  // Of equal ones amax gives each its share of the gradient.
  return scores -
      all.scatter(1, own, -std::numeric_limits<double>::infinity()).amax(1);
}

/// The scores of (image, class) pairs, for multi-label data.
///
/// Shapes: `logits` [N, K], `images` and `classes` [M] integers -> [M], the
/// logit of classes[m] for image images[m]. A pair may be repeated; an image
/// may have no pair. Gradients of scores are summed per image (see
/// `score_gradients`), so for one map per pair take the pairs of one call from
/// different images.
/// Throws c10::IndexError for an image outside [0, N) or a class outside [0, K)
/// (host indices); c10::ValueError and c10::TypeError as above.
inline torch::Tensor class_scores(
    const torch::Tensor& logits,
    const torch::Tensor& images,
    const torch::Tensor& classes) {
  const char* where = "care::class_scores";
  TORCH_CHECK_VALUE(
      logits.defined() && logits.dim() == 2,
      where,
      ": expected logits of shape [N, K] beside images and classes, but got ",
      detail::sizes_of(logits));
  TORCH_CHECK_VALUE(
      images.defined() && images.dim() == 1,
      where,
      ": expected images of shape [M], but got ",
      detail::sizes_of(images));
  const auto pairs = images.size(0);
  detail::check_indices(
      where, "images", "images", images, pairs, logits.size(0));
  detail::check_indices(
      where, "classes", "classes", classes, pairs, logits.size(1));
  auto on_device = [&](const torch::Tensor& index) {
    return detail::to_device(index, logits.device()).to(torch::kLong);
  };
  return logits.index_select(0, on_device(images))
      .gather(1, on_device(classes).unsqueeze(1))
      .squeeze(1);
}

/// d (sum of scores) / d features, [N, C, h, w]: the raw material of every
/// class attention map. In float32 (float64 for double features): a mean over
/// many cells has a gradient that half precision does not hold. (Behind half
/// features, in first order, see `detail::gradient_factor`; in full order half
/// precision loses what it loses.)
///
/// `features` [N, C, h, w], or as `layout` says, must lie on the autograd path
/// to `scores` [M] (one per image, or those of some images only: the others'
/// gradient is 0). Of tokens the prefix has no place in the result. The
/// graph is kept for the loss's own backward pass; no parameter's `.grad` is
/// read or written. With kFirst the result is a constant, with kFull it carries
/// its graph and requires a gradient, also where nothing behind the features is
/// trained: that is how a map tells the two apart. Where the features reach the
/// scores by their spatial mean alone, every place has the same gradient, and
/// the result is an expanded view that must not be written to.
/// Throws c10::ValueError for wrong shapes, and when no gradient flows from the
/// scores to the features (detached features or scores, torch::NoGradGuard).
inline torch::Tensor score_gradients(
    const torch::Tensor& features,
    const torch::Tensor& scores,
    GradientOrder order = GradientOrder::kFirst,
    const MapLayout& layout = {}) {
  const char* where = "care::score_gradients";
  detail::check_features(where, features, layout);
  TORCH_CHECK_VALUE(
      scores.defined() && scores.dim() == 1 &&
          scores.size(0) <= features.size(0),
      where,
      ": expected scores of shape [N] with N = ",
      features.size(0),
      ", but got ",
      detail::sizes_of(scores));
  detail::check_same_device(where, "features and scores", features, scores);
  TORCH_CHECK_VALUE(
      features.requires_grad() && scores.requires_grad(),
      where,
      ": expected features and scores with a gradient history, but ",
      features.requires_grad() ? "the scores" : "the features",
      " have none (",
      scores.is_inference()
          ? "c10::InferenceMode is on, which no guard undoes: use "
            "torch::NoGradGuard)"
          : "detached, or computed under torch::NoGradGuard)");
  const bool full = order == GradientOrder::kFull;
  const auto dtype = detail::at_least_float(features.scalar_type());
  if (scores.size(0) == 0) {
    return torch::zeros_like(layout.to_map(features), dtype)
        .set_requires_grad(full);
  }
  const auto gradient_of = [&](const torch::Tensor& x, double factor) {
    return torch::autograd::grad(
        {scores},
        {x},
        /*grad_outputs=*/{torch::full_like(scores, factor)},
        /*retain_graph=*/true,
        /*create_graph=*/full,
        /*allow_unused=*/true)[0];
  };
  torch::Tensor gradient;
  if (const auto mean = detail::spatial_mean_behind(scores, features);
      mean.defined()) {
    const auto cells = static_cast<double>(features.size(2) * features.size(3));
    const auto of_mean = gradient_of(mean, 1);
    if (of_mean.defined()) {
      gradient = (of_mean.to(dtype) / cells)
                     .view({features.size(0), features.size(1), 1, 1})
                     .expand(features.sizes());
    }
  } else {
    // In full order the factor would take from the gradient's own gradient.
    const double factor =
        full ? 1 : detail::gradient_factor(features.scalar_type());
    gradient = gradient_of(features, factor);
    if (gradient.defined() && factor != 1) {
      gradient = gradient.to(dtype) / factor;
    }
  }
  TORCH_CHECK_VALUE(
      gradient.defined(),
      where,
      ": expected scores computed from the features, but no path leads from "
      "the scores back to this tensor");
  gradient = layout.to_map(gradient.to(dtype));
  if (full && gradient.requires_grad()) {
    return gradient;
  }
  return gradient.detach().set_requires_grad(full);
}

} // namespace care

#endif // CARE_ATTENTION_SCORES_HPP
