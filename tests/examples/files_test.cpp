// Whole files: what was written is read, and never half of it.
// SPDX-License-Identifier: Apache-2.0
#include "common/files.hpp"

#include "support/support.hpp"

#include <unistd.h>

#include <stdexcept>

namespace fs = std::filesystem;

namespace {

/// A folder that goes away with the test.
struct Folder {
  fs::path path = fs::temp_directory_path() /
      ("care_files_test_" + std::to_string(::getpid()));
  Folder() {
    fs::remove_all(path);
  }
  ~Folder() {
    fs::remove_all(path);
  }
};

} // namespace

TEST_CASE("files: bytes come back as they were, folders are made") {
  const Folder folder;
  const auto path = folder.path / "a" / "b.bin";
  const std::string bytes("line\r\n\0\xff end", 13);
  common::write_atomically(path, bytes);
  CHECK(common::read_file(path) == bytes);
  common::write_atomically(path, "");
  CHECK(common::read_file(path).empty());
}

TEST_CASE("files: a failed write leaves the old file and nothing else") {
  const Folder folder;
  const auto path = folder.path / "taken";
  common::write_atomically(path / "inside", "kept"); // `taken` is a folder
  CARE_REQUIRE_THROWS_AS(
      common::write_atomically(path, "new"),
      std::runtime_error,
      "cannot write '" + path.string() + "'");
  CHECK(common::read_file(path / "inside") == "kept");
  CHECK(
      std::distance(
          fs::directory_iterator(folder.path), fs::directory_iterator()) == 1);
}

TEST_CASE("files: fingerprints are FNV-1a's") {
  // The values of the algorithm's published test suite.
  CHECK(common::fingerprint("") == "cbf29ce484222325");
  CHECK(common::fingerprint("foobar") == "85944171f73967e8");
}

TEST_CASE("files: errors name the path and the reason") {
  const Folder folder;
  CARE_REQUIRE_THROWS_AS(
      common::read_file(folder.path / "missing.txt"),
      std::runtime_error,
      "missing.txt': No such file or directory");
  common::write_atomically(folder.path / "file", "x");
  CARE_REQUIRE_THROWS_AS(
      common::read_file(folder.path), std::runtime_error, "Is a directory");
  CARE_REQUIRE_THROWS_AS(
      common::write_atomically(folder.path / "file" / "below", "x"),
      std::runtime_error,
      "cannot make the folder");
}
