// results: what the runs gave, one by one and pooled, as JSON, CSV and a table.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_RESULTS_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_RESULTS_HPP

#include <care/metrics.hpp>

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace trainer {

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// What a network said about one test image.
struct Prediction {
  std::string id; ///< unique within a test set; pairs the arms
  int64_t target = 0;
  std::vector<double> probability; ///< one per class
  bool boxed = false; ///< the image has a box, so its attention was measured
  double epg = kNaN; ///< NaN: no box, or an all-zero map

  /// The class of the highest probability (the first of equals).
  int64_t predicted() const;
};

/// One epoch of training; NaN where something was not measured.
struct EpochRow {
  int64_t epoch = 0; ///< from 1
  int stage = 1;
  double train_loss = kNaN;
  double inner = kNaN;
  double outer = kNaN;
  double inside_share = kNaN; ///< share of attention inside the boxes, 0 to 1
  int64_t guided = 0; ///< guided images in the epoch
  double train_accuracy = kNaN;
  double val_mca = kNaN;
  double val_accuracy = kNaN;
  double val_rare_recall = kNaN;
  double seconds = kNaN;
};

/// One network, trained on one fold with one seed, on one test set. Where a
/// network met several test sets, there is one Run for each.
struct Run {
  std::string arm; ///< "plain" or "care"
  int64_t fold = 0;
  int64_t seed = 0;
  std::string test_set = "test";
  std::vector<Prediction> predictions;
  std::vector<EpochRow> epochs;
  double seconds = kNaN;
};

/// `run` as JSON: doubles to the last bit, NaN as null. Atomic.
void save_run(const std::filesystem::path& path, const Run& run);

/// What `save_run` wrote. Throws std::runtime_error naming the file when it is
/// missing, damaged or of another kind.
Run load_run(const std::filesystem::path& path);

/// The epochs of all runs as CSV; a network with several test sets once.
std::string metrics_csv(const std::vector<Run>& runs);

/// The figures of one run.
struct RunSummary {
  int64_t fold = 0;
  int64_t seed = 0;
  double mca = kNaN;
  double accuracy = kNaN;
  double rare_recall = kNaN; ///< mean over the rare classes that occur
  double epg = kNaN; ///< mean over the boxed images with a defined map
  int64_t images = 0;
  int64_t boxed = 0; ///< images with a box
  int64_t undefined_maps = 0; ///< images with a box and an all-zero map
  std::vector<double> recall, precision, f1; ///< by class
  std::vector<std::vector<int64_t>> confusion; ///< rows true, columns predicted
};

/// Throws std::invalid_argument when the run does not fit the classes.
RunSummary summarize_run(
    const Run& run,
    size_t classes,
    const std::vector<int64_t>& rare);

/// Every figure with its interval; those by class in the classes' order.
struct Figures {
  care::Interval mca, accuracy, rare_recall, epg;
  std::vector<care::Interval> recall, precision, f1, epg_by_class;
};

/// One arm over all folds and seeds: the test images of the folds are put
/// together, each figure is taken per seed, then the mean over seeds; the
/// interval comes from a bootstrap over test images and seeds.
struct ArmSummary : Figures {
  std::string arm;
  std::vector<RunSummary> runs;
  std::vector<std::vector<int64_t>> confusion; ///< summed over folds and seeds
  int64_t images = 0; ///< different test images
  int64_t maps = 0; ///< of images with a box, over folds and seeds
  int64_t undefined_maps = 0; ///< of them all-zero, without an EPG
  std::vector<int64_t> folds, seeds;
};

/// CARE less plain, on the same images and the same seeds.
using Difference = Figures;

struct TestSummary {
  std::string test_set;
  std::vector<ArmSummary> arms; ///< "plain" first, then "care"
  std::optional<Difference> difference; ///< when both arms are there

  const ArmSummary* arm(const std::string& name) const; ///< null: not there
};

struct SummaryOptions {
  int64_t repeats = 2000;
  double level = 0.95;
  uint64_t seed = 0;
};

struct Summary {
  std::vector<std::string> classes;
  std::vector<int64_t> rare; ///< indices into classes
  std::vector<TestSummary> tests; ///< the main one first, as the runs came
  SummaryOptions options;

  const TestSummary* test(const std::string& name) const; ///< null: not there
};

/// Puts the runs together. Throws std::invalid_argument when a run does not fit
/// the classes, names an image twice, or is there twice.
Summary summarize(
    const std::vector<Run>& runs,
    const std::vector<std::string>& classes,
    const std::vector<int64_t>& rare,
    const SummaryOptions& options = {});

/// One line of the table that compares the arms.
struct TableRow {
  std::string group; ///< "recall", ...; empty for a figure of its own
  std::string name; ///< the class, or the figure
  bool rare = false; ///< the class is a rare one
  std::vector<care::Interval> arms; ///< as in TestSummary::arms
  std::optional<care::Interval> difference;
};

/// Recall, precision and F1 by class, then MCA, accuracy, rare recall, EPG.
std::vector<TableRow> comparison_table(
    const Summary& summary,
    const TestSummary& test);

/// What goes into results.json; `settings` is any JSON.
nlohmann::ordered_json results_json(
    const Summary& summary,
    const nlohmann::ordered_json& settings);

/// The tables people read, one part for each test set.
std::string results_text(const Summary& summary);

/// Writes results.json, results.txt and metrics.csv into `folder`.
void write_results(
    const std::filesystem::path& folder,
    const Summary& summary,
    const std::vector<Run>& runs,
    const nlohmann::ordered_json& settings);

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_RESULTS_HPP
