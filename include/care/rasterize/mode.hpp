// The two ways from the pixels of an image to the cells of a map.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_RASTERIZE_MODE_HPP
#define CARE_RASTERIZE_MODE_HPP

namespace care {

/// How pixels are brought down to the cells of a map.
enum class RasterMode {
  /// The adjoint of bilinear up-sampling (align_corners = false): for every map
  /// F of the map's size and pixel mask m, <weights, F> = <m, upsample(F)>. The
  /// loss at 7x7 then equals the paper's at 224x224 exactly.
  kAdjoint,
  /// The share of each cell's area that the region covers, 0 to 1;
  /// differentiable in the box coordinates.
  kCoverage,
};

} // namespace care

#endif // CARE_RASTERIZE_MODE_HPP
