// Pictures in memory, served in batches to LibTorch's data loader.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/dataset.hpp"

#include "common/parallel.hpp"
#include "common/pictures.hpp"

#include <care/imbalance/weighted_samplers.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>

namespace trainer {
namespace {

common::Sample load_sample(
    const common::Record& record,
    const std::vector<std::string>& classes,
    care::Size size) {
  const auto label = std::find(classes.begin(), classes.end(), record.label);
  if (label == classes.end()) {
    throw std::runtime_error(
        record.where + ": expected one of the known labels, but got '" +
        record.label + "'");
  }
  const auto stored = common::read_picture(record);
  common::Sample sample;
  sample.id = record.path;
  sample.target = label - classes.begin();
  sample.fold = record.fold;
  sample.group = record.group;
  sample.stored = {stored.rows, stored.cols};
  sample.boxes = common::boxes_on(record, sample.stored).resize(size);
  sample.image = common::resized(stored, size);
  return sample;
}

/// The places of each class's samples, in random order.
std::map<int64_t, std::vector<size_t>> shuffled_by_class(
    const std::vector<int64_t>& targets,
    common::Random& random) {
  std::map<int64_t, std::vector<size_t>> places;
  for (size_t i = 0; i < targets.size(); ++i) {
    places[targets[i]].push_back(i);
  }
  for (auto& entry : places) {
    random.shuffle(entry.second);
  }
  return places;
}

} // namespace

std::vector<common::Sample> load_samples(
    const std::vector<common::Record>& records,
    const std::vector<std::string>& classes,
    care::Size size,
    int jobs) {
  cv::setNumThreads(0); // these threads are ours
  std::vector<common::Sample> samples(records.size());
  common::parallel_for(records.size(), jobs, [&](size_t i) {
    samples[i] = load_sample(records[i], classes, size);
  });
  return samples;
}

std::vector<int64_t> targets_of(const std::vector<common::Sample>& samples) {
  std::vector<int64_t> targets;
  for (const auto& sample : samples) {
    targets.push_back(sample.target);
  }
  return targets;
}

std::vector<common::Sample> select(
    const std::vector<common::Sample>& samples,
    const std::vector<size_t>& indices) {
  std::vector<common::Sample> selected;
  for (const auto index : indices) {
    selected.push_back(samples.at(index));
  }
  return selected;
}

std::vector<std::vector<size_t>> groups_of(
    const std::vector<common::Sample>& samples) {
  std::vector<std::vector<size_t>> groups;
  std::map<std::string, size_t> known;
  for (size_t i = 0; i < samples.size(); ++i) {
    const auto& name = samples[i].group;
    const auto [found, is_new] = known.emplace(name, groups.size());
    if (name.empty() || is_new) {
      groups.push_back({i});
    } else {
      groups[found->second].push_back(i);
    }
  }
  return groups;
}

void assign_folds(
    std::vector<common::Sample>& samples,
    int64_t folds,
    uint64_t seed) {
  if (folds < 2) {
    throw std::invalid_argument(
        "assign_folds: expected at least 2 folds, but got " +
        std::to_string(folds));
  }
  const auto groups = groups_of(samples);
  std::vector<int64_t> targets, fold_of(groups.size(), -1);
  for (size_t g = 0; g < groups.size(); ++g) {
    targets.push_back(samples[groups[g][0]].target);
    for (const auto place : groups[g]) {
      const auto fold = samples[place].fold;
      if (fold >= 0 && fold_of[g] >= 0 && fold != fold_of[g]) {
        throw std::invalid_argument(
            "assign_folds: expected the group '" + samples[place].group +
            "' in one fold, but got " + std::to_string(fold_of[g]) + " and " +
            std::to_string(fold));
      }
      fold_of[g] = std::max(fold_of[g], fold);
    }
  }
  common::Random random(common::mix({seed, 0xf01d}));
  int64_t next = 0; // goes on from class to class, so that folds stay level
  for (const auto& entry : shuffled_by_class(targets, random)) {
    for (const auto g : entry.second) {
      const auto fold = fold_of[g] < 0 ? next++ % folds : fold_of[g];
      for (const auto place : groups[g]) {
        samples[place].fold = fold;
      }
    }
  }
}

Split split_stratified(
    const std::vector<int64_t>& targets,
    double share,
    uint64_t seed) {
  if (!(share > 0 && share < 1)) {
    throw std::invalid_argument(
        "split_stratified: expected a share between 0 and 1, but got " +
        std::to_string(share));
  }
  common::Random random(common::mix({seed, 0x5911}));
  Split split;
  for (const auto& entry : shuffled_by_class(targets, random)) {
    const auto& places = entry.second;
    const auto count = static_cast<int64_t>(places.size());
    auto taken = std::llround(share * static_cast<double>(count));
    if (count > 1) {
      taken = std::clamp<int64_t>(taken, 1, count - 1);
    } else {
      taken = 1;
    }
    const auto middle = places.begin() + taken;
    split.first.insert(split.first.end(), places.begin(), middle);
    split.second.insert(split.second.end(), middle, places.end());
  }
  std::sort(split.first.begin(), split.first.end());
  std::sort(split.second.begin(), split.second.end());
  return split;
}

Split split_by_group(
    const std::vector<common::Sample>& samples,
    double share,
    uint64_t seed) {
  const auto groups = groups_of(samples);
  std::vector<int64_t> targets;
  for (const auto& group : groups) {
    targets.push_back(samples[group[0]].target);
  }
  const auto places_of = [&](const std::vector<size_t>& chosen) {
    std::vector<size_t> places;
    for (const auto g : chosen) {
      places.insert(places.end(), groups[g].begin(), groups[g].end());
    }
    std::sort(places.begin(), places.end());
    return places;
  };
  const auto split = split_stratified(targets, share, seed);
  return {places_of(split.first), places_of(split.second)};
}

Batch collate(const std::vector<Example>& examples) {
  std::vector<torch::Tensor> images;
  std::vector<int64_t> targets, index;
  std::vector<care::Boxes> boxes;
  for (const auto& example : examples) {
    images.push_back(example.image);
    targets.push_back(example.target);
    boxes.push_back(example.boxes);
    index.push_back(example.index);
  }
  return {
      torch::stack(images),
      torch::tensor(targets, torch::kLong),
      care::Boxes::collate(boxes),
      torch::tensor(index, torch::kLong)};
}

LesionDataset::LesionDataset(
    std::vector<common::Sample> samples,
    DatasetOptions options)
    : options_(std::move(options)) {
  check(options_.augment);
  for (const auto& sample : samples) {
    if (sample.image.type() != CV_8UC3 ||
        sample.image.size() != samples[0].image.size()) {
      throw std::invalid_argument(
          "LesionDataset: expected 8-bit RGB pictures of one size, but " +
          sample.id + " is another");
    }
  }
  cv::setNumThreads(0); // LibTorch has the cores
  samples_ =
      std::make_shared<const std::vector<common::Sample>>(std::move(samples));
}

Example LesionDataset::get(const Draw& draw) const {
  const auto& sample = samples_->at(draw.index);
  common::Random random(common::mix(
      {options_.seed,
       static_cast<uint64_t>(draw.epoch),
       draw.index,
       static_cast<uint64_t>(draw.repeat)}));
  const auto [image, boxes] =
      augment(sample.image, sample.boxes, options_.augment, random);
  return {
      common::to_tensor(image)
          .to(torch::kFloat)
          .div_(255)
          .sub_(options_.mean)
          .div_(options_.deviation),
      sample.target,
      boxes,
      static_cast<int64_t>(draw.index)};
}

Batch LesionDataset::get_batch(std::vector<Draw> draws) {
  std::vector<Example> examples;
  for (const auto& draw : draws) {
    examples.push_back(get(draw));
  }
  return collate(examples);
}

torch::optional<size_t> LesionDataset::size() const {
  return samples_->size();
}

EpochSampler::EpochSampler(
    std::vector<int64_t> targets,
    Order order,
    uint64_t seed,
    int64_t epoch)
    : targets_(std::move(targets)),
      order_(order),
      seed_(seed),
      epoch_(epoch) {}

void EpochSampler::reset(torch::optional<size_t> new_size) {
  if (new_size && *new_size != targets_.size()) {
    throw std::invalid_argument(
        "EpochSampler: expected " + std::to_string(targets_.size()) +
        " samples as before, but got " + std::to_string(*new_size));
  }
  if (!draws_.empty()) {
    ++epoch_;
  }
  position_ = 0;
  plan();
}

torch::optional<std::vector<Draw>> EpochSampler::next(size_t batch_size) {
  const auto count = std::min(batch_size, draws_.size() - position_);
  if (count == 0) {
    return torch::nullopt;
  }
  const auto from = draws_.begin() + static_cast<std::ptrdiff_t>(position_);
  position_ += count;
  return std::vector<Draw>(from, from + static_cast<std::ptrdiff_t>(count));
}

void EpochSampler::save(torch::serialize::OutputArchive& archive) const {
  archive.write("epoch", c10::IValue(epoch_));
  archive.write("position", c10::IValue(static_cast<int64_t>(position_)));
  archive.write("started", c10::IValue(!draws_.empty()));
}

void EpochSampler::load(torch::serialize::InputArchive& archive) {
  c10::IValue epoch, position, started;
  archive.read("epoch", epoch);
  archive.read("position", position);
  archive.read("started", started);
  epoch_ = epoch.toInt();
  draws_.clear();
  if (started.toBool()) {
    plan();
  }
  position_ = std::min(static_cast<size_t>(position.toInt()), draws_.size());
}

void EpochSampler::plan() {
  const auto epoch = static_cast<uint64_t>(epoch_);
  draws_.clear();
  if (order_ == Order::kSquareRoot) {
    care::ClassSampler sampler(
        targets_, care::ClassSamplerOptions().power(0.5).seed(seed_));
    sampler.seek(epoch_);
    std::vector<int64_t> repeats(targets_.size());
    const auto order = sampler.next(targets_.size());
    for (const auto i : *order) {
      draws_.push_back({i, epoch_, repeats[i]++});
    }
    return;
  }
  if (order_ != Order::kBalanced) {
    for (size_t i = 0; i < targets_.size(); ++i) {
      draws_.push_back({i, epoch_, 0});
    }
    if (order_ == Order::kShuffled) {
      common::Random(common::mix({seed_, epoch})).shuffle(draws_);
    }
    return;
  }
  // Classes take turns; each deals out its samples, shuffled anew every round.
  common::Random random(common::mix({seed_, epoch}));
  std::vector<std::vector<size_t>> decks;
  for (auto& entry : shuffled_by_class(targets_, random)) {
    decks.push_back(std::move(entry.second));
  }
  for (size_t i = 0; i < targets_.size(); ++i) {
    auto& deck = decks[i % decks.size()];
    const auto dealt = i / decks.size();
    const auto card = dealt % deck.size();
    if (card == 0 && dealt > 0) {
      random.shuffle(deck);
    }
    const auto round = static_cast<int64_t>(dealt / deck.size());
    draws_.push_back({deck[card], epoch_, round});
  }
}

} // namespace trainer
