// Where training takes its boxes from, and faults to try it with.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/box_source.hpp"

#include "common/pictures.hpp"
#include "common/random.hpp"

#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <utility>

namespace trainer {
namespace {

/// The places of the samples that have boxes.
std::vector<size_t> boxed(const std::vector<common::Sample>& samples) {
  std::vector<size_t> places;
  for (size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].boxes.num_boxes() > 0) {
      places.push_back(i);
    }
  }
  return places;
}

/// All in one circle of random order: each gives its boxes to the next.
void shuffle_boxes(
    std::vector<common::Sample>& samples,
    common::Random& random) {
  auto circle = boxed(samples);
  if (circle.size() < 2) {
    throw std::invalid_argument(
        "shuffled boxes: expected at least 2 training images with boxes, but "
        "got " +
        std::to_string(circle.size()));
  }
  random.shuffle(circle);
  const auto last = samples[circle.back()].boxes;
  for (size_t i = circle.size() - 1; i > 0; --i) {
    samples[circle[i]].boxes = samples[circle[i - 1]].boxes;
  }
  samples[circle.front()].boxes = last;
}

/// Takes away that share of all boxes, chosen at random.
void drop_boxes(
    std::vector<common::Sample>& samples,
    double share,
    common::Random& random) {
  std::vector<std::pair<size_t, int64_t>> all;
  for (const auto i : boxed(samples)) {
    for (int64_t m = 0; m < samples[i].boxes.num_boxes(); ++m) {
      all.emplace_back(i, m);
    }
  }
  random.shuffle(all);
  all.resize(static_cast<size_t>(
      std::llround(share * static_cast<double>(all.size()))));
  std::map<size_t, torch::Tensor> keep;
  for (const auto& [i, m] : all) {
    auto& flags = keep[i];
    if (!flags.defined()) {
      flags = torch::ones({samples[i].boxes.num_boxes()}, torch::kBool);
    }
    flags[m] = false;
  }
  for (const auto& [i, flags] : keep) {
    samples[i].boxes = samples[i].boxes.filter(flags);
  }
}

void shift_boxes(common::Sample& sample, double share, common::Random& random) {
  const auto& boxes = sample.boxes;
  auto moved = boxes.xyxy().clone();
  const std::array<int64_t, 2> border{
      boxes.image_size().width, boxes.image_size().height};
  for (int64_t m = 0; m < boxes.num_boxes(); ++m) {
    const double angle = random.uniform(0, 6.283185307179586);
    const std::array<double, 2> direction{std::cos(angle), std::sin(angle)};
    for (int64_t axis = 0; axis < 2; ++axis) {
      const auto low = moved[m][axis].item<double>();
      const auto high = moved[m][axis + 2].item<double>();
      const auto place = static_cast<size_t>(axis);
      const auto room = static_cast<double>(border[place]) - high;
      const double step = std::clamp(
          share * (high - low) * direction[place],
          std::min(-low, 0.0),
          std::max(room, 0.0));
      moved[m][axis] += step;
      moved[m][axis + 2] += step;
    }
  }
  auto result = care::Boxes(moved, boxes.image_index(), 1, boxes.image_size());
  sample.boxes =
      boxes.has_weights() ? result.with_weights(boxes.weights()) : result;
}

} // namespace

BoxesById read_boxes(
    const std::filesystem::path& manifest,
    const std::vector<common::Record>& records,
    const std::vector<common::Sample>& samples) {
  const auto same_file = [](const common::Record& record) {
    return std::filesystem::weakly_canonical(record.file);
  };
  const auto others = common::read_manifest(manifest);
  std::map<std::filesystem::path, const common::Record*> by_file;
  for (const auto& other : others) {
    by_file[same_file(other)] = &other;
  }
  BoxesById boxes;
  for (size_t i = 0; i < samples.size(); ++i) {
    const auto found = by_file.find(same_file(records.at(i)));
    if (found == by_file.end()) {
      throw std::runtime_error(
          manifest.string() +
          ": expected a row for each picture of --data, "
          "but got none for " +
          records[i].file.string());
    }
    const auto& sample = samples[i];
    boxes[sample.id] = common::boxes_on(*found->second, sample.stored)
                           .resize(sample.boxes.image_size());
  }
  return boxes;
}

std::vector<common::Sample> with_boxes(
    std::vector<common::Sample> samples,
    const BoxesById& boxes) {
  for (auto& sample : samples) {
    sample.boxes = boxes.at(sample.id);
  }
  return samples;
}

void check(const BoxNoise& noise) {
  if (!(noise.shift >= 0 && std::isfinite(noise.shift))) {
    throw std::invalid_argument(
        "box shift: expected a share of at least 0, but got " +
        std::to_string(noise.shift));
  }
  if (!(noise.missing >= 0 && noise.missing <= 1)) {
    throw std::invalid_argument(
        "missing boxes: expected a share from 0 to 1, but got " +
        std::to_string(noise.missing));
  }
}

std::vector<common::Sample> with_noise(
    std::vector<common::Sample> samples,
    const BoxNoise& noise,
    uint64_t seed) {
  check(noise);
  common::Random random(common::mix({seed, 0xb0e5}));
  if (noise.shuffled) {
    shuffle_boxes(samples, random);
  }
  if (noise.missing > 0) {
    drop_boxes(samples, noise.missing, random);
  }
  if (noise.shift > 0) {
    for (const auto i : boxed(samples)) {
      shift_boxes(samples[i], noise.shift, random);
    }
  }
  return samples;
}

} // namespace trainer
