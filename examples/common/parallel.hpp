// A loop over independent items on several threads.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_PARALLEL_HPP
#define CARE_EXAMPLES_COMMON_PARALLEL_HPP

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace common {

/// Calls `work(i)` for every i in [0, count) on up to `jobs` threads.
///
/// When calls throw, no new ones are made, and the exception of the smallest i
/// is thrown again here, after all threads have ended.
template <typename Work>
void parallel_for(size_t count, int jobs, const Work& work) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  size_t failed = count;
  const auto run = [&] {
    for (size_t i = next++; i < count; i = next++) {
      try {
        work(i);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (i < failed) {
          failed = i;
          error = std::current_exception();
        }
        next = count;
      }
    }
  };
  const auto wanted = static_cast<size_t>(std::max(jobs, 1));
  std::vector<std::thread> threads;
  for (size_t i = 1; i < std::min(wanted, count); ++i) {
    threads.emplace_back(run);
  }
  run();
  for (auto& thread : threads) {
    thread.join();
  }
  if (error) {
    std::rethrow_exception(error);
  }
}

} // namespace common

#endif // CARE_EXAMPLES_COMMON_PARALLEL_HPP
