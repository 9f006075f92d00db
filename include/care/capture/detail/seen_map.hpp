// A spatial map seen in a forward: what made it, and where in the graph it is.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_DETAIL_SEEN_MAP_HPP
#define CARE_CAPTURE_DETAIL_SEEN_MAP_HPP

#include <c10/util/Exception.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace care::detail {

/// One tensor of the autograd graph: the node that made it, and which of the
/// node's outputs it is.
using Place = std::pair<const torch::autograd::Node*, uint32_t>;

inline Place place_of(const torch::Tensor& x) {
  return {x.grad_fn().get(), static_cast<uint32_t>(x.output_nr())};
}

/// One result [N, C, h, w] of a forward, under every operator's name that
/// returned it (aten::conv2d returns what aten::convolution returned to it).
struct SeenMap {
  struct Name {
    std::string operation;
    int64_t count = 0; ///< 1: the first map this operator returned, 2: ...
  };

  torch::Tensor result; ///< undefined once dropped
  std::vector<int64_t> sizes;
  std::vector<Name> names; ///< the innermost operator first

  explicit SeenMap(const torch::Tensor& x)
      : result(x),
        sizes(x.sizes().vec()) {}

  /// An in-place operator changes it.
  Place place() const {
    return result.defined() ? place_of(result) : Place{node_.get(), output_};
  }

  /// Lets go of the tensor, not of its place.
  void drop() {
    node_ = result.grad_fn();
    output_ = static_cast<uint32_t>(result.output_nr());
    result.reset();
  }

  template <size_t N>
  bool has_name_like(const std::array<const char*, N>& parts) const {
    return std::any_of(names.begin(), names.end(), [&](const Name& name) {
      return std::any_of(parts.begin(), parts.end(), [&](const char* part) {
        return name.operation.find(part) != std::string::npos;
      });
    });
  }

  /// Not a map of its own: the same one, made smaller or copied. (A cast with
  /// nothing to do returns its argument: one name among others, and no copy.)
  bool is_pooled_or_copied() const {
    return has_name_like(std::array<const char*, 1>{"pool"}) ||
        std::all_of(names.begin(), names.end(), [](const Name& name) {
             const std::array<const char*, 5> copies{
                 "aten::to",
                 "aten::_to_copy",
                 "aten::contiguous",
                 "aten::clone",
                 "aten::alias"};
             return std::find(copies.begin(), copies.end(), name.operation) !=
                 copies.end();
           });
  }

  /// A map of its own, of at least this many cells either way.
  bool is_map(int64_t least) const {
    return sizes[2] >= least && sizes[3] >= least && !is_pooled_or_copied();
  }

  /// Made by an operator of attention or layout: [N, heads, T, d] and
  /// [N, h, w, C] look like maps and are none.
  bool is_doubtful() const {
    return has_name_like(std::array<const char*, 14>{
        "transpose",
        "permute",
        "view",
        "reshape",
        "flatten",
        "squeeze", // and unsqueeze
        "expand",
        "matmul",
        "bmm",
        "aten::linear",
        "einsum",
        "softmax",
        "attention",
        "layer_norm"});
  }

  /// Under the name the network's code is likely to use.
  std::string str() const {
    return c10::str(names.back().operation, " ", torch::IntArrayRef(sizes));
  }

 private:
  // Of a dropped one; the pointer's type differs from version to version.
  std::decay_t<decltype(torch::Tensor().grad_fn())> node_;
  uint32_t output_ = 0;
};

} // namespace care::detail

#endif // CARE_CAPTURE_DETAIL_SEEN_MAP_HPP
