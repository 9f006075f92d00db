// Which pictures: those of a manifest, or those in a folder.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/input.hpp"

#include <algorithm>
#include <cctype>
#include <set>
#include <stdexcept>
#include <string>

namespace auto_boxes {
namespace {

namespace fs = std::filesystem;

bool is_picture(const fs::path& file) {
  static const std::set<std::string> kEndings{
      ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"};
  auto ending = file.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  return kEndings.count(ending) > 0;
}

} // namespace

std::vector<common::Record> read_input(
    const fs::path& input,
    const fs::path& except) {
  if (!fs::is_directory(input)) {
    return common::read_manifest(input);
  }
  std::vector<common::Record> records;
  std::error_code none_there;
  auto all = fs::recursive_directory_iterator(input);
  for (const auto end = fs::end(all); all != end; ++all) {
    const auto& entry = *all;
    if (fs::equivalent(entry.path(), except, none_there)) {
      all.disable_recursion_pending();
      continue;
    }
    if (!entry.is_regular_file() || !is_picture(entry.path())) {
      continue;
    }
    common::Record record;
    const auto inner = fs::relative(entry.path(), input);
    record.path = inner.generic_string();
    record.file = entry.path();
    record.label = inner.has_parent_path()
        ? inner.parent_path().filename().string()
        : std::string("unlabelled");
    record.where = input.string();
    if (!common::is_utf8(record.path)) {
      throw std::runtime_error(
          record.where + ": expected names in UTF-8, but got " + record.path);
    }
    records.push_back(std::move(record));
  }
  if (records.empty()) {
    throw std::runtime_error(
        input.string() +
        ": expected a manifest or a folder with pictures, but it has none");
  }
  std::sort(records.begin(), records.end(), [](const auto& a, const auto& b) {
    return a.path < b.path;
  });
  return records;
}

} // namespace auto_boxes
