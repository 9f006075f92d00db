// How a network keeps the maps of its images: [N, C, h, w], tokens, NHWC.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_MAP_LAYOUT_HPP
#define CARE_MAP_LAYOUT_HPP

#include <care/size.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace care {

/// How a tensor holds the maps of N images. As made, [N, C, h, w].
///
///   auto tokens = torch::rand({2, 1 + 14 * 14, 192});
///   auto map = care::MapLayout::tokens(1, {14, 14}).to_map(tokens);
class MapLayout {
 public:
  MapLayout() = default;

  /// [N, h, w, C].
  static MapLayout channels_last() {
    MapLayout layout;
    layout.order_ = Order::kChannelsLast;
    return layout;
  }

  /// [N, T, C] with T = prefix + h w: the cells of the map row by row, behind
  /// `prefix` tokens that are no cells (class and register tokens). Throws
  /// c10::ValueError for a prefix below 0 and a size below 1x1.
  static MapLayout tokens(int64_t prefix, Size size) {
    TORCH_CHECK_VALUE(
        prefix >= 0 && size.height > 0 && size.width > 0,
        "care::MapLayout::tokens: expected a prefix of at least 0 and a map of "
        "at least 1x1, but got prefix ",
        prefix,
        " and h, w ",
        size);
    MapLayout layout;
    layout.order_ = Order::kTokens;
    layout.prefix_ = prefix;
    layout.size_ = size;
    return layout;
  }

  bool is_channels_last() const {
    return order_ == Order::kChannelsLast;
  }
  bool is_tokens() const {
    return order_ == Order::kTokens;
  }
  /// How many tokens are no cells; 0 of another layout.
  int64_t prefix() const {
    return prefix_;
  }
  /// T; 0 of another layout.
  int64_t num_tokens() const {
    return prefix_ + size_.height * size_.width;
  }

  /// How many axes such a tensor has.
  size_t rank() const {
    return is_tokens() ? 3 : 4;
  }

  /// Whether a tensor of these sizes can be one, with a channel and a cell at
  /// least.
  bool fits(torch::IntArrayRef sizes) const {
    return sizes.size() == rank() && sizes[1] > 0 && sizes[2] > 0 &&
        (is_tokens() ? sizes[1] == num_tokens() : sizes[3] > 0);
  }

  /// h, w of a tensor that fits.
  Size map_size(torch::IntArrayRef sizes) const {
    const size_t rows = is_channels_last() ? 1 : 2;
    return is_tokens() ? size_ : Size{sizes[rows], sizes[rows + 1]};
  }

  /// A tensor that fits as [N, C, h, w]: a view, through which gradients flow.
  torch::Tensor to_map(const torch::Tensor& x) const {
    if (order_ == Order::kChannelsFirst) {
      return x;
    }
    const auto cells = is_tokens()
        ? x.slice(1, prefix_)
              .reshape({x.size(0), size_.height, size_.width, x.size(2)})
        : x;
    return cells.permute({0, 3, 1, 2});
  }

  /// "[N, h, w, C]", "[N, T, C] with T = prefix + h * w = 1 + 14 * 14 = 197".
  std::string str() const {
    return is_tokens() ? c10::str(
                             "[N, T, C] with T = prefix + h * w = ",
                             prefix_,
                             " + ",
                             size_.height,
                             " * ",
                             size_.width,
                             " = ",
                             num_tokens())
        : is_channels_last() ? "[N, h, w, C]"
                             : "[N, C, h, w]";
  }

 private:
  enum class Order { kChannelsFirst, kChannelsLast, kTokens };

  Order order_ = Order::kChannelsFirst;
  int64_t prefix_ = 0;
  Size size_{0, 0};
};

} // namespace care

#endif // CARE_MAP_LAYOUT_HPP
