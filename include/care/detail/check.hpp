// Checks of arguments that name the argument and the offending value.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_CHECK_HPP
#define CARE_DETAIL_CHECK_HPP

#include <c10/util/Exception.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <string>

namespace care::detail {

/// The shape as text, also of an undefined tensor.
inline std::string sizes_of(const torch::Tensor& tensor) {
  return tensor.defined() ? c10::str(tensor.sizes())
                          : std::string("an undefined tensor");
}

inline void check_shape(
    const char* where,
    const char* name,
    const torch::Tensor& tensor,
    torch::IntArrayRef sizes) {
  TORCH_CHECK_VALUE(
      tensor.defined() && tensor.sizes() == sizes,
      where,
      ": expected ",
      name,
      " of shape ",
      sizes,
      ", but got ",
      sizes_of(tensor));
}

/// `[N, H, W]` with at least one cell; `what` says so, as in "masks of shape
/// [N, H, W]".
inline void check_planes(
    const char* where,
    const char* what,
    const torch::Tensor& tensor) {
  TORCH_CHECK_VALUE(
      tensor.defined() && tensor.dim() == 3 && tensor.size(1) > 0 &&
          tensor.size(2) > 0,
      where,
      ": expected ",
      what,
      ", but got ",
      sizes_of(tensor));
}

inline void check_same_device(
    const char* where,
    const char* names,
    const torch::Tensor& one,
    const torch::Tensor& other) {
  TORCH_CHECK_VALUE(
      one.device() == other.device(),
      where,
      ": expected ",
      names,
      " on one device, but got ",
      one.device(),
      " and ",
      other.device());
}

inline void check_integral(
    const char* where,
    const char* name,
    const torch::Tensor& tensor) {
  TORCH_CHECK_TYPE(
      tensor.defined() &&
          c10::isIntegralType(tensor.scalar_type(), /*includeBool=*/false),
      where,
      ": expected ",
      name,
      " to hold integers, but got ",
      tensor.defined() ? c10::toString(tensor.scalar_type()) : "nothing");
}

inline void check_floating(
    const char* where,
    const char* name,
    const torch::Tensor& tensor) {
  TORCH_CHECK_TYPE(
      tensor.defined() && tensor.is_floating_point(),
      where,
      ": expected ",
      name,
      " to hold floating point numbers, but got ",
      tensor.defined() ? c10::toString(tensor.scalar_type()) : "nothing");
}

/// The first index at which `[M]` bool `ok` (on the host) is false, or -1.
inline int64_t first_false(const torch::Tensor& ok) {
  const auto row = ok.contiguous();
  const auto* first = row.data_ptr<bool>();
  const auto* end = first + row.numel();
  const auto* bad = std::find(first, end, false);
  return bad == end ? -1 : bad - first;
}

/// Throws c10::ValueError with `message`, the first row of `rows` (on the host)
/// whose `ok` is false, and its index.
inline void check_all(
    const torch::Tensor& ok,
    const char* message,
    const torch::Tensor& rows,
    const torch::Tensor& image = {}) {
  const auto bad = first_false(ok);
  if (bad < 0) {
    return;
  }
  const auto row = rows[bad].reshape(-1).to(torch::kDouble).contiguous();
  std::string text;
  for (int64_t i = 0; i < row.numel(); ++i) {
    text += (i > 0 ? ", " : "") + c10::str(row[i].item<double>());
  }
  text = c10::str(message, "(", text, ") at index ", bad);
  if (image.defined()) {
    text += c10::str(" (image ", image[bad].item<int64_t>(), ")");
  }
  TORCH_CHECK_VALUE(false, text);
}

/// How far beyond [0, 1] a number may lie that is said to be in it: the
/// rounding of an interpolation, in half precision.
inline constexpr double kUnitRounding = 1e-3;

/// Throws c10::IndexError unless the integers `index` ([M], on the host) lie in
/// [low, high): `name` is the argument, `what` it counts.
inline void check_in_range(
    const char* where,
    const char* what,
    const char* name,
    const torch::Tensor& index,
    int64_t low,
    int64_t high) {
  const auto wide = index.to(torch::kLong); // `high` may be beyond a byte
  const auto bad = first_false((wide >= low) & (wide < high));
  TORCH_CHECK_INDEX(
      bad < 0,
      where,
      ": expected ",
      what,
      " in [",
      low,
      ", ",
      high,
      "), but ",
      name,
      "[",
      bad,
      "] is ",
      index[bad].item<int64_t>());
}

} // namespace care::detail

#endif // CARE_DETAIL_CHECK_HPP
