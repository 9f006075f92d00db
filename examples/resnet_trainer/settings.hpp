// Every setting of a run: what the command line sets and results.json records.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_SETTINGS_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_SETTINGS_HPP

#include "resnet_trainer/augment.hpp"
#include "resnet_trainer/box_source.hpp"

#include <care/boxes.hpp>

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace trainer {

struct Settings {
  // data
  std::string data; ///< manifest; empty: the generated set
  std::vector<std::string> exclude; ///< labels to leave out
  care::Size size{96, 96};
  std::vector<int64_t> test_folds; ///< empty: all
  int64_t folds = 5; ///< made where the manifest gives none
  double train_share = 0; ///< above 0: random splits instead of folds
  int64_t splits = 1; ///< how many random splits
  double val_share = 0.1; ///< of what is not tested
  std::vector<int64_t> counts{300, 120, 90, 30}; ///< generated training set
  int64_t test_count = 100; ///< generated test images for each class
  double contrast = 0.6; ///< generated: how distinct the rare class looks

  // network
  std::string net = "resnet18";
  double width = 0.25;
  int64_t last_stride = 1;

  // training
  int64_t stage1 = 10; ///< epochs of plain training
  int64_t stage2 = 20; ///< epochs with the attention loss
  int64_t batch = 16;
  std::string optimizer = "adam";
  double lr = 1e-3;
  double weight_decay = 1e-4;
  std::string lr_schedule = "cosine";
  bool class_weights = false;
  bool balanced = false; ///< class-balanced batches
  std::string select = "last"; ///< which epoch is tested: last or best
  std::string precision = "float"; ///< of the backbone in training, or bfloat16
  AugmentOptions augment;
  std::string augmentation = "flips"; ///< none, flips, strong

  // attention
  std::vector<std::string> guide{"rare"}; ///< labels, or "rare", or "all"
  std::vector<std::string> rare; ///< empty: below rare_share
  double rare_share = 0.1;
  double alpha = 0.5;
  double lambda = 1;
  double tau = 1;
  int64_t warmup = 0;
  bool full_gradient = false;
  std::string boxes; ///< manifest of the training boxes; empty: those of data
  bool weigh_boxes = false; ///< by their confidence; else each counts in full
  double dilate = 1; ///< factor on the boxes
  BoxNoise box_noise;

  // run
  bool compare = false;
  int64_t seeds = 1;
  int64_t first_seed = 0;
  int64_t threads = 0; ///< 0: all cores
  std::string device = "cpu";
  int64_t pictures = 8;
  std::string out = "runs/latest";
  bool fresh = false; ///< forget what an interrupted run left
};

/// What "none", "flips" and "strong" stand for.
AugmentOptions parse_augmentation(const std::string& name);

/// The settings as JSON, for results.json and the report.
nlohmann::ordered_json to_json(const Settings& settings);

/// Those that make a trained network what it is: two runs may share a folder
/// when these are equal.
nlohmann::ordered_json identity(const Settings& settings);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_SETTINGS_HPP
