// Samplers that draw images by weight, or classes by their frequency.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_IMBALANCE_WEIGHTED_SAMPLERS_HPP
#define CARE_IMBALANCE_WEIGHTED_SAMPLERS_HPP

#include <care/imbalance/detail/classes.hpp>
#include <care/imbalance/detail/random.hpp>
#include <care/imbalance/epoch_sampler.hpp>

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace care {

namespace detail {

/// 0 to its size - 1 at random, in proportion to what `sums` rises by at each.
inline size_t draw_by_weight(
    const std::vector<double>& sums,
    EpochRandom& random) {
  const auto place = std::upper_bound(
      sums.begin(), sums.end(), random.uniform() * sums.back());
  return std::min(static_cast<size_t>(place - sums.begin()), sums.size() - 1);
}

} // namespace detail

/// Options of `WeightedSampler`.
struct WeightedSamplerOptions {
  /// How many images an epoch has. Default: as many as the dataset; without
  /// replacement as many as have a weight above 0.
  TORCH_ARG(torch::optional<size_t>, length) = torch::nullopt;
  /// Whether an image may come more than once in an epoch. Default: true.
  TORCH_ARG(bool, replacement) = true;
  /// Default: 0.
  TORCH_ARG(uint64_t, seed) = 0;
};

/// Draws each image with a probability in proportion to its weight.
///
/// `weights`: one for each image, finite and at least 0, not all 0; an image of
/// weight 0 never comes. Without replacement each draw is among the images that
/// are left, and the length at most the number of positive weights. Throws
/// c10::ValueError for other weights or lengths. Without replacement:
/// Efraimidis and Spirakis 2006.
///
///   auto options = care::WeightedSamplerOptions().seed(3);
///   care::WeightedSampler sampler({1, 1, 5}, options);
class WeightedSampler : public EpochSampler {
 public:
  explicit WeightedSampler(
      std::vector<double> weights,
      const WeightedSamplerOptions& options = {})
      : EpochSampler(weights.size(), options.seed()),
        weights_(std::move(weights)),
        replacement_(options.replacement()) {
    const char* where = "care::WeightedSampler";
    size_t positive = 0;
    for (size_t i = 0; i < weights_.size(); ++i) {
      TORCH_CHECK_VALUE(
          std::isfinite(weights_[i]) && weights_[i] >= 0,
          where,
          ": expected finite weights of at least 0, but weights[",
          i,
          "] is ",
          weights_[i]);
      positive += weights_[i] > 0 ? 1U : 0U;
    }
    TORCH_CHECK_VALUE(
        positive > 0, where, ": expected a weight above 0, but all are 0");
    TORCH_CHECK_VALUE(
        std::isfinite(std::accumulate(weights_.begin(), weights_.end(), 0.0)),
        where,
        ": expected weights with a finite sum, but they overflow");
    length_ =
        options.length().value_or(replacement_ ? weights_.size() : positive);
    TORCH_CHECK_VALUE(
        length_ > 0 && (replacement_ || length_ <= positive),
        where,
        ": expected a length of at least 1",
        replacement_ ? "" : " and at most the number of positive weights, ",
        replacement_ ? std::string() : std::to_string(positive),
        ", but got ",
        length_);
  }

 private:
  std::vector<size_t> draw(detail::EpochRandom& random) const override {
    std::vector<size_t> order;
    if (replacement_) {
      std::vector<double> sums(weights_.size());
      std::partial_sum(weights_.begin(), weights_.end(), sums.begin());
      for (size_t i = 0; i < length_; ++i) {
        order.push_back(detail::draw_by_weight(sums, random));
      }
      return order;
    }
    // Each image waits for an exponential time at its weight's rate; those that
    // come first are drawn, in the order of their coming.
    std::vector<std::pair<double, size_t>> arrivals;
    for (size_t i = 0; i < weights_.size(); ++i) {
      const double waited = -std::log1p(-random.uniform());
      if (weights_[i] > 0) {
        arrivals.emplace_back(waited / weights_[i], i);
      }
    }
    std::sort(arrivals.begin(), arrivals.end());
    for (size_t i = 0; i < length_; ++i) {
      order.push_back(arrivals[i].second);
    }
    return order;
  }

  std::vector<double> weights_;
  size_t length_ = 0;
  bool replacement_;
};

/// Options of `ClassSampler`.
struct ClassSamplerOptions {
  /// A class of n images is drawn with a probability in proportion to n^power:
  /// 0 is class-balanced, 0.5 square-root, 1 the data as they are. Default: 0.
  TORCH_ARG(double, power) = 0.0;
  /// How many images an epoch has. Default: as many as the dataset.
  TORCH_ARG(torch::optional<size_t>, length) = torch::nullopt;
  /// Default: 0.
  TORCH_ARG(uint64_t, seed) = 0;
};

/// Draws a class, then the next of its images: each image of a class comes once
/// before any of them comes again.
///
/// `targets`: the class of each image, at least 0; a class without images is
/// never drawn. Throws c10::IndexError for a negative class, c10::ValueError
/// for no image, a length of 0 or a power that is negative or not finite.
/// Source: Kang et al. 2020, section 3 (class-balanced and square-root
/// sampling).
///
///   care::ClassSampler balanced({0, 0, 0, 1});
///   care::ClassSampler root(targets, care::ClassSamplerOptions().power(0.5));
class ClassSampler : public EpochSampler {
 public:
  explicit ClassSampler(
      const std::vector<int64_t>& targets,
      const ClassSamplerOptions& options = {})
      : EpochSampler(targets.size(), options.seed()),
        length_(options.length().value_or(targets.size())) {
    const char* where = "care::ClassSampler";
    detail::check_labels(where, targets);
    TORCH_CHECK_VALUE(
        length_ > 0, where, ": expected a length of at least 1, but got 0");
    TORCH_CHECK_VALUE(
        std::isfinite(options.power()) && options.power() >= 0,
        where,
        ": expected a power of at least 0, but got ",
        options.power());
    decks_ = detail::decks_by_class(targets);
    double sum = 0;
    for (const auto& deck : decks_) {
      sum += std::pow(static_cast<double>(deck.size()), options.power());
      sums_.push_back(sum);
    }
    TORCH_CHECK_VALUE(
        std::isfinite(sum),
        where,
        ": expected a power that keeps the classes' weights finite, but got ",
        options.power());
  }

 private:
  std::vector<size_t> draw(detail::EpochRandom& random) const override {
    auto decks = decks_; // every epoch begins with them full
    std::vector<size_t> order;
    for (size_t i = 0; i < length_; ++i) {
      decks[detail::draw_by_weight(sums_, random)].deal(1, random, order);
    }
    return order;
  }

  size_t length_;
  std::vector<detail::Deck> decks_;
  std::vector<double> sums_;
};

} // namespace care

#endif // CARE_IMBALANCE_WEIGHTED_SAMPLERS_HPP
