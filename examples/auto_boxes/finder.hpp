// The methods by name: where the map comes from, and how it becomes boxes.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_FINDER_HPP
#define CARE_EXAMPLES_AUTO_BOXES_FINDER_HPP

#include "auto_boxes/find.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace auto_boxes {

struct FinderOptions {
  /// In the order in which they are tried: the next is asked only where the one
  /// before found nothing.
  std::vector<std::string> methods{"background"};
  std::filesystem::path network; ///< a file of train_unet, for segmentation
  /// The work is done on the picture shrunk to this longer side in pixels; 0:
  /// as it is.
  int64_t side = 512;
  /// What the user wants otherwise than the methods have it: otsu, mean,
  /// quantile or fixed, and by the options' names level, min-area, max-boxes,
  /// merge-gap, padding and min-confidence.
  std::string threshold;
  std::map<std::string, double> numbers;
};

/// The methods there are.
inline constexpr const char* kMethods =
    "background, frequency, lesion, object, spectral, segmentation";

/// The options as text, the network by its bytes: what was found with others is
/// of no use.
std::string identity(const FinderOptions& options);

/// The methods, ready to be called. LibTorch is set to one thread: each picture
/// has one of its own. Throws std::invalid_argument or c10::ValueError for a
/// method that is not known or comes twice, for segmentation without a network,
/// and for an option out of range or without effect.
Finder make_finder(const FinderOptions& options);

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_FINDER_HPP
