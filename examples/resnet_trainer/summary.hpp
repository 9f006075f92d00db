// summary: the runs put together, each figure with its interval.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_SUMMARY_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_SUMMARY_HPP

#include "resnet_trainer/run.hpp"

#include <care/metrics.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace trainer {

/// The arms that are compared, by name.
inline constexpr const char* kPlain = "plain";
inline constexpr const char* kCare = "care";

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

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_SUMMARY_HPP
