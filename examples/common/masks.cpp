// Lesion masks: which file is whose.
// SPDX-License-Identifier: Apache-2.0
#include "common/masks.hpp"

#include <cstddef>
#include <system_error>

namespace common {

namespace fs = std::filesystem;

fs::path mask_of(
    const trainer::Row& row,
    const fs::path& folder,
    std::string pattern) {
  const auto stem = row.file.stem().string();
  for (size_t at = 0; (at = pattern.find("{}", at)) != std::string::npos;) {
    pattern.replace(at, 2, stem);
    at += stem.size();
  }
  const auto path = fs::path(row.path).lexically_normal();
  const bool within = path.is_relative() && *path.begin() != "..";
  fs::path found;
  for (const auto& place :
       {fs::path(), within ? path.parent_path() : fs::path()}) {
    const auto file = (folder / place / pattern).lexically_normal();
    std::error_code none_there;
    if (fs::is_regular_file(file, none_there) &&
        !fs::equivalent(file, row.file, none_there)) {
      found = file; // the second place counts more
    }
  }
  return found;
}

} // namespace common
