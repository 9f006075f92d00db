// Presence: who shares a folder, and what killed ones left in it.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_STUDY_PRESENCE_HPP
#define CARE_EXAMPLES_STUDY_PRESENCE_HPP

#include "resnet_trainer/lock.hpp"

#include <filesystem>
#include <vector>

namespace study {

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
        if (entry.path().extension() == ".part" && entry.is_regular_file()) {
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
  trainer::Lock lock_;
};

} // namespace study

#endif // CARE_EXAMPLES_STUDY_PRESENCE_HPP
