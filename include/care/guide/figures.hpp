// What a guide gives back: the loss, and figures to log.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_FIGURES_HPP
#define CARE_GUIDE_FIGURES_HPP

#include <fmt/format.h>
#include <torch/types.h>

#include <cstdint>
#include <string>

namespace care {

/// For micro-batches whose gradients are accumulated: how many there are, and
/// how many guided images in all (`Guide::count` summed). With the step's loss
/// divided by `steps`, the gradient equals that of one big batch.
struct Accumulation {
  int64_t steps = 1;
  int64_t guided = 0; ///< 0: the guided images of this batch alone
};

/// Attention figures of a batch, without gradient, on the network's device (on
/// the host if no image is guided). Reading one (`item`, `str`) waits for the
/// device, keeping it does not.
struct AttentionFigures {
  torch::Tensor loss; ///< La, the mean over the guided images
  torch::Tensor inner; ///< mean of the min-max map inside the boxes, 0 to 1
  torch::Tensor outer; ///< weighted mean of it outside, 0 to 1
  torch::Tensor inside_share; ///< share of max(map, 0) inside, 0 to 1 (EPG)
  torch::Tensor flat; ///< how many of the guided maps are flat
  torch::Tensor saturated; ///< how many have inner >= tau (of a loss with tau)
  int64_t guided = 0; ///< guided maps; 0: the tensors above are all 0
};

/// What `Guide::loss` returns.
struct GuidedLoss {
  torch::Tensor total; ///< the scalar to minimise
  torch::Tensor classification; ///< Lc, detached
  AttentionFigures attention;
  double strength = 0; ///< the schedule's, 0 to 1

  void backward() const {
    total.backward();
  }

  /// One line for the log.
  std::string str() const {
    const auto& a = attention;
    return fmt::format(
        "loss {:.4f} = Lc {:.4f}, La {:.4f} (inner {:.3f}, outer {:.3f}, "
        "inside {:.3f}), guided {}, flat {}, saturated {}, strength {:.2f}",
        total.item<double>(),
        classification.item<double>(),
        a.loss.item<double>(),
        a.inner.item<double>(),
        a.outer.item<double>(),
        a.inside_share.item<double>(),
        a.guided,
        a.flat.item<int64_t>(),
        a.saturated.item<int64_t>(),
        strength);
  }
};

} // namespace care

#endif // CARE_GUIDE_FIGURES_HPP
