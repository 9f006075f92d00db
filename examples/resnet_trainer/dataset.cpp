// Pictures of a manifest in batches, decoded in the data loader's workers.
// SPDX-License-Identifier: Apache-2.0
#include "dataset.hpp"

#include "picture.hpp"

#include <care/masks.hpp>
#include <care/rasterize.hpp>

#include <opencv2/core/utility.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace trainer {
namespace {

/// [N, K] float: 1 where a row has a label.
torch::Tensor multi_label_targets(
    const std::vector<Row>& rows,
    const std::vector<std::string>& classes) {
  const auto n = static_cast<int64_t>(rows.size());
  auto targets = torch::zeros({n, static_cast<int64_t>(classes.size())});
  auto at = targets.accessor<float, 2>();
  const auto places = all_targets_of(rows, classes);
  for (int64_t i = 0; i < n; ++i) {
    for (const auto k : places[static_cast<size_t>(i)]) {
      at[i][k] = 1;
    }
  }
  return targets;
}

} // namespace

torch::Tensor Batch::lesions() const {
  return masks.defined() ? masks : care::pixel_mask(boxes);
}

care::Boxes boxes_on(const Row& row, care::Size stored, bool weigh) {
  const auto width = static_cast<double>(stored.width);
  const auto height = static_cast<double>(stored.height);
  std::vector<std::array<double, 4>> cut;
  std::vector<double> confidence;
  for (const auto& own : row.boxes) {
    confidence.push_back(own.confidence);
    const auto& [x0, y0, x1, y1] = own.xyxy;
    cut.push_back(
        {std::clamp(x0, 0.0, width),
         std::clamp(y0, 0.0, height),
         std::clamp(x1, 0.0, width),
         std::clamp(y1, 0.0, height)});
    const auto& box = cut.back(); // as float, which the library keeps
    if (!(static_cast<float>(box[0]) < static_cast<float>(box[2]) &&
          static_cast<float>(box[1]) < static_cast<float>(box[3]))) {
      throw std::runtime_error(
          own.where + ": expected a box on the picture of " +
          std::to_string(stored.width) + " x " + std::to_string(stored.height) +
          " pixels, but got one from (" + std::to_string(x0) + ", " +
          std::to_string(y0) + ") to (" + std::to_string(x1) + ", " +
          std::to_string(y1) + ")");
    }
  }
  auto boxes = care::Boxes::from_lists({cut}, stored, care::BoxUnit::kPixels);
  if (weigh && row.has_confidence) {
    boxes = boxes.with_weights(torch::tensor(confidence));
  }
  return boxes;
}

torch::Tensor box_labels(
    const Row& row,
    const std::vector<std::string>& classes) {
  std::vector<int64_t> labels;
  for (const auto& box : row.boxes) {
    const auto found = std::find(classes.begin(), classes.end(), box.label);
    labels.push_back(found == classes.end() ? -1 : found - classes.begin());
  }
  return torch::tensor(labels, torch::kLong);
}

Pictures::Pictures(
    std::vector<Row> rows,
    const std::vector<std::string>& classes,
    const PicturesOptions& options)
    : classes_(classes),
      options_(options) {
  if (options.multi_label) {
    targets_ = multi_label_targets(rows, classes);
  } else if (!classes.empty()) {
    targets_ = torch::tensor(targets_of(rows, classes), torch::kLong);
  }
  cv::setNumThreads(0); // the workers are the threads
  if (options_.cache) {
    cache_ = std::make_shared<Cache>();
  }
  rows_ = std::make_shared<const std::vector<Row>>(std::move(rows));
}

namespace {

/// The row's mask, of `stored` pixels (0 x 0: any), as the lesion's share of
/// each pixel of the `input`: CV_32F. It `may_be_empty`, or is an error.
cv::Mat lesion_of(
    const Row& row,
    cv::Size stored,
    cv::Size input,
    bool may_be_empty) {
  cv::Mat lesion;
  const auto mask = read_mask(row.mask, stored);
  if (!may_be_empty && cv::countNonZero(mask) == 0) {
    throw std::runtime_error(
        row.mask.string() + ": expected a lesion, but got an empty mask");
  }
  mask.convertTo(lesion, CV_32F, 1. / 255);
  return cv::min(resized(lesion, input), 1); // it was, but for rounding
}

} // namespace

Pictures::Decoded Pictures::decode(size_t index) const {
  const auto& row = rows_->at(index);
  const auto& size = options_.size;
  try {
    const auto stored = read_picture(row.file);
    const cv::Size input(
        static_cast<int>(size.width), static_cast<int>(size.height));
    Decoded result;
    result.image = resized(stored, input);
    if (!options_.masks) {
      result.boxes =
          boxes_on(row, {stored.rows, stored.cols}, options_.weigh_boxes)
              .resize(size);
      if (options_.multi_label) {
        result.boxes = result.boxes.with_labels(box_labels(row, classes_));
      }
    } else if (!row.mask.empty()) {
      const auto own = options_.any_mask_size ? cv::Size() : stored.size();
      result.mask = lesion_of(row, own, input, options_.empty_masks);
    }
    return result;
  } catch (const std::exception& error) { // also OpenCV's, and bad_alloc
    throw std::runtime_error(with_line(row, error.what()));
  }
}

Pictures::Decoded Pictures::decoded(size_t index) const {
  if (!cache_) {
    return decode(index);
  }
  {
    const std::lock_guard<std::mutex> lock(cache_->mutex);
    const auto found = cache_->decoded.find(index);
    if (found != cache_->decoded.end()) {
      return found->second; // the pixels are shared, not copied
    }
  }
  auto picture = decode(index);
  const std::lock_guard<std::mutex> lock(cache_->mutex);
  return cache_->decoded.emplace(index, std::move(picture)).first->second;
}

Pictures::Decoded Pictures::black() const {
  const auto& size = options_.size;
  return {
      cv::Mat::zeros(
          static_cast<int>(size.height), static_cast<int>(size.width), CV_8UC3),
      care::Boxes::from_lists({{}}, size)};
}

Batch Pictures::get_batch(torch::ArrayRef<size_t> indices) {
  const auto n = static_cast<int64_t>(indices.size());
  const auto& size = options_.size;
  // Byte by byte into the rows' place: [N, H, W, 3], handed out as [N, 3, H,
  // W].
  auto pixels = torch::empty({n, size.height, size.width, 3}, torch::kByte);
  std::vector<int64_t> places;
  std::vector<care::Boxes> boxes;
  std::map<int64_t, std::string> faults;
  torch::Tensor masks;
  if (options_.masks) {
    masks = torch::zeros({n, size.height, size.width});
  }
  auto* at = pixels.data_ptr<uint8_t>();
  for (const auto index : indices) {
    Decoded picture;
    try {
      picture = decoded(index);
    } catch (const std::exception& error) {
      if (!options_.keep_faults) {
        throw;
      }
      picture = black();
      faults[static_cast<int64_t>(index)] = error.what();
    }
    const auto bytes = picture.image.total() * picture.image.elemSize();
    std::memcpy(at, picture.image.data, bytes);
    at += bytes;
    if (!picture.mask.empty()) {
      masks[static_cast<int64_t>(places.size())].copy_(
          torch::from_blob(picture.mask.data, {size.height, size.width}));
    }
    places.push_back(static_cast<int64_t>(index));
    boxes.push_back(picture.boxes);
  }
  const auto index = torch::tensor(places, torch::kLong);
  return {
      pixels.permute({0, 3, 1, 2}),
      targets_.defined() ? targets_.index_select(0, index) : targets_,
      options_.masks
          ? care::boxes_from_masks(masks > 0, care::MaskBoxes::kTight)
          : care::Boxes::collate(boxes),
      index,
      masks,
      faults};
}

torch::optional<size_t> Pictures::size() const {
  return rows_->size();
}

} // namespace trainer
