// A lock on a file: how processes that share a folder keep out of each other's
// way.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_LOCK_HPP
#define RESNET_TRAINER_LOCK_HPP

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <stdexcept>
#include <system_error>

namespace trainer {

/// A lock on a file, made where it lacks. The system takes it back when the
/// process ends, also when it is killed.
class Lock {
 public:
  explicit Lock(const std::filesystem::path& path) : path_(path) {
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
  /// Throws std::runtime_error where the file system knows no locks.
  bool take(int kind) {
    bool taken = false;
    do {
      taken = ::flock(file_, kind) == 0;
    } while (!taken && errno == EINTR);
    if (!taken && errno != EWOULDBLOCK) {
      throw std::runtime_error(
          "cannot lock '" + path_.string() +
          "': " + std::generic_category().message(errno));
    }
    return taken;
  }

  /// Takes it alone, without waiting. Throws std::runtime_error that says
  /// `refusal` where another process holds it.
  void take_alone(const std::string& refusal) {
    if (!take(LOCK_EX | LOCK_NB)) {
      throw std::runtime_error(refusal);
    }
  }

 private:
  std::filesystem::path path_;
  int file_;
};

} // namespace trainer

#endif // RESNET_TRAINER_LOCK_HPP
