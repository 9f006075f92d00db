// Plan: what a study trains, as its settings file says.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_PLAN_HPP
#define CARE_EXAMPLES_STUDY_PLAN_HPP

#include "study/choices.hpp"

#include <nlohmann/json_fwd.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace study {

/// What all networks have in common.
struct Recipe {
  std::string size = "96"; ///< of the input: pixels, or WIDTHxHEIGHT
  std::string net = "resnet18"; ///< one of networks::names()
  std::string weights; ///< a file that networks start from; empty: none
  double width = 0.25; ///< factor on a ResNet's channels
  int64_t last_stride = 1; ///< of a ResNet
  int64_t epochs = 30;
  int64_t batch = 16;
  Optimizer optimizer = Optimizer::kAdam;
  double lr = 1e-3;
  double weight_decay = 1e-4;
  LrSchedule lr_schedule = LrSchedule::kCosine;
  Augment augment = Augment::kFlips;
  Precision precision = Precision::kFloat; ///< of the network in training
  bool channels_last = true;
  Regions regions = Regions::kBoxes;

  bool masks() const {
    return regions == Regions::kMasks;
  }
};

/// One way of training. Everything down to `outside` makes the network what it
/// is; the rest says where the arm stands in the study.
struct Arm {
  std::string name;
  Imbalance imbalance = Imbalance::kCe;
  Guidance guidance = Guidance::kNone;
  std::vector<std::string> guide{"all"}; ///< labels, "rare" or "all"
  /// "manual", "shuffled" between the images, or a manifest.
  std::string boxes = "manual";
  bool weigh_boxes = false; ///< by their confidence
  double box_shift = 0; ///< see with_faults
  double box_missing = 0;
  AttentionMap map = AttentionMap::kGradCam;
  int64_t map_stride = 0; ///< of the guided map; 0: the last one
  bool full_gradient = false;
  double alpha = 0.5; ///< (1 - alpha) Lc + alpha La
  std::optional<double> weight; ///< in place of alpha: Lc + weight La
  std::optional<double> balance; ///< in place of both: see care::Balance
  double lambda = 1;
  double tau = 1;
  int64_t start = 0; ///< epochs before the guidance begins
  int64_t warmup = 0;
  double dilate = 1;
  Outside outside = Outside::kKeep; ///< what is put there, see care::augment
  double outside_share = 0.5; ///< of the pictures, by chance

  std::string baseline; ///< the arm it is compared with
  int64_t splits = -1; ///< the first so many of each share; -1: all
  int64_t wave = 0; ///< all runs of a wave come before those of the next

  /// The manifest of the boxes; empty if they are the data's own.
  std::string box_manifest() const {
    return boxes == "manual" || boxes == "shuffled" ? "" : boxes;
  }
  bool is_guided() const {
    return guidance != Guidance::kNone;
  }
};

/// Some random splits, or the folds of the manifest; neither: its own split.
struct SplitSet {
  double train_share = 0; ///< of each class, with `numbers`
  std::vector<int64_t> numbers;
  std::vector<int64_t> folds;
  std::vector<std::string> arms; ///< that are trained on them; none: all

  bool has(const std::string& arm) const {
    return arms.empty() ||
        std::find(arms.begin(), arms.end(), arm) != arms.end();
  }
  std::vector<int64_t> all() const {
    return !numbers.empty() ? numbers
        : !folds.empty()    ? folds
                            : std::vector<int64_t>{0};
  }
};

/// One network.
struct Job {
  size_t arm = 0; ///< in Plan::arms
  double train_share = 0; ///< 0: a fold, or the manifest's own split
  int64_t split = 0;
  int64_t seed = 0;
};

struct Plan {
  std::string data = "generated"; ///< or a manifest
  std::vector<std::string> exclude; ///< labels to leave out
  std::array<int64_t, 4> counts{300, 120, 90, 30}; ///< of the generated set
  int64_t test_count = 100;
  std::vector<std::string> rare; ///< empty: below rare_share, or the smallest
  double rare_share = 0.1;
  std::string subgroup; ///< a column of the manifest
  std::string test_sets; ///< a column that names test sets; the first is main
  /// Whether test pictures are shown in all views, each a test set of its own.
  bool occlusion = false;
  Recipe recipe;
  std::vector<SplitSet> splits;
  std::vector<int64_t> seeds{0};
  bool shuffled_control = true; ///< whether parse_plan adds it
  std::vector<Arm> arms; ///< the controls among them
  std::string text; ///< of the settings file

  /// Wave by wave, share by share, split by split, seed by seed: every stop
  /// leaves a balanced table.
  std::vector<Job> jobs() const;
  /// "share-0.5/class weights + CARE/split3-seed0": a job's place in folders.
  std::string name(const Job& job) const;
  /// "20 % of each class to learn from", and so on.
  std::string title(double share) const;
  /// The place of an arm; throws std::invalid_argument for an unknown name.
  size_t arm(const std::string& name) const;
  /// The first split of a share with the first seed: of these pictures are
  /// shown.
  bool is_first(const Job& job) const;
  std::vector<View> views() const {
    return occlusion
        ? std::vector<View>{View::kWhole, View::kLesionAlone, View::kLesionGrey}
        : std::vector<View>{View::kWhole};
  }
  bool has_folds() const;
  /// Whether its networks differ in their seeds alone, on the manifest's split.
  bool is_own_split(double share) const {
    return share == 0 && !has_folds();
  }
};

/// Reads a plan and adds the controls that it lacks: for each guided arm the
/// same training with the guidance at weight 0, and for the first guided arm
/// the same with boxes shuffled between images. Throws std::invalid_argument
/// that names the key for an unknown key or a value out of range.
Plan read_plan(const std::filesystem::path& file);
Plan parse_plan(const nlohmann::json& json);
/// As the file has it, without more controls.
Plan parse_settings(nlohmann::json json);

/// What makes the networks of all arms what they are, but for the data. Of the
/// weights these are the file's bytes; throws std::runtime_error where it
/// cannot be read.
nlohmann::json identity(const Plan& plan);
/// The same for one arm, but for the boxes of another manifest.
nlohmann::json identity(const Arm& arm);

/// Width and height of the network's input.
std::array<int64_t, 2> size_of(const Recipe& recipe);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_PLAN_HPP
