// The learning rate as a training goes on.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_RATE_HPP
#define RESNET_TRAINER_RATE_HPP

#include <torch/optim/optimizer.h>

#include <cmath>

namespace trainer {

/// Half a cosine, from 1 to 0: the factor on the rate when the share `done` of
/// a training is over.
inline double cosine_decay(double done) {
  return (1 + std::cos(M_PI * done)) / 2;
}

/// One rate for all parameters.
inline void set_rate(torch::optim::Optimizer& optimizer, double rate) {
  for (auto& group : optimizer.param_groups()) {
    group.options().set_lr(rate);
  }
}

} // namespace trainer

#endif // RESNET_TRAINER_RATE_HPP
