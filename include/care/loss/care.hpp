// The CARE attention loss: attention inside the boxes, and not outside.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_LOSS_CARE_HPP
#define CARE_LOSS_CARE_HPP

#include <care/loss/detail/regions.hpp>
#include <care/normalise.hpp>
#include <care/region_weights.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/enum.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/options/loss.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <cmath>
#include <ostream>

namespace care {

/// Options of `attention_loss` and `AttentionLoss`.
struct AttentionLossOptions {
  using reduction_t = torch::nn::MSELossOptions::reduction_t;

  /// Weight of the outer term. Default: 1 (the paper: 0.5 X-ray, 0.7 skin).
  TORCH_ARG(double, lambda) = 1.0;
  /// Attention inside beyond which nothing more is asked, in (0, 1].
  /// Default: 1, no limit (the authors' code: 0.5); see docs/results.md.
  TORCH_ARG(double, tau) = 1.0;
  /// Default: Normalisation::kMinMax, as in the paper.
  TORCH_ARG(Normalisation, normalisation) = Normalisation::kMinMax;
  /// torch::kMean (over the images with a region), torch::kSum or torch::kNone.
  TORCH_ARG(reduction_t, reduction) = torch::kMean;
};

/// The two terms of the loss, image by image; 0 for one without a region.
struct AttentionTerms {
  torch::Tensor inner; ///< [N] mean of the normalised map inside, 0 to 1
  torch::Tensor outer; ///< [N] weighted mean of it outside, 0 to 1
  torch::Tensor flat; ///< [N] bool, the map says nothing (see `normalise`)
};

namespace detail {

inline void check_options(
    const char* where,
    const AttentionLossOptions& options) {
  TORCH_CHECK_VALUE(
      std::isfinite(options.lambda()) && options.lambda() >= 0,
      where,
      ": expected lambda of at least 0, but got ",
      options.lambda());
  TORCH_CHECK_VALUE(
      options.tau() > 0 && options.tau() <= 1,
      where,
      ": expected tau in (0, 1], but got ",
      options.tau());
}

/// The mean over the images with a region, their sum, or all of them.
inline torch::Tensor reduce(
    const torch::Tensor& per_image,
    const torch::Tensor& weight,
    const AttentionLossOptions::reduction_t& reduction) {
  auto kind = torch::enumtype::reduction_get_enum(reduction);
  if (kind == torch::Reduction::None) {
    return per_image;
  }
  auto sum = per_image.sum();
  return kind == torch::Reduction::Sum ? sum
                                       : sum / (weight > 0).sum().clamp_min(1);
}

inline AttentionTerms terms_of(
    const char* where,
    const torch::Tensor& maps,
    const RegionWeights& regions,
    Normalisation normalisation) {
  check_guidance(where, maps, regions);
  auto normalised = normalise(maps, normalisation);
  return {
      weighted_mean(normalised.maps, regions.inside),
      weighted_mean(normalised.maps, regions.outside),
      normalised.flat};
}

} // namespace detail

/// How much of each normalised map lies inside and outside its region.
/// Shapes, errors and edge cases as `attention_loss`.
inline AttentionTerms attention_terms(
    const torch::Tensor& maps,
    const RegionWeights& regions,
    Normalisation normalisation = Normalisation::kMinMax) {
  return detail::terms_of(
      "care::attention_terms", maps, regions, normalisation);
}

/// The CARE loss of raw attention maps.
///
///   La = -min(sum(Min F) / sum(Min), tau) + lambda sum(Mout F) / sum(Mout)
///
/// F is the map brought to [0, 1] (`normalise`), Min and Mout the region's
/// weights; each image's value is multiplied by `regions.weight`.
///
/// Shapes: maps [N, h, w] raw, any floating dtype; regions of the same shape on
/// the same device (`rasterize`) -> a scalar, or [N] with torch::kNone; float32
/// (float64 for double maps), each image's value in [-tau, lambda].
/// Gradient: reaches the maps. Throws c10::ValueError for wrong shapes, devices
/// or options. An image without a region, and a flat map, give 0 and gradient
/// 0; the mean is over the images with a region, and 0 if there are none. A
/// region that fills the image has an outer term of 0.
/// Source: P19 eq. 2-4. The authors' code sums over the images, has lambda = 1.
///
///   auto maps = torch::rand({1, 7, 7}).requires_grad_();
///   auto boxes = care::Boxes::from_lists({{{32, 32, 96, 96}}}, {224, 224});
///   auto loss = care::attention_loss(maps, care::rasterize(boxes, {7, 7}));
inline torch::Tensor attention_loss(
    const torch::Tensor& maps,
    const RegionWeights& regions,
    const AttentionLossOptions& options = {}) {
  const char* where = "care::attention_loss";
  detail::check_options(where, options);
  auto terms = detail::terms_of(where, maps, regions, options.normalisation());
  auto per_image =
      options.lambda() * terms.outer - terms.inner.clamp_max(options.tau());
  auto weight = regions.weight.to(per_image.scalar_type());
  return detail::reduce(per_image * weight, weight, options.reduction());
}

/// `attention_loss` image by image, as `Guide` wants it: [N, h, w] -> [N].
struct CareLoss {
  AttentionLossOptions options = {};

  torch::Tensor operator()(
      const torch::Tensor& maps,
      const RegionWeights& regions) const {
    return attention_loss(
        maps, regions, AttentionLossOptions(options).reduction(torch::kNone));
  }
};

/// The attention loss as a module without parameters.
///
///   care::AttentionLoss criterion(care::AttentionLossOptions().lambda(0.7));
///   auto loss = criterion(maps, regions);
class AttentionLossImpl : public torch::nn::Cloneable<AttentionLossImpl> {
 public:
  explicit AttentionLossImpl(const AttentionLossOptions& options_ = {})
      : options(options_) {
    reset();
  }

  void reset() override {
    detail::check_options("care::AttentionLoss", options);
  }

  void pretty_print(std::ostream& stream) const override {
    stream << "care::AttentionLoss(lambda=" << options.lambda()
           << ", tau=" << options.tau() << ")";
  }

  torch::Tensor forward(const torch::Tensor& maps, const RegionWeights& regions)
      const {
    return attention_loss(maps, regions, options);
  }

  AttentionLossOptions options;
};

/// See `AttentionLossImpl` and `attention_loss`.
TORCH_MODULE(AttentionLoss);

} // namespace care

#endif // CARE_LOSS_CARE_HPP
