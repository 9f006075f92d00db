// Whole files: read, told apart, and written so that no half is left.
// SPDX-License-Identifier: Apache-2.0
#include "files.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <ios>
#include <sstream>
#include <stdexcept>
#include <system_error>

namespace trainer {

namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  const bool is_folder = fs::is_directory(path);
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  if (!file || is_folder || (file.peek() != EOF && !(bytes << file.rdbuf()))) {
    const std::error_code code(
        is_folder ? EISDIR : errno, std::generic_category());
    throw std::runtime_error(
        "cannot read '" + path.string() + "': " + code.message());
  }
  return bytes.str();
}

bool is_device(const fs::path& path) {
  std::error_code none;
  // What a process was given (/dev/stdout) may be a file, to be added to.
  const auto kind = fs::status(path, none).type();
  const auto top = fs::absolute(path).lexically_normal().string();
  return top.rfind("/dev/std", 0) == 0 || top.rfind("/dev/fd/", 0) == 0 ||
      top.rfind("/proc/", 0) == 0 ||
      (kind != fs::file_type::regular && kind != fs::file_type::directory &&
       kind != fs::file_type::not_found);
}

namespace {

/// Where a file is written to: first to `part`, of a device at once.
struct Place {
  fs::path target, part;
  bool at_once;
};

Place place_of(const fs::path& path) {
  std::error_code none;
  const bool at_once = is_device(path);
  auto target = path;
  for (int i = 0; !at_once && i < 40 && fs::is_symlink(target, none); ++i) {
    target = target.parent_path() / fs::read_symlink(target, none);
  } // the link stays one
  auto part = target;
  part += at_once ? "" : ".part";
  return {target, part, at_once};
}

/// Waits until the file's bytes are on the disk: a rename may be there before
/// them, and a power cut then leaves an empty file in a good one's place.
bool is_on_disk(const fs::path& file) {
  const int opened = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  const bool done = opened >= 0 &&
      (::fsync(opened) == 0 || errno == EINVAL || errno == ENOTSUP);
  const int reason = errno;
  ::close(opened);
  errno = reason;
  return done;
}

[[noreturn]] void fail_to_write(
    const fs::path& path,
    const std::error_code& error) {
  throw std::runtime_error(
      path.string() + ": cannot be written: " + error.message());
}

} // namespace

void write_atomically(
    const fs::path& path,
    std::string_view bytes,
    bool durable) {
  const auto [target, part, at_once] = place_of(path);
  std::error_code error, none;
  if (!at_once && target.has_parent_path()) {
    fs::create_directories(target.parent_path(), error);
  }
  errno = 0;
  std::ofstream stream(
      part, std::ios::binary | (at_once ? std::ios::app : std::ios::trunc));
  stream.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  stream.close();
  if (!stream) {
    error = error ? error : std::error_code(errno, std::generic_category());
  } else if (!at_once && durable && !is_on_disk(part)) {
    error = std::error_code(errno, std::generic_category());
  } else if (!at_once) {
    fs::rename(part, target, error);
  }
  if (!stream || error) {
    if (!at_once) {
      fs::remove(part, none);
    }
    fail_to_write(path, error);
  }
}

void check_writable(const fs::path& path) {
  const auto [target, part, at_once] = place_of(path);
  if (at_once) {
    return;
  }
  std::error_code error;
  if (target.has_parent_path()) {
    fs::create_directories(target.parent_path(), error);
  }
  errno = 0;
  if (!std::ofstream(part, std::ios::app)) {
    fail_to_write(
        path, error ? error : std::error_code(errno, std::generic_category()));
  }
  fs::remove(part);
}

std::string fingerprint(std::string_view bytes) {
  uint64_t hash = 14695981039346656037U;
  for (const char byte : bytes) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211U;
  }
  char digits[17];
  std::snprintf(digits, sizeof(digits), "%016" PRIx64, hash);
  return digits;
}

std::string fingerprint_of_file(const fs::path& path) {
  if (!fs::is_regular_file(path)) { // /dev/null would be an empty one
    throw std::runtime_error(
        path.string() + ": expected a file, but it cannot be opened");
  }
  return fingerprint(read_file(path));
}

} // namespace trainer
