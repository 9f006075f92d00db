// Progress: how far a long job is, for a terminal and for a log file.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_PROGRESS_HPP
#define CARE_EXAMPLES_COMMON_PROGRESS_HPP

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <iostream>
#include <string>
#include <utility>

namespace common {

/// Seconds from a clock that never goes back.
inline double steady_seconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

/// 75 as "1:15", 3675 as "1:01:15"; "--:--" for what is not known.
inline std::string clock_time(double seconds) {
  if (!(seconds >= 0 && seconds < 1e9)) {
    return "--:--";
  }
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  const auto hours = whole / 3600, minutes = whole / 60 % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60)
                   : fmt::format("{}:{:02}", minutes, whole % 60);
}

struct ProgressOptions {
  bool terminal = ::isatty(STDERR_FILENO) == 1;
  std::function<double()> clock = steady_seconds;
  std::ostream& stream = std::cerr;
};

/// One line that tells how far a job is, the images a second and the time left:
/// rewritten in place on a terminal, elsewhere written every ten seconds.
///
///   Progress progress("plain, seed 0", epochs * images);
///   for (...) {
///     progress.advance(batch_size, "epoch 3, loss 0.41");
///   }
///   progress.finish();
class Progress {
 public:
  /// `total`: the images to come, all epochs together; `already` of them were
  /// done before (a resumed run).
  Progress(
      std::string label,
      int64_t total,
      int64_t already = 0,
      ProgressOptions options = {})
      : label_(std::move(label)),
        options_(std::move(options)),
        total_(total),
        already_(already) {}
  ~Progress() {
    clear(); // an exception passed by: leave the line to its message
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Counts `images` more, and writes when it is time to.
  void advance(int64_t images, const std::string& note = "") {
    done_ += images;
    note_ = note.empty() ? note_ : " | " + note;
    const double interval = options_.terminal ? 0.1 : 10;
    if (done_ < total_ && options_.clock() - last_ >= interval) {
      write();
    }
  }

  /// Writes a line that stays.
  void line(const std::string& text) {
    clear();
    options_.stream << text << std::endl;
  }

  /// Says what it took.
  void finish() {
    write();
    if (std::exchange(drawn_, false)) {
      options_.stream << std::endl;
    }
  }

 private:
  void write() {
    last_ = options_.clock();
    const auto left = static_cast<double>(total_ - done_);
    const double elapsed = last_ - start_;
    const double rate =
        elapsed > 0 ? static_cast<double>(done_ - already_) / elapsed : 0;
    clear();
    options_.stream << fmt::format(
        "{}: {:3}%, {:.{}f} images/s, {}{}",
        label_,
        left > 0 ? 100 * done_ / total_ : 100, // rounded down
        rate,
        rate < 10 ? 1 : 0,
        left > 0 ? clock_time(rate > 0 ? left / rate : -1) + " left"
                 : clock_time(elapsed) + " in all",
        note_);
    options_.stream << (options_.terminal ? "" : "\n") << std::flush;
    drawn_ = options_.terminal;
  }

  void clear() {
    if (std::exchange(drawn_, false)) {
      options_.stream << "\r\x1b[K" << std::flush;
    }
  }

  std::string label_, note_;
  ProgressOptions options_;
  int64_t total_, already_, done_ = already_;
  double start_ = options_.clock(), last_ = start_;
  bool drawn_ = false;
};

} // namespace common

#endif // CARE_EXAMPLES_COMMON_PROGRESS_HPP
