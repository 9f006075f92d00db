// Sample: one labelled picture with its lesion boxes, decoded and in memory.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_SAMPLE_HPP
#define CARE_EXAMPLES_COMMON_SAMPLE_HPP

#include <care/boxes.hpp>

#include <opencv2/core.hpp>

#include <cstdint>
#include <string>

namespace common {

struct Sample {
  std::string id; ///< as written in the manifest
  cv::Mat image; ///< 8-bit RGB (not OpenCV's BGR)
  int64_t target = 0; ///< the class
  care::Boxes boxes; ///< of this one image, in its pixels
  int64_t fold = -1; ///< cross-validation fold, -1 for none
  care::Size stored; ///< of the picture before it was resized; 0x0: unknown
  std::string group; ///< of one patient, plant, ...; empty: of its own
};

} // namespace common

#endif // CARE_EXAMPLES_COMMON_SAMPLE_HPP
