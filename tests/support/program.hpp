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

  /// Whether it ended with an error of its own, not by a signal.
  bool is_refusal() const {
    return status != 0 && status < 128; // as the shell tells signals
  }
};

/// A path as a shell reads it, whatever spaces it holds.
inline std::string quoted(const std::filesystem::path& path) {
  return "\"" + path.string() + "\"";
}

/// Runs a program to its end. `program` stands as a shell reads it.
inline ProgramOutcome run_program(
    const std::string& program,
    const std::string& arguments) {
  const Folder folder;
  const auto log = folder.path / "log";
  const auto command =
      program + " " + arguments + " > " + quoted(log) + " 2>&1 < /dev/null";
  const int status = std::system(command.c_str());
  return {
      WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
      read_text(log)};
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

/// Waits until that is so, at most a minute; false: it did not come.
template <class Condition>
bool is_so_soon(const Condition& condition) {
  for (int i = 0; i < 6000 && !condition(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return condition();
}

inline bool is_there_soon(const std::filesystem::path& file) {
  return is_so_soon([&] { return std::filesystem::exists(file); });
}

/// Starts the program and kills it as soon as `file` is there; false: it did
/// not come.
inline bool kill_when_there(
    const std::string& program,
    const std::string& arguments,
    const std::filesystem::path& file) {
  const Child child(program, arguments);
  return is_there_soon(file);
}

} // namespace care_test

#endif // CARE_TESTS_SUPPORT_PROGRAM_HPP
