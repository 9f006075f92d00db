// Claims: how processes that share a folder keep out of each other's way.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_CLAIM_HPP
#define CARE_EXAMPLES_STUDY_CLAIM_HPP

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <vector>

namespace study {

/// A lock on a file, made where it lacks. The system takes it back when the
/// process ends, also when it is killed.
class Lock {
 public:
  explicit Lock(const std::filesystem::path& path) {
    std::filesystem::create_directories(path.parent_path());
    file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file_ < 0) {
      throw std::runtime_error(
          "cannot make '" + path.string() +
          "': " + std::generic_category().message(errno));
    }
  }
  ~Lock() {
    ::close(file_);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  /// LOCK_SH or LOCK_EX, with LOCK_NB without waiting: whether it is held now.
  bool take(int kind) {
    return ::flock(file_, kind) == 0;
  }

 private:
  int file_;
};

/// That a process works in a folder. The first of several removes the halves of
/// files that killed ones left.
class Presence {
 public:
  explicit Presence(const std::filesystem::path& folder)
      : lock_(folder / ".lock") {
    namespace fs = std::filesystem;
    if (lock_.take(LOCK_EX | LOCK_NB)) {
      std::vector<fs::path> halves;
      for (const auto& entry : fs::recursive_directory_iterator(folder)) {
        if (entry.path().extension() == ".part") {
          halves.push_back(entry.path());
        }
      }
      for (const auto& half : halves) {
        fs::remove(half);
      }
    }
    lock_.take(LOCK_SH);
  }

 private:
  Lock lock_;
};

} // namespace study

#endif // CARE_EXAMPLES_STUDY_CLAIM_HPP
