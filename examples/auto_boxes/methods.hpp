// The methods by name: where the map comes from, and how it becomes boxes.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_METHODS_HPP
#define CARE_EXAMPLES_AUTO_BOXES_METHODS_HPP

#include <care/find_boxes.hpp>

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace auto_boxes {

struct Method {
  std::string name;
  /// Images [N, 3, H, W], RGB in [0, 1] -> maps [N, H, W] in [0, 1]. May be
  /// called from several threads.
  std::function<torch::Tensor(const torch::Tensor&)> map;
  care::BoxFinderOptions finder;
};

/// What the user wants otherwise than the method would have it.
struct FinderChoice {
  std::optional<std::string> threshold; ///< otsu, mean, quantile or fixed
  std::optional<double> level, min_area, merge_gap, padding, min_confidence;
  std::optional<int64_t> max_boxes;
};

/// background, frequency, lesion, object, spectral, segmentation.
std::vector<std::string> method_names();

/// The methods in the given order: the first is tried first. `network` is a
/// file of train_unet, for "segmentation" alone. Throws std::invalid_argument
/// for a name that is not known or comes twice, and for segmentation without a
/// network.
std::vector<Method> make_methods(
    const std::vector<std::string>& names,
    const std::filesystem::path& network,
    const FinderChoice& choice);

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_METHODS_HPP
