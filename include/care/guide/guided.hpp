// Which images of a batch are guided, and for which class.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_GUIDED_HPP
#define CARE_GUIDE_GUIDED_HPP

#include <care/attention/scores.hpp>
#include <care/boxes.hpp>
#include <care/detail/check.hpp>
#include <care/normalise.hpp>
#include <care/seen.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

namespace care::detail {

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

/// Images of a batch, each at most once, and the class each is guided for.
struct Guided {
  std::vector<int64_t> images;
  std::vector<int64_t> classes;

  void add(int64_t image, int64_t label) {
    images.push_back(image);
    classes.push_back(label);
  }
};

/// Appends (image, class) to the first round that has no such image yet.
inline void add_to_rounds(
    std::vector<Guided>& rounds,
    int64_t image,
    int64_t label) {
  for (auto& round : rounds) {
    if (round.images.back() != image) { // images come in order
      round.add(image, label);
      return;
    }
  }
  rounds.emplace_back();
  rounds.back().add(image, label);
}

/// How many boxes of a weight above 0 speak for each image's class, [N] on the
/// host.
inline torch::Tensor speaking_boxes(
    const Boxes& boxes,
    const torch::Tensor& target) {
  auto speaking = boxes.for_classes(target);
  if (speaking.has_weights()) {
    speaking = speaking.filter(speaking.weights() > 0);
  }
  return speaking.boxes_per_image().to(torch::kCPU);
}

/// The guided images: those whose class is listed (or any, without a list) and
/// that have a box which speaks for it. `target` is [N] integers, or [N, K] of
/// 0 and 1 for multi-label data, where an image may be guided for several
/// classes: then each further one is in a further round.
inline std::vector<Guided> guided_images(
    const torch::Tensor& target,
    const Boxes& boxes,
    const torch::optional<std::vector<int64_t>>& listed) {
  std::vector<Guided> rounds;
  if (boxes.num_boxes() == 0) {
    return rounds;
  }
  const auto is_listed = [&](int64_t label) {
    return !listed ||
        std::find(listed->begin(), listed->end(), label) != listed->end();
  };
  const auto images = target.size(0);
  const auto host = target.to(torch::kCPU, torch::kLong).contiguous();
  const auto* labels = host.data_ptr<int64_t>();
  if (target.dim() == 1) {
    const auto counts = speaking_boxes(boxes, host);
    for (int64_t i = 0; i < images; ++i) {
      if (counts.data_ptr<int64_t>()[i] > 0 && is_listed(labels[i])) {
        add_to_rounds(rounds, i, labels[i]);
      }
    }
    return rounds;
  }
  const auto classes = target.size(1);
  std::vector<torch::Tensor> counts(static_cast<size_t>(classes));
  for (int64_t i = 0; i < images; ++i) {
    for (int64_t k = 0; k < classes; ++k) {
      if (labels[i * classes + k] == 0 || !is_listed(k)) {
        continue;
      }
      auto& speaking = counts[static_cast<size_t>(k)];
      if (!speaking.defined()) {
        speaking =
            speaking_boxes(boxes, torch::full({images}, k, torch::kLong));
      }
      if (speaking.data_ptr<int64_t>()[i] > 0) {
        add_to_rounds(rounds, i, k);
      }
    }
  }
  return rounds;
}

/// Checks that logits, features, target and boxes speak of the same images and
/// classes.
inline void check_batch(
    const char* where,
    const Seen& seen,
    const torch::Tensor& target,
    const Boxes& boxes,
    const torch::optional<std::vector<int64_t>>& listed) {
  check_features(where, seen.features);
  const auto n = seen.features.size(0);
  for (const auto& features : seen.more) {
    check_features(where, features);
    TORCH_CHECK_VALUE(
        features.size(0) == n,
        where,
        ": expected features of ",
        n,
        " images in every layer, but got ",
        sizes_of(features));
  }
  const auto& logits = seen.logits;
  TORCH_CHECK_VALUE(
      logits.defined() && (logits.dim() == 2 || logits.dim() == 1) &&
          logits.size(0) == n,
      where,
      ": expected logits of shape [",
      n,
      ", K] (or [",
      n,
      "] of a binary head) beside ",
      n,
      " features, but got ",
      sizes_of(logits));
  auto classes = logits.dim() == 2 ? logits.size(1) : 1;
  if (target.defined() && target.dim() == 2) {
    check_shape(where, "target", target, {n, classes});
    if (target.device().is_cpu()) {
      const auto bad = first_false(((target == 0) | (target == 1)).flatten());
      TORCH_CHECK_VALUE(
          bad < 0,
          where,
          ": expected a multi-label target of 0 and 1, but target[",
          bad / classes,
          "][",
          bad % classes,
          "] is ",
          target.flatten()[bad < 0 ? 0 : bad].item<double>());
    }
  } else {
    classes = std::max<int64_t>(classes, 2); // one logit speaks for two
    check_classes(where, target, n, classes);
  }
  if (listed) {
    for (auto label : *listed) {
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
      boxes.num_images() == n,
      where,
      ": expected boxes of ",
      n,
      " images, but got those of ",
      boxes.num_images());
}

} // namespace care::detail

#endif // CARE_GUIDE_GUIDED_HPP
