// The base of the samplers: an epoch's order from seed and epoch, resumable.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_IMBALANCE_EPOCH_SAMPLER_HPP
#define CARE_IMBALANCE_EPOCH_SAMPLER_HPP

#include <care/imbalance/detail/random.hpp>

#include <c10/util/Exception.h>
#include <torch/data/samplers/base.h>
#include <torch/serialize/archive.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace care {

/// A sampler whose order follows from its seed and the number of the epoch
/// alone; derive from it and say how an epoch is drawn.
///
/// LibTorch's DataLoader takes it by value and calls `reset` when an epoch
/// begins: the first epoch is 0, each later `reset` starts the next one. State
/// that was loaded or sought is gone on from by the first `reset` after it, so
/// that a run resumes in the middle of an epoch with the batch that would have
/// come next; `next` alone does so too. `torch::save` and `torch::load` keep
/// epoch and position, and check that seed and size are those of old.
///
/// A loader draws ahead for its workers and does not give its sampler back:
/// count the batches you were given, and `seek` to them.
///
///   care::ClassSampler sampler(targets);
///   sampler.seek(epoch, batches_done * batch_size);
///   auto loader = torch::data::make_data_loader(dataset, sampler, batch_size);
class EpochSampler : public torch::data::samplers::Sampler<> {
 public:
  /// Throws c10::ValueError when told of another size. (A DataLoader tells
  /// none: make the sampler of the dataset's own targets or size.)
  void reset(torch::optional<size_t> new_size = torch::nullopt) override {
    TORCH_CHECK_VALUE(
        !new_size || *new_size == images_,
        "care::EpochSampler::reset: expected ",
        images_,
        " images as before, but got ",
        new_size ? *new_size : 0);
    if (!sought_ || position_ >= order().size()) {
      go_to(epoch_ + 1, 0);
    }
    sought_ = false;
  }

  /// The next `batch_size` images, fewer at the end of the epoch, then none.
  torch::optional<std::vector<size_t>> next(size_t batch_size) override {
    check_batch_size(batch_size);
    sought_ = false;
    const auto count = std::min(batch_size, order().size() - position_);
    if (count == 0) {
      return torch::nullopt;
    }
    const auto from = order().begin() + static_cast<std::ptrdiff_t>(position_);
    position_ += count;
    return std::vector<size_t>(from, from + static_cast<std::ptrdiff_t>(count));
  }

  /// Goes to a place: `position` images of epoch `epoch` are done. Beyond its
  /// end is its end: the last batch of an epoch may be smaller than the others.
  /// Throws c10::ValueError for an epoch below 0.
  void seek(int64_t epoch, size_t position = 0) {
    TORCH_CHECK_VALUE(
        epoch >= 0,
        "care::EpochSampler::seek: expected an epoch of at least 0, but got ",
        epoch);
    go_to(epoch, 0);
    position_ = std::min(position, order().size());
    sought_ = true;
  }

  void save(torch::serialize::OutputArchive& archive) const override {
    archive.write("seed", c10::IValue(static_cast<int64_t>(seed_)));
    archive.write("images", c10::IValue(static_cast<int64_t>(images_)));
    archive.write("epoch", c10::IValue(epoch_));
    archive.write("position", c10::IValue(static_cast<int64_t>(position_)));
  }

  void load(torch::serialize::InputArchive& archive) override {
    const auto read = [&](const char* key) {
      c10::IValue value;
      archive.read(key, value);
      return value.toInt();
    };
    const auto seed = static_cast<uint64_t>(read("seed"));
    const auto images = static_cast<size_t>(read("images"));
    TORCH_CHECK_VALUE(
        seed == seed_ && images == images_,
        "care::EpochSampler::load: expected the state of a sampler with seed ",
        seed_,
        " and ",
        images_,
        " images, but got seed ",
        seed,
        " and ",
        images);
    seek(read("epoch"), static_cast<size_t>(read("position")));
  }

  /// The epoch that is being drawn, from 0.
  int64_t epoch() const {
    return epoch_;
  }
  /// How many images of it were given out.
  size_t position() const {
    return position_;
  }
  /// How many images it gives out in all.
  size_t length() const {
    return order().size();
  }

 protected:
  /// `images`: of the dataset, at least 1.
  EpochSampler(size_t images, uint64_t seed) : images_(images), seed_(seed) {
    TORCH_CHECK_VALUE(
        images > 0, "care::EpochSampler: expected at least 1 image, but got 0");
  }

  /// The images of one epoch in order, from `random` alone.
  virtual std::vector<size_t> draw(detail::EpochRandom& random) const = 0;

  /// Throws if batches of this size are not what the order is made for.
  virtual void check_batch_size(size_t /*batch_size*/) const {}

 private:
  void go_to(int64_t epoch, size_t position) {
    if (epoch != epoch_) {
      order_.clear();
    }
    epoch_ = epoch;
    position_ = position;
  }

  /// This epoch's order, drawn when it is first asked for (a constructor could
  /// not call what the derived class says).
  const std::vector<size_t>& order() const {
    if (order_.empty()) {
      detail::EpochRandom random(seed_, static_cast<uint64_t>(epoch_));
      order_ = draw(random);
    }
    return order_;
  }

  size_t images_;
  uint64_t seed_;
  int64_t epoch_ = 0;
  size_t position_ = 0;
  bool sought_ = true; // the next reset goes on from here
  mutable std::vector<size_t> order_;
};

} // namespace care

#endif // CARE_IMBALANCE_EPOCH_SAMPLER_HPP
