// Autocast: mixed precision for a forward pass, as a guard.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_AMP_HPP
#define CARE_AMP_HPP

#include <ATen/autocast_mode.h>
#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/version.h>

namespace care {

namespace detail {

/// Whether autocast is on for a device in this thread, and to which dtype: the
/// one place that knows how each LibTorch asks and sets it.
struct AutocastState {
  bool enabled = false;
  torch::Dtype dtype = torch::kBFloat16;

#if TORCH_VERSION_MAJOR > 2 || \
    (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 5)
  static bool is_available(torch::DeviceType device) {
    return at::autocast::is_autocast_available(device);
  }

  static AutocastState of(torch::DeviceType device) {
    return {
        at::autocast::is_autocast_enabled(device),
        at::autocast::get_autocast_dtype(device)};
  }

  void set(torch::DeviceType device) const {
    at::autocast::set_autocast_dtype(device, dtype); // which may throw
    at::autocast::set_autocast_enabled(device, enabled);
  }
#else
  static bool is_available(torch::DeviceType device) {
    return device == torch::kCPU || device == torch::kCUDA;
  }

  static AutocastState of(torch::DeviceType device) {
    if (device == torch::kCUDA) {
      return {
          at::autocast::is_enabled(), at::autocast::get_autocast_gpu_dtype()};
    }
    return {
        at::autocast::is_cpu_enabled(), at::autocast::get_autocast_cpu_dtype()};
  }

  void set(torch::DeviceType device) const {
    if (device == torch::kCUDA) {
      at::autocast::set_autocast_gpu_dtype(dtype);
      at::autocast::set_enabled(enabled);
    } else {
      at::autocast::set_autocast_cpu_dtype(dtype);
      at::autocast::set_cpu_enabled(enabled);
    }
  }
#endif
};

} // namespace detail

/// Mixed precision while this lives: Python's `torch.autocast`, which LibTorch
/// has no C++ class for.
///
/// Convolutions and matrix products of float tensors on `device` run in
/// `dtype`; parameters stay float32. Put it around the forward pass alone,
/// never around `backward` or the optimizer's step, and compute losses outside
/// of it, from `logits.to(torch::kFloat)`: on the CPU a softmax of bfloat16 is
/// one in bfloat16. bfloat16 needs no loss scaling; half does: `GradScaler`.
///
/// With `enabled` false it switches autocast off, also inside of a region in
/// which it is on: for a part that must run in float32 (hand it float tensors,
/// `x.to(torch::kFloat)`). At the end the state is as it was, also after an
/// exception, and the copies of the weights that autocast keeps are let go of.
///
/// It holds for the thread that made it; end it there, the last one first.
/// Throws c10::ValueError for another dtype than bfloat16 and half, and for a
/// device that this LibTorch has no autocast for; c10::Error for a dtype that
/// it has none for on this device (1.13: half on the CPU).
///
///   auto seen = [&] {
///     const care::Autocast mixed(images.device());
///     return guide.watch(net, images);
///   }(); // the losses follow outside, in float32
class Autocast {
 public:
  explicit Autocast(
      torch::Device device,
      torch::Dtype dtype = torch::kBFloat16,
      bool enabled = true)
      : device_(device.type()) {
    TORCH_CHECK_VALUE(
        dtype == torch::kBFloat16 || dtype == torch::kHalf,
        "care::Autocast: expected bfloat16 or half, but got ",
        dtype);
    TORCH_CHECK_VALUE(
        detail::AutocastState::is_available(device_),
        "care::Autocast: expected a device that this LibTorch has autocast "
        "for, but got ",
        device_);
    before_ = detail::AutocastState::of(device_);
    if (dtype != before_.dtype) { // also for a region inside of this one
      at::autocast::clear_cache(); // its copies are of the other dtype
    }
    detail::AutocastState{enabled, dtype}.set(device_);
  }

  ~Autocast() {
    before_.set(device_);
    at::autocast::clear_cache();
  }

  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  torch::DeviceType device_;
  detail::AutocastState before_;
};

} // namespace care

#endif // CARE_AMP_HPP
