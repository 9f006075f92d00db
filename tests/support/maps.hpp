// Maps and regions of three images, for the tests of the losses.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_MAPS_HPP
#define CARE_TESTS_SUPPORT_MAPS_HPP

#include <care/rasterize.hpp>

namespace care_test {

/// Regions of 5x6 cells: of two boxes, of one at the border, of none.
inline care::RegionWeights some_regions(torch::Dtype dtype = torch::kFloat) {
  auto boxes = care::Boxes::from_lists(
      {{{3, 4, 30, 21}, {20, 9, 50, 40}}, {{40, 40, 60, 44}}, {}}, {64, 64});
  return care::rasterize(boxes.to(dtype), {5, 6});
}

inline torch::Tensor some_maps(torch::Dtype dtype = torch::kFloat) {
  torch::manual_seed(11);
  return torch::randn({3, 5, 6}, dtype);
}

} // namespace care_test

#endif // CARE_TESTS_SUPPORT_MAPS_HPP
