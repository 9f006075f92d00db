// Files under test: folders of their own, texts in and out, what is thrown.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_FILES_HPP
#define CARE_TESTS_SUPPORT_FILES_HPP

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace care_test {

/// A folder of its own for each test, gone afterwards.
class Folder {
 public:
  Folder() {
    auto name =
        (std::filesystem::temp_directory_path() / "care-test-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() {
    std::error_code error;
    std::filesystem::remove_all(path, error);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path path;
};

inline std::filesystem::path write_text(
    const std::filesystem::path& path,
    const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {
      std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// The text of what `work` throws, "" if it throws nothing.
template <class Work>
std::string error_of(const Work& work) {
  try {
    work();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace care_test

#endif // CARE_TESTS_SUPPORT_FILES_HPP
