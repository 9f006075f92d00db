// Programs under test: run, started and killed, in folders of their own.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_PROGRAM_HPP
#define CARE_TESTS_SUPPORT_PROGRAM_HPP

#include "support/files.hpp"

#include <fcntl.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>

namespace care_test {

struct ProgramOutcome {
  int status = 0;
  std::string text; // what it printed, on both streams
};

/// Runs a program to its end.
inline ProgramOutcome run_program(
    const std::string& program,
    const std::string& arguments) {
  const Folder folder;
  const auto log = folder.path / "log";
  const auto command =
      program + " " + arguments + " > " + log.string() + " 2>&1 < /dev/null";
  const int status = std::system(command.c_str());
  return {WEXITSTATUS(status), read_text(log)};
}

/// A program that runs beside the test, in silence; killed at the latest when
/// this goes.
class Child {
 public:
  Child(const std::string& program, const std::string& arguments)
      : pid_(fork()) {
    if (pid_ == 0) {
      const int nothing = ::open("/dev/null", O_WRONLY);
      ::dup2(nothing, 1);
      ::dup2(nothing, 2);
      const auto command = "exec " + program + " " + arguments;
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
  }
  ~Child() {
    kill();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// Whether there is a process at all.
  bool started() const {
    return pid_ > 0;
  }

  void kill() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      wait();
    }
  }

  /// It stands still until it is killed.
  void stop() {
    ::kill(pid_, SIGSTOP);
  }

  /// Its exit status, -1 if a signal ended it.
  int wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_;
};

/// Starts the program and kills it as soon as `file` is there, or after a
/// minute.
inline void kill_when_there(
    const std::string& program,
    const std::string& arguments,
    const std::filesystem::path& file) {
  Child child(program, arguments);
  for (int i = 0; i < 6000 && !std::filesystem::exists(file); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  child.kill();
}

} // namespace care_test

#endif // CARE_TESTS_SUPPORT_PROGRAM_HPP
