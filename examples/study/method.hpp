// An arm of the study as network, loss, guide and optimizer.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_METHOD_HPP
#define CARE_EXAMPLES_STUDY_METHOD_HPP

#include "resnet_trainer/train.hpp"
#include "study/plan.hpp"

#include <care/augment.hpp>
#include <care/guide.hpp>

#include <torch/nn/module.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/pimpl.h>
#include <torch/optim/optimizer.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace study {

/// A network of any kind behind one type: images [N, 3, H, W] -> logits.
class NetworkImpl : public torch::nn::Module {
 public:
  explicit NetworkImpl(torch::nn::AnyModule net) : net_(std::move(net)) {
    register_module("net", net_.ptr());
  }
  torch::Tensor forward(const torch::Tensor& images) {
    return net_.forward(images);
  }

 private:
  torch::nn::AnyModule net_;
};
TORCH_MODULE(Network);

/// The one place that names networks; with the recipe's weights.
Network make_network(const Recipe& recipe, const Arm& arm, int64_t classes);

/// How the network wants its pictures: as the file of weights says, else as its
/// family; a ResNet without weights as the trainer's.
trainer::Input input_of(const Recipe& recipe, torch::Device device);

/// A guide whose map and loss are chosen while the program runs, and whose
/// strength an arm may leave to the gradients.
class ArmGuide {
 public:
  using Map =
      std::function<torch::Tensor(const torch::Tensor&, const torch::Tensor&)>;
  using Loss = std::function<
      torch::Tensor(const torch::Tensor&, const care::RegionWeights&)>;

  /// `guided`: the classes of arm.guide. An arm without guidance keeps the
  /// factor that its alpha (or weight) gives the classification loss: it is the
  /// control with the attention loss at 0.
  ArmGuide(
      const Arm& arm,
      const std::vector<int64_t>& guided,
      const Recipe& recipe);

  template <class Net>
  auto watch(Net& net, const torch::Tensor& images) const {
    return guide_.watch(net, images);
  }
  care::GuidedLoss loss(
      const torch::Tensor& classification,
      const care::Seen& seen,
      const torch::Tensor& target,
      const care::Boxes& boxes) const {
    return balance_
        ? guide_.loss(classification, seen, target, boxes, *balance_)
        : guide_.loss(classification, seen, target, boxes);
  }
  void advance() {
    guide_.advance();
  }
  const care::Schedule& schedule() const {
    return guide_.schedule();
  }

  friend torch::serialize::OutputArchive& operator<<(
      torch::serialize::OutputArchive& archive,
      const ArmGuide& guide);
  friend torch::serialize::InputArchive& operator>>(
      torch::serialize::InputArchive& archive,
      ArmGuide& guide);

 private:
  care::Guide<Map, Loss> guide_;
  std::shared_ptr<care::Balance> balance_; // it learns while it weighs
};

/// Lc of a batch: (logits [N, K], target [N], epoch from 0) -> scalar. `counts`
/// holds the training images of each class, at least 1.
using Criterion = std::function<
    torch::Tensor(const torch::Tensor&, const torch::Tensor&, int64_t)>;
Criterion criterion_of(
    Imbalance imbalance,
    const std::vector<int64_t>& counts,
    int64_t epochs,
    torch::Device device);

std::unique_ptr<torch::optim::Optimizer> make_optimizer(
    const Recipe& recipe,
    const Network& net);
void set_rate(
    torch::optim::Optimizer& optimizer,
    const Recipe& recipe,
    int64_t epoch);

care::AugmentOptions augmentation_of(const Recipe& recipe, const Arm& arm);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_METHOD_HPP
