// The networks of this folder by their names, behind one type.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_NETWORKS_BY_NAME_HPP
#define CARE_EXAMPLES_NETWORKS_BY_NAME_HPP

#include "networks/names.hpp"
#include "networks/normalisation.hpp"

#include <care/capture/target_layer.hpp>

#include <torch/nn/module.h>
#include <torch/nn/modules/container/any.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <map>
#include <string>

namespace networks {

/// Any network, images [N, 3, H, W] -> logits [N, classes], with its own names
/// of parameters and buffers. Its first layers can be kept as they are.
class NetworkImpl : public torch::nn::Module {
 public:
  explicit NetworkImpl(const torch::nn::AnyModule& net);

  torch::Tensor forward(const torch::Tensor& images) {
    return net_.forward(images);
  }

  /// From now on all that comes before the layer `stage` (such as "layer3" or
  /// "_blocks.9") stays as it is: its parameters take no gradient, and in
  /// training its layers work as in evaluation, so that BatchNorm keeps its
  /// statistics. Throws c10::ValueError that lists the layers for a name that
  /// is none, and for the first of all.
  void freeze_until(const std::string& stage);

  void train(bool on = true) override;

 private:
  torch::nn::AnyModule net_;
};
TORCH_MODULE(Network);

/// What is to know of a network by its name.
struct Family {
  std::string head; ///< the last layer, which gives the logits
  Normalisation normalisation;
  Network (*make)(const NetworkOptions& options); ///< see networks::make
  care::TargetLayer layer = {}; ///< where its last map is
  int64_t image = 0; ///< the only width and height it takes; 0: any
};

/// All that there are, by their names.
const std::map<std::string, Family>& families();

/// The network of that name with its first weights. Throws as `check` does.
Network make(const std::string& name, const NetworkOptions& options);

/// Sets how fast the running statistics of each BatchNorm2d follow; false:
/// there is none.
bool set_batch_norm_momentum(const torch::nn::Module& net, double momentum);

} // namespace networks

#endif // CARE_EXAMPLES_NETWORKS_BY_NAME_HPP
