// Grad-CAM: channels weighted by the spatial mean of their gradients.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_ATTENTION_GRAD_CAM_HPP
#define CARE_ATTENTION_GRAD_CAM_HPP

#include <care/attention/class_attention_map.hpp>
#include <care/attention/scores.hpp>
#include <care/detail/at_least_float.hpp>
#include <care/detail/check.hpp>
#include <care/detail/to_device.hpp>

#include <torch/arg.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ostream>

namespace care {

/// Options of `grad_cam` and `Attention`.
struct AttentionOptions {
  /// Default: GradientOrder::kFirst.
  TORCH_ARG(GradientOrder, order) = GradientOrder::kFirst;
  /// Cut negative values. CARE wants the signed map. Default: false.
  TORCH_ARG(bool, relu) = false;
};

/// Grad-CAM as a function of features and their gradients.
///
///   A[n] = sum_c w[n, c] features[n, c],  w = spatial mean of the gradients
///
/// Shapes: features, gradients [N, C, h, w] -> [N, h, w] float32 (float64 for
/// double), raw: signed unless `relu`, not normalised (each loss does that for
/// itself). Gradient: reaches the features, and what the gradients' own history
/// reaches.
/// Source: Selvaraju et al. 2017 eq. 1-2; P19 leaves out the ReLU.
struct GradCam {
  bool relu = false;

  torch::Tensor operator()(
      const torch::Tensor& features,
      const torch::Tensor& gradients) const {
    detail::check_gradients("care::GradCam", features, gradients);
    const auto weights = detail::channel_weights(gradients);
    return detail::finished(detail::weighted_channels(features, weights), relu);
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
  return class_attention_map(
      features, scores, GradCam{options.relu()}, options.order());
}

/// Grad-CAM in closed form for a linear layer after global average pooling,
/// where it is the class activation map (CAM): no autograd pass is needed, and
/// it works under torch::NoGradGuard.
///
///   A[n] = sum_c W[target[n], c] / (h w) features[n, c]
///
/// Shapes: features [N, C, h, w], weight [K, C], target [N] int64 -> [N, h, w]
/// float32 (float64 for double features).
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
  detail::check_same_device(where, "features and weight", features, weight);
  detail::check_classes(where, target, features.size(0), weight.size(0));
  auto rows = detail::at_least_float(weight.index_select(
      0, detail::to_device(target, weight.device()).to(torch::kLong)));
  rows = rows / static_cast<double>(features.size(2) * features.size(3));
  if (options.order() == GradientOrder::kFirst) {
    rows = rows.detach();
  }
  return detail::finished(
      detail::weighted_channels(features, rows), options.relu());
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

#endif // CARE_ATTENTION_GRAD_CAM_HPP
