// The pictures of an experiment: where they are from, how they are divided.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_DATA_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_DATA_HPP

#include "common/sample.hpp"
#include "resnet_trainer/box_source.hpp"
#include "resnet_trainer/settings.hpp"
#include "resnet_trainer/train.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace trainer {

/// All pictures, and how they are divided.
struct Data {
  std::string sentence; ///< for the report
  std::vector<std::string> classes;
  std::vector<common::Sample> pool; ///< training and, with folds, testing
  BoxesById training_boxes; ///< empty: the pool's own
  std::vector<int64_t> folds; ///< those to be tested, one after another
  /// Test sets of their own (the generated set); else the fold is the test.
  /// The first is reported first, the last gives the pictures.
  std::vector<std::pair<std::string, std::vector<common::Sample>>> tests;
};

/// Reads, or generates, what the settings name.
Data load_data(const Settings& settings);

/// Places of the labels in `classes`; "all" and "rare" stand for lists. Throws
/// std::invalid_argument that names `flag` for an unknown label.
std::vector<int64_t> classes_of(
    const char* flag,
    const std::vector<std::string>& labels,
    const std::vector<std::string>& classes,
    const std::vector<int64_t>& rare);

/// The classes the settings list, else those below the share, else the smallest
/// one.
std::vector<int64_t> rare_classes(const Settings& settings, const Data& data);

/// Training, validation and test images of one fold or random split. The
/// last is empty where the data has test sets of its own.
std::pair<FoldData, std::vector<common::Sample>> split_fold(
    const Settings& settings,
    const Data& data,
    int64_t fold);

/// The fold with the boxes that one training run shall see: `boxes` in place of
/// its own unless they are empty, each in full or weighed by its confidence (of
/// 0: not at all), with the settings' noise.
FoldData boxes_for_training(
    const Settings& settings,
    const BoxesById& boxes,
    FoldData fold_data,
    int64_t fold,
    int64_t seed);

/// The first test images of the rare classes that have boxes, as they come: the
/// classes in turn, nothing picked by hand.
std::vector<common::Sample> picture_samples(
    const std::vector<common::Sample>& test,
    const std::vector<int64_t>& rare,
    int64_t wanted);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_DATA_HPP
