// Lesion masks: which file is whose, and what it shows.
// SPDX-License-Identifier: Apache-2.0
#include "common/masks.hpp"

#include <opencv2/imgcodecs.hpp>

#include <cstddef>
#include <stdexcept>
#include <system_error>
#include <vector>

namespace common {

namespace fs = std::filesystem;

fs::path mask_of(
    const trainer::Row& row,
    const fs::path& folder,
    std::string pattern) {
  const auto stem = row.file.stem().string();
  for (size_t at = 0; (at = pattern.find("{}", at)) != std::string::npos;) {
    pattern.replace(at, 2, stem);
    at += stem.size();
  }
  const auto path = fs::path(row.path).lexically_normal();
  const bool within = path.is_relative() && *path.begin() != "..";
  fs::path found;
  for (const auto& place :
       {fs::path(), within ? path.parent_path() : fs::path()}) {
    const auto file = (folder / place / pattern).lexically_normal();
    std::error_code none_there;
    if (fs::is_regular_file(file, none_there) &&
        !fs::equivalent(file, row.file, none_there)) {
      found = file; // the second place counts more
    }
  }
  return found;
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

} // namespace common
