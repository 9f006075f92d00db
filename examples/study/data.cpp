// The pictures of a study: which there are, and which a network learns from.
// SPDX-License-Identifier: Apache-2.0
#include "study/data.hpp"

#include "common/generated.hpp"
#include "resnet_trainer/files.hpp"
#include "resnet_trainer/lock.hpp"
#include "resnet_trainer/split.hpp"

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
  trainer::Lock lock(folder / (name + ".lock"));
  lock.take(LOCK_EX); // one of several processes paints
  return common::write_generated_set(
      folder / name, {width, height, plan.counts, plan.test_count});
}

constexpr const char* kGenerated =
    "Generated pictures, drawn to show the mechanism: no medical data. In "
    "training a coloured sticker lies beside nearly every picture of the rare "
    "class. In the test set \"trap\" it lies beside the others; in "
    "\"as_trained\" it still goes with the rare class.";

template <class Items, class Item>
int64_t place_of(const Items& items, const Item& item) {
  return std::find(items.begin(), items.end(), item) - items.begin();
}

template <class Items, class Item>
bool has(const Items& items, const Item& item) {
  return place_of(items, item) < static_cast<int64_t>(items.size());
}

std::vector<Row> rows_of(const Plan& plan, const fs::path& manifest) {
  auto rows = trainer::read_manifest(manifest);
  trainer::check_known("exclude", labels_of(rows), plan.exclude);
  const auto kept =
      std::remove_if(rows.begin(), rows.end(), [&](const Row& row) {
        return row.split == "val" || has(plan.exclude, row.label);
      });
  rows.erase(kept, rows.end());
  for (auto& row : rows) { // however the manifest spells it
    row.path = fs::path(row.path).lexically_normal().string();
  }
  return rows;
}

/// The classes that make up less than `share` of the pictures, else the
/// smallest one.
std::vector<int64_t> rarer_than(double share, const Data& data) {
  std::vector<int64_t> counts(data.classes.size()), rare;
  for (const auto& row : data.rows) {
    ++counts[static_cast<size_t>(data.target_of(row))];
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

} // namespace

Data::Data(Plan whole, const fs::path& folder) : plan(std::move(whole)) {
  const bool generated = plan.data == "generated";
  rows = rows_of(plan, generated ? paint(plan, folder) : fs::path(plan.data));
  sentence = generated
      ? kGenerated
      : fmt::format("{} pictures of {}.", rows.size(), plan.data);
  const bool masks = plan.recipe.masks();
  if (std::none_of(rows.begin(), rows.end(), [&](const Row& row) {
        return !masks || row.has_region(masks);
      })) {
    throw std::invalid_argument(fmt::format(
        "recipe.regions: expected a manifest with masks, but got none in {}",
        plan.data));
  }
  classes = trainer::labels_of(rows);
  trainer::targets_of(rows, classes); // throws for several labels a picture
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
    const bool any =
        !trainer::any_has(rows, &Row::split); // any of them may be tested
    for (const auto& row : rows) {
      const auto& set = field("test_sets", plan.test_sets, row);
      if ((any || row.split == "test") && !has(test_sets, set)) {
        test_sets.push_back(set);
      }
    }
  }
  const auto sets = test_sets;
  for (const auto view : plan.views()) {
    for (const auto& set : sets) {
      if (view != View::kWhole) {
        test_sets.push_back(set + ", " + name_of(view));
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
      const auto divided = parts(job);
      const auto rare_ones = std::count_if(
          divided.train.begin(), divided.train.end(), [&](const Row& row) {
            return is_rare(target_of(row));
          });
      splits[key] = {
          divided.train.size(),
          divided.test.size(),
          static_cast<size_t>(rare_ones),
          divided.lacking,
          fingerprint(divided.train)};
    }
  }
}

Parts Data::parts(const Job& job) const {
  const bool split = trainer::any_has(rows, &Row::split);
  const bool random = job.train_share > 0, folds = plan.has_folds();
  const auto fail = [](const std::string& text) {
    throw std::invalid_argument("splits: expected " + text);
  };
  if (split && folds) {
    fail("no folds, as the manifest has a column split");
  }
  if (!split && !folds && !random) {
    fail("some, as the manifest has no column split");
  }
  trainer::Split own;
  if (split || !random) { // a share is one of the manifest's training part
    trainer::SplitOptions options;
    options.val_share = 0;
    if (!split) {
      if (!trainer::any_has(rows, &Row::fold)) {
        fail("no folds, as the manifest has no column fold");
      }
      options.test_fold = std::to_string(job.split);
      trainer::check_known(
          "splits.folds",
          trainer::values_of(rows, &Row::fold),
          {options.test_fold});
    }
    own = trainer::split_rows(rows, options);
  }
  if (random) {
    auto halves = trainer::divide(
        split ? own.train : rows,
        job.train_share,
        static_cast<uint64_t>(job.split));
    own.train = std::move(halves.first);
    if (!split) {
      own.test = std::move(halves.second);
    }
  }
  Parts parts{std::move(own.train), std::move(own.test), {}};
  const auto learnt = trainer::labels_of(parts.train);
  const auto tested = trainer::labels_of(parts.test);
  for (const auto& label : classes) {
    if (!has(learnt, label) || !has(tested, label)) {
      parts.lacking.push_back(label);
    }
  }
  return parts;
}

std::vector<int64_t> Data::classes_of(
    const std::string& key,
    const std::vector<std::string>& labels) const {
  std::set<int64_t> result;
  for (const auto& label : labels) {
    if (has(classes, label)) { // a class may be called "rare"
      result.insert(place_of(classes, label));
    } else if (label == "all") {
      for (size_t k = 0; k < classes.size(); ++k) {
        result.insert(static_cast<int64_t>(k));
      }
    } else if (label == "rare") {
      result.insert(rare.begin(), rare.end());
    } else {
      trainer::check_known(key, classes, {label}); // throws
    }
  }
  return {result.begin(), result.end()};
}

bool Data::is_rare(int64_t target) const {
  return has(rare, target);
}

int64_t Data::target_of(const Row& row) const {
  return place_of(classes, row.label);
}

size_t Data::test_set_of(const Row& row, View view) const {
  const auto first =
      static_cast<size_t>(view) * test_sets.size() / plan.views().size();
  if (plan.test_sets.empty()) {
    return first;
  }
  const auto& set = field("test_sets", plan.test_sets, row);
  return first + static_cast<size_t>(place_of(test_sets, set));
}

int64_t Data::subgroup_of(const Row& row) const {
  if (plan.subgroup.empty()) {
    return -1;
  }
  const auto& value = field("subgroup", plan.subgroup, row);
  return place_of(subgroups, row.label + ", " + value);
}

std::vector<Row> Data::shown(const std::vector<Row>& test, size_t most) const {
  std::map<std::pair<int64_t, int64_t>, Row> rounds; // a row of each class
  std::map<int64_t, int64_t> round;
  for (const auto& row : test) {
    const auto target = target_of(row);
    if (is_rare(target) && row.has_region(plan.recipe.masks()) &&
        test_set_of(row) == 0) {
      rounds[{round[target]++, target}] = row;
    }
  }
  std::vector<Row> chosen;
  for (const auto& item : rounds) {
    if (chosen.size() < most) {
      chosen.push_back(item.second);
    }
  }
  return chosen;
}

std::string fingerprint(const std::vector<Row>& rows, bool masks) {
  // The way to its mask from the picture's folder, however both are spelled.
  const auto mask_of = [](const Row& row) {
    const auto whole = [](const fs::path& path) {
      return fs::absolute(path).lexically_normal();
    };
    return row.mask.empty()
        ? ""
        : whole(row.mask)
              .lexically_relative(whole(row.file).parent_path())
              .generic_string();
  };
  std::string text;
  for (const auto& row : rows) {
    text += fmt::format(
        "{}\n{}\n{}\n{}\n{}\n",
        fs::path(row.path).lexically_normal().string(),
        row.label,
        row.split,
        row.fold,
        row.group);
    if (masks) {
      text += mask_of(row) + "\n";
      text += fs::is_regular_file(row.mask)
          ? trainer::fingerprint_of_file(row.mask)
          : "";
    }
    for (const auto& box : row.boxes) {
      text += fmt::format("{},{}\n", fmt::join(box.xyxy, ","), box.confidence);
    }
  }
  return trainer::fingerprint(text);
}

} // namespace study
