// The samplers: what a batch holds, how often, and exact resuming.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/imbalance.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <set>
#include <sstream>

namespace {

using Order = std::vector<size_t>;
using Labels = std::vector<int64_t>;
using Sampler = torch::data::samplers::Sampler<>;

/// What is left of the epoch, in batches of one size.
Order rest_of(Sampler& sampler, size_t batch_size = 4) {
  Order order;
  while (auto batch = sampler.next(batch_size)) {
    order.insert(order.end(), batch->begin(), batch->end());
  }
  return order;
}

Order next_epoch(Sampler& sampler, size_t batch_size = 4) {
  sampler.reset(torch::nullopt);
  return rest_of(sampler, batch_size);
}

/// Classes 0, 1, 2 with the given counts, one after the other.
Labels with_counts(const std::vector<size_t>& counts) {
  Labels targets;
  for (size_t k = 0; k < counts.size(); ++k) {
    targets.insert(targets.end(), counts[k], static_cast<int64_t>(k));
  }
  return targets;
}

std::map<int64_t, double> class_shares(const Order& order, const Labels& of) {
  std::map<int64_t, double> shares;
  for (const auto image : order) {
    shares[of.at(image)] += 1 / static_cast<double>(order.size());
  }
  return shares;
}

const Labels kTargets = with_counts({9, 5, 2});

/// One of each kind, for batches of 4.
std::vector<std::unique_ptr<care::EpochSampler>> samplers(uint64_t seed) {
  std::vector<double> weights(kTargets.size(), 1);
  weights[3] = 4;
  std::vector<bool> boxed(kTargets.size(), false);
  boxed[1] = boxed[14] = true;
  std::vector<std::unique_ptr<care::EpochSampler>> all;
  all.push_back(std::make_unique<care::WeightedSampler>(
      weights, care::WeightedSamplerOptions().seed(seed)));
  all.push_back(std::make_unique<care::WeightedSampler>(
      weights, care::WeightedSamplerOptions().seed(seed).replacement(false)));
  all.push_back(std::make_unique<care::ClassSampler>(
      kTargets, care::ClassSamplerOptions().seed(seed)));
  all.push_back(std::make_unique<care::ClassesByImagesSampler>(
      kTargets, care::ClassesByImagesOptions(2, 2).seed(seed)));
  all.push_back(std::make_unique<care::BoxedImagesSampler>(
      boxed, care::BoxedImagesOptions(4, 1).seed(seed)));
  all.push_back(std::make_unique<care::ShuffleSampler>(
      kTargets.size(), care::ShuffleSamplerOptions().seed(seed)));
  return all;
}

struct Indices : torch::data::datasets::Dataset<Indices> {
  torch::data::Example<> get(size_t index) override {
    return {torch::tensor(static_cast<int64_t>(index)), torch::zeros({})};
  }
  torch::optional<size_t> size() const override {
    return kTargets.size();
  }
};

} // namespace

TEST_CASE("samplers: an epoch follows from seed and epoch", "[sampler]") {
  auto one = samplers(1), again = samplers(1), other = samplers(2);
  for (size_t i = 0; i < one.size(); ++i) {
    CAPTURE(i);
    const auto first = next_epoch(*one[i]);
    CHECK(first.size() == one[i]->length());
    CHECK(one[i]->epoch() == 0);
    const auto second = next_epoch(*one[i]);
    CHECK(one[i]->epoch() == 1);
    CHECK(first != second);
    // Whatever the batches' size, where it may be chosen.
    CHECK(next_epoch(*again[i], i == 4 ? 4 : 8) == first);
    CHECK(next_epoch(*again[i]) == second);
    CHECK(next_epoch(*other[i]) != first);
    again[i]->seek(0);
    CHECK(rest_of(*again[i]) == first);
    // An image that does not exist is never drawn.
    CHECK(*std::max_element(first.begin(), first.end()) < kTargets.size());
  }
}

TEST_CASE("samplers: resume where they were saved", "[sampler]") {
  for (size_t i = 0; i < samplers(5).size(); ++i) {
    for (const size_t batches : {0U, 1U, 2U, 100U}) {
      CAPTURE(i, batches);
      const auto owner = std::move(samplers(5)[i]);
      auto& sampler = *owner;
      next_epoch(sampler);
      sampler.reset();
      for (size_t b = 0; b < batches; ++b) {
        sampler.next(4);
      }
      std::stringstream stream;
      torch::serialize::OutputArchive out;
      sampler.save(out);
      out.save_to(stream);
      const auto rest = rest_of(sampler);
      const auto after = next_epoch(sampler);

      for (const bool with_reset : {true, false}) {
        CAPTURE(with_reset);
        auto resumed = std::move(samplers(5)[i]);
        stream.clear();
        stream.seekg(0);
        torch::serialize::InputArchive in;
        in.load_from(stream);
        resumed->load(in);
        CHECK(resumed->epoch() == 1);
        if (rest.empty() && with_reset) { // a loader goes on to the next epoch
          CHECK(next_epoch(*resumed) == after);
          continue;
        }
        if (with_reset) {
          resumed->reset();
        }
        CHECK(rest_of(*resumed) == rest);
        CHECK(next_epoch(*resumed) == after);
      }
      auto stranger = std::move(samplers(6)[i]);
      stream.clear();
      stream.seekg(0);
      torch::serialize::InputArchive in;
      in.load_from(stream);
      CARE_REQUIRE_THROWS_AS(
          stranger->load(in),
          c10::ValueError,
          "expected the state of a sampler with seed 6 and 16 images, but got "
          "seed 5 and 16");
    }
  }
}

TEST_CASE("samplers: torch::save and torch::load", "[sampler]") {
  care::ClassSampler sampler(kTargets);
  sampler.reset();
  sampler.next(7);
  std::stringstream stream;
  torch::save(sampler, stream);
  const auto rest = rest_of(sampler);
  care::ClassSampler resumed(kTargets);
  torch::load(resumed, stream);
  CHECK(resumed.position() == 7);
  CHECK(rest_of(resumed) == rest);
}

TEST_CASE("samplers: LibTorch's data loader takes them", "[sampler]") {
  const size_t workers = GENERATE(0U, 2U);
  CAPTURE(workers);
  care::ClassesByImagesSampler sampler(
      kTargets, care::ClassesByImagesOptions(2, 2).seed(3));
  auto options = torch::data::DataLoaderOptions(4).workers(workers);
  auto run = [&](auto& loader) {
    Order seen;
    for (auto& batch : loader) {
      CHECK(batch.size() == 4);
      for (const auto& example : batch) {
        seen.push_back(
            static_cast<size_t>(example.data.template item<int64_t>()));
      }
    }
    return seen;
  };
  auto loader = torch::data::make_data_loader(Indices(), sampler, options);
  const auto first = run(*loader), second = run(*loader);
  auto copy = sampler;
  CHECK(next_epoch(copy) == first);
  CHECK(next_epoch(copy) == second);

  // Resumed after one batch of the second epoch.
  sampler.seek(1, 4);
  auto resumed = torch::data::make_data_loader(Indices(), sampler, options);
  CHECK(run(*resumed) == Order(second.begin() + 4, second.end()));
}

TEST_CASE("ShuffleSampler: every image once, in any order", "[sampler]") {
  // Each of the 6 orders of three images comes about as often as the others.
  std::map<Order, int> seen;
  const int trials = 6000;
  for (int seed = 0; seed < trials; ++seed) {
    care::ShuffleSampler sampler(
        3, care::ShuffleSamplerOptions().seed(static_cast<uint64_t>(seed)));
    CHECK(sampler.length() == 3);
    auto order = next_epoch(sampler, 2);
    ++seen[order];
    std::sort(order.begin(), order.end());
    REQUIRE(order == Order{0, 1, 2});
  }
  REQUIRE(seen.size() == 6);
  for (const auto& [order, count] : seen) {
    CHECK(std::abs(count - trials / 6) < 145); // 5 standard deviations
  }
  CARE_REQUIRE_THROWS_AS(
      care::ShuffleSampler(0), c10::ValueError, "at least 1 image");
}

TEST_CASE("ShuffleSampler: as they come", "[sampler]") {
  care::ShuffleSampler sampler(5, care::ShuffleSamplerOptions().shuffle(false));
  CHECK(next_epoch(sampler) == Order{0, 1, 2, 3, 4});
  CHECK(next_epoch(sampler, 2) == Order{0, 1, 2, 3, 4});
  sampler.seek(7, 3);
  CHECK(rest_of(sampler) == Order{3, 4});
}

TEST_CASE("WeightedSampler: draws in proportion to the weights", "[sampler]") {
  care::WeightedSampler sampler(
      {1, 0, 3}, care::WeightedSamplerOptions().length(40000));
  const auto order = next_epoch(sampler, 1000);
  REQUIRE(order.size() == 40000);
  const auto ones = std::count(order.begin(), order.end(), 0U);
  CHECK(std::count(order.begin(), order.end(), 1U) == 0);
  // Standard deviation sqrt(40000 / 4 * 3 / 4) = 87.
  CHECK(std::abs(static_cast<double>(ones) - 10000) < 350);
}

TEST_CASE("WeightedSampler: without replacement", "[sampler]") {
  int first_is_2 = 0, then_1 = 0;
  const int trials = 6000;
  for (int seed = 0; seed < trials; ++seed) {
    care::WeightedSampler sampler(
        {1, 2, 3, 0},
        care::WeightedSamplerOptions().replacement(false).length(3).seed(
            static_cast<uint64_t>(seed)));
    auto order = next_epoch(sampler);
    first_is_2 += order[0] == 2;
    then_1 += order[0] == 2 && order[1] == 1;
    std::sort(order.begin(), order.end());
    REQUIRE(order == Order{0, 1, 2});
  }
  // Unless a length is said, all that can come.
  care::WeightedSampler all(
      {1, 2, 3, 0}, care::WeightedSamplerOptions().replacement(false));
  CHECK(next_epoch(all).size() == 3);
  // 3 of 6, then 2 of the 3 that are left; standard deviations below 39.
  CHECK(std::abs(first_is_2 - trials / 2) < 150);
  CHECK(std::abs(then_1 - trials / 3) < 150);
}

TEST_CASE("ClassSampler: class-balanced and square root", "[sampler]") {
  const auto targets = with_counts({81, 9, 0, 1});
  auto shares = [&](double power) {
    care::ClassSampler sampler(
        targets, care::ClassSamplerOptions().power(power).length(30000));
    return class_shares(next_epoch(sampler), targets);
  };
  auto balanced = shares(0), root = shares(0.5), plain = shares(1);
  for (const int64_t k : {0, 1, 3}) {
    CHECK(balanced[k] == Approx(1.0 / 3).margin(0.01));
  }
  CHECK(root[0] == Approx(9.0 / 13).margin(0.01)); // 9 : 3 : 1
  CHECK(root[1] == Approx(3.0 / 13).margin(0.01));
  CHECK(root[3] == Approx(1.0 / 13).margin(0.01));
  CHECK(plain[0] == Approx(81.0 / 91).margin(0.01));
  CHECK(balanced.count(2) == 0);
}

TEST_CASE("ClassSampler: an image comes again after all others", "[sampler]") {
  const auto targets = with_counts({40, 6});
  for (uint64_t seed = 0; seed < 200; ++seed) {
    care::ClassSampler sampler(targets, care::ClassSamplerOptions().seed(seed));
    Order rare;
    for (const auto image : next_epoch(sampler)) {
      if (targets[image] == 1) {
        rare.push_back(image);
      }
    }
    REQUIRE(rare.size() > 6);
    for (size_t round = 0; round + 6 <= rare.size(); round += 6) {
      const auto from = rare.begin() + static_cast<std::ptrdiff_t>(round);
      REQUIRE(std::set<size_t>(from, from + 6).size() == 6);
    }
  }
}

TEST_CASE("ClassesByImagesSampler: P classes by K images", "[sampler]") {
  const auto targets = with_counts({30, 7, 2, 5});
  std::map<int64_t, int> groups_with;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    care::ClassesByImagesSampler sampler(
        targets, care::ClassesByImagesOptions(3, 4).seed(seed));
    const auto order = next_epoch(sampler, 12);
    REQUIRE(order.size() == 36); // 44 images hold 3 groups of 12
    for (size_t group = 0; group < 36; group += 12) {
      std::map<int64_t, std::set<size_t>> different;
      std::map<int64_t, int> count;
      for (size_t i = group; i < group + 12; ++i) {
        const auto k = targets[order[i]];
        different[k].insert(order[i]);
        ++count[k];
      }
      REQUIRE(count.size() == 3);
      for (const auto& [k, images] : different) {
        REQUIRE(count[k] == 4);
        REQUIRE(images.size() == (k == 2 ? 2 : 4)); // class 2 has two
        ++groups_with[k];
      }
    }
  }
  for (const auto& [k, count] : groups_with) { // 900 groups, 3 of 4 classes
    CAPTURE(k);
    CHECK(std::abs(count - 675) < 60);
  }
  care::ClassesByImagesSampler two(
      targets, care::ClassesByImagesOptions(3, 4).groups(2));
  CHECK(next_epoch(two, 24).size() == 24);
  CARE_REQUIRE_THROWS_AS(
      two.next(16),
      c10::ValueError,
      "expected a batch size of 3 x 4 or a multiple, but got 16");
}

TEST_CASE("BoxedImagesSampler: m boxed images in each batch", "[sampler]") {
  std::mt19937 random(1);
  auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  for (uint64_t trial = 0; trial < 1000; ++trial) {
    const auto images = 1 + below(60);
    const auto batch_size = 2 + below(9);
    const auto at_least = 1 + below(batch_size - 1);
    std::vector<bool> boxed(images, false);
    const auto share = 1 + below(4);
    for (size_t i = 0; i < images; ++i) {
      boxed[i] = below(4) < share;
    }
    boxed[below(images)] = true;
    const auto count =
        static_cast<size_t>(std::count(boxed.begin(), boxed.end(), true));
    CAPTURE(trial, images, batch_size, at_least, count);

    care::BoxedImagesSampler sampler(
        boxed, care::BoxedImagesOptions(batch_size, at_least).seed(trial));
    std::vector<size_t> shown(images, 0);
    size_t batches = 0;
    sampler.reset();
    while (auto batch = sampler.next(batch_size)) {
      ++batches;
      size_t guided = 0;
      for (const auto image : *batch) {
        guided += boxed[image] ? 1U : 0U;
        ++shown[image];
      }
      REQUIRE(guided >= std::min(at_least, batch->size()));
    }
    const auto needed = (images + batch_size - 1) / batch_size;
    const auto last = images - batch_size * (needed - 1);
    const bool enough =
        count >= at_least * (needed - 1) + std::min(at_least, last);
    for (size_t i = 0; i < images; ++i) {
      REQUIRE(shown[i] >= 1);
      if (!boxed[i] || enough) {
        REQUIRE(shown[i] == 1);
      }
    }
    // Boxed images take turns.
    size_t most = 0, least = 1000;
    for (size_t i = 0; i < images; ++i) {
      if (boxed[i]) {
        most = std::max(most, shown[i]);
        least = std::min(least, shown[i]);
      }
    }
    if (count >= at_least) {
      REQUIRE(most - least <= 1);
    }
    if (enough) {
      REQUIRE(batches == needed);
    }
  }
}

TEST_CASE("RankSampler: shares of the same batches", "[sampler]") {
  // 23 images, 3 processes, batches of 2 each: 3 whole rounds of 6, then 5 of
  // which each gets 1.
  constexpr size_t kImages = 23, kRanks = 3, kBatch = 2;
  std::vector<care::RankSampler<care::ShuffleSampler>> shares;
  for (size_t rank = 0; rank < kRanks; ++rank) {
    shares.emplace_back(care::ShuffleSampler(kImages), rank, kRanks);
  }
  CHECK(shares[1].length() == 7);
  CHECK(shares[1].whole().length() == kImages);
  care::ShuffleSampler whole(kImages);
  for (int epoch = 0; epoch < 2; ++epoch) {
    whole.reset();
    for (auto& share : shares) {
      share.reset();
    }
    for (const size_t count : {2U, 2U, 2U, 1U}) {
      const auto all = *whole.next(kBatch * kRanks);
      std::vector<size_t> together;
      for (auto& share : shares) {
        const auto batch = *share.next(kBatch);
        CHECK(batch.size() == count);
        together.insert(together.end(), batch.begin(), batch.end());
      }
      CHECK(
          together ==
          std::vector<size_t>(
              all.begin(),
              all.begin() + static_cast<std::ptrdiff_t>(count * kRanks)));
    }
    for (auto& share : shares) {
      CHECK_FALSE(share.next(kBatch).has_value());
    }
  }

  // Sought, and saved and loaded, a share goes on as it would have.
  shares[1].seek(1, 2 * kBatch);
  whole.seek(1, 2 * kBatch * kRanks);
  std::stringstream stream;
  torch::serialize::OutputArchive out;
  shares[1].save(out);
  out.save_to(stream);
  const auto all = *whole.next(kBatch * kRanks);
  const std::vector<size_t> expected{all[2], all[3]};
  CHECK(*shares[1].next(kBatch) == expected);
  torch::serialize::InputArchive in;
  in.load_from(stream);
  shares[1].load(in);
  CHECK(*shares[1].next(kBatch) == expected);
  CHECK(shares[1].whole().epoch() == 1);

  // An epoch whose rest is too small to share is done.
  for (const size_t done : {2U, 3U}) {
    care::RankSampler<care::ShuffleSampler> share(
        care::ShuffleSampler(5), 0, 2);
    share.seek(0, done);
    share.reset();
    CHECK(share.whole().epoch() == 1);
    CHECK(share.next(2)->size() == 2);
    care::RankSampler<care::ShuffleSampler> first(
        care::ShuffleSampler(5), 0, 2);
    first.reset();
    first.next(2);
    torch::serialize::OutputArchive saved;
    first.save(saved);
    std::stringstream file;
    saved.save_to(file);
    torch::serialize::InputArchive archive;
    archive.load_from(file);
    share.load(archive);
    share.reset();
    CHECK(share.whole().epoch() == 1);
  }

  CARE_REQUIRE_THROWS_AS(
      care::RankSampler<care::ShuffleSampler>(
          care::ShuffleSampler(kImages), 3, 3),
      c10::ValueError,
      "got rank 3 of 3");
}

TEST_CASE("samplers: bad input", "[sampler]") {
  using Weights = std::vector<double>;
  using WeightedOptions = care::WeightedSamplerOptions;
  CARE_REQUIRE_THROWS_AS(
      care::WeightedSampler(Weights{}), c10::ValueError, "at least 1 image");
  CARE_REQUIRE_THROWS_AS(
      care::WeightedSampler(Weights{1, -1}),
      c10::ValueError,
      "expected finite weights of at least 0, but weights[1] is -1");
  CARE_REQUIRE_THROWS_AS(
      care::WeightedSampler(Weights{NAN}),
      c10::ValueError,
      "weights[0] is nan");
  CARE_REQUIRE_THROWS_AS(
      care::WeightedSampler(Weights{1e308, 1e308}),
      c10::ValueError,
      "finite sum");
  CARE_REQUIRE_THROWS_AS(
      care::WeightedSampler(Weights{0, 0}), c10::ValueError, "all are 0");
  CARE_REQUIRE_THROWS_AS(
      care::WeightedSampler(
          Weights{1, 0}, WeightedOptions().replacement(false).length(2)),
      c10::ValueError,
      "at most the number of positive weights, 1, but got 2");
  CARE_REQUIRE_THROWS_AS(
      care::WeightedSampler(Weights{1}, WeightedOptions().length(0)),
      c10::ValueError,
      "expected a length of at least 1, but got 0");
  CARE_REQUIRE_THROWS_AS(
      care::ClassSampler(Labels{0, -2}),
      c10::IndexError,
      "expected classes of at least 0, but targets[1] is -2");
  CARE_REQUIRE_THROWS_AS(
      care::ClassSampler(kTargets, care::ClassSamplerOptions().power(-1)),
      c10::ValueError,
      "power of at least 0, but got -1");
  CARE_REQUIRE_THROWS_AS(
      care::ClassSampler(
          Labels{0, 0, 1, 1}, care::ClassSamplerOptions().power(1e4)),
      c10::ValueError,
      "keeps the classes' weights finite, but got 10000");
  using Groups = care::ClassesByImagesOptions;
  CARE_REQUIRE_THROWS_AS(
      care::ClassesByImagesSampler(kTargets, Groups(4, 2)),
      c10::ValueError,
      "expected at most 3 classes in a group, as many as occur, but got 4");
  CARE_REQUIRE_THROWS_AS(
      care::ClassesByImagesSampler(kTargets, Groups(0, 2)),
      c10::ValueError,
      "but got 0 and 2");
  CARE_REQUIRE_THROWS_AS(
      care::ClassesByImagesSampler(kTargets, Groups(1, 2).groups(0)),
      c10::ValueError,
      "at least 1 group");
  using Boxed = care::BoxedImagesOptions;
  for (const size_t at_least : {0U, 4U}) {
    CARE_REQUIRE_THROWS_AS(
        care::BoxedImagesSampler({true, false}, Boxed(4, at_least)),
        c10::ValueError,
        "expected at_least from 1 to below the batch size 4, but got");
  }
  CARE_REQUIRE_THROWS_AS(
      care::BoxedImagesSampler({false, false}, Boxed(4, 1)),
      c10::ValueError,
      "expected an image with a box, but none of 2 has one");
  care::BoxedImagesSampler boxed({true, false}, Boxed(4, 1));
  CARE_REQUIRE_THROWS_AS(
      boxed.next(5),
      c10::ValueError,
      "expected batches of 4 (of all ranks together), but got 5");

  care::ClassSampler sampler(kTargets);
  CHECK_NOTHROW(sampler.reset(16));
  CARE_REQUIRE_THROWS_AS(
      sampler.reset(17),
      c10::ValueError,
      "expected 16 images as before, but got 17");
  CARE_REQUIRE_THROWS_AS(
      sampler.seek(-1), c10::ValueError, "epoch of at least 0, but got -1");

  // The last batch of an epoch may be smaller: beyond the end is the end.
  sampler.seek(2, 4 * 5);
  CHECK(sampler.epoch() == 2);
  CHECK(sampler.position() == 16);
  sampler.reset();
  CHECK(sampler.epoch() == 3);
  CHECK(sampler.position() == 0);
}
