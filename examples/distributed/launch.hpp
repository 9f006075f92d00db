// Starts a program several times on this machine, each with its rank.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_DISTRIBUTED_LAUNCH_HPP
#define CARE_EXAMPLES_DISTRIBUTED_LAUNCH_HPP

#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace parallel {

/// A port that nobody listens at now.
inline uint16_t free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  const bool found = socket >= 0 && ::bind(socket, plain, size) == 0 &&
      ::getsockname(socket, plain, &size) == 0;
  ::close(socket);
  if (!found) {
    throw std::runtime_error("--nproc: found no free port");
  }
  return ntohs(address.sin_port);
}

/// Starts this program `count` times and waits for all: main's status. One that
/// a signal ended is named; the others end by themselves. They end with this
/// process too.
inline int launch(int count, char** argv) {
  ::setenv("MASTER_ADDR", "127.0.0.1", 1);
  ::setenv("MASTER_PORT", std::to_string(free_port()).c_str(), 1);
  ::setenv("WORLD_SIZE", std::to_string(count).c_str(), 1);
  ::setenv("LOCAL_WORLD_SIZE", std::to_string(count).c_str(), 1);
  std::vector<pid_t> processes;
  for (int rank = 0; rank < count; ++rank) {
    ::setenv("RANK", std::to_string(rank).c_str(), 1);
    const auto pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::execv("/proc/self/exe", argv);
      ::_exit(127);
    }
    processes.push_back(pid);
  }
  bool failed = false;
  for (size_t rank = 0; rank < processes.size(); ++rank) {
    int status = 0;
    ::waitpid(processes[rank], &status, 0);
    if (WIFSIGNALED(status)) {
      std::cerr << "rank " << rank << " was ended by signal "
                << WTERMSIG(status) << '\n';
    }
    failed = failed || !WIFEXITED(status) || WEXITSTATUS(status) != 0;
  }
  return failed ? 1 : 0;
}

} // namespace parallel

#endif // CARE_EXAMPLES_DISTRIBUTED_LAUNCH_HPP
