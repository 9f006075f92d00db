// GradScaler: keeps the small gradients of training in half precision alive.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GRAD_SCALER_HPP
#define CARE_GRAD_SCALER_HPP

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/optim/optimizer.h>
#include <torch/serialize/archive.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <vector>

namespace care {

/// Options of `GradScaler`.
struct GradScalerOptions {
  /// The first scale, at least the smallest normal float. Default: 65536.
  TORCH_ARG(double, init_scale) = 65536.0;
  /// What the scale is multiplied by after `growth_interval` steps, above 1.
  /// Default: 2.
  TORCH_ARG(double, growth_factor) = 2.0;
  /// What the scale is multiplied by where a gradient was not finite, in
  /// (0, 1). Default: 0.5.
  TORCH_ARG(double, backoff_factor) = 0.5;
  /// How many steps in a row must be good for the scale to grow, at least 1.
  /// Default: 2000.
  TORCH_ARG(int64_t, growth_interval) = 2000;
};

/// Scales the loss up before `backward` and the gradients down after it, so
/// that those below half's smallest number are not lost; a step whose gradients
/// are not finite is left out, and the scale halved. Python's
/// `torch.cuda.amp.GradScaler`, which LibTorch has no C++ class for. Not needed
/// for bfloat16. Source: Micikevicius et al. 2018, section 3.2.
///
///   care::GradScaler scaler;
///   optimizer.zero_grad();
///   scaler.scale(loss.total).backward(); // a forward under Autocast, kHalf
///   scaler.unscale(optimizer);           // from here on one may clip
///   scaler.step(optimizer);
///
/// One scaler is for one optimizer: what several would train goes into
/// parameter groups of one. `step` waits for the device once. `torch::save` and
/// `torch::load` keep scale and count. Throws c10::ValueError for options out
/// of range, c10::Error for calls in another order.
class GradScaler {
 public:
  explicit GradScaler(const GradScalerOptions& options = {})
      : options_(options),
        scale_(options.init_scale()) {
    const char* where = "care::GradScaler";
    TORCH_CHECK_VALUE(
        std::isfinite(options.init_scale()) &&
            options.init_scale() >= std::numeric_limits<float>::min(),
        where,
        ": expected an init_scale of at least 1.2e-38, but got ",
        options.init_scale());
    TORCH_CHECK_VALUE(
        std::isfinite(options.growth_factor()) && options.growth_factor() > 1,
        where,
        ": expected a growth_factor above 1, but got ",
        options.growth_factor());
    TORCH_CHECK_VALUE(
        options.backoff_factor() > 0 && options.backoff_factor() < 1,
        where,
        ": expected a backoff_factor in (0, 1), but got ",
        options.backoff_factor());
    TORCH_CHECK_VALUE(
        options.growth_interval() >= 1,
        where,
        ": expected a growth_interval of at least 1, but got ",
        options.growth_interval());
  }

  /// The loss, a scalar, times the scale: call `backward` on it.
  torch::Tensor scale(const torch::Tensor& loss) {
    TORCH_CHECK(
        unscaled_ == nullptr,
        "care::GradScaler::scale: expected `step` (which leaves out one that "
        "is not finite) or `skip` after the last `unscale`, but got none: "
        "scaled gradients would be added to unscaled ones");
    scaled_ = true;
    return loss * scale_;
  }

  /// Leaves a step out after `unscale`, in place of `step`: set the gradients
  /// to 0. Scale and count stay.
  void skip() {
    scaled_ = false;
    unscaled_ = nullptr;
  }

  /// Divides the gradients of the optimizer's parameters by the scale, and
  /// notes whether all are finite. Once for each step.
  void unscale(torch::optim::Optimizer& optimizer) {
    TORCH_CHECK(
        unscaled_ == nullptr,
        "care::GradScaler::unscale: expected `step` after the last `unscale`, "
        "but got none: the gradients would be divided twice, or those of a "
        "second optimizer left out");
    torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> gradients;
    std::set<const c10::TensorImpl*> known; // a tied parameter is listed twice
    for (auto& group : optimizer.param_groups()) {
      for (auto& parameter : group.params()) {
        if (!parameter.grad().defined() ||
            !known.insert(parameter.unsafeGetTensorImpl()).second) {
          continue;
        }
        auto gradient = parameter.grad();
        if (gradient.is_sparse()) { // of an embedding: a row may stand twice
          parameter.mutable_grad() = gradient.coalesce();
          gradient = parameter.grad()._values();
        }
        if (gradient.numel() == 0) {
          continue;
        }
        TORCH_CHECK(
            scaled_,
            "care::GradScaler: expected `scale` of a loss since the last step, "
            "but got none; one scaler is for one optimizer (with parameter "
            "groups)");
        TORCH_CHECK_TYPE(
            gradient.scalar_type() != torch::kHalf,
            "care::GradScaler::unscale: expected parameters in float32 (under "
            "Autocast they stay so), but got half ones, whose small gradients "
            "would be lost on the way down");
        gradients.push_back(gradient);
      }
    }
    finite_ = torch::Tensor();
    if (!gradients.empty()) {
      // All at once: on a GPU a launch for each gradient costs more than it
      // does. The largest value is not finite where any is not.
      at::_foreach_mul_(gradients, 1 / scale_);
      auto largest =
          at::_foreach_norm(gradients, std::numeric_limits<double>::infinity());
      for (auto& value : largest) {
        value = value.to(largest[0].device());
      }
      finite_ = torch::stack(largest).isfinite().all();
    }
    unscaled_ = &optimizer;
  }

  /// The optimizer's step, unless a gradient is not finite; then the scale
  /// grows or shrinks. Unscales first where that was not done. Returns whether
  /// the step was taken.
  bool step(torch::optim::Optimizer& optimizer) {
    if (unscaled_ == nullptr) {
      unscale(optimizer);
    }
    TORCH_CHECK(
        unscaled_ == &optimizer,
        "care::GradScaler::step: expected the optimizer that was unscaled, but "
        "got another; one scaler is for one optimizer (with parameter groups)");
    scaled_ = false;
    unscaled_ = nullptr;
    const bool finite = !finite_.defined() || finite_.item<bool>();
    if (finite) {
      optimizer.step();
    }
    good_ = finite ? good_ + 1 : 0;
    if (!finite) {
      // Not so low that a float does not hold its inverse.
      constexpr double kLeast = std::numeric_limits<float>::min();
      scale_ = std::max(scale_ * options_.backoff_factor(), kLeast);
    } else if (good_ >= options_.growth_interval()) {
      const double larger = scale_ * options_.growth_factor();
      scale_ = larger <= std::numeric_limits<float>::max() ? larger : scale_;
      good_ = 0;
    }
    return finite;
  }

  /// The scale of the next step.
  double scale() const {
    return scale_;
  }

  friend torch::serialize::OutputArchive& operator<<(
      torch::serialize::OutputArchive& archive,
      const GradScaler& scaler) {
    archive.write("scale", c10::IValue(scaler.scale_));
    archive.write("good", c10::IValue(scaler.good_));
    return archive;
  }
  friend torch::serialize::InputArchive& operator>>(
      torch::serialize::InputArchive& archive,
      GradScaler& scaler) {
    c10::IValue scale, good;
    archive.read("scale", scale);
    archive.read("good", good);
    scaler.scale_ = scale.toDouble();
    scaler.good_ = good.toInt();
    scaler.scaled_ = false;
    scaler.unscaled_ = nullptr;
    return archive;
  }

 private:
  GradScalerOptions options_;
  double scale_;
  int64_t good_ = 0; // steps in a row since the scale changed
  bool scaled_ = false; // since the last step
  const torch::optim::Optimizer* unscaled_ = nullptr; // likewise
  torch::Tensor finite_; // undefined: no gradient
};

} // namespace care

#endif // CARE_GRAD_SCALER_HPP
