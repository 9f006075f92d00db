// A generated lesion set, in which a sticker goes with the rare class.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_GENERATED_HPP
#define CARE_EXAMPLES_COMMON_GENERATED_HPP

#include <array>
#include <cstdint>
#include <filesystem>

namespace common {

/// Its classes, the last one rare. They show a mechanism, not medicine.
inline constexpr std::array<const char*, 4> kGeneratedClasses{
    "nevus",
    "melanoma",
    "keratosis",
    "dermatofibroma"};

struct GeneratedOptions {
  int64_t width = 96, height = 96;
  std::array<int64_t, 4> counts{300, 120, 90, 30}; ///< to learn from, by class
  int64_t test_count = 100; ///< of each class, in each test set
};

/// Paints the set into `folder`: pictures, masks, and manifest.csv, which comes
/// last: where it is there already, nothing is painted. Returns its path.
///
/// To learn from are pictures with a sticker beside nearly every lesion of the
/// rare class and hardly any other. Two test sets (column `test_set`) show the
/// same lesions: in "trap" the sticker lies beside half of the other classes
/// and never beside the rare one, in "as_trained" where it lay in training.
std::filesystem::path write_generated_set(
    const std::filesystem::path& folder,
    const GeneratedOptions& options);

} // namespace common

#endif // CARE_EXAMPLES_COMMON_GENERATED_HPP
