// EXIF orientation: which way programs turn a picture that we read as stored.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_MAKE_MANIFEST_ORIENTATION_HPP
#define CARE_EXAMPLES_MAKE_MANIFEST_ORIENTATION_HPP

#include "make_manifest/formats.hpp"
#include "resnet_trainer/tiff.hpp"

#include <opencv2/core/types.hpp>

#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

namespace make_manifest {

/// The EXIF orientation, 1 to 8, of a JPEG's, PNG's or TIFF's bytes; 1 where
/// there is none.
inline int orientation_of(std::string_view bytes) {
  const auto number = [&](size_t at, size_t size) {
    size_t value = 0;
    for (size_t i = 0; i < size && at + size <= bytes.size(); ++i) {
      value = value << 8U | static_cast<unsigned char>(bytes[at + i]);
    }
    return value;
  };
  const auto is_at = [&](size_t at, std::string_view mark) {
    return at + mark.size() <= bytes.size() &&
        bytes.substr(at, mark.size()) == mark;
  };
  using namespace std::string_view_literals;
  size_t tiff = 0; // where the block of tags begins
  if (is_at(0, "\xff\xd8"sv)) {
    size_t at = 2;
    while (number(at, 1) == 0xff && number(at + 1, 1) != 0xda &&
           !is_at(at + 4, "Exif\0\0"sv)) {
      at += 2 + number(at + 2, 2);
    }
    tiff = at + 10;
  } else if (is_at(0, "\x89PNG"sv)) {
    size_t at = 8;
    while (at + 12 <= bytes.size() && !is_at(at + 4, "eXIf"sv)) {
      at += 12 + number(at, 4);
    }
    tiff = at + 8;
  }
  if (tiff >= bytes.size()) {
    return 1;
  }
  std::vector<unsigned char> block(
      bytes.begin() + static_cast<std::ptrdiff_t>(tiff), bytes.end());
  const auto value =
      trainer::TiffTags(block).first(trainer::TiffTags::kOrientation, 1);
  return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
}

/// The size of the picture after it was turned.
inline cv::Size turned(cv::Size stored, int orientation) {
  return orientation < 5 ? stored : cv::Size(stored.height, stored.width);
}

/// A box on the turned picture, as it lies on the stored one.
inline Box as_stored(Box box, cv::Size stored, int orientation) {
  if (orientation >= 5) {
    std::swap(box[0], box[1]);
    std::swap(box[2], box[3]);
  }
  if (orientation == 2 || orientation == 3 || orientation >= 7) {
    box = {stored.width - box[2], box[1], stored.width - box[0], box[3]};
  }
  if (orientation == 3 || orientation == 4 || orientation == 6 ||
      orientation == 7) {
    box = {box[0], stored.height - box[3], box[2], stored.height - box[1]};
  }
  return box;
}

} // namespace make_manifest

#endif // CARE_EXAMPLES_MAKE_MANIFEST_ORIENTATION_HPP
