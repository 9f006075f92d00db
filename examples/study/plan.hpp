// Plan: what a study trains, from one JSON settings file.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_PLAN_HPP
#define CARE_EXAMPLES_STUDY_PLAN_HPP

#include "resnet_trainer/settings.hpp"

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace study {

using Json = nlohmann::ordered_json;

/// One way of training. Everything down to `dilate` makes the network what it
/// is; the rest says where the arm stands in the study.
struct Arm {
  std::string name;
  std::string imbalance = "ce"; ///< see imbalance_methods()
  std::string guidance = "none"; ///< see guidance_losses()
  std::vector<std::string> guide{"all"}; ///< labels, "rare" or "all"
  /// "manual", "shuffled" between the images, or a manifest.
  std::string boxes = "manual";
  bool weigh_boxes = false; ///< by their confidence
  double box_shift = 0; ///< see trainer::BoxNoise
  double box_missing = 0;
  std::string map = "grad_cam"; ///< see attention_maps()
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

  std::string baseline; ///< the arm it is compared with
  int64_t splits = -1; ///< the first so many of each share; -1: all
  int64_t wave = 0; ///< all runs of a wave come before those of the next

  /// The manifest of the boxes; empty if they are the data's own.
  std::string box_manifest() const {
    return boxes == "manual" || boxes == "shuffled" ? "" : boxes;
  }
  bool is_guided() const {
    return guidance != "none";
  }
};

/// Some random splits, or the folds of the manifest.
struct SplitSet {
  double train_share = 0; ///< of each class; 0: folds
  std::vector<int64_t> splits; ///< numbers of the splits (folds)
  std::vector<std::string> arms; ///< that are trained on them; none: all
};

/// "share-0.5", or "folds" for 0: what a share is called in files and folders.
std::string share_name(double train_share);

/// One network.
struct Job {
  size_t arm = 0; ///< in Plan::arms
  double train_share = 0;
  int64_t split = 0;
  int64_t seed = 0;

  /// "share-0.5/class weights + CARE/split3-seed0": its place in folders.
  std::string name(const std::string& arm_name) const;
};

struct Plan {
  trainer::Settings recipe; ///< data, network and training
  int64_t epochs = 30;
  std::vector<SplitSet> split_sets;
  std::vector<int64_t> seeds{0};
  std::vector<Arm> arms; ///< the controls among them
  Json text; ///< the settings as they were read

  /// Wave by wave, share by share, split by split, seed by seed: every stop
  /// leaves a balanced table.
  std::vector<Job> jobs() const;
  /// The place of an arm; throws std::invalid_argument for an unknown name.
  size_t arm(const std::string& name) const;
};

/// The names an arm may use.
const std::vector<std::string>& imbalance_methods();
const std::vector<std::string>& guidance_losses();
const std::vector<std::string>& attention_maps();

/// Reads a plan and adds the controls that it lacks: for each guided arm the
/// same training with the guidance at weight 0, and for the first guided arm
/// the same with boxes shuffled between images. Throws std::invalid_argument
/// that names the key for an unknown key or a value out of range.
Plan read_plan(const std::filesystem::path& file);
Plan parse_plan(const Json& json);

/// What makes the networks of all arms what they are, as JSON.
Json identity(const Plan& plan);
/// The same for one arm.
Json identity(const Arm& arm);

/// The recipe with what the arm says: what train() takes.
trainer::Settings settings_of(const Plan& plan, const Arm& arm);

} // namespace study

#endif // CARE_EXAMPLES_STUDY_PLAN_HPP
