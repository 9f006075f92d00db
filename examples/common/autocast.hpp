// Autocast to bfloat16, as each LibTorch spells it.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_AUTOCAST_HPP
#define CARE_EXAMPLES_COMMON_AUTOCAST_HPP

#include <ATen/autocast_mode.h>
#include <torch/types.h>
#include <torch/version.h>

namespace common {

/// While this lives, convolutions and matrix products of float tensors run in
/// bfloat16, which needs no loss scaling. Weights stay float. Only around the
/// forward pass, never around `backward`.
class Autocast {
 public:
  explicit Autocast(bool on = true, torch::DeviceType device = torch::kCPU)
      : on_(on),
        device_(device) {
    set(on_);
  }
  ~Autocast() {
    if (on_) {
      set(false);
      at::autocast::clear_cache();
    }
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  void set(bool on) const {
    if (!on_) {
      return;
    }
#if TORCH_VERSION_MAJOR > 2 || \
    (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
    at::autocast::set_autocast_enabled(device_, on);
    at::autocast::set_autocast_dtype(device_, at::kBFloat16);
#else
    if (device_ == torch::kCUDA) {
      at::autocast::set_enabled(on);
      at::autocast::set_autocast_gpu_dtype(at::kBFloat16);
    } else {
      at::autocast::set_cpu_enabled(on);
      at::autocast::set_autocast_cpu_dtype(at::kBFloat16);
    }
#endif
  }

  bool on_;
  torch::DeviceType device_;
};

} // namespace common

#endif // CARE_EXAMPLES_COMMON_AUTOCAST_HPP
