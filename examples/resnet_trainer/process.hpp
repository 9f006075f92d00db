// What every program here does round its work.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_PROCESS_HPP
#define RESNET_TRAINER_PROCESS_HPP

#include <c10/util/Exception.h>

#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <thread>

namespace trainer {

/// Starts this program once more with OMP_WAIT_POLICY=passive, unless it has
/// been set. LibTorch's threads otherwise spin while they wait for one another,
/// and where another process needs the cores too an epoch can take forty times
/// as long. (The OpenMP library reads the variable before main begins.)
inline void wait_passively(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) {
    ::setenv("OMP_WAIT_POLICY", "passive", 1);
    ::execv("/proc/self/exe", argv); // returns where there is no such file
  }
}

/// As many threads as were asked for; 0: one for each core.
inline int threads_or_all(int64_t wanted) {
  return static_cast<int>(
      wanted > 0 ? wanted
                 : std::max<int64_t>(1, std::thread::hardware_concurrency()));
}

/// Runs `work` and says what went wrong, after the program's name, on the
/// standard error stream: main's status.
template <class Work>
int run_main(const char* program, const Work& work) {
  try {
    work();
    return 0;
  } catch (const c10::Error& error) {
    std::cerr << program << ": " << error.what_without_backtrace() << '\n';
  } catch (const std::exception& error) {
    std::cerr << program << ": " << error.what() << '\n';
  }
  return 1;
}

} // namespace trainer

#endif // RESNET_TRAINER_PROCESS_HPP
