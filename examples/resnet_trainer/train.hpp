// Trains one network in two stages, and asks it about test images.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_TRAIN_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_TRAIN_HPP

#include "common/sample.hpp"
#include "resnet_trainer/dataset.hpp"
#include "resnet_trainer/resnet.hpp"
#include "resnet_trainer/run.hpp"
#include "resnet_trainer/settings.hpp"

#include <care/guide.hpp>

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace trainer {

/// The data of one fold (or random split).
struct FoldData {
  std::vector<common::Sample> train;
  std::vector<common::Sample> validation; ///< may be empty
};

/// What is trained: one arm on one fold with one seed.
struct Job {
  std::string label; ///< for the progress bar
  bool care = true; ///< false: the control, the attention loss stays off
  int64_t fold = 0;
  int64_t seed = 0;
  int64_t classes = 2;
  std::vector<int64_t> guided; ///< classes
  std::vector<int64_t> rare; ///< classes
  std::filesystem::path checkpoint; ///< of this arm; kept while it trains
  std::filesystem::path stage1; ///< shared by the arms: they are alike so far
};

/// An attention map that is chosen while the program runs.
using AnyMap =
    std::function<torch::Tensor(const torch::Tensor&, const torch::Tensor&)>;

/// A guidance loss that is chosen while the program runs.
struct AnyLoss {
  std::function<torch::Tensor(const torch::Tensor&, const care::RegionWeights&)>
      loss;
  /// Its tau, for the audit; of a loss without one: never reached.
  care::AttentionLossOptions options =
      care::AttentionLossOptions().tau(std::numeric_limits<double>::infinity());

  torch::Tensor operator()(
      const torch::Tensor& maps,
      const care::RegionWeights& regions) const {
    return loss(maps, regions);
  }
};

/// What a network is trained with.
struct Method {
  /// Lc of a batch: (logits [N, K], target [N], epoch from 0) -> scalar.
  std::function<
      torch::Tensor(const torch::Tensor&, const torch::Tensor&, int64_t)>
      criterion;
  care::Guide<AnyMap, AnyLoss> guide;
  torch::optional<care::Balance> balance; ///< sets the strength, if given
  Order order = Order::kShuffled;
  bool cosine_head = false; ///< logits are cosines, as LDAM wants them
};

struct Trained {
  ResNet net{nullptr};
  std::vector<EpochRow> epochs;
};

ResNet make_net(
    const Settings& settings,
    int64_t classes,
    bool cosine_head = false);

/// What the settings ask for: cross-entropy, weighted by class or not, and the
/// CARE loss on Grad-CAM.
Method make_method(
    const Settings& settings,
    const Job& job,
    const FoldData& data);

/// Both stages. After each epoch the checkpoint holds everything (weights,
/// optimizer, schedule, rows); a run that finds one goes on from there. Throws
/// std::runtime_error for a damaged checkpoint, and when the loss is not
/// finite.
Trained train(
    const Settings& settings,
    const Job& job,
    const FoldData& data,
    Method method);

/// Probabilities of each class, and the EPG of the images with a box: the
/// share inside of the Grad-CAM map (ReLU, raw) of the true class.
std::vector<Prediction> predict(
    const Settings& settings,
    ResNet net,
    const std::vector<common::Sample>& samples);

/// Raw Grad-CAM of the true class for each sample: [N, h, w], on the host.
torch::Tensor attention_maps(
    const Settings& settings,
    ResNet net,
    const std::vector<common::Sample>& samples);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_TRAIN_HPP
