// The tags of a TIFF, which tell what OpenCV would do to it.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_TIFF_HPP
#define RESNET_TRAINER_TIFF_HPP

#include <algorithm>
#include <cstddef>
#include <map>
#include <vector>

namespace trainer {

/// The tags of a TIFF's first directory (TIFF 6.0, section 2); none of other
/// bytes.
class TiffTags {
 public:
  static constexpr size_t kBits = 0x102, kPhotometric = 0x106,
                          kOrientation = 0x112, kPlanar = 0x11c;

  explicit TiffTags(std::vector<unsigned char>& bytes)
      : bytes_(bytes),
        little_(bytes.size() >= 4 && bytes[0] == 'I') {
    const std::vector<unsigned char> mark = little_
        ? std::vector<unsigned char>{'I', 'I', '*', 0}
        : std::vector<unsigned char>{'M', 'M', 0, '*'};
    if (bytes.size() < 4 ||
        !std::equal(mark.begin(), mark.end(), bytes.begin())) {
      return;
    }
    const auto directory = number(4, 4);
    const auto count = number(directory, 2);
    for (size_t i = 0; i < count; ++i) {
      const auto entry = directory + 2 + 12 * i;
      const auto values = number(entry + 4, 4);
      places_[number(entry, 2)] =
          values <= 2 ? entry + 8 : number(entry + 8, 4);
    }
  }

  /// The first value of a tag of 16-bit numbers.
  size_t first(size_t tag, size_t otherwise) const {
    const auto place = places_.find(tag);
    return place == places_.end() ? otherwise : number(place->second, 2);
  }
  void set_first(size_t tag, unsigned char value) {
    const auto place = places_.find(tag);
    if (place != places_.end() && place->second + 2 <= bytes_.size()) {
      bytes_[place->second + (little_ ? 0 : 1)] = value;
      bytes_[place->second + (little_ ? 1 : 0)] = 0;
    }
  }

 private:
  /// 0 beyond the end.
  size_t number(size_t at, size_t size) const {
    size_t value = 0;
    for (size_t i = 0; i < size && at + size <= bytes_.size(); ++i) {
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
