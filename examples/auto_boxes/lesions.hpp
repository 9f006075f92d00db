// Pictures and their lesion masks in batches, decoded in the loader's workers.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_LESIONS_HPP
#define CARE_EXAMPLES_AUTO_BOXES_LESIONS_HPP

#include "resnet_trainer/manifest.hpp"

#include <care/size.hpp>

#include <torch/data/datasets/base.h>
#include <torch/types.h>

#include <opencv2/core.hpp>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace auto_boxes {

struct LesionBatch {
  torch::Tensor images; ///< [N, 3, H, W] float in [0, 1], RGB
  torch::Tensor masks; ///< [N, H, W] float, the share of each pixel in a lesion
  torch::Tensor index; ///< [N] int64, places in the dataset
};

/// The pictures of `rows` at `size`. A mask is the row's `mask`; with
/// `by_boxes` it is the filled boxes. A row without either has no lesion.
/// Throws std::runtime_error that names the manifest's line for a picture or
/// mask that cannot be read.
class Lesions
    : public torch::data::datasets::BatchDataset<Lesions, LesionBatch> {
 public:
  Lesions(std::vector<trainer::Row> rows, care::Size size, bool by_boxes);
  LesionBatch get_batch(torch::ArrayRef<size_t> indices) override;
  torch::optional<size_t> size() const override;

 private:
  torch::Tensor mask_of(const trainer::Row& row, cv::Size stored) const;

  // Shared by the copies that the loader's workers hold.
  std::shared_ptr<const std::vector<trainer::Row>> rows_;
  care::Size size_;
  bool by_boxes_;
};

/// Makes each row's `mask` the file that common::mask_of finds. Throws
/// std::runtime_error for a mask of two pictures.
void find_masks(
    std::vector<trainer::Row>& rows,
    const std::filesystem::path& folder,
    const std::string& pattern);

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_LESIONS_HPP
