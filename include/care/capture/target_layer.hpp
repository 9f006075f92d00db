// Which spatial map of a watched forward is meant.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_TARGET_LAYER_HPP
#define CARE_CAPTURE_TARGET_LAYER_HPP

#include <care/map_layout.hpp>
#include <care/size.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace care {

/// A spatial map that an operator returned while a forward was watched.
struct Candidate {
  torch::Tensor result; ///< as returned, with a gradient history
  std::string operation; ///< "aten::relu"
  int64_t count = 0; ///< 1: the first map this operator returned, 2: ...
};

/// The choice of one map behind the logits. As made, it is the last one; each
/// criterion narrows it to the last one that fulfils them all. Maps are
/// [N, C, h, w] unless another layout is asked for.
///
///   care::TargetLayer()                               // the last map
///   care::TargetLayer().stride(16)                    // at a 16th of the size
///   care::TargetLayer().operation("aten::relu", -2)   // the last relu but one
///   care::TargetLayer().tokens(1, {14, 14})           // of a ViT
class TargetLayer {
 public:
  /// Tokens [N, T, C] as a map [N, C, h, w]: T = prefix + h w, the first
  /// `prefix` of them class and register tokens, the others the cells row by
  /// row. Of a network that classifies by its class token, the last tokens
  /// whose cells still reach it: those before the last attention. Throws
  /// c10::ValueError for a prefix below 0 and a size below 1x1.
  TargetLayer& tokens(int64_t prefix, const Size& size) {
    layout_ = MapLayout::tokens(prefix, size);
    return *this;
  }

  /// Results [N, h, w, C] as a map [N, C, h, w].
  TargetLayer& channels_last() {
    layout_ = MapLayout::channels_last();
    return *this;
  }
  const MapLayout& layout() const {
    return layout_;
  }

  /// Maps of this size alone.
  TargetLayer& map_size(const Size& size) {
    map_size_ = size;
    return *this;
  }
  const torch::optional<Size>& map_size() const {
    return map_size_;
  }

  /// Maps of the input's size divided by this, rounded up or down. Needs to see
  /// the input: `capture(net, images)`.
  TargetLayer& stride(int64_t stride) {
    stride_ = stride;
    return *this;
  }
  const torch::optional<int64_t>& stride() const {
    return stride_;
  }

  /// Maps for which this holds.
  TargetLayer& where(std::function<bool(const Candidate&)> predicate) {
    where_ = std::move(predicate);
    return *this;
  }
  const std::function<bool(const Candidate&)>& where() const {
    return where_;
  }

  /// Results of this operator alone, by its ATen name; with `count` the one
  /// result of that number (1: first, -1: last) in the order of calls.
  TargetLayer& operation(std::string name, int64_t count = 0) {
    operation_ = std::move(name);
    count_ = count;
    return *this;
  }
  const std::string& operation() const {
    return operation_;
  }
  int64_t count() const {
    return count_;
  }

  /// No criterion was given: the last map, in whatever layout.
  bool is_default() const {
    return !map_size_ && !stride_ && !where_ && operation_.empty();
  }

 private:
  torch::optional<Size> map_size_;
  torch::optional<int64_t> stride_;
  std::function<bool(const Candidate&)> where_;
  std::string operation_;
  int64_t count_ = 0; // 0: any
  MapLayout layout_;
};

/// The maps to take from a forward, the first one first.
using TargetLayers = std::vector<TargetLayer>;

namespace detail {

inline void check_layers(const char* where, const TargetLayers& layers) {
  TORCH_CHECK_VALUE(
      !layers.empty(),
      where,
      ": expected at least one TargetLayer, but got none");
  for (const auto& layer : layers) {
    TORCH_CHECK_VALUE(
        !layer.stride() || *layer.stride() > 0,
        where,
        ": expected a stride of at least 1, but got ",
        layer.stride().value_or(0));
    TORCH_CHECK_VALUE(
        layer.count() == 0 || !layer.operation().empty(),
        where,
        ": expected the name of an operator, such as aten::relu, but got none");
  }
}

/// Whether `size` is `input` divided by `stride`, rounded either way.
inline bool is_at_stride(const Size& size, const Size& input, int64_t stride) {
  const auto fits = [&](int64_t small, int64_t large) {
    return small == large / stride || small == (large + stride - 1) / stride;
  };
  return fits(size.height, input.height) && fits(size.width, input.width);
}

} // namespace detail

} // namespace care

#endif // CARE_CAPTURE_TARGET_LAYER_HPP
