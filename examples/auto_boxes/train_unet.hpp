// Trains the U-Net on lesion masks, or on boxes where there are none.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_TRAIN_UNET_HPP
#define CARE_EXAMPLES_AUTO_BOXES_TRAIN_UNET_HPP

#include "auto_boxes/unet.hpp"
#include "common/manifest.hpp"

#include <care/boxes.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace auto_boxes {

struct UNetSettings {
  std::string data; ///< manifest
  std::string masks; ///< folder of PNG masks, named as the pictures; or empty
  std::vector<std::string> exclude; ///< labels never to be seen
  int64_t leave_fold = -1; ///< a fold not to be seen; -1: all are
  care::Size size{192, 192}; ///< at which the network works
  UNetOptions net;
  int64_t epochs = 20;
  int64_t batch = 8;
  double lr = 2e-3;
  int64_t seed = 0;
  int64_t threads = 1;
  std::string out = "runs/unet.pt";
  bool fresh = false; ///< forget what an interrupted training left
};

/// A trained network with the size it was trained at.
struct TrainedUNet {
  UNet net{nullptr};
  care::Size size;
};

/// Writes the network so that a reader never finds half of it.
void save_unet(const std::filesystem::path& path, const TrainedUNet& trained);

/// What `save_unet` wrote, in evaluation mode. Throws std::runtime_error with
/// the path for a file that is missing, damaged or something else.
TrainedUNet load_unet(const std::filesystem::path& path);

/// Mean Dice coefficient at probability one half, by label, and of how many
/// pictures: 2 |A and B| / (|A| + |B|), over those with a lesion in the mask.
using DiceByLabel = std::map<std::string, std::pair<double, int64_t>>;

struct UNetOutcome {
  double loss = 0; ///< of the last epoch, a mean over the pictures
  DiceByLabel seen; ///< the pictures that were learnt from
  DiceByLabel unseen; ///< those that were left out
};

/// Trains with binary cross-entropy plus 1 - soft Dice, Adam with a cosine, and
/// random flips, and writes the network to `settings.out`. A mask is the
/// picture's file in `masks`, else the filled boxes of the manifest; a picture
/// without boxes need not have a file. After each epoch a checkpoint beside
/// `out` holds everything; started again with the same settings, an
/// interrupted training goes on from it. Throws std::runtime_error for a
/// missing or damaged picture or mask and when the loss is not finite.
UNetOutcome train_unet(const UNetSettings& settings);

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_TRAIN_UNET_HPP
