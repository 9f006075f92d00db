// Autocast on the CPU, as each LibTorch spells it.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_AUTOCAST_HPP
#define CARE_TESTS_SUPPORT_AUTOCAST_HPP

#include <ATen/autocast_mode.h>
#include <torch/types.h>
#include <torch/version.h>

namespace care_test {

/// On, in bfloat16, while this lives.
struct Autocast {
  Autocast() {
    set(true);
  }
  ~Autocast() {
    set(false);
    at::autocast::clear_cache();
  }
  static void set(bool on) {
#if TORCH_VERSION_MAJOR > 2 || \
    (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4)
    at::autocast::set_autocast_enabled(at::kCPU, on);
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
#else
    at::autocast::set_cpu_enabled(on);
    at::autocast::set_autocast_cpu_dtype(at::kBFloat16);
#endif
  }
};

} // namespace care_test

#endif // CARE_TESTS_SUPPORT_AUTOCAST_HPP
