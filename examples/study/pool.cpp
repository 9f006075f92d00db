// pool: what studies on several datasets say together.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/csv.hpp"
#include "resnet_trainer/process.hpp"

#include <care/metrics/comparison.hpp>
#include <care/metrics/random_effects.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cmath>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

/// The runs.csv of a study, two of its arms, and a share of training images.
struct Set {
  std::string file, arm, baseline;
  double share = 0; ///< 0: folds
};

/// What one network gave, and how many pictures tested it for each to learn
/// from: NaN where the file, an older one, does not say.
struct Network {
  double figure = 0, test_over_train = 0;
};
using Key = std::pair<std::string, std::string>; // split, seed
using Networks = std::map<Key, Network>;

/// The number that the text is, else NaN.
double number_of(const std::string& text) {
  double number = 0;
  return trainer::parse_number(text, number) ? number : std::nan("");
}

/// An arm's networks on the main test set, at that share.
Networks networks_of(
    const trainer::Csv& csv,
    const std::string& arm,
    double share,
    const std::string& figure) {
  Networks networks;
  std::string main_set;
  for (const auto& line : csv.lines()) {
    const auto set = csv.field(line, "test_set");
    main_set = main_set.empty() ? set : main_set; // its rows come first
    if (csv.field(line, "arm") != arm || set != main_set ||
        number_of(csv.field(line, "train_share")) != share) {
      continue;
    }
    const auto read = [&](const std::string& column) {
      const auto text = csv.field(line, column);
      const double value = number_of(text);
      if (std::isnan(value)) {
        csv.fail(line, "a number as " + column, "'" + text + "'");
      }
      return value;
    };
    const auto has = [&](const char* column) {
      return csv.columns().count(column) > 0;
    };
    // A test set may be a part of what its split tests.
    const auto* tested =
        has("split_test_images") ? "split_test_images" : "test_images";
    const double ratio = has("train_images")
        ? read(tested) / read("train_images")
        : std::nan("");
    const Key key{csv.field(line, "split"), csv.field(line, "seed")};
    if (!networks.emplace(key, Network{read(figure), ratio}).second) {
      csv.fail(line, "a row for each split and seed of an arm", "two");
    }
  }
  return networks;
}

/// What two arms of one dataset say, on the splits and seeds that both have.
struct Pairs {
  size_t networks = 0; ///< of each arm
  double arm = 0, baseline = 0; ///< means over the splits
  std::vector<double> differences; ///< one a split, the mean over its seeds
  double test_over_train = 0;
};

Pairs pairs_of(const Set& set, const std::string& figure) {
  const trainer::Csv csv(set.file);
  csv.expect(
      {"arm", "train_share", "split", "seed", figure},
      {"test_set", "test_images", "train_images", "split_test_images"});
  const auto mine = networks_of(csv, set.arm, set.share, figure);
  const auto theirs = networks_of(csv, set.baseline, set.share, figure);
  std::map<std::string, std::vector<Key>> splits;
  for (const auto& item : mine) {
    if (theirs.count(item.first) > 0) {
      splits[item.first.first].push_back(item.first);
    }
  }
  if (splits.size() < 2) {
    throw std::invalid_argument(fmt::format(
        "{}: expected at least 2 splits that both '{}' and '{}' have at the "
        "share {:g}, but got {}",
        set.file,
        set.arm,
        set.baseline,
        set.share,
        splits.size()));
  }
  const auto count = static_cast<double>(splits.size());
  Pairs pairs;
  for (const auto& [split, keys] : splits) {
    const auto seeds = static_cast<double>(keys.size());
    double arm = 0, baseline = 0;
    for (const auto& key : keys) {
      arm += mine.at(key).figure / seeds;
      baseline += theirs.at(key).figure / seeds;
      pairs.test_over_train += mine.at(key).test_over_train / seeds / count;
    }
    pairs.networks += keys.size();
    pairs.arm += arm / count;
    pairs.baseline += baseline / count;
    pairs.differences.push_back(arm - baseline);
  }
  if (std::isnan(pairs.test_over_train)) {
    pairs.test_over_train =
        set.share > 0 ? (1 - set.share) / set.share : 1 / (count - 1);
  }
  return pairs;
}

std::string text_of(const care::Interval& x) {
  return fmt::format("{:+.3f} [{:+.3f}, {:+.3f}]", x.value, x.low, x.high);
}

void run(const std::vector<Set>& sets, const std::string& figure) {
  std::vector<double> effects, errors;
  std::cout << "| set | arm | compared with | networks | without | with | "
               "difference |\n"
               "|---|---|---|---|---|---|---|\n";
  for (const auto& set : sets) {
    const auto pairs = pairs_of(set, figure);
    const auto interval =
        care::corrected_resampled_t(pairs.differences, pairs.test_over_train);
    effects.push_back(interval.value);
    errors.push_back(care::corrected_resampled_error(
        pairs.differences, pairs.test_over_train));
    std::cout << fmt::format(
        "| {} | {} | {} | {} | {:.3f} | {:.3f} | {} |\n",
        set.file,
        set.arm,
        set.baseline,
        pairs.networks,
        pairs.baseline,
        pairs.arm,
        text_of(interval));
  }
  const auto pooled = care::random_effects(effects, errors);
  std::cout << fmt::format(
      "| **{} sets** | | | | | | **{}** |\n\n"
      "Standard deviation from set to set: {:.3f}\n",
      sets.size(),
      text_of(pooled.mean),
      pooled.between);
}

/// Of the command line: four texts each.
std::vector<Set> sets_of(const std::vector<std::string>& texts) {
  std::vector<Set> sets;
  for (size_t i = 0; i + 3 < texts.size(); i += 4) {
    sets.push_back(
        {texts[i], texts[i + 1], texts[i + 2], number_of(texts[i + 3])});
    if (!(sets.back().share >= 0 && sets.back().share < 1)) {
      throw std::invalid_argument(
          "--set: expected a share in [0, 1), but got '" + texts[i + 3] + "'");
    }
  }
  return sets;
}

} // namespace

int main(int argc, char** argv) {
  std::vector<std::string> sets;
  std::string figure = "mca";
  CLI::App app(
      "What studies on several datasets say together: the paired differences "
      "of two arms on each, with the corrected resampled t interval, and their "
      "random-effects mean with Hartung and Knapp's. The sets must not share "
      "pictures. For research and education; not a medical device.",
      "pool");
  app.add_option(
         "--set",
         sets,
         "a study's runs.csv, an arm, the one it is compared with, and their "
         "share of training images (0: folds); once for each dataset")
      ->type_name("FILE ARM BASELINE SHARE")
      ->type_size(4)
      ->required();
  app.add_option("--figure", figure, "a column of the runs.csv")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return trainer::run_main("pool", [&] { run(sets_of(sets), figure); });
}
