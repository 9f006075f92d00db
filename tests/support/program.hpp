// Programs as tests see them: run, watched, killed; and folders that go away.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_PROGRAM_HPP
#define CARE_TESTS_SUPPORT_PROGRAM_HPP

#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace support {

/// A folder of its own for each test, gone afterwards.
class Folder {
 public:
  Folder() {
    auto name =
        (std::filesystem::temp_directory_path() / "care-test-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() {
    std::filesystem::remove_all(path);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path path;
};

struct Outcome {
  int status = 0;
  std::string text; // what it printed, on both streams
};

/// Runs a program to its end.
inline Outcome run(const std::string& program, const std::string& arguments) {
  const Folder folder;
  const auto log = folder.path / "log";
  const auto command =
      program + " " + arguments + " > " + log.string() + " 2>&1 < /dev/null";
  const int status = std::system(command.c_str());
  std::ifstream file(log, std::ios::binary);
  return {
      WEXITSTATUS(status),
      {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()}};
}

/// A program that runs beside the test, in silence; killed at the latest when
/// this goes.
class Child {
 public:
  Child(const std::string& program, const std::string& arguments)
      : pid_(fork()) {
    if (pid_ == 0) {
      std::freopen("/dev/null", "w", stdout);
      std::freopen("/dev/null", "w", stderr);
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

} // namespace support

#endif // CARE_TESTS_SUPPORT_PROGRAM_HPP
