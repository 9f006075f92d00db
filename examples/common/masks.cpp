// Lesion masks: which file is whose.
// SPDX-License-Identifier: Apache-2.0
#include "common/masks.hpp"

#include <cstddef>
#include <map>
#include <stdexcept>
#include <system_error>

namespace common {

namespace fs = std::filesystem;

fs::path mask_of(
    const trainer::Row& row,
    const fs::path& folder,
    std::string pattern) {
  const auto stem = trainer::name_without_ending(row.file);
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

void find_masks(
    std::vector<trainer::Row>& rows,
    const fs::path& folder,
    const std::string& pattern) {
  std::map<fs::path, const trainer::Row*> owner;
  for (auto& row : rows) {
    row.mask = mask_of(row, folder, pattern);
    const auto& first = *owner.emplace(row.mask, &row).first->second;
    if (!row.mask.empty() && &first != &row) {
      throw std::runtime_error(
          row.where + ": expected a mask of its own for " + row.path +
          ", but " + row.mask.string() + " is that of " + first.path +
          ", too; masks may lie in folders like the pictures'");
    }
  }
}

} // namespace common
