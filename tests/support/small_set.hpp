// A small set of pictures with a manifest, for programs under test.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_SMALL_SET_HPP
#define CARE_TESTS_SUPPORT_SMALL_SET_HPP

#include "support/files.hpp"

#include "resnet_trainer/picture.hpp"

#include <opencv2/core.hpp>

#include <filesystem>
#include <string>

namespace care_test {

/// Writes `count` pictures of grain, 40 x 32, and a manifest: every third one
/// is rare and has a light square, which is its box. Returns the manifest.
inline std::filesystem::path write_small_set(
    const std::filesystem::path& folder,
    int count) {
  std::filesystem::create_directories(folder);
  std::string manifest = "path,label,xmin,ymin,xmax,ymax\n";
  cv::RNG random(3);
  for (int i = 0; i < count; ++i) {
    cv::Mat picture(32, 40, CV_8UC3);
    random.fill(picture, cv::RNG::UNIFORM, 0, 120);
    const auto name = std::to_string(i) + ".png";
    if (i % 3 == 0) {
      const int x = random.uniform(2, 28), y = random.uniform(2, 20);
      picture(cv::Rect(x, y, 10, 10)) = cv::Scalar(240, 220, 200);
      manifest += name + ",rare," + std::to_string(x) + "," +
          std::to_string(y) + "," + std::to_string(x + 10) + "," +
          std::to_string(y + 10) + "\n";
    } else {
      manifest += name + ",common,,,,\n";
    }
    trainer::write_picture(folder / name, picture);
  }
  return write_text(folder / "manifest.csv", manifest);
}

} // namespace care_test

#endif // CARE_TESTS_SUPPORT_SMALL_SET_HPP
