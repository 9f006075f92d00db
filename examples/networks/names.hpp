// The networks of this folder by their names, for what does not see LibTorch.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_NETWORKS_NAMES_HPP
#define CARE_EXAMPLES_NETWORKS_NAMES_HPP

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace networks {

/// What a network is made with, beside its name.
struct NetworkOptions {
  int64_t classes = 1000;
  double width = 1; ///< factor on a ResNet's channels; for others 1
  int64_t last_stride = 2; ///< of a ResNet: 1 doubles the map's size
  std::array<int64_t, 2> size{224, 224}; ///< of the input: width, height
};

/// All that there are, sorted: "convnext_tiny", "densenet121", ...
std::vector<std::string> names();

inline bool is_resnet(const std::string& name) {
  return name.rfind("resnet", 0) == 0;
}

/// Throws std::invalid_argument for a name that is none, and for options that
/// this network does not have: "<before>width: expected ..., but got ...".
void check(
    const std::string& name,
    const NetworkOptions& options,
    const std::string& before = "");

} // namespace networks

#endif // CARE_EXAMPLES_NETWORKS_NAMES_HPP
