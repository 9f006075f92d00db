// What the benchmarks share: options, clocks, quantiles.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_BENCHMARKS_BENCH_HPP
#define CARE_BENCHMARKS_BENCH_HPP

#include <torch/utils.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace bench {

/// `--name value` of the command line, or `fallback`.
inline int64_t option(
    int argc,
    char** argv,
    const char* name,
    int64_t fallback) {
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], name) == 0) {
      return std::atoll(argv[i + 1]);
    }
  }
  return fallback;
}

/// Sets LibTorch's threads to `--threads` (default: all cores); returns them.
inline int64_t set_threads(int argc, char** argv) {
  auto threads = option(argc, argv, "--threads", 0);
  if (threads <= 0) {
    threads = std::max(1U, std::thread::hardware_concurrency());
  }
  torch::set_num_threads(static_cast<int>(threads));
  return threads;
}

template <class Work>
double seconds_of(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

inline double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(
      q * static_cast<double>(values.size() - 1) + 0.5)];
}

} // namespace bench

#endif // CARE_BENCHMARKS_BENCH_HPP
