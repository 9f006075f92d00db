// One process's share of every batch, where several train one network together.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_IMBALANCE_RANK_SAMPLER_HPP
#define CARE_IMBALANCE_RANK_SAMPLER_HPP

#include <care/imbalance/epoch_sampler.hpp>

#include <c10/util/Exception.h>
#include <torch/data/samplers/base.h>
#include <torch/serialize/archive.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

namespace care {

/// Gives each of `ranks` processes its share of the batches that `Inner`, an
/// `EpochSampler`, draws for all of them together.
///
/// Every process makes the same sampler (same seed). For batches of n images
/// each draws n `ranks` from it and keeps those from n `rank` on, so that the
/// processes' batches, put together, are the batch that one process would have
/// trained with. At an epoch's end, where fewer are left, all get equally many;
/// at most `ranks` - 1 images are left out, others in each epoch of a shuffled
/// order, the same in one that is not: no sampler for a test. State is kept
/// and sought as in `EpochSampler`: positions count this process's images.
/// Throws c10::ValueError unless 0 <= rank < ranks.
///
///   care::RankSampler sampler(care::ClassSampler(targets), rank, ranks);
template <class Inner>
class RankSampler : public torch::data::samplers::Sampler<> {
  static_assert(
      std::is_base_of_v<EpochSampler, Inner>,
      "care::RankSampler: expected an EpochSampler: ShuffleSampler, "
      "ClassSampler, ...");

 public:
  RankSampler(Inner sampler, size_t rank, size_t ranks)
      : sampler_(std::move(sampler)),
        rank_(rank),
        ranks_(ranks) {
    TORCH_CHECK_VALUE(
        rank < ranks,
        "care::RankSampler: expected a rank below the number of ranks, but "
        "got rank ",
        rank,
        " of ",
        ranks);
  }

  void reset(torch::optional<size_t> new_size = torch::nullopt) override {
    sampler_.reset(new_size);
  }

  /// This process's next `batch_size` images, fewer at the end of the epoch,
  /// then none.
  torch::optional<std::vector<size_t>> next(size_t batch_size) override {
    const auto all = sampler_.next(batch_size * ranks_);
    const size_t count = all ? all->size() / ranks_ : 0;
    if (count == 0) {
      return torch::nullopt;
    }
    const auto from = all->begin() + static_cast<std::ptrdiff_t>(rank_ * count);
    return std::vector<size_t>(from, from + static_cast<std::ptrdiff_t>(count));
  }

  /// Goes to a place: this process has done `position` images of epoch `epoch`.
  void seek(int64_t epoch, size_t position = 0) {
    sampler_.seek(epoch, position * ranks_);
    skip_the_rest();
  }

  void save(torch::serialize::OutputArchive& archive) const override {
    sampler_.save(archive);
  }
  void load(torch::serialize::InputArchive& archive) override {
    sampler_.load(archive);
    skip_the_rest();
  }

  /// How many images of an epoch this process draws, to which place it is.
  size_t length() const {
    return sampler_.length() / ranks_;
  }
  /// The sampler of all processes' images.
  const Inner& whole() const {
    return sampler_;
  }

 private:
  /// Where fewer images are left than there are processes the epoch is done.
  void skip_the_rest() {
    if (sampler_.length() - sampler_.position() < ranks_) {
      sampler_.seek(sampler_.epoch(), sampler_.length());
    }
  }

  Inner sampler_;
  size_t rank_, ranks_;
};

} // namespace care

#endif // CARE_IMBALANCE_RANK_SAMPLER_HPP
