// Trains one network in two stages, and asks it about test images.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_TRAIN_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_TRAIN_HPP

#include "common/sample.hpp"
#include "resnet_trainer/resnet.hpp"
#include "resnet_trainer/results.hpp"
#include "resnet_trainer/settings.hpp"

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace trainer {

/// The data of one fold (or random split).
struct FoldData {
  std::vector<Sample> train;
  std::vector<Sample> validation; ///< may be empty
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

struct Trained {
  ResNet net{nullptr};
  std::vector<EpochRow> epochs;
};

ResNet make_net(const Settings& settings, int64_t classes);

/// Both stages. After each epoch the checkpoint holds everything (weights,
/// optimizer, schedule, rows); a run that finds one goes on from there. Throws
/// std::runtime_error for a damaged checkpoint, and when the loss is not
/// finite.
Trained train(const Settings& settings, const Job& job, const FoldData& data);

/// Probabilities of each class, and the EPG of the images with a box: the
/// share inside of the Grad-CAM map (ReLU, raw) of the true class.
std::vector<Prediction> predict(
    const Settings& settings,
    ResNet net,
    const std::vector<Sample>& samples);

/// Raw Grad-CAM of the true class for each sample: [N, h, w], on the host.
torch::Tensor attention_maps(
    const Settings& settings,
    ResNet net,
    const std::vector<Sample>& samples);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_TRAIN_HPP
