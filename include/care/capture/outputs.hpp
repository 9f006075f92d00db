// The logits in whatever a network returns.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_OUTPUTS_HPP
#define CARE_CAPTURE_OUTPUTS_HPP

#include <care/detail/main_output.hpp>

#include <torch/types.h>

namespace care {

/// The logits in a forward's output: the tensor itself, a struct's member
/// `logits` (or `out`), the first of a tuple, pair, array or vector, and of
/// what a TorchScript module returns (c10::IValue) the same. For anything else
/// return the logits from the callable you hand to `capture`. Throws
/// c10::ValueError for an empty vector, c10::TypeError for another kind of
/// IValue.
template <class Output>
torch::Tensor logits_of(const Output& output) {
  return detail::main_output("care::logits_of", output);
}

} // namespace care

#endif // CARE_CAPTURE_OUTPUTS_HPP
