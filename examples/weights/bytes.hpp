// What a file of weights holds, and the bytes of one.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_WEIGHTS_BYTES_HPP
#define CARE_EXAMPLES_WEIGHTS_BYTES_HPP

#include <torch/types.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

namespace weights {

using Tensors = std::map<std::string, torch::Tensor>;

struct Weights {
  Tensors tensors; ///< by name
  std::map<std::string, std::string> metadata = {}; ///< of safetensors
};

namespace detail {

using std::string_view;

/// A number as it lies in memory, little-endian.
template <class Number>
Number number_at(string_view bytes, size_t offset) {
  Number result;
  std::memcpy(&result, bytes.data() + offset, sizeof(result));
  return result;
}

/// A file, taken piece by piece from the front; its end is an error.
class Bytes {
 public:
  explicit Bytes(string_view all) : rest_(all) {}

  string_view take(uint64_t count) {
    TORCH_CHECK_VALUE(count <= rest_.size(), "the file ends too early");
    const auto result = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return result;
  }
  template <class Number>
  Number number() {
    return number_at<Number>(take(sizeof(Number)), 0);
  }
  /// What stands before the next line end, which goes, too.
  string_view line() {
    const auto result = take(std::min(rest_.find('\n'), rest_.size()));
    take(1);
    return result;
  }

 private:
  string_view rest_;
};

/// An element type that every LibTorch from 1.13 on has, and its names: in
/// safetensors, and as the two lines of a pickle's class.
struct Dtype {
  torch::ScalarType type;
  string_view safetensors, storage;
};

inline constexpr std::array<Dtype, 10> kDtypes{
    {{torch::kDouble, "F64", "torch\nDoubleStorage"},
     {torch::kFloat, "F32", "torch\nFloatStorage"},
     {torch::kHalf, "F16", "torch\nHalfStorage"},
     {torch::kBFloat16, "BF16", "torch\nBFloat16Storage"},
     {torch::kLong, "I64", "torch\nLongStorage"},
     {torch::kInt, "I32", "torch\nIntStorage"},
     {torch::kShort, "I16", "torch\nShortStorage"},
     {torch::kChar, "I8", "torch\nCharStorage"},
     {torch::kByte, "U8", "torch\nByteStorage"},
     {torch::kBool, "BOOL", "torch\nBoolStorage"}}};

/// The one of which `is` says so, or nullptr.
template <class Is>
const Dtype* find_dtype(Is&& is) {
  const auto found = std::find_if(kDtypes.begin(), kDtypes.end(), is);
  return found == kDtypes.end() ? nullptr : &*found;
}

/// Whether a tensor of these sizes has at most `limit` elements; no product of
/// them overflows then.
inline bool sizes_fit(torch::IntArrayRef sizes, double limit) {
  bool empty = false;
  double count = 1;
  for (const auto size : sizes) {
    if (size < 0) {
      return false;
    }
    empty = empty || size == 0;
    count *= static_cast<double>(std::max<int64_t>(size, 1));
  }
  return sizes.size() <= 64 && count <= (empty ? 4e18 : limit);
}

/// The bytes as a tensor [n] of its own.
inline torch::Tensor tensor_of(string_view bytes, torch::ScalarType dtype) {
  const auto is_bool = [](char c) { return c == 0 || c == 1; };
  TORCH_CHECK_VALUE(
      dtype != torch::kBool || std::all_of(bytes.begin(), bytes.end(), is_bool),
      "expected bools of 0 and 1, but got other bytes");
  const auto count = bytes.size() / c10::elementSize(dtype);
  auto result = torch::empty({static_cast<int64_t>(count)}, dtype);
  if (count > 0) {
    std::memcpy(result.data_ptr(), bytes.data(), result.nbytes());
  }
  return result;
}

} // namespace detail
} // namespace weights

#endif // CARE_EXAMPLES_WEIGHTS_BYTES_HPP
