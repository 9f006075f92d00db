// The pictures of a study: which there are, and which a network learns from.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_DATA_HPP
#define CARE_EXAMPLES_STUDY_DATA_HPP

#include "resnet_trainer/manifest.hpp"
#include "study/plan.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace study {

using trainer::Row;

struct Parts {
  std::vector<Row> train, test;
  std::vector<std::string> lacking; ///< classes without a picture in one part
};

/// A plan with its pictures.
struct Data {
  /// Reads the manifest; generated data is painted into `folder` first. Throws
  /// std::invalid_argument for labels and columns that the manifest lacks, and
  /// for splits it leaves no room for.
  Data(Plan plan, const std::filesystem::path& folder);

  Plan plan;
  /// "342 pictures of manifest.csv.", for the report.
  std::string sentence;
  std::vector<Row> rows; ///< their paths lexically normal
  std::vector<std::string> classes;
  std::vector<int64_t> rare;
  /// The main one first; with occlusion again in each view: "test, lesion
  /// grey".
  std::vector<std::string> test_sets{"test"};
  /// Of the subgroups, a class and a value each: "waterbird, land".
  std::vector<std::string> subgroups;

  /// Of each share and split: what the report says of it.
  struct Split {
    size_t train = 0, test = 0; ///< pictures to learn from and to test
    size_t rare = 0; ///< rare ones to learn from
    std::vector<std::string> lacking;
    std::string learnt; ///< a fingerprint of the pictures to learn from
  };
  std::map<std::pair<double, int64_t>, Split> splits;
  const Split& split(const Job& job) const {
    return splits.at({job.train_share, job.split});
  }

  /// What a job learns from and is tested with.
  Parts parts(const Job& job) const;

  /// Places of the labels in `classes`; "all" and "rare" stand for lists.
  /// Throws std::invalid_argument that names `key` for an unknown label.
  std::vector<int64_t> classes_of(
      const std::string& key,
      const std::vector<std::string>& labels) const;

  int64_t target_of(const Row& row) const;
  bool is_rare(int64_t target) const;
  /// The place of the row's test set; of its subgroup, -1 without subgroups.
  size_t test_set_of(const Row& row, View view = View::kWhole) const;
  int64_t subgroup_of(const Row& row) const;

  /// The test rows that pictures are taken of: the first `most` of the main
  /// set's rare classes that have regions, the classes in turn.
  std::vector<Row> shown(const std::vector<Row>& test, size_t most) const;
};

/// Changes when what the rows say does, with `masks` also of these, not when
/// their manifest moves.
std::string fingerprint(const std::vector<Row>& rows, bool masks = false);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_DATA_HPP
