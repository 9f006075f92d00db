// The tensor that matters in whatever a network returns.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_DETAIL_MAIN_OUTPUT_HPP
#define CARE_DETAIL_MAIN_OUTPUT_HPP

#include <ATen/core/ivalue.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace care::detail {

template <class T, class = void>
struct HasLogits : std::false_type {};
template <class T>
struct HasLogits<T, std::void_t<decltype(std::declval<const T&>().logits)>>
    : std::true_type {};

template <class T, class = void>
struct HasOut : std::false_type {};
template <class T>
struct HasOut<T, std::void_t<decltype(std::declval<const T&>().out)>>
    : std::true_type {};

template <class T, class = void>
struct IsTuple : std::false_type {};
template <class T>
struct IsTuple<T, std::void_t<decltype(std::tuple_size<T>::value)>>
    : std::true_type {};

/// Of what a TorchScript module returned.
inline torch::Tensor main_output(const char* where, const c10::IValue& value) {
  if (value.isTuple() && !value.toTupleRef().elements().empty()) {
    return main_output(where, c10::IValue(value.toTupleRef().elements()[0]));
  }
  if (value.isTensorList() && !value.toTensorVector().empty()) {
    return value.toTensorVector()[0];
  }
  if (value.isGenericDict()) {
    const auto entries = value.toGenericDict();
    for (const char* key : {"logits", "out"}) {
      const auto found = entries.find(key);
      if (found != entries.end()) {
        return main_output(where, found->value());
      }
    }
  }
  TORCH_CHECK_TYPE(
      value.isTensor(),
      where,
      ": expected a TorchScript module that returns a tensor, a tuple or list "
      "of them, or a dictionary with \"logits\" or \"out\", but got ",
      value.tagKind());
  return value.toTensor();
}

/// The tensor itself, a struct's member `logits` or `out`, the first of a
/// tuple, pair, array or vector. `where` names the caller in errors.
template <class Output>
torch::Tensor main_output(const char* where, const Output& output) {
  if constexpr (std::is_convertible_v<const Output&, torch::Tensor>) {
    return output;
  } else if constexpr (HasLogits<Output>::value) {
    return main_output(where, output.logits);
  } else if constexpr (HasOut<Output>::value) {
    return main_output(where, output.out);
  } else if constexpr (IsTuple<Output>::value) {
    return main_output(where, std::get<0>(output));
  } else if constexpr (std::is_same_v<Output, std::vector<torch::Tensor>>) {
    TORCH_CHECK_VALUE(
        !output.empty(), where, ": expected at least one tensor, but got none");
    return output[0];
  } else {
    static_assert(
        std::is_same_v<Output, torch::Tensor>,
        "care: expected a network that returns a tensor, a struct with "
        "`logits` or `out`, a tuple, a vector, or a c10::IValue; return the "
        "tensor from a callable instead");
    return torch::Tensor();
  }
}

/// Logits in float32, with their history: under autocast a head returns half
/// precision, in which neither a loss nor a score is exact.
inline torch::Tensor in_float(const torch::Tensor& logits) {
  return logits.defined() &&
          (logits.scalar_type() == torch::kHalf ||
           logits.scalar_type() == torch::kBFloat16)
      ? logits.to(torch::kFloat)
      : logits;
}

} // namespace care::detail

#endif // CARE_DETAIL_MAIN_OUTPUT_HPP
