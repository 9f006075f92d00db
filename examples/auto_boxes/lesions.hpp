// What a picture's lesion is, to learn it: its mask's file, or its boxes.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_LESIONS_HPP
#define CARE_EXAMPLES_AUTO_BOXES_LESIONS_HPP

#include "common/masks.hpp" // mask_of
#include "resnet_trainer/dataset.hpp"

#include <care/rasterize.hpp>

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace auto_boxes {

/// Makes each row's `mask` the file that common::mask_of finds. Throws
/// std::runtime_error for a mask of two pictures.
inline void find_masks(
    std::vector<trainer::Row>& rows,
    const std::filesystem::path& folder,
    const std::string& pattern) {
  std::map<std::filesystem::path, const trainer::Row*> owner;
  for (auto& row : rows) {
    row.mask = common::mask_of(row, folder, pattern);
    const auto& first = *owner.emplace(row.mask, &row).first->second;
    if (!row.mask.empty() && &first != &row) {
      throw std::runtime_error(
          row.where + ": expected a mask of its own for " + row.path +
          ", but " + row.mask.string() + " is that of " + first.path +
          ", too; masks may lie in folders like the pictures'");
    }
  }
}

/// A batch's lesions as the share of each pixel: its masks, else its filled
/// boxes. [N, H, W] float.
inline torch::Tensor lesions_of(const trainer::Batch& batch) {
  return batch.masks.defined() ? batch.masks : care::pixel_mask(batch.boxes);
}

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_LESIONS_HPP
