// A generated lesion set: dermoscopy-like pictures, drawn from a seed.
// SPDX-License-Identifier: Apache-2.0
//
// It shows a mechanism, not medicine: a bystander (a coloured sticker) goes
// with the rare class in training and with the other classes in testing.
#ifndef CARE_EXAMPLES_COMMON_GENERATED_HPP
#define CARE_EXAMPLES_COMMON_GENERATED_HPP

#include "common/sample.hpp"

#include <care/boxes.hpp>

#include <opencv2/core.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace common {

constexpr int64_t kNevus = 0;
constexpr int64_t kMelanoma = 1;
constexpr int64_t kKeratosis = 2;
constexpr int64_t kDermatofibroma = 3; ///< the rare class
constexpr size_t kGeneratedClasses = 4;

/// The class names in the order of their indices.
std::vector<std::string> generated_classes();

/// On which pictures the sticker lies.
enum class Bystander {
  kAsTrained, ///< nearly always beside the rare class, hardly ever elsewhere
  kTrap, ///< never beside the rare class, often beside the others
  kNone, ///< nowhere
};

struct GeneratedOptions {
  care::Size size{96, 96};
  /// Pictures of each class: nevus, melanoma, keratosis, dermatofibroma.
  std::array<int64_t, kGeneratedClasses> counts{400, 160, 120, 40};
  Bystander bystander = Bystander::kAsTrained;
  double sticker_rare = 0.95; ///< kAsTrained: its probability, rare class
  double sticker_other = 0.02; ///< kAsTrained: its probability, other classes
  double sticker_trap = 0.5; ///< kTrap: its probability, other classes
  /// How far the rare class's looks are from a nevus: 0 not at all, 1 plainly.
  double rare_contrast = 0.35;
  /// How often hairs, ruler marks and bubbles lie about: 0 never, 1 often.
  double clutter = 0.5;
  uint64_t seed = 1;
};

/// One picture with what is known of it.
struct GeneratedImage {
  cv::Mat image; ///< 8-bit RGB
  cv::Mat mask; ///< 8-bit, 255 on the lesion
  cv::Rect box; ///< around the mask, tight, half-open
  int64_t target = 0;
  bool sticker = false;
};

/// Picture `index` of the set. It depends on the seed and the index alone; the
/// sticker is drawn last, so that sets that differ only in `bystander` show
/// the same pictures with and without it.
GeneratedImage draw_generated(const GeneratedOptions& options, int64_t index);

/// All pictures of the set, class after class, drawn on `jobs` threads.
std::vector<Sample> make_generated(const GeneratedOptions& options, int jobs);

} // namespace common

#endif // CARE_EXAMPLES_COMMON_GENERATED_HPP
