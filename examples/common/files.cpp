// files: whole files read and written, never half a file.
// SPDX-License-Identifier: Apache-2.0
#include "common/files.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>

namespace common {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const char* what, const fs::path& path, int code) {
  throw std::runtime_error(
      std::string(what) + " '" + path.string() +
      "': " + std::generic_category().message(code));
}

/// Writes and forces to disk; 0 or the error's code.
int write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written < 0) {
      return errno;
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return ::fsync(file) == 0 ? 0 : errno;
}

} // namespace

void write_atomically(const fs::path& path, std::string_view bytes) {
  const char* what = "cannot write";
  const auto folder =
      path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    fail("cannot make the folder", folder, error.value());
  }
  // In the same folder, as a rename does not reach across file systems. The
  // process id keeps two programs that write one file apart.
  auto part = path;
  part += ".part" + std::to_string(::getpid());
  const int file =
      ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) {
    fail(what, path, errno);
  }
  int code = write_all(file, bytes);
  if (::close(file) != 0 && code == 0) {
    code = errno;
  }
  if (code == 0 && ::rename(part.c_str(), path.c_str()) != 0) {
    code = errno;
  }
  if (code != 0) {
    ::unlink(part.c_str());
    fail(what, path, code);
  }
  // The new name itself must reach the disk; not every file system can.
  const int directory = ::open(folder.c_str(), O_RDONLY | O_CLOEXEC);
  if (directory >= 0) {
    ::fsync(directory);
    ::close(directory);
  }
}

void write_json(const fs::path& path, const nlohmann::ordered_json& json) {
  write_atomically(
      path,
      json.dump(
          1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) +
          "\n");
}

std::string read_file(const fs::path& path) {
  const char* what = "cannot read";
  if (fs::is_directory(path)) {
    fail(what, path, EISDIR);
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    fail(what, path, errno != 0 ? errno : EIO);
  }
  std::string bytes{
      std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (file.bad()) {
    fail(what, path, errno != 0 ? errno : EIO);
  }
  return bytes;
}

std::string fingerprint(std::string_view bytes) {
  uint64_t hash = 14695981039346656037U;
  for (const char byte : bytes) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211U;
  }
  return fmt::format("{:016x}", hash);
}

} // namespace common
