// A module to place in a forward, for those who prefer explicit code.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_TAP_HPP
#define CARE_CAPTURE_TAP_HPP

#include <c10/util/Exception.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>
#include <torch/types.h>

#include <ostream>
#include <utility>

namespace care {

/// The identity; it keeps the tensor that went through it last, until `take`.
/// No parameters and no buffers: the state dict has no key of it. (Inside a
/// Sequential it takes a number, as any module does.) Keeps nothing of a
/// forward that records no gradients. One thread at a time.
///
///   care::Tap tap;
///   auto net = torch::nn::Sequential(
///       torch::nn::Conv2d(3, 8, 3), tap, torch::nn::AdaptiveAvgPool2d(1),
///       torch::nn::Flatten(), torch::nn::Linear(8, 2));
///   auto logits = net->forward(torch::rand({1, 3, 16, 16}));
///   care::Seen seen{logits, tap->take()};
class TapImpl : public torch::nn::Cloneable<TapImpl> {
 public:
  void reset() override {
    kept_ = torch::Tensor();
  }

  void pretty_print(std::ostream& stream) const override {
    stream << "care::Tap()";
  }

  torch::Tensor forward(const torch::Tensor& x) {
    kept_ = x.requires_grad() ? x : torch::Tensor();
    return x;
  }

  /// The tensor of the last forward; it is not kept any longer. Throws
  /// c10::ValueError if there is none.
  torch::Tensor take() {
    TORCH_CHECK_VALUE(
        kept_.defined(),
        "care::Tap::take: expected a forward that records gradients since the "
        "last call, but there was none (torch::NoGradGuard, or a frozen "
        "backbone)");
    return std::exchange(kept_, torch::Tensor());
  }

 private:
  torch::Tensor kept_;
};

/// See `TapImpl`.
TORCH_MODULE(Tap);

} // namespace care

#endif // CARE_CAPTURE_TAP_HPP
