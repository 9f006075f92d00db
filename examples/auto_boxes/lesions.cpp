// Pictures and their lesion masks in batches, decoded in the loader's workers.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/lesions.hpp"

#include "common/masks.hpp"
#include "resnet_trainer/dataset.hpp" // boxes_on
#include "resnet_trainer/picture.hpp"

#include <care/rasterize.hpp>

#include <opencv2/core/utility.hpp>

#include <cstdint>
#include <map>
#include <stdexcept>
#include <utility>

namespace auto_boxes {
namespace {

namespace fs = std::filesystem;

/// What `read` gives; an error gets the row's line.
template <class Read>
cv::Mat at_line(const trainer::Row& row, const Read& read) {
  try {
    return read();
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(row.where + ": " + error.what());
  }
}

/// Bytes at another size, in [0, 1]: [h, w, channels].
torch::Tensor floats(const cv::Mat& bytes, care::Size size) {
  auto values = trainer::resized(
      bytes, {static_cast<int>(size.width), static_cast<int>(size.height)});
  return torch::from_blob(
             values.data,
             {size.height, size.width, values.channels()},
             torch::kByte)
      .to(torch::kFloat)
      .div_(255);
}

} // namespace

Lesions::Lesions(std::vector<trainer::Row> rows, care::Size size, bool by_boxes)
    : rows_(std::make_shared<const std::vector<trainer::Row>>(std::move(rows))),
      size_(size),
      by_boxes_(by_boxes) {
  cv::setNumThreads(0); // the workers are the threads
}

LesionBatch Lesions::get_batch(torch::ArrayRef<size_t> indices) {
  std::vector<torch::Tensor> images, masks;
  std::vector<int64_t> places;
  for (const auto i : indices) {
    const auto& row = rows_->at(i);
    const auto picture =
        at_line(row, [&] { return trainer::read_picture(row.file); });
    images.push_back(floats(picture, size_).permute({2, 0, 1}));
    masks.push_back(mask_of(row, picture.size()));
    places.push_back(static_cast<int64_t>(i));
  }
  return {torch::stack(images), torch::stack(masks), torch::tensor(places)};
}

torch::optional<size_t> Lesions::size() const {
  return rows_->size();
}

torch::Tensor Lesions::mask_of(const trainer::Row& row, cv::Size stored) const {
  if (by_boxes_) {
    const auto boxes =
        trainer::boxes_on(row, {stored.height, stored.width}, /*weigh=*/false);
    return care::pixel_mask(boxes.resize(size_))[0];
  }
  if (row.mask.empty()) {
    return torch::zeros({size_.height, size_.width});
  }
  return floats(
             at_line(row, [&] { return common::read_mask(row.mask, stored); }),
             size_)
      .squeeze(2);
}

void find_masks(
    std::vector<trainer::Row>& rows,
    const fs::path& folder,
    const std::string& pattern) {
  std::map<fs::path, const trainer::Row*> owner;
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

} // namespace auto_boxes
