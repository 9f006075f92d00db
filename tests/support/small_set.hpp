// A small set of pictures with a manifest, for programs under test.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_SMALL_SET_HPP
#define CARE_TESTS_SUPPORT_SMALL_SET_HPP

#include "support/files.hpp"

#include "resnet_trainer/picture.hpp"

#include <opencv2/core.hpp>

#include <filesystem>
#include <sstream>
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

/// The same with several labels a picture: every second one is also odd. Boxes
/// speak for "rare". Half of the pictures are to learn from, a quarter each to
/// validate and to test.
inline std::filesystem::path write_labelled_set(
    const std::filesystem::path& folder,
    int count) {
  const auto manifest = write_small_set(folder, count);
  std::istringstream lines(read_text(manifest));
  std::string line, text;
  std::getline(lines, line);
  text = line + ",box_label,split\n";
  for (int i = 0; std::getline(lines, line); ++i) {
    const auto at = line.find(",", line.find(',') + 1);
    text += line.substr(0, at) + (i % 2 == 1 ? "|odd" : "") + line.substr(at) +
        (i % 3 == 0 ? ",rare," : ",,") +
        (i % 4 < 2       ? "train"
             : i % 8 < 4 ? "val"
                         : "test") +
        "\n";
  }
  return write_text(manifest, text);
}

} // namespace care_test

#endif // CARE_TESTS_SUPPORT_SMALL_SET_HPP
