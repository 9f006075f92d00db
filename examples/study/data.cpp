// The pictures of a study: which there are, and which a network learns from.
// SPDX-License-Identifier: Apache-2.0
#include "study/data.hpp"

#include "common/files.hpp"
#include "common/generated.hpp"
#include "resnet_trainer/split.hpp"
#include "study/claim.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <algorithm>
#include <set>
#include <stdexcept>

namespace study {
namespace {

namespace fs = std::filesystem;

/// The generated set, in a folder that is named by what it holds.
fs::path paint(const Plan& plan, const fs::path& folder) {
  const auto [width, height] = size_of(plan.recipe);
  const auto name = fmt::format(
      "generated-{}-{}-{}x{}",
      fmt::join(plan.counts, "-"),
      plan.test_count,
      width,
      height);
  Lock lock(folder / (name + ".lock")); // one of several processes paints
  lock.take(LOCK_EX);
  return common::write_generated_set(
      folder / name, {width, height, plan.counts, plan.test_count});
}

constexpr const char* kGenerated =
    "Generated pictures, drawn to show the mechanism: no medical data. In "
    "training a coloured sticker lies beside nearly every picture of the rare "
    "class. In the test set \"trap\" it lies beside the others; in "
    "\"as_trained\" it still goes with the rare class.";

std::vector<Row> without(
    std::vector<Row> rows,
    const std::vector<std::string>& labels) {
  for (const auto& label : labels) {
    const auto kept =
        std::remove_if(rows.begin(), rows.end(), [&](const Row& row) {
          return row.label == label;
        });
    if (kept == rows.end()) {
      throw std::invalid_argument(fmt::format(
          "exclude: expected a label of the manifest, but got '{}'", label));
    }
    rows.erase(kept, rows.end());
  }
  return rows;
}

/// The classes that make up less than `share` of the pictures, else the
/// smallest one.
std::vector<int64_t> rarer_than(double share, const Data& data) {
  std::vector<int64_t> counts(data.classes.size()), rare;
  for (const auto& row : data.rows) {
    ++counts[data.target_of(row)];
  }
  for (size_t k = 0; k < counts.size(); ++k) {
    if (static_cast<double>(counts[k]) <
        share * static_cast<double>(data.rows.size())) {
      rare.push_back(static_cast<int64_t>(k));
    }
  }
  if (rare.empty()) {
    rare.push_back(
        std::min_element(counts.begin(), counts.end()) - counts.begin());
  }
  return rare;
}

/// A further column's field; throws where the manifest has none.
const std::string& field(
    const char* key,
    const std::string& column,
    const Row& row) {
  const auto found = row.more.find(column);
  if (found == row.more.end()) {
    throw std::invalid_argument(fmt::format(
        "{}: expected a column of the manifest, but got '{}'", key, column));
  }
  return found->second;
}

bool has(const std::vector<Row>& rows, std::string Row::*member) {
  return std::any_of(rows.begin(), rows.end(), [&](const Row& row) {
    return !(row.*member).empty();
  });
}

template <class Items, class Item>
size_t place_of(const Items& items, const Item& item) {
  return static_cast<size_t>(
      std::find(items.begin(), items.end(), item) - items.begin());
}

} // namespace

Data::Data(const Plan& plan, const fs::path& folder) {
  const bool generated = plan.data == "generated";
  const fs::path manifest =
      generated ? paint(plan, folder) : fs::path(plan.data);
  rows = without(trainer::read_manifest(manifest), plan.exclude);
  sentence = generated
      ? kGenerated
      : fmt::format("{} pictures listed in {}.", rows.size(), plan.data);
  classes = trainer::labels_of(rows);
  if (classes.size() < 2) {
    throw std::invalid_argument(fmt::format(
        "data: expected at least 2 classes in {}, but got {}",
        plan.data,
        classes.size()));
  }
  rare = plan.rare.empty() ? rarer_than(plan.rare_share, *this)
                           : classes_of("rare", plan.rare);
  if (!plan.test_sets.empty()) {
    test_sets.clear();
    for (const auto& row : rows) {
      const auto& set = field("test_sets", plan.test_sets, row);
      if (row.split == "test" && place_of(test_sets, set) == test_sets.size()) {
        test_sets.push_back(set);
      }
    }
  }
  if (!plan.subgroup.empty()) {
    std::set<std::string> sorted;
    for (const auto& row : rows) {
      sorted.insert(row.label + ", " + field("subgroup", plan.subgroup, row));
    }
    subgroups.assign(sorted.begin(), sorted.end());
  }
  for (const auto& arm : plan.arms) { // a misspelt label ends it here
    classes_of("guide", arm.guide);
  }
  for (const auto& job : plan.jobs()) {
    const auto key = std::make_pair(job.train_share, job.split);
    if (splits.count(key) == 0) {
      const auto divided = parts(plan, job);
      auto& split = splits[key];
      split.train = divided.train.size();
      split.lacking = divided.lacking;
      for (const auto& row : divided.train) {
        split.rare += is_rare(target_of(row)) ? 1 : 0;
      }
    }
  }
}

Parts Data::parts(const Plan& plan, const Job& job) const {
  const bool split = has(rows, &Row::split);
  if (split && plan.has_folds()) {
    throw std::invalid_argument(
        "splits: expected no folds, as the manifest has a column split");
  }
  Parts parts;
  if (job.train_share > 0) {
    std::vector<Row> pool;
    for (const auto& row : rows) {
      if (row.split == "test") {
        parts.test.push_back(row);
      } else if (!split || row.split == "train") {
        pool.push_back(row);
      }
    }
    auto halves = trainer::divide(
        pool, job.train_share, static_cast<uint64_t>(job.split));
    parts.train = std::move(halves.first);
    parts.lacking = std::move(halves.lacking);
    if (!split) {
      parts.test = std::move(halves.second);
    }
    return parts;
  }
  if (!split && !plan.has_folds()) {
    throw std::invalid_argument(
        "splits: expected some, as the manifest has no column split");
  }
  trainer::SplitOptions options;
  options.test_fold = plan.has_folds() ? std::to_string(job.split) : "";
  options.val_share = 0;
  auto own = trainer::split_rows(rows, options);
  parts.train = std::move(own.train);
  parts.test = std::move(own.test);
  for (const auto& label : classes) {
    for (const auto* part : {&parts.train, &parts.test}) {
      const bool there =
          std::any_of(part->begin(), part->end(), [&](const Row& row) {
            return row.label == label;
          });
      if (!there) {
        parts.lacking.push_back(label);
      }
    }
  }
  return parts;
}

std::vector<int64_t> Data::classes_of(
    const std::string& key,
    const std::vector<std::string>& labels) const {
  std::set<int64_t> result;
  for (const auto& label : labels) {
    const auto place = place_of(classes, label);
    if (place < classes.size()) { // a class may be called "rare"
      result.insert(static_cast<int64_t>(place));
    } else if (label == "all") {
      for (size_t k = 0; k < classes.size(); ++k) {
        result.insert(static_cast<int64_t>(k));
      }
    } else if (label == "rare") {
      result.insert(rare.begin(), rare.end());
    } else {
      throw std::invalid_argument(fmt::format(
          "{}: expected one of '{}', but got '{}'",
          key,
          fmt::join(classes, "', '"),
          label));
    }
  }
  return {result.begin(), result.end()};
}

bool Data::is_rare(size_t target) const {
  return std::count(rare.begin(), rare.end(), static_cast<int64_t>(target)) > 0;
}

size_t Data::target_of(const Row& row) const {
  return place_of(classes, row.label);
}

size_t Data::test_set_of(const Plan& plan, const Row& row) const {
  return plan.test_sets.empty()
      ? 0
      : place_of(test_sets, field("test_sets", plan.test_sets, row));
}

int64_t Data::subgroup_of(const Plan& plan, const Row& row) const {
  return plan.subgroup.empty()
      ? -1
      : static_cast<int64_t>(place_of(
            subgroups,
            row.label + ", " + field("subgroup", plan.subgroup, row)));
}

std::vector<Row> Data::shown(
    const Plan& plan,
    const std::vector<Row>& test,
    size_t most) const {
  std::vector<std::vector<Row>> by_class(classes.size());
  for (const auto& row : test) {
    const auto target = target_of(row);
    if (is_rare(target) && !row.boxes.empty() && test_set_of(plan, row) == 0) {
      by_class[target].push_back(row);
    }
  }
  std::vector<Row> chosen;
  for (size_t i = 0; i < test.size(); ++i) { // a round of one from each class
    for (const auto& of_class : by_class) {
      if (i < of_class.size() && chosen.size() < most) {
        chosen.push_back(of_class[i]);
      }
    }
  }
  return chosen;
}

std::string fingerprint(const std::vector<Row>& rows) {
  std::string text;
  for (const auto& row : rows) {
    text += fmt::format(
        "{}\n{}\n{}\n{}\n{}\n",
        fs::path(row.path).lexically_normal().string(),
        row.label,
        row.split,
        row.fold,
        row.group);
    for (size_t i = 0; i < row.boxes.size(); ++i) {
      text += fmt::format(
          "{},{}\n", fmt::join(row.boxes[i], ","), row.confidence[i]);
    }
  }
  return common::fingerprint(text);
}

} // namespace study
