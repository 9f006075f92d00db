// run: what one network gave on one test set, and its file.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_RESNET_TRAINER_RUN_HPP
#define CARE_EXAMPLES_RESNET_TRAINER_RUN_HPP

#include <cstdint>
#include <filesystem>
#include <limits>
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

} // namespace trainer

#endif // CARE_EXAMPLES_RESNET_TRAINER_RUN_HPP
