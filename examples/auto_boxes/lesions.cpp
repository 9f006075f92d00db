// Pictures and their lesion masks in batches, decoded in the loader's workers.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/lesions.hpp"

#include "resnet_trainer/dataset.hpp" // boxes_on
#include "resnet_trainer/picture.hpp"

#include <care/rasterize.hpp>

#include <opencv2/core/utility.hpp>
#include <opencv2/imgcodecs.hpp>

#include <cstdint>
#include <map>
#include <stdexcept>
#include <system_error>
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
             at_line(row, [&] { return read_mask(row.mask, stored); }), size_)
      .squeeze(2);
}

void find_masks(
    std::vector<trainer::Row>& rows,
    const fs::path& folder,
    const std::string& pattern) {
  std::map<fs::path, const trainer::Row*> owner;
  for (auto& row : rows) {
    row.mask.clear();
    auto name = pattern;
    const auto stem = row.file.stem().string();
    for (size_t at = 0; (at = name.find("{}", at)) != std::string::npos;) {
      name.replace(at, 2, stem);
      at += stem.size();
    }
    const auto path = fs::path(row.path).lexically_normal();
    const bool within = path.is_relative() && *path.begin() != "..";
    for (const auto& place :
         {fs::path(), within ? path.parent_path() : fs::path()}) {
      const auto file = (folder / place / name).lexically_normal();
      std::error_code none_there;
      if (fs::is_regular_file(file, none_there) &&
          !fs::equivalent(file, row.file, none_there)) {
        row.mask = file; // the second place counts more
      }
    }
    const auto& first = *owner.emplace(row.mask, &row).first->second;
    if (!row.mask.empty() && &first != &row) {
      throw std::runtime_error(
          row.where + ": expected a mask of its own for " + row.path +
          ", but " + row.mask.string() + " is that of " + first.path +
          ", too; masks may lie in folders like the pictures'");
    }
  }
}

cv::Mat read_mask(const fs::path& file, cv::Size size) {
  const auto fail = [&](const std::string& expected, const std::string& got) {
    throw std::runtime_error(
        file.string() + ": expected " + expected + ", but got " + got);
  };
  const auto pixels = [](cv::Size s) {
    return std::to_string(s.width) + " x " + std::to_string(s.height);
  };
  cv::Mat mask;
  std::string reason;
  try {
    mask = cv::imread(file.string(), cv::IMREAD_UNCHANGED);
  } catch (const cv::Exception& error) {
    reason = " (OpenCV: " + error.err + ")";
  }
  if (mask.size() != size) {
    fail(
        "a mask of " + pixels(size) + " pixels",
        mask.empty() ? "none that can be read" + reason : pixels(mask.size()));
  }
  const bool jpeg = file.extension().string().find_first_of("jJ") == 1;
  std::vector<cv::Mat> channels;
  cv::split(mask, channels);
  cv::Mat lesion(size, CV_8U, cv::Scalar(0));
  for (size_t c = 0; c < channels.size() && c < 3; ++c) {
    lesion |= jpeg ? channels[c] >= 128 : channels[c] != 0;
  }
  if (channels.size() == 4 && cv::countNonZero(lesion) % size.area() == 0 &&
      cv::countNonZero(channels[3]) % size.area() != 0) {
    fail(
        "a lesion in another colour than the rest",
        "one that only its transparency tells; save it without alpha");
  }
  return lesion;
}

} // namespace auto_boxes
