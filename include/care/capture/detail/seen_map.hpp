// A spatial map seen in a forward: what made it, and where in the graph it is.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_DETAIL_SEEN_MAP_HPP
#define CARE_CAPTURE_DETAIL_SEEN_MAP_HPP

#include <care/capture/detail/node.hpp>

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace care::detail {

/// One result of a forward, 4-D or the 3-D one of tokens, under every
/// operator's name that returned it (aten::conv2d returns what
/// aten::convolution returned to it, and aten::relu_ what it was given).
struct SeenMap {
  struct Name {
    std::string operation;
    /// 1: the first one of as many axes that this operator returned, 2: ...
    int64_t count = 0;
    Place place = {}; ///< of the result when this operator returned it
  };

  torch::Tensor result; ///< undefined once dropped, and of a hidden one
  std::vector<int64_t> sizes;
  std::vector<Name> names; ///< the innermost operator first
  bool hidden = false; ///< no operator of this thread returned it

  explicit SeenMap(const torch::Tensor& x)
      : result(x),
        sizes(x.sizes().vec()) {}

  /// One that is known from the graph alone.
  SeenMap(std::vector<int64_t> shape, const std::string& node)
      : sizes(std::move(shape)),
        names{{node, 1, {}}},
        hidden(true) {}

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
