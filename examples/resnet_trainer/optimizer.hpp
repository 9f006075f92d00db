// The optimizer of a training, and its learning rate as it goes on.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_OPTIMIZER_HPP
#define RESNET_TRAINER_OPTIMIZER_HPP

#include "options.hpp" // the names of optimizers

#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/optimizer.h>
#include <torch/optim/sgd.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace trainer {

/// Parameters with a learning rate of their own.
struct Group {
  std::vector<torch::Tensor> parameters;
  double rate = 1; ///< factor on the rate of all
};

/// Of the groups in their order. SGD has momentum 0.9.
inline std::unique_ptr<torch::optim::Optimizer> make_optimizer(
    Optimizer kind,
    const std::vector<Group>& groups,
    double rate,
    double weight_decay) {
  using namespace torch::optim;
  std::vector<OptimizerParamGroup> parameters;
  for (const auto& group : groups) {
    parameters.emplace_back(group.parameters);
  }
  switch (kind) {
    case trainer::Optimizer::kAdamW:
      return std::make_unique<AdamW>(
          parameters, AdamWOptions(rate).weight_decay(weight_decay));
    case trainer::Optimizer::kAdam:
      return std::make_unique<Adam>(
          parameters, AdamOptions(rate).weight_decay(weight_decay));
    case trainer::Optimizer::kSgd:
      break;
  }
  return std::make_unique<SGD>(
      parameters, SGDOptions(rate).momentum(0.9).weight_decay(weight_decay));
}

/// Half a cosine, from 1 to 0: the factor on the rate when the share `done` of
/// a training is over.
inline double cosine_decay(double done) {
  return (1 + std::cos(M_PI * done)) / 2;
}

/// Sets the learning rate of an epoch, from 0: a rise, then constant or cosine.
inline double set_epoch_rate(
    torch::optim::Optimizer& optimizer,
    const std::vector<Group>& groups,
    const Options& o,
    int64_t epoch) {
  const auto left = o.stage1 + o.stage2 - o.lr_warmup;
  const auto done = static_cast<double>(epoch - o.lr_warmup) /
      static_cast<double>(std::max<int64_t>(1, left));
  const double rate = epoch < o.lr_warmup ? o.lr *
          static_cast<double>(epoch + 1) / static_cast<double>(o.lr_warmup + 1)
      : o.cosine ? o.lr * cosine_decay(done)
                 : o.lr;
  for (size_t i = 0; i < groups.size(); ++i) {
    optimizer.param_groups()[i].options().set_lr(rate * groups[i].rate);
  }
  return rate;
}

/// One rate for all parameters.
inline void set_rate(torch::optim::Optimizer& optimizer, double rate) {
  for (auto& group : optimizer.param_groups()) {
    group.options().set_lr(rate);
  }
}

} // namespace trainer

#endif // RESNET_TRAINER_OPTIMIZER_HPP
