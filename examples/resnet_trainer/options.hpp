// The command line of the trainer.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_OPTIONS_HPP
#define RESNET_TRAINER_OPTIONS_HPP

#include "manifest.hpp"
#include "split.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace trainer {

enum class Optimizer { kAdam, kAdamW, kSgd };

struct Options {
  // data
  std::string data;
  std::vector<std::string> exclude;
  SplitOptions split;
  std::vector<int64_t> size{224}; ///< of the input: width and height, or both
  std::string regions = "boxes"; ///< of the manifest: boxes or masks
  bool masks() const {
    return regions == "masks";
  }
  // training
  int64_t stage1 = 0, stage2 = 30, batch = 16, lr_warmup = 0;
  double lr = 1e-3, weight_decay = 1e-4, clip = 0;
  Optimizer optimizer = Optimizer::kAdamW;
  std::string augment = "flips"; ///< a preset of care::AugmentOptions
  std::string criterion = "ce"; ///< or "bce": several labels a picture
  bool cosine = true, class_weights = false, balanced = false, best = false;
  bool bfloat16 = false, channels_last = true;
  // attention
  double alpha = 0.5, lambda = 1, tau = 1;
  int64_t warmup = 0;
  std::vector<std::string> guide;
  // run
  int64_t seed = 0, threads = 0, workers = 1, pictures = 8;
  std::string device = "cpu", out = "runs/latest";
  bool cache = false, fresh = false;

  std::string identity; ///< those given that make a network what it is
  std::vector<std::string> given; ///< the names of all that were given

  /// Whether a picture may have several labels.
  bool multi_label() const {
    return criterion == "bce";
  }
};

/// The group of options that do not change what a run trains, so that it may go
/// on with others.
inline constexpr const char* kNoIdentity = "How it runs";

/// Reads the command line; ends the program where it asks for help or is wrong.
/// `add_own` adds the options of the program's own: what it trains.
Options parse_options(
    int argc,
    char** argv,
    const char* name,
    const std::function<void(CLI::App&)>& add_own);

/// Throws std::invalid_argument for an option that would do nothing with this
/// data, or beside the others.
void check_effects(const Options& options, const std::vector<Row>& rows);

} // namespace trainer

#endif // RESNET_TRAINER_OPTIONS_HPP
