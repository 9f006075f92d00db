// Pictures and their lesion masks in batches, decoded in the loader's workers.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_AUTO_BOXES_LESIONS_HPP
#define CARE_EXAMPLES_AUTO_BOXES_LESIONS_HPP

#include "common/masks.hpp" // mask_of
#include "resnet_trainer/dataset.hpp" // boxes_on
#include "resnet_trainer/picture.hpp"

#include <care/rasterize.hpp>
#include <care/size.hpp>

#include <torch/data/datasets/base.h>
#include <torch/types.h>

#include <opencv2/core.hpp>
#include <opencv2/core/utility.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
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

namespace detail {

/// What `read` gives; an error gets the row's line.
template <class Read>
inline cv::Mat at_line(const trainer::Row& row, const Read& read) {
  try {
    return read();
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(row.where + ": " + error.what());
  }
}

/// Bytes at another size, in [0, 1]: [h, w, channels].
inline torch::Tensor floats(const cv::Mat& bytes, care::Size size) {
  auto values = trainer::resized(
      bytes, {static_cast<int>(size.width), static_cast<int>(size.height)});
  return torch::from_blob(
             values.data,
             {size.height, size.width, values.channels()},
             torch::kByte)
      .to(torch::kFloat)
      .div_(255);
}

} // namespace detail

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
  Lesions(std::vector<trainer::Row> rows, care::Size size, bool by_boxes)
      : rows_(
            std::make_shared<const std::vector<trainer::Row>>(std::move(rows))),
        size_(size),
        by_boxes_(by_boxes) {
    cv::setNumThreads(0); // the workers are the threads
  }

  LesionBatch get_batch(torch::ArrayRef<size_t> indices) override {
    std::vector<torch::Tensor> images, masks;
    std::vector<int64_t> places;
    for (const auto i : indices) {
      const auto& row = rows_->at(i);
      const auto picture =
          detail::at_line(row, [&] { return trainer::read_picture(row.file); });
      images.push_back(detail::floats(picture, size_).permute({2, 0, 1}));
      masks.push_back(mask_of(row, picture.size()));
      places.push_back(static_cast<int64_t>(i));
    }
    return {torch::stack(images), torch::stack(masks), torch::tensor(places)};
  }

  torch::optional<size_t> size() const override {
    return rows_->size();
  }

 private:
  torch::Tensor mask_of(const trainer::Row& row, cv::Size stored) const {
    if (by_boxes_) {
      const auto boxes = trainer::boxes_on(
          row, {stored.height, stored.width}, /*weigh=*/false);
      return care::pixel_mask(boxes.resize(size_))[0];
    }
    if (row.mask.empty()) {
      return torch::zeros({size_.height, size_.width});
    }
    const auto mask = detail::at_line(
        row, [&] { return trainer::read_mask(row.mask, stored); });
    return detail::floats(mask, size_).squeeze(2);
  }

  // Shared by the copies that the loader's workers hold.
  std::shared_ptr<const std::vector<trainer::Row>> rows_;
  care::Size size_;
  bool by_boxes_;
};

} // namespace auto_boxes

#endif // CARE_EXAMPLES_AUTO_BOXES_LESIONS_HPP
