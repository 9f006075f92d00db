// What a guide gives back: the loss, and figures to log.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_GUIDE_FIGURES_HPP
#define CARE_GUIDE_FIGURES_HPP

#include <torch/types.h>

#include <cstdint>
#include <iomanip>
#include <locale>
#include <sstream>
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
  torch::Tensor inner; ///< mean of the min-max map inside the regions, 0 to 1
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

  /// One line for the log. (By a stream: fmt's formatting of numbers would cost
  /// every training file a second of compile time.)
  std::string str() const {
    const auto& a = attention;
    std::ostringstream line;
    line.imbue(std::locale::classic());
    line << std::fixed << std::setprecision(4) << "loss "
         << total.item<double>() << " = Lc " << classification.item<double>()
         << ", La " << a.loss.item<double>() << std::setprecision(3)
         << " (inner " << a.inner.item<double>() << ", outer "
         << a.outer.item<double>() << ", inside "
         << a.inside_share.item<double>() << "), guided " << a.guided
         << ", flat " << a.flat.item<int64_t>() << ", saturated "
         << a.saturated.item<int64_t>() << ", strength " << std::setprecision(2)
         << strength;
    return line.str();
  }
};

} // namespace care

#endif // CARE_GUIDE_FIGURES_HPP
