// Tests of how the trainer divides a manifest.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/files.hpp"

#include "resnet_trainer/split.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace {

using care_test::contains;
using trainer::Row;

Row row(const std::string& path, const std::string& label) {
  Row row;
  row.path = path;
  row.label = label;
  row.where = "m.csv:" + path;
  return row;
}

/// Ten common and four rare pictures.
std::vector<Row> fourteen() {
  std::vector<Row> rows;
  for (int i = 0; i < 14; ++i) {
    rows.push_back(row(std::to_string(i), i < 10 ? "common" : "rare"));
  }
  return rows;
}

std::vector<std::string> paths_of(const std::vector<Row>& rows) {
  std::vector<std::string> paths;
  for (const auto& r : rows) {
    paths.push_back(r.path);
  }
  return paths;
}

} // namespace

TEST_CASE("split: the order of the rows means nothing") {
  auto rows = fourteen();
  const auto halves = trainer::divide(rows, 0.5, 3);
  CHECK(halves.first.size() == 7);
  CHECK(halves.lacking.empty());
  std::reverse(rows.begin(), rows.end());
  CHECK(
      paths_of(trainer::divide(rows, 0.5, 3).first) == paths_of(halves.first));
  CHECK(
      paths_of(trainer::divide(rows, 0.5, 4).first) != paths_of(halves.first));
}

TEST_CASE("split: a picture of several labels counts as of the rarest") {
  auto rows = fourteen(); // and two of the rare ones are common, too
  rows[10].label = rows[11].label = "common|rare";
  const auto halves = trainer::divide(rows, 0.5, 3);
  const auto rare = [](const std::vector<Row>& part) {
    return std::count_if(part.begin(), part.end(), [](const Row& r) {
      return trainer::has_label(r, "rare");
    });
  };
  CHECK(rare(halves.first) == 2);
  CHECK(rare(halves.second) == 2);
}

TEST_CASE("split: by the manifest's column, its folds, or at random") {
  auto rows = fourteen();
  trainer::SplitOptions options;
  options.val_share = 0;
  auto split = trainer::split_rows(rows, options);
  CHECK(split.test.size() == 3); // 2 of 10 and 1 of 4
  CHECK(split.val.empty());
  options.val_share = 0.25;
  split = trainer::split_rows(rows, options);
  CHECK(split.train.size() + split.val.size() == 11);
  CHECK(split.val.size() == 3);

  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].fold = std::to_string(i % 3);
  }
  options.test_fold = "1";
  rows[3].fold.clear();
  CHECK(contains(
      care_test::error_of([&] { trainer::split_rows(rows, options); }),
      "m.csv:3: expected a fold, as other pictures have, but got none"));
  rows[3].fold = "0";
  split = trainer::split_rows(rows, options);
  CHECK(
      paths_of(split.test) ==
      std::vector<std::string>{"1", "4", "7", "10", "13"});

  for (size_t i = 0; i < rows.size(); ++i) { // which goes before the folds
    rows[i].split = i < 2 ? "test" : i < 5 ? "val" : "train";
  }
  split = trainer::split_rows(rows, options);
  CHECK(paths_of(split.test) == std::vector<std::string>{"0", "1"});
  CHECK(paths_of(split.val) == std::vector<std::string>{"2", "3", "4"});
  CHECK(split.train.size() == 9);
}

TEST_CASE("split: says what cannot be divided") {
  auto rows = fourteen();
  rows.push_back(row("alone", "single"));
  const auto split = trainer::split_rows(rows, {});
  REQUIRE(!split.notes.empty());
  CHECK(contains(split.notes[0], "'single'"));

  rows[3].split = "train";
  CHECK(contains(
      care_test::error_of([&] { trainer::split_rows(rows, {}); }),
      "m.csv:0: expected a split, as other pictures have, but got none"));
  for (auto& r : rows) {
    r.split = "train";
  }
  CHECK(contains(
      care_test::error_of([&] { trainer::split_rows(rows, {}); }),
      "pictures in the part 'test'"));
  rows[0].split = "test";
  rows[0].group = rows[1].group = "patient";
  CHECK(contains(
      care_test::error_of([&] { trainer::split_rows(rows, {}); }),
      "the group 'patient' in one part"));
}
