// Class attention maps from features and scores: Grad-CAM, raw and batched.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_ATTENTION_HPP
#define CARE_ATTENTION_HPP

#include <care/detail/check.hpp>

#include <torch/arg.h>
#include <torch/autograd.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ostream>

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

/// Options of `grad_cam` and `Attention`.
struct AttentionOptions {
  /// Default: GradientOrder::kFirst.
  TORCH_ARG(GradientOrder, order) = GradientOrder::kFirst;
  /// Cut negative values. CARE wants the signed map. Default: false.
  TORCH_ARG(bool, relu) = false;
};

namespace detail {

inline void check_features(const char* where, const torch::Tensor& features) {
  TORCH_CHECK_VALUE(
      features.defined() && features.dim() == 4 && features.size(1) > 0 &&
          features.size(2) > 0 && features.size(3) > 0,
      where,
      ": expected features of shape [N, C, h, w], but got ",
      sizes_of(features));
  check_floating(where, "features", features);
}

inline void check_classes(
    const char* where,
    const torch::Tensor& target,
    int64_t images,
    int64_t classes) {
  check_shape(where, "target", target, {images});
  check_integral(where, "target", target);
  if (!target.device().is_cpu()) {
    return; // the gather on the device reports it, without waiting for it here
  }
  const auto bad = first_false((target >= 0) & (target < classes));
  TORCH_CHECK_INDEX(
      bad < 0,
      where,
      ": expected classes in [0, ",
      classes,
      "), but target[",
      bad,
      "] is ",
      target[bad < 0 ? 0 : bad].item<int64_t>());
}

/// sum_c weights[n, c] features[n, c], with `weights` [N, C].
inline torch::Tensor weighted_channels(
    const torch::Tensor& features,
    const torch::Tensor& weights) {
  return torch::bmm(
             weights.to(features.scalar_type()).unsqueeze(1),
             features.flatten(2))
      .view({features.size(0), features.size(2), features.size(3)});
}

} // namespace detail

/// The raw logit of one class per image: `logits` [N, K], `target` [N] int64 ->
/// [N]. Throws c10::IndexError for a class outside [0, K) (host targets).
inline torch::Tensor class_scores(
    const torch::Tensor& logits,
    const torch::Tensor& target) {
  const char* where = "care::class_scores";
  TORCH_CHECK_VALUE(
      logits.defined() && logits.dim() == 2,
      where,
      ": expected logits of shape [N, K], but got ",
      detail::sizes_of(logits));
  detail::check_classes(where, target, logits.size(0), logits.size(1));
  return logits
      .gather(1, target.to(logits.device()).to(torch::kLong).unsqueeze(1))
      .squeeze(1);
}

/// d (sum of scores) / d features, [N, C, h, w]: the raw material of every
/// class attention map.
///
/// `features` [N, C, h, w] must lie on the autograd path to `scores` [M] (one
/// per image, or those of some images only: the others' gradient is 0). The
/// graph is kept for the loss's own backward pass; no parameter's `.grad` is
/// read or written. With kFirst the result is a constant, with kFull it carries
/// its graph.
/// Throws c10::ValueError for wrong shapes, and when no gradient flows from the
/// scores to the features (detached features or scores, torch::NoGradGuard).
inline torch::Tensor score_gradients(
    const torch::Tensor& features,
    const torch::Tensor& scores,
    GradientOrder order = GradientOrder::kFirst) {
  const char* where = "care::score_gradients";
  detail::check_features(where, features);
  TORCH_CHECK_VALUE(
      scores.defined() && scores.dim() == 1 &&
          scores.size(0) <= features.size(0),
      where,
      ": expected scores of shape [N] with N = ",
      features.size(0),
      ", but got ",
      detail::sizes_of(scores));
  TORCH_CHECK_VALUE(
      features.device() == scores.device(),
      where,
      ": expected features and scores on one device, but got ",
      features.device(),
      " and ",
      scores.device());
  TORCH_CHECK_VALUE(
      features.requires_grad() && scores.requires_grad(),
      where,
      ": expected features and scores with a gradient history, but ",
      features.requires_grad() ? "the scores" : "the features",
      " have none (detached, or computed under torch::NoGradGuard)");
  if (scores.size(0) == 0) {
    return torch::zeros_like(features);
  }
  const bool full = order == GradientOrder::kFull;
  auto gradient = torch::autograd::grad(
      {scores},
      {features},
      /*grad_outputs=*/{torch::ones_like(scores)},
      /*retain_graph=*/true,
      /*create_graph=*/full,
      /*allow_unused=*/true)[0];
  TORCH_CHECK_VALUE(
      gradient.defined(),
      where,
      ": expected scores computed from the features, but no path leads from "
      "the scores back to this tensor");
  return full ? gradient : gradient.detach();
}

/// Grad-CAM as a function of features and their gradients.
///
///   A[n] = sum_c w[n, c] features[n, c],  w = spatial mean of the gradients
///
/// Shapes: features, gradients [N, C, h, w] -> [N, h, w], raw: signed unless
/// `relu`, not normalised (each loss does that for itself). Gradient: reaches
/// the features, and what the gradients' own history reaches.
/// Source: Selvaraju et al. 2017 eq. 1-2; P19 leaves out the ReLU.
struct GradCam {
  bool relu = false;

  torch::Tensor operator()(
      const torch::Tensor& features,
      const torch::Tensor& gradients) const {
    auto map = detail::weighted_channels(features, gradients.mean({2, 3}));
    return relu ? map.relu() : map;
  }
};

/// Grad-CAM of one class per image, from features and the scores behind them.
///
/// Shapes: features [N, C, h, w], scores [N] (a logit of the chosen class per
/// image, see `class_scores`) -> [N, h, w], raw. Gradient and errors: see
/// `score_gradients`, `GradientOrder`. Cost: one backward pass through the part
/// of the network behind the features.
///
///   auto features = torch::rand({2, 8, 7, 7}).requires_grad_();
///   auto logits = torch::matmul(features.mean({2, 3}), torch::rand({8, 3}));
///   auto target = torch::tensor({0, 2}, torch::kLong);
///   auto map = care::grad_cam(features, care::class_scores(logits, target));
inline torch::Tensor grad_cam(
    const torch::Tensor& features,
    const torch::Tensor& scores,
    const AttentionOptions& options = {}) {
  return GradCam{options.relu()}(
      features, score_gradients(features, scores, options.order()));
}

/// Grad-CAM in closed form for a linear layer after global average pooling,
/// where it is the class activation map (CAM): no autograd pass is needed, and
/// it works under torch::NoGradGuard.
///
///   A[n] = sum_c W[target[n], c] / (h w) features[n, c]
///
/// Shapes: features [N, C, h, w], weight [K, C], target [N] int64 -> [N, h, w].
/// Gradient: kFirst reaches the features, kFull also the weight.
/// Throws c10::ValueError for wrong shapes, c10::IndexError for a class outside
/// [0, K). Source: Zhou et al. 2016; equality with Grad-CAM: Selvaraju 2017.
inline torch::Tensor grad_cam_linear(
    const torch::Tensor& features,
    const torch::Tensor& weight,
    const torch::Tensor& target,
    const AttentionOptions& options = {}) {
  const char* where = "care::grad_cam_linear";
  detail::check_features(where, features);
  TORCH_CHECK_VALUE(
      weight.defined() && weight.dim() == 2 &&
          weight.size(1) == features.size(1),
      where,
      ": expected a weight of shape [K, ",
      features.size(1),
      "], but got ",
      detail::sizes_of(weight));
  detail::check_classes(where, target, features.size(0), weight.size(0));
  auto rows =
      weight.index_select(0, target.to(weight.device()).to(torch::kLong));
  rows = rows / static_cast<double>(features.size(2) * features.size(3));
  if (options.order() == GradientOrder::kFirst) {
    rows = rows.detach();
  }
  auto map = detail::weighted_channels(features, rows);
  return options.relu() ? map.relu() : map;
}

/// The CARE attention module: `grad_cam` as a module without parameters.
///
///   care::Attention attention(care::AttentionOptions().relu(true));
///   auto map = attention(features, care::class_scores(logits, target));
class AttentionImpl : public torch::nn::Cloneable<AttentionImpl> {
 public:
  explicit AttentionImpl(const AttentionOptions& options_ = {})
      : options(options_) {}

  void reset() override {}

  void pretty_print(std::ostream& stream) const override {
    stream << "care::Attention(order="
           << (options.order() == GradientOrder::kFirst ? "first" : "full")
           << (options.relu() ? ", relu=true)" : ")");
  }

  torch::Tensor forward(
      const torch::Tensor& features,
      const torch::Tensor& scores) const {
    return grad_cam(features, scores, options);
  }

  AttentionOptions options;
};

/// See `AttentionImpl` and `grad_cam`.
TORCH_MODULE(Attention);

} // namespace care

#endif // CARE_ATTENTION_HPP
