// Pictures in memory, served in batches to LibTorch's data loader.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_DATASET_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_DATASET_HPP

#include "common/manifest.hpp"
#include "common/sample.hpp"
#include "resnet_trainer/augment.hpp"

#include <care/boxes.hpp>

#include <torch/data.h>
#include <torch/serialize.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace trainer {

/// Reads the pictures on `jobs` threads and brings each to `size`.
///
/// The target of a record is the place of its label in `classes`. EXIF
/// orientation is ignored, so that boxes stay true. Boxes are checked against
/// the stored picture, clipped at its border and scaled along. Throws
/// std::runtime_error that names the manifest's line for a missing or damaged
/// picture, an unknown label, or a box wholly outside its picture.
std::vector<common::Sample> load_samples(
    const std::vector<common::Record>& records,
    const std::vector<std::string>& classes,
    care::Size size,
    int jobs);

// ---------------------------------------------------------------- splits ---

std::vector<int64_t> targets_of(const std::vector<common::Sample>& samples);

/// The samples at `indices`; the pictures are shared, not copied.
std::vector<common::Sample> select(
    const std::vector<common::Sample>& samples,
    const std::vector<size_t>& indices);

/// The places of the samples of each group; one without a group is alone.
std::vector<std::vector<size_t>> groups_of(
    const std::vector<common::Sample>& samples);

/// Gives each sample without a fold one in [0, folds), class by class in turn,
/// so that every fold holds about the same share of each class. A group falls
/// into one fold, and counts as of its first sample's class. Throws
/// std::invalid_argument for a group that is in several folds already.
void assign_folds(
    std::vector<common::Sample>& samples,
    int64_t folds,
    uint64_t seed);

struct Split {
  std::vector<size_t> first; ///< about `share` of each class, ascending
  std::vector<size_t> second; ///< the rest, ascending
};

/// Splits at random, class by class; a class of two or more samples keeps at
/// least one in each part. A class of one goes to `first`.
Split split_stratified(
    const std::vector<int64_t>& targets,
    double share,
    uint64_t seed);

/// The same for samples: a group falls on one side, and counts as one sample of
/// its first one's class.
Split split_by_group(
    const std::vector<common::Sample>& samples,
    double share,
    uint64_t seed);

// --------------------------------------------------------------- batches ---

/// One wanted example: the n-th copy of a sample in an epoch. All randomness
/// of the example follows from it and the dataset's seed, so that a run that
/// was interrupted goes on as if it had not been.
struct Draw {
  size_t index = 0;
  int64_t epoch = 0;
  int64_t repeat = 0; ///< 0 unless an order draws it more than once
};

struct Example {
  torch::Tensor image; ///< `[3, H, W]` float, normalised
  int64_t target = 0;
  care::Boxes boxes; ///< of one image
  int64_t index = 0; ///< place in the dataset
};

struct Batch {
  torch::Tensor images; ///< `[N, 3, H, W]` float, normalised
  torch::Tensor targets; ///< `[N]` int64
  care::Boxes boxes; ///< of N images
  torch::Tensor index; ///< `[N]` int64, places in the dataset
};

/// Stacks examples of one image size.
Batch collate(const std::vector<Example>& examples);

struct DatasetOptions {
  AugmentOptions augment; ///< by default nothing is changed
  uint64_t seed = 0; ///< of the augmentation
  double mean = 0.5; ///< pixels in [0, 1] become (pixel - mean) / deviation
  double deviation = 0.25;
};

/// Samples as normalised and, if asked for, augmented examples.
///
///   auto loader = torch::data::make_data_loader(
///       LesionDataset(samples, options),
///       EpochSampler(targets_of(samples), Order::kShuffled, seed),
///       torch::data::DataLoaderOptions(32).workers(2));
///   for (auto& batch : *loader) ...  // one epoch, a Batch each
class LesionDataset
    : public torch::data::datasets::
          BatchDataset<LesionDataset, Batch, std::vector<Draw>> {
 public:
  LesionDataset(std::vector<common::Sample> samples, DatasetOptions options);

  Example get(const Draw& draw) const;
  Batch get_batch(std::vector<Draw> draws) override;
  torch::optional<size_t> size() const override;

  const std::vector<common::Sample>& samples() const {
    return *samples_;
  }

 private:
  std::shared_ptr<const std::vector<common::Sample>>
      samples_; // workers share it
  DatasetOptions options_;
};

enum class Order {
  kInOrder, ///< 0, 1, 2, ...
  kShuffled, ///< every sample once, in random order
  kBalanced, ///< classes in turn: a batch holds equally many of each, or one
             ///< more; an epoch is still as long as the dataset
  kSquareRoot, ///< a class of n images is drawn in proportion to sqrt(n)
};

/// The order in which an epoch visits the samples, from the seed and the
/// number of the epoch alone.
class EpochSampler : public torch::data::samplers::Sampler<std::vector<Draw>> {
 public:
  /// The first epoch to be drawn is `epoch`: give a resumed run its own.
  EpochSampler(
      std::vector<int64_t> targets,
      Order order,
      uint64_t seed,
      int64_t epoch = 0);

  /// Starts the next epoch. The data loader does so at each begin().
  void reset(torch::optional<size_t> new_size = torch::nullopt) override;
  torch::optional<std::vector<Draw>> next(size_t batch_size) override;
  void save(torch::serialize::OutputArchive& archive) const override;
  void load(torch::serialize::InputArchive& archive) override;

  int64_t epoch() const {
    return epoch_;
  }

 private:
  void plan();

  std::vector<int64_t> targets_;
  Order order_;
  uint64_t seed_;
  int64_t epoch_;
  size_t position_ = 0;
  std::vector<Draw> draws_; // this epoch's; empty before the first reset
};

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_DATASET_HPP
