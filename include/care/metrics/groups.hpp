// Figures by group: head, medium and tail classes, classes, sizes of region.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_METRICS_GROUPS_HPP
#define CARE_METRICS_GROUPS_HPP

#include <care/detail/check.hpp>
#include <care/detail/mask_ranges.hpp>

#include <torch/types.h>

#include <cstdint>
#include <vector>

namespace care {

/// Means of groups, and how many values each had. NaN values (maps without
/// attention, classes that do not occur) are counted apart: leaving them out in
/// silence would reward a network that looks nowhere.
struct GroupMeans {
  torch::Tensor mean; ///< [G] double, of the defined values; NaN without one
  torch::Tensor defined; ///< [G] int64, how many values are not NaN
  torch::Tensor undefined; ///< [G] int64, how many are
};

/// The mean of `values` [N] floating in each of `groups` groups; `group` [N]
/// integers says which one each belongs to, -1 for none. On the host. Throws
/// c10::ValueError for wrong shapes, c10::IndexError for a group outside
/// [-1, groups).
///
///   auto epg = care::energy_pointing_game(maps, masks);
///   auto by_class = care::means_by_group(epg, targets, 7);
///   auto by_size = care::means_by_group(
///       epg, care::groups_by_size(masks, {0.05, 0.2}), 3);
inline GroupMeans means_by_group(
    const torch::Tensor& values,
    const torch::Tensor& group,
    int64_t groups) {
  const char* where = "care::means_by_group";
  TORCH_CHECK_VALUE(
      groups > 0, where, ": expected at least 1 group, but got ", groups);
  detail::check_floating(where, "values", values);
  TORCH_CHECK_VALUE(
      values.dim() == 1,
      where,
      ": expected values of shape [N], but got ",
      values.sizes());
  detail::check_shape(where, "group", group, values.sizes());
  detail::check_integral(where, "group", group);
  const auto value = values.detach().to(torch::kCPU, torch::kDouble);
  const auto index = group.to(torch::kCPU, torch::kLong);
  detail::check_in_range(where, "groups", "group", index, -1, groups);
  // Group -1 is counted too, in front, and left out in the end.
  const auto undefined = value.isnan();
  const auto count = [&](const torch::Tensor& which) {
    return torch::bincount(index.masked_select(which) + 1, {}, groups + 1)
        .slice(0, 1);
  };
  const auto sum = torch::zeros({groups + 1}, torch::kDouble)
                       .index_add(0, index + 1, value.masked_fill(undefined, 0))
                       .slice(0, 1);
  GroupMeans result;
  result.defined = count(undefined.logical_not());
  result.undefined = count(undefined);
  result.mean = sum / result.defined; // 0 / 0 is NaN
  return result;
}

/// Head, medium and tail: 0 for a class of more than `many` training images, 2
/// for one of fewer than `few`, 1 between; [K] int64. The recalls of the three:
///
///   auto groups = care::groups_by_frequency(training_counts);
///   auto recall = care::means_by_group(matrix.recall(), groups, 3).mean;
///
/// Throws c10::ValueError for negative counts and few above many. The defaults
/// are those of Liu et al. 2019.
inline torch::Tensor groups_by_frequency(
    const std::vector<int64_t>& counts,
    int64_t few = 20,
    int64_t many = 100) {
  const char* where = "care::groups_by_frequency";
  TORCH_CHECK_VALUE(
      few <= many,
      where,
      ": expected few to be at most many, but got ",
      few,
      " and ",
      many);
  std::vector<int64_t> groups;
  for (size_t k = 0; k < counts.size(); ++k) {
    TORCH_CHECK_VALUE(
        counts[k] >= 0,
        where,
        ": expected counts of at least 0, but counts[",
        k,
        "] is ",
        counts[k]);
    groups.push_back(counts[k] > many ? 0 : counts[k] < few ? 2 : 1);
  }
  return torch::tensor(groups, torch::kLong);
}

/// The size of each region as a group: how many of `edges` its share of the
/// picture has reached, -1 for a picture without a region. `masks` [N, H, W], 0
/// to 1; `edges` rising, in (0, 1] -> [N] int64 in [-1, edges]. Two edges make
/// three groups: small, medium, large. Throws c10::ValueError for other edges
/// and masks.
inline torch::Tensor groups_by_size(
    const torch::Tensor& masks,
    const std::vector<double>& edges) {
  const char* where = "care::groups_by_size";
  detail::check_mask_ranges(
      where, detail::mask_ranges(where, masks).to(torch::kCPU));
  const auto share = detail::unit_masks(masks).mean({1, 2});
  auto group = (share > 0).to(torch::kLong) - 1;
  double last = 0;
  for (const auto edge : edges) {
    TORCH_CHECK_VALUE(
        edge > last && edge <= 1,
        where,
        ": expected edges that rise in (0, 1], but got ",
        edge,
        " after ",
        last);
    group = group + (share >= edge).to(torch::kLong);
    last = edge;
  }
  return group;
}

} // namespace care

#endif // CARE_METRICS_GROUPS_HPP
