// The logits in whatever a network returns.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_OUTPUTS_HPP
#define CARE_CAPTURE_OUTPUTS_HPP

#include <ATen/core/ivalue.h>
#include <c10/util/Exception.h>
#include <torch/types.h>

#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace care {

namespace detail {

template <class T, class = void>
struct HasLogits : std::false_type {};
template <class T>
struct HasLogits<T, std::void_t<decltype(std::declval<const T&>().logits)>>
    : std::true_type {};

template <class T, class = void>
struct IsTuple : std::false_type {};
template <class T>
struct IsTuple<T, std::void_t<decltype(std::tuple_size<T>::value)>>
    : std::true_type {};

} // namespace detail

/// The logits in a forward's output: the tensor itself, a struct's member
/// `logits`, the first of a tuple, pair, array or vector, and of what a
/// TorchScript module returns (c10::IValue) the same. For anything else return
/// the logits from the callable you hand to `capture`.
/// Throws c10::ValueError for an empty vector or another kind of IValue.
template <class Output>
torch::Tensor logits_of(const Output& output) {
  if constexpr (std::is_convertible_v<const Output&, torch::Tensor>) {
    return output;
  } else if constexpr (detail::HasLogits<Output>::value) {
    return logits_of(output.logits);
  } else if constexpr (detail::IsTuple<Output>::value) {
    return logits_of(std::get<0>(output));
  } else if constexpr (std::is_same_v<Output, std::vector<torch::Tensor>>) {
    TORCH_CHECK_VALUE(
        !output.empty(),
        "care::logits_of: expected at least one tensor, but got none");
    return output[0];
  } else {
    static_assert(
        std::is_same_v<Output, c10::IValue>,
        "care::logits_of: expected a tensor, a struct with `logits`, a tuple, "
        "or a c10::IValue; return the logits from the callable instead");
    if (output.isTuple() && !output.toTuple()->elements().empty()) {
      return logits_of(c10::IValue(output.toTuple()->elements()[0]));
    }
    if (output.isTensorList() && !output.toTensorVector().empty()) {
      return output.toTensorVector()[0];
    }
    TORCH_CHECK_VALUE(
        output.isTensor(),
        "care::logits_of: expected the TorchScript module to return a tensor "
        "or a tuple, but got ",
        output.tagKind());
    return output.toTensor();
  }
}

} // namespace care

#endif // CARE_CAPTURE_OUTPUTS_HPP
