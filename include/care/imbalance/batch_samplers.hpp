// Samplers that say what each batch holds: P classes x K images, m with boxes.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_IMBALANCE_BATCH_SAMPLERS_HPP
#define CARE_IMBALANCE_BATCH_SAMPLERS_HPP

#include <care/imbalance/detail/classes.hpp>
#include <care/imbalance/detail/random.hpp>
#include <care/imbalance/epoch_sampler.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace care {

/// Options of `ClassesByImagesSampler`: P and K are required.
struct ClassesByImagesOptions {
  ClassesByImagesOptions(size_t classes, size_t images)
      : classes_(classes),
        images_(images) {}

  /// P, the different classes in a group.
  TORCH_ARG(size_t, classes);
  /// K, the images of each of them.
  TORCH_ARG(size_t, images);
  /// How many groups an epoch has. Default: as many as fit into the dataset's
  /// size, at least 1.
  TORCH_ARG(torch::optional<size_t>, groups) = torch::nullopt;
  /// Default: 0.
  TORCH_ARG(uint64_t, seed) = 0;
};

/// P classes x K images: every group of P K images in a row holds K images of
/// each of P classes, chosen at random, all classes alike.
///
/// `targets`: the class of each image, at least 0. Give the loader a batch size
/// of P K or a multiple. A class's images come in turn, different ones within a
/// group if it has K of them. Throws c10::IndexError for a negative class,
/// c10::ValueError if fewer than P classes occur, for numbers of 0, and in
/// `next` for another batch size. Source: P19 section 3.1; Hermans et al. 2017.
///
///   care::ClassesByImagesSampler sampler(
///       targets, care::ClassesByImagesOptions(4, 8)); // batches of 32
class ClassesByImagesSampler : public EpochSampler {
 public:
  ClassesByImagesSampler(
      const std::vector<int64_t>& targets,
      const ClassesByImagesOptions& options)
      : EpochSampler(targets.size(), options.seed()),
        classes_(options.classes()),
        images_(options.images()) {
    const char* where = "care::ClassesByImagesSampler";
    detail::check_labels(where, targets);
    TORCH_CHECK_VALUE(
        classes_ > 0 && images_ > 0,
        where,
        ": expected at least 1 class and 1 image of it, but got ",
        classes_,
        " and ",
        images_);
    decks_ = detail::decks_by_class(targets);
    TORCH_CHECK_VALUE(
        classes_ <= decks_.size(),
        where,
        ": expected at most ",
        decks_.size(),
        " classes in a group, as many as occur, but got ",
        classes_);
    const auto fitting =
        std::max<size_t>(targets.size() / (classes_ * images_), 1);
    groups_ = options.groups().value_or(fitting);
    TORCH_CHECK_VALUE(
        groups_ > 0, where, ": expected at least 1 group, but got 0");
  }

 private:
  std::vector<size_t> draw(detail::EpochRandom& random) const override {
    auto decks = decks_;
    std::vector<size_t> classes(decks.size());
    std::iota(classes.begin(), classes.end(), size_t{0});
    std::vector<size_t> order;
    for (size_t group = 0; group < groups_; ++group) {
      random.shuffle(classes);
      for (size_t i = 0; i < classes_; ++i) {
        decks[classes[i]].deal(images_, random, order);
      }
    }
    return order;
  }

  void check_batch_size(size_t batch_size) const override {
    TORCH_CHECK_VALUE(
        batch_size > 0 && batch_size % (classes_ * images_) == 0,
        "care::ClassesByImagesSampler: expected a batch size of ",
        classes_,
        " x ",
        images_,
        " or a multiple, but got ",
        batch_size);
  }

  size_t classes_;
  size_t images_;
  size_t groups_ = 0;
  std::vector<detail::Deck> decks_;
};

/// Options of `BoxedImagesSampler`: both sizes are required.
struct BoxedImagesOptions {
  BoxedImagesOptions(size_t batch_size, size_t at_least)
      : batch_size_(batch_size),
        at_least_(at_least) {}

  /// The loader's batch size, times the ranks where there are several.
  TORCH_ARG(size_t, batch_size);
  /// m, how many images with a box each batch holds at least.
  TORCH_ARG(size_t, at_least);
  /// Default: 0.
  TORCH_ARG(uint64_t, seed) = 0;
};

/// At least m images with boxes in every batch, so that every step is guided.
///
/// `boxed`: for each image whether it has a box that guides (a listed class!).
/// An epoch shows every image once, in random order; where the boxed ones are
/// too few for m in each batch, they come again in turn, and the epoch is so
/// much longer. The last batch may be smaller than the others; if it is smaller
/// than m, all of it is boxed. Under `RankSampler` the batch size is that of
/// all processes together, and so is m. Throws c10::ValueError if no image has
/// a box, unless 1 <= m < batch size, and in `next` for another batch size.
///
///   care::BoxedImagesSampler sampler(boxed, care::BoxedImagesOptions(32, 4));
class BoxedImagesSampler : public EpochSampler {
 public:
  BoxedImagesSampler(
      const std::vector<bool>& boxed,
      const BoxedImagesOptions& options)
      : EpochSampler(boxed.size(), options.seed()),
        batch_size_(options.batch_size()),
        at_least_(options.at_least()) {
    const char* where = "care::BoxedImagesSampler";
    TORCH_CHECK_VALUE(
        at_least_ > 0 && at_least_ < batch_size_,
        where,
        ": expected at_least from 1 to below the batch size ",
        batch_size_,
        ", but got ",
        at_least_);
    for (size_t i = 0; i < boxed.size(); ++i) {
      if (boxed[i]) {
        boxed_.add(i);
      } else {
        others_.push_back(i);
      }
    }
    TORCH_CHECK_VALUE(
        boxed_.size() > 0,
        where,
        ": expected an image with a box, but none of ",
        boxed.size(),
        " has one");
  }

 private:
  std::vector<size_t> draw(detail::EpochRandom& random) const override {
    const auto share_up = [](size_t a, size_t b) { return (a + b - 1) / b; };
    const auto images = boxed_.size() + others_.size();
    auto batches = share_up(images, batch_size_);
    // The last batch may hold fewer than m.
    const auto last = std::min(at_least_, images - batch_size_ * (batches - 1));
    const auto wanted = at_least_ * (batches - 1) + last;
    const bool enough = boxed_.size() >= wanted;
    if (!enough) {
      batches =
          std::max(batches, share_up(others_.size(), batch_size_ - at_least_));
    }
    auto deck = boxed_;
    std::vector<std::vector<size_t>> parts(batches);
    for (auto& part : parts) {
      const bool is_short = enough && &part == &parts.back();
      deck.deal(is_short ? last : at_least_, random, part);
    }
    auto rest = others_;
    if (enough) { // what the deck still holds
      deck.deal(boxed_.size() - wanted, random, rest);
    }
    random.shuffle(rest);
    std::vector<size_t> order;
    auto next = rest.begin();
    for (auto& part : parts) {
      const auto fill = std::min<std::ptrdiff_t>(
          static_cast<std::ptrdiff_t>(batch_size_ - at_least_),
          rest.end() - next);
      part.insert(part.end(), next, next + fill);
      next += fill;
      random.shuffle(part);
      order.insert(order.end(), part.begin(), part.end());
    }
    return order;
  }

  void check_batch_size(size_t batch_size) const override {
    TORCH_CHECK_VALUE(
        batch_size == batch_size_,
        "care::BoxedImagesSampler: expected batches of ",
        batch_size_,
        " (of all ranks together), but got ",
        batch_size);
  }

  size_t batch_size_;
  size_t at_least_;
  detail::Deck boxed_;
  std::vector<size_t> others_;
};

} // namespace care

#endif // CARE_IMBALANCE_BATCH_SAMPLERS_HPP
