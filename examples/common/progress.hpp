// Progress: how far a long job is, for a terminal and for a log file.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_PROGRESS_HPP
#define CARE_EXAMPLES_COMMON_PROGRESS_HPP

#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>

namespace common {

/// Whether the standard error stream is a terminal.
bool stderr_is_terminal();

/// Seconds from a clock that never goes back.
double steady_seconds();

struct ProgressOptions {
  bool terminal = stderr_is_terminal();
  double bar_interval = 0.1; ///< seconds between two drawings of the bar
  double line_interval = 10; ///< seconds between two plain lines
  std::function<double()> clock = steady_seconds;
  std::ostream* stream = nullptr; ///< standard error when null
};

/// A bar with images per second and time left, or, where nobody watches, plain
/// lines a few seconds apart.
///
///   Progress progress("plain, seed 0", epochs * images);
///   for (...) {
///     progress.advance(batch_size, "epoch 3, loss 0.41");
///   }
///   progress.line("epoch 3: loss 0.41, MCA 0.73"); // stays on the screen
///   progress.finish();
class Progress {
 public:
  /// `label` stands before the bar; `total` is the number of images to come,
  /// all epochs together; `already` of them were done before (a resumed run).
  Progress(
      std::string label,
      int64_t total,
      int64_t already = 0,
      ProgressOptions options = {});
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Counts `images` more, and draws when it is time to.
  void advance(int64_t images, std::string_view note = {});

  /// Prints a line that stays, above the bar.
  void line(std::string_view text);

  /// Removes the bar; a plain log gets one last line. Later calls do nothing.
  void finish();

 private:
  std::string status() const;
  void draw();
  void clear();

  std::string label_;
  std::string note_;
  ProgressOptions options_;
  std::ostream& stream_;
  int64_t total_;
  int64_t already_;
  int64_t done_;
  double start_;
  double last_;
  bool drawn_ = false;
  bool finished_ = false;
};

/// 75 as "1:15", 3675 as "1:01:15"; "--:--" for what is not known.
std::string clock_time(double seconds);

} // namespace common

#endif // CARE_EXAMPLES_COMMON_PROGRESS_HPP
