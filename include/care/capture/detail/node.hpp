// What a node of the autograd graph did.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_DETAIL_NODE_HPP
#define CARE_CAPTURE_DETAIL_NODE_HPP

#include <c10/util/Exception.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace care::detail {

using Node = torch::autograd::Node;

/// One tensor of the autograd graph: the node that made it, and which of the
/// node's outputs it is.
using Place = std::pair<const Node*, uint32_t>;

inline Place place_of(const torch::Tensor& x) {
  return {x.grad_fn().get(), static_cast<uint32_t>(x.output_nr())};
}

inline Place place_of(const torch::autograd::Edge& edge) {
  return {edge.function.get(), edge.input_nr};
}

/// A parameter, or nothing.
inline bool is_leaf(const Node* node) {
  return node == nullptr || node->next_edges().empty();
}

/// The operator of one of LibTorch's nodes ("PermuteBackward0": "Permute"); a
/// user's own node by its whole name, which has colons.
inline std::string operator_of(const Node& node) {
  auto name = node.name();
  const auto end = name.rfind("Backward");
  return name.find(':') != std::string::npos || end == std::string::npos
      ? name
      : name.substr(0, end);
}

template <size_t N>
bool is_one_of(
    const std::string& name,
    const std::array<const char*, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// LibTorch's own operators of this family: its nodes are named in camel case,
/// with a prefix of the library that does the work (MkldnnMaxPool2D).
inline bool is_of_family(const std::string& name, const char* family) {
  return name.find(':') == std::string::npos &&
      name.find(family) != std::string::npos;
}

inline bool is_convolution(const std::string& name) {
  return is_of_family(name, "Conv");
}

inline bool is_pooling(const std::string& name) {
  return is_of_family(name, "Pool");
}

inline bool is_matrix_product(const std::string& name) {
  return is_one_of(
      name, std::array<const char*, 4>{"Mm", "Addmm", "Bmm", "Baddbmm"});
}

/// Defined on [N, C, h, w].
inline bool is_of_images(const std::string& name) {
  return is_of_family(name, "2D") || is_of_family(name, "BatchNorm") ||
      is_of_family(name, "GroupNorm") || name == "PixelShuffle" ||
      name == "ChannelShuffle" || name == "Col2Im";
}

/// The same numbers under axes that a view deals out anew.
inline bool is_regrouping(const std::string& name) {
  return is_one_of(
      name,
      std::array<const char*, 6>{
          "View",
          "UnsafeView",
          "ReshapeAlias",
          "ReshapeCopy",
          "Unsqueeze",
          "Squeeze"});
}

/// The same numbers under axes in another order. (AsStrided stands for a view
/// whose base was edited in place.)
inline bool is_permutation(const std::string& name) {
  return is_one_of(
      name,
      std::array<const char*, 4>{"Permute", "Transpose", "T", "AsStrided"});
}

/// A copy, or a change of layout: not a map of its own.
inline bool is_rearranging(const std::string& name) {
  return is_regrouping(name) || is_permutation(name) ||
      is_one_of(
             name,
             std::array<const char*, 4>{
                 "ToCopy", "Clone", "LazyClone", "Alias"});
}

/// A forward made TorchScript fuse operators, which are then not seen.
inline void check_unfused(const std::string& name) {
  TORCH_CHECK_VALUE(
      name.find("DifferentiableGraph") == std::string::npos,
      "care::capture: expected to see each operator, but an earlier forward "
      "made TorchScript fuse them; hand over the module and its images: "
      "capture(net, images)");
}

} // namespace care::detail

#endif // CARE_CAPTURE_DETAIL_NODE_HPP
