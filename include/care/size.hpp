// Height and width of an image or of a map.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_SIZE_HPP
#define CARE_SIZE_HPP

#include <cstdint>
#include <ostream>

namespace care {

/// Height and width of an image (pixels) or of a map (cells).
struct Size {
  int64_t height = 0;
  int64_t width = 0;

  friend bool operator==(const Size& a, const Size& b) {
    return a.height == b.height && a.width == b.width;
  }
  friend bool operator!=(const Size& a, const Size& b) {
    return !(a == b);
  }
  friend std::ostream& operator<<(std::ostream& stream, const Size& size) {
    return stream << size.height << "x" << size.width << " (height x width)";
  }
};

} // namespace care

#endif // CARE_SIZE_HPP
