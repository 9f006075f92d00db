// Divides the pictures of a manifest into those to learn from and to test.
// SPDX-License-Identifier: Apache-2.0
#include "split.hpp"

#include <care/imbalance/stratified_split.hpp>

#include <algorithm>
#include <map>
#include <stdexcept>
#include <utility>

namespace trainer {
namespace {

/// Throws for a group (a patient) in several parts, and for an empty part.
void check_parts(const Split& split) {
  const std::map<std::string, const std::vector<Row>*> parts{
      {"train", &split.train}, {"val", &split.val}, {"test", &split.test}};
  std::map<std::string, std::string> part_of; // a group's
  for (const auto& [name, part] : parts) {
    if (part->empty() && name != "val") {
      throw std::invalid_argument(
          "the data: expected pictures in the part '" + name +
          "' (by the columns split and fold, --test-fold, --test-share, "
          "--exclude), but got none");
    }
    for (const auto& row : *part) {
      const auto known = part_of.emplace(row.group, name).first;
      if (!row.group.empty() && known->second != name) {
        throw std::invalid_argument(
            row.where + ": expected the group '" + row.group +
            "' in one part, but got it in " + known->second + " and " + name);
      }
    }
  }
}

} // namespace

Halves divide(std::vector<Row> rows, double share, uint64_t seed) {
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return a.path < b.path; // the order of a file's lines means nothing
  });
  const auto labels = labels_of(rows);
  std::vector<std::string> groups;
  for (const auto& row : rows) {
    groups.push_back(row.group);
  }
  const auto split = care::stratified_split(
      rarest_targets_of(rows, labels), groups, share, seed);
  Halves halves;
  for (const auto place : split.first) {
    halves.first.push_back(rows[place]);
  }
  for (const auto place : split.second) {
    halves.second.push_back(rows[place]);
  }
  for (const auto label : split.lacking) {
    halves.lacking.push_back(labels[static_cast<size_t>(label)]);
  }
  return halves;
}

Split split_rows(const std::vector<Row>& rows, const SplitOptions& options) {
  Split split;
  const auto cut = [&](const std::vector<Row>& all, double share, auto& rest) {
    auto halves = divide(all, 1 - share, options.seed);
    for (const auto& label : halves.lacking) {
      split.notes.push_back(
          "the class '" + label + "' has too few groups to be in every part");
    }
    rest = std::move(halves.second);
    return std::move(halves.first);
  };
  const bool has_splits = any_has(rows, &Row::split);
  const bool has_folds = any_has(rows, &Row::fold);
  if (!has_splits && !has_folds) {
    split.train = cut(rows, options.test_share, split.test);
  }
  for (const auto& row : rows) {
    const auto& part = has_splits       ? row.split
        : !has_folds                    ? "done"
        : row.fold.empty()              ? ""
        : row.fold == options.test_fold ? "test"
                                        : "train";
    if (part.empty()) {
      throw std::invalid_argument(
          row.where + ": expected a " + (has_splits ? "split" : "fold") +
          ", as other pictures have, but got none");
    }
    if (part != "done") {
      (part == "test"      ? split.test
           : part == "val" ? split.val
                           : split.train)
          .push_back(row);
    }
  }
  if (split.val.empty() && options.val_share > 0 && !split.train.empty()) {
    split.train = cut(split.train, options.val_share, split.val);
  }
  check_parts(split);
  return split;
}

} // namespace trainer
