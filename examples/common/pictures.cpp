// Picture files in, and what every program does with a picture and its boxes.
// SPDX-License-Identifier: Apache-2.0
#include "common/pictures.hpp"

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace common {
namespace {

/// OpenCV decodes a JPEG that ends too early and fills the rest with grey. A
/// whole one has an end marker after the start of its last scan.
bool is_cut_off_jpeg(const std::vector<unsigned char>& bytes) {
  const std::array<unsigned char, 2> start{0xff, 0xd8}, scan{0xff, 0xda},
      end{0xff, 0xd9};
  if (bytes.size() < 2 ||
      !std::equal(start.begin(), start.end(), bytes.begin())) {
    return false;
  }
  const auto last_scan =
      std::find_end(bytes.begin(), bytes.end(), scan.begin(), scan.end());
  return std::search(last_scan, bytes.end(), end.begin(), end.end()) ==
      bytes.end();
}

} // namespace

cv::Mat read_picture(const Record& record) {
  const auto fail = [&](const std::string& reason) {
    throw std::runtime_error(
        record.where + ": expected a picture, but got " + record.file.string() +
        ", which " + reason);
  };
  std::ifstream stream(record.file, std::ios::binary);
  if (!stream || std::filesystem::is_directory(record.file)) {
    fail("cannot be opened");
  }
  const std::vector<unsigned char> bytes{
      std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  cv::Mat image;
  try {
    if (!bytes.empty() && !is_cut_off_jpeg(bytes)) {
      image =
          cv::imdecode(bytes, cv::IMREAD_COLOR | cv::IMREAD_IGNORE_ORIENTATION);
    }
  } catch (const cv::Exception&) {
    image.release();
  }
  if (image.empty()) {
    fail("is damaged or in an unknown format");
  }
  cv::cvtColor(image, image, cv::COLOR_BGR2RGB);
  return image;
}

care::Boxes boxes_on(const Record& record, care::Size size) {
  for (size_t i = 0; i < record.boxes.size(); ++i) {
    const auto& box = record.boxes[i];
    const bool inside = box[0] < static_cast<double>(size.width) &&
        box[1] < static_cast<double>(size.height) && box[2] > 0 && box[3] > 0;
    if (!inside) {
      throw std::runtime_error(
          record.box_where[i] + ": expected a box on the picture of " +
          std::to_string(size.width) + " x " + std::to_string(size.height) +
          " pixels, but got one from (" + std::to_string(box[0]) + ", " +
          std::to_string(box[1]) + ") to (" + std::to_string(box[2]) + ", " +
          std::to_string(box[3]) + ")");
    }
  }
  auto boxes = care::Boxes::from_lists({record.boxes}, size);
  if (record.has_confidence) {
    boxes = boxes.with_weights(torch::tensor(record.confidence));
  }
  return boxes.clip();
}

cv::Mat resized(const cv::Mat& picture, care::Size size) {
  const cv::Size wanted(
      static_cast<int>(size.width), static_cast<int>(size.height));
  const bool shrinks = wanted.area() < picture.size().area();
  cv::Mat result;
  cv::resize(
      picture,
      result,
      wanted,
      0,
      0,
      shrinks ? cv::INTER_AREA : cv::INTER_LINEAR);
  return result;
}

torch::Tensor to_tensor(const cv::Mat& picture) {
  const cv::Mat whole = picture.isContinuous() ? picture : picture.clone();
  auto pixels = torch::empty({whole.rows, whole.cols, 3}, torch::kByte);
  std::memcpy(
      pixels.data_ptr<uint8_t>(), whole.data, whole.total() * whole.elemSize());
  return pixels.permute({2, 0, 1}).contiguous();
}

} // namespace common
