// Fusion of the maps of several layers into one.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_ATTENTION_FUSION_HPP
#define CARE_ATTENTION_FUSION_HPP

#include <care/detail/check.hpp>
#include <care/normalise.hpp>
#include <care/size.hpp>

#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace care {

/// How the normalised maps of several layers become one.
enum class Fusion {
  kMean, ///< what the layers say on average
  kMax, ///< where any layer looks
  kProduct, ///< where all layers look
};

namespace detail {

/// Maps [N, h, w] at another size by bilinear interpolation (align_corners =
/// false), as two products: the gradient of LibTorch's own has no deterministic
/// algorithm on a GPU (products have; old LibTorches ask for
/// CUBLAS_WORKSPACE_CONFIG there).
inline torch::Tensor resized_maps(const torch::Tensor& maps, Size size) {
  // Autocast would take the products to half precision.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(
      c10::autocast_dispatch_keyset);
  // What becomes of each unit vector: [from, to].
  const auto axis = [&](int64_t from, int64_t to) {
    const auto units = torch::eye(from, maps.options()).unsqueeze(0);
    return torch::upsample_linear1d(units, {to}, /*align_corners=*/false)
        .squeeze(0);
  };
  const auto rows = axis(maps.size(1), size.height);
  const auto columns = axis(maps.size(2), size.width);
  return torch::matmul(torch::matmul(rows.t(), maps), columns);
}

} // namespace detail

/// One map per image from the maps of several layers.
///
/// Each map is brought to [0, 1] by its minimum and maximum (`normalise`), then
/// to `size` by bilinear interpolation (align_corners=false), then combined
/// cell by cell. `size`: not given, that of the map with the most cells, of
/// equal ones the first.
///
/// Shapes: `maps` at least one, each [N, h, w] raw, of one batch and device,
/// any floating dtype -> [N, size], 0 to 1, float32 (float64 if any is double).
/// Gradient: reaches every map. Throws c10::ValueError for an empty list, wrong
/// shapes or devices and an empty size; c10::TypeError for integers.
/// A flat map (see `normalise`) takes no part for its image: the mean is over
/// the others, and the product is that of the others, not 0. Where every map
/// of an image is flat, the result is 0 with gradient 0.
///
///   auto map = care::fuse({shallow, deep}, care::Fusion::kMean);
inline torch::Tensor fuse(
    const std::vector<torch::Tensor>& maps,
    Fusion fusion,
    torch::optional<Size> size = torch::nullopt) {
  const char* where = "care::fuse";
  TORCH_CHECK_VALUE(
      !maps.empty(), where, ": expected at least one map, but got none");
  Size target = size.value_or(Size{});
  for (std::size_t i = 0; i < maps.size(); ++i) {
    const auto name = "maps[" + std::to_string(i) + "]";
    detail::check_planes(
        where, (name + " of shape [N, h, w]").c_str(), maps[i]);
    detail::check_floating(where, name.c_str(), maps[i]);
    TORCH_CHECK_VALUE(
        maps[i].size(0) == maps[0].size(0) &&
            maps[i].device() == maps[0].device(),
        where,
        ": expected maps of one batch on one device, but got ",
        maps[i].size(0),
        " images on ",
        maps[i].device(),
        " in ",
        name,
        " and ",
        maps[0].size(0),
        " on ",
        maps[0].device(),
        " in maps[0]");
    const Size own{maps[i].size(1), maps[i].size(2)};
    if (!size && own.height * own.width > target.height * target.width) {
      target = own;
    }
  }
  TORCH_CHECK_VALUE(
      target.height > 0 && target.width > 0,
      where,
      ": expected a size of at least one cell, but got ",
      target);

  const auto n = maps[0].size(0);
  torch::Tensor fused;
  torch::Tensor taking_part; // [N, 1, 1] how many maps of an image are not flat
  for (const auto& map : maps) {
    const auto normalised = normalise(map);
    auto next = normalised.maps;
    const auto flat = normalised.flat.view({n, 1, 1});
    if (map.size(1) != target.height || map.size(2) != target.width) {
      next = detail::resized_maps(next, target).clamp(0, 1); // one ulp above?
    }
    if (fusion == Fusion::kProduct) {
      next = torch::where(flat, torch::ones_like(next), next);
    }
    if (!fused.defined()) {
      fused = next;
      taking_part = flat.logical_not().to(torch::kLong);
      continue;
    }
    taking_part = taking_part + flat.logical_not().to(torch::kLong);
    fused = fusion == Fusion::kMax ? torch::maximum(fused, next)
        : fusion == Fusion::kMean  ? fused + next
                                   : fused * next;
  }
  if (fusion == Fusion::kMean) {
    return fused / taking_part.clamp_min(1);
  }
  return torch::where(taking_part > 0, fused, torch::zeros_like(fused));
}

} // namespace care

#endif // CARE_ATTENTION_FUSION_HPP
