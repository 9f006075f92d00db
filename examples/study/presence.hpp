// Presence: who shares a folder, and what killed ones left in it.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_PRESENCE_HPP
#define CARE_EXAMPLES_STUDY_PRESENCE_HPP

#include "resnet_trainer/lock.hpp"

#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

namespace study {

/// What a study writes into its folder.
constexpr const char* kFiles[] = {
    "study.json",
    "near_duplicates.json",
    "runs.csv",
    "results.md",
    "report.html",
    "attention.png"};
constexpr const char* kFolders[][2] = {
    {"arms", ".json"},
    {"splits", ".json"},
    {"runs", ".json"},
    {"checkpoints", ".pt"},
    {"charts", ".svg"}};

/// Throws std::invalid_argument for a folder that is no study's and has a file
/// that a study would overwrite.
inline void check_own(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  if (fs::exists(folder / "study.json")) {
    return;
  }
  for (const auto* name : kFiles) {
    if (fs::exists(folder / name)) {
      throw std::invalid_argument(
          "--out: expected the folder of a study or one without a file " +
          std::string(name) + ", but got " + folder.string());
    }
  }
}

/// That a process works in a study's folder. The first of several removes the
/// halves of files that killed ones left.
class Presence {
 public:
  explicit Presence(const std::filesystem::path& folder)
      : lock_(folder / ".lock") {
    if (lock_.take(LOCK_EX | LOCK_NB)) {
      remove_halves(folder);
    }
    lock_.take(LOCK_SH);
  }

 private:
  /// Of a study's files alone: others may be writing beside it.
  static void remove_halves(const std::filesystem::path& folder) {
    namespace fs = std::filesystem;
    std::vector<fs::path> halves;
    for (const auto* name : kFiles) {
      halves.push_back(folder / (std::string(name) + ".part"));
    }
    for (const auto& [name, ending] : kFolders) {
      if (!fs::is_directory(folder / name)) {
        continue;
      }
      for (const auto& entry :
           fs::recursive_directory_iterator(folder / name)) {
        const auto& path = entry.path();
        if (path.extension() == ".part" && path.stem().extension() == ending) {
          halves.push_back(path);
        }
      }
    }
    for (const auto& half : halves) {
      fs::remove(half);
    }
  }

  trainer::Lock lock_;
};

} // namespace study

#endif // CARE_EXAMPLES_STUDY_PRESENCE_HPP
