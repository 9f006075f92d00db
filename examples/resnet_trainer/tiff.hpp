// The tags of a TIFF, which tell what OpenCV would do to it.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_TIFF_HPP
#define RESNET_TRAINER_TIFF_HPP

#include <cstddef>
#include <map>
#include <vector>

namespace trainer {

/// The tags of a TIFF's first directory (TIFF 6.0, section 2; BigTIFF, whose
/// numbers have 8 bytes); none of other bytes.
class TiffTags {
 public:
  static constexpr size_t kBits = 0x102, kPhotometric = 0x106,
                          kOrientation = 0x112, kSamples = 0x115,
                          kPlanar = 0x11c;

  explicit TiffTags(std::vector<unsigned char>& bytes)
      : bytes_(bytes),
        little_(bytes.size() >= 4 && bytes[0] == 'I') {
    const size_t kind = number(2, 2), order = number(0, 2);
    const bool big = kind == 43;
    if ((order != 0x4949 && order != 0x4d4d) || (kind != 42 && !big)) {
      return;
    }
    const size_t wide = big ? 8 : 4; // of an offset, and of a count of values
    const auto directory = number(wide, wide);
    const auto count = number(directory, big ? 8 : 2);
    for (size_t i = 0; i < count && i < 0x10000; ++i) {
      const auto entry = directory + (big ? 8 : 2) + (4 + 2 * wide) * i;
      const auto value = entry + 4 + wide;
      places_[number(entry, 2)] =
          number(entry + 4, wide) <= wide / 2 ? value : number(value, wide);
    }
  }

  /// The first value of a tag of 16-bit numbers.
  size_t first(size_t tag, size_t otherwise) const {
    const auto place = places_.find(tag);
    return place == places_.end() ? otherwise : number(place->second, 2);
  }
  void set_first(size_t tag, unsigned char value) {
    const auto place = places_.find(tag);
    if (place != places_.end() && has(place->second, 2)) {
      bytes_[place->second + (little_ ? 0 : 1)] = value;
      bytes_[place->second + (little_ ? 1 : 0)] = 0;
    }
  }

 private:
  bool has(size_t at, size_t size) const {
    return size <= bytes_.size() && at <= bytes_.size() - size;
  }
  /// 0 beyond the end.
  size_t number(size_t at, size_t size) const {
    size_t value = 0;
    for (size_t i = 0; i < size && has(at, size); ++i) {
      value += size_t{bytes_[at + i]} << 8U * (little_ ? i : size - 1 - i);
    }
    return value;
  }

  std::vector<unsigned char>& bytes_;
  bool little_;
  std::map<size_t, size_t> places_; // of the tags' values
};

} // namespace trainer

#endif // RESNET_TRAINER_TIFF_HPP
