// The plain sampler: every image once, in random order or as they come.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_IMBALANCE_SHUFFLE_SAMPLER_HPP
#define CARE_IMBALANCE_SHUFFLE_SAMPLER_HPP

#include <care/imbalance/detail/random.hpp>
#include <care/imbalance/epoch_sampler.hpp>

#include <torch/arg.h>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace care {

/// Options of `ShuffleSampler`.
struct ShuffleSamplerOptions {
  /// Whether each epoch has an order of its own; false gives the images as they
  /// come, for a test set. Default: true.
  TORCH_ARG(bool, shuffle) = true;
  /// Default: 0.
  TORCH_ARG(uint64_t, seed) = 0;
};

/// Every image once an epoch, in random order.
///
/// What LibTorch's RandomSampler does, but with an order that follows from seed
/// and epoch alone, so that it resumes in the middle of an epoch and is the
/// same on every platform. `images`: how many the dataset has. Throws
/// c10::ValueError for none.
///
///   care::ShuffleSampler sampler(dataset.size().value());
class ShuffleSampler : public EpochSampler {
 public:
  explicit ShuffleSampler(
      size_t images,
      const ShuffleSamplerOptions& options = {})
      : EpochSampler(images, options.seed()),
        images_(images),
        shuffle_(options.shuffle()) {}

 private:
  std::vector<size_t> draw(detail::EpochRandom& random) const override {
    std::vector<size_t> order(images_);
    std::iota(order.begin(), order.end(), size_t{0});
    if (shuffle_) {
      random.shuffle(order);
    }
    return order;
  }

  size_t images_;
  bool shuffle_;
};

} // namespace care

#endif // CARE_IMBALANCE_SHUFFLE_SAMPLER_HPP
