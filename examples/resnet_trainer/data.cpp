// The pictures of an experiment: where they are from, how they are divided.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/data.hpp"

#include "common/generated.hpp"
#include "common/manifest.hpp"
#include "common/random.hpp"
#include "resnet_trainer/dataset.hpp"

#include <care/guide.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>

namespace trainer {
namespace {

/// Sorts, and keeps one of equal numbers.
void keep_once(std::vector<int64_t>& numbers) {
  std::sort(numbers.begin(), numbers.end());
  numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
}

int cores(const Settings& settings) {
  return static_cast<int>(settings.threads);
}

Data generated_data(const Settings& settings) {
  common::GeneratedOptions options;
  options.size = settings.size;
  options.rare_contrast = settings.contrast;
  std::copy(
      settings.counts.begin(), settings.counts.end(), options.counts.begin());
  Data data;
  data.sentence =
      "Generated pictures, drawn to show the mechanism: no medical data. In "
      "training a coloured sticker lies beside nearly every dermatofibroma, "
      "the rare class. In the test set \"trap\" it lies beside the others; in "
      "\"as_trained\" it still goes with the rare class.";
  data.classes = common::generated_classes();
  data.pool = common::make_generated(options, cores(settings));
  data.folds = {0};
  options.counts.fill(settings.test_count);
  options.seed += 1000;
  options.bystander = common::Bystander::kTrap;
  data.tests.emplace_back(
      "trap", common::make_generated(options, cores(settings)));
  options.bystander = common::Bystander::kAsTrained;
  data.tests.emplace_back(
      "as_trained", common::make_generated(options, cores(settings)));
  return data;
}

Data manifest_data(const Settings& settings) {
  auto records = common::without_labels(
      common::read_manifest(settings.data), settings.exclude);
  Data data;
  data.sentence =
      fmt::format("{} pictures listed in {}.", records.size(), settings.data);
  data.classes = common::labels_of(records);
  if (data.classes.size() < 2) {
    throw std::invalid_argument(fmt::format(
        "--data {}: expected at least 2 classes, but got {}",
        settings.data,
        data.classes.size()));
  }
  data.pool =
      load_samples(records, data.classes, settings.size, cores(settings));
  if (!settings.boxes.empty()) {
    data.training_boxes = read_boxes(settings.boxes, records, data.pool);
    data.sentence +=
        fmt::format(" Training takes its boxes from {}.", settings.boxes);
  }
  if (settings.train_share > 0) {
    for (int64_t i = 0; i < settings.splits; ++i) {
      data.folds.push_back(i);
    }
  } else {
    assign_folds(data.pool, settings.folds, 0);
    std::set<int64_t> known;
    for (const auto& sample : data.pool) {
      known.insert(sample.fold);
    }
    data.folds.assign(known.begin(), known.end());
  }
  if (!settings.test_folds.empty()) {
    for (auto fold : settings.test_folds) {
      if (settings.train_share <= 0 &&
          std::find(data.folds.begin(), data.folds.end(), fold) ==
              data.folds.end()) {
        throw std::invalid_argument(fmt::format(
            "--test-fold: expected folds from {} to {}, but got {}",
            data.folds.front(),
            data.folds.back(),
            fold));
      }
    }
    data.folds = settings.test_folds;
    keep_once(data.folds);
  }
  return data;
}

} // namespace

Data load_data(const Settings& settings) {
  return settings.data.empty() ? generated_data(settings)
                               : manifest_data(settings);
}

std::vector<int64_t> classes_of(
    const char* flag,
    const std::vector<std::string>& labels,
    const std::vector<std::string>& classes,
    const std::vector<int64_t>& rare) {
  std::vector<int64_t> result;
  for (const auto& label : labels) {
    const auto found = std::find(classes.begin(), classes.end(), label);
    if (found != classes.end()) { // a class may be called "rare"
      result.push_back(found - classes.begin());
    } else if (label == "all") {
      for (size_t k = 0; k < classes.size(); ++k) {
        result.push_back(static_cast<int64_t>(k));
      }
    } else if (label == "rare") {
      result.insert(result.end(), rare.begin(), rare.end());
    } else {
      throw std::invalid_argument(fmt::format(
          "{}: expected one of {}, but got {}",
          flag,
          fmt::join(classes, ", "),
          label));
    }
  }
  keep_once(result);
  return result;
}

std::vector<int64_t> rare_classes(const Settings& settings, const Data& data) {
  if (!settings.rare.empty()) {
    return classes_of("--rare", settings.rare, data.classes, {});
  }
  std::vector<int64_t> counts(data.classes.size(), 0);
  for (const auto& sample : data.pool) {
    ++counts[static_cast<size_t>(sample.target)];
  }
  auto rare = care::classes_rarer_than(settings.rare_share, counts);
  if (rare.empty()) {
    rare.push_back(
        std::min_element(counts.begin(), counts.end()) - counts.begin());
  }
  return rare;
}

std::pair<FoldData, std::vector<common::Sample>> split_fold(
    const Settings& settings,
    const Data& data,
    int64_t fold) {
  std::vector<common::Sample> rest, test;
  const auto require = [&](bool holds, const char* what) {
    if (!holds) {
      throw std::invalid_argument(fmt::format(
          "--data {}: expected pictures to {} in fold {}, but all {} lie on "
          "the other side",
          settings.data,
          what,
          fold,
          data.pool.size()));
    }
  };
  if (!data.tests.empty()) {
    rest = data.pool;
  } else if (settings.train_share > 0) {
    const auto parts = split_by_group(
        data.pool, settings.train_share, static_cast<uint64_t>(fold));
    rest = select(data.pool, parts.first);
    test = select(data.pool, parts.second);
  } else {
    for (const auto& sample : data.pool) {
      (sample.fold == fold ? test : rest).push_back(sample);
    }
  }
  require(!rest.empty(), "learn from");
  require(!data.tests.empty() || !test.empty(), "test with");
  FoldData result;
  if (settings.val_share > 0) {
    const auto parts = split_by_group(
        rest, 1 - settings.val_share, static_cast<uint64_t>(fold) + 1000);
    result.train = select(rest, parts.first);
    result.validation = select(rest, parts.second);
    require(!result.train.empty(), "learn from beside those of --val-share");
  } else {
    result.train = std::move(rest);
  }
  return {std::move(result), std::move(test)};
}

FoldData boxes_for_training(
    const Settings& settings,
    const BoxesById& boxes,
    FoldData fold_data,
    int64_t fold,
    int64_t seed) {
  if (!boxes.empty()) {
    fold_data.train = with_boxes(fold_data.train, boxes);
  }
  if (!settings.weigh_boxes) {
    for (auto& sample : fold_data.train) {
      const auto& own = sample.boxes;
      sample.boxes = own.filter(own.weights() > 0).without_weights();
    }
  }
  fold_data.train = with_noise(
      fold_data.train,
      settings.box_noise,
      common::mix({static_cast<uint64_t>(fold), static_cast<uint64_t>(seed)}));
  return fold_data;
}

std::vector<common::Sample> picture_samples(
    const std::vector<common::Sample>& test,
    const std::vector<int64_t>& rare,
    int64_t wanted) {
  std::map<int64_t, std::vector<common::Sample>> by_class;
  for (const auto& sample : test) {
    if (sample.boxes.num_boxes() > 0 &&
        std::find(rare.begin(), rare.end(), sample.target) != rare.end()) {
      by_class[sample.target].push_back(sample);
    }
  }
  std::vector<common::Sample> chosen;
  for (size_t i = 0; static_cast<int64_t>(chosen.size()) < wanted; ++i) {
    bool any = false;
    for (const auto& [label, samples] : by_class) {
      if (i < samples.size() && static_cast<int64_t>(chosen.size()) < wanted) {
        chosen.push_back(samples[i]);
        any = true;
      }
    }
    if (!any) {
      break;
    }
  }
  return chosen;
}

} // namespace trainer
