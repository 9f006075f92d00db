// Progress: how far a long job is, for a terminal and for a log file.
// SPDX-License-Identifier: Apache-2.0
#include "common/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <utility>

namespace common {
namespace {

constexpr int64_t kBarWidth = 24;
constexpr const char* kEraseLine = "\r\x1b[K";

size_t terminal_width() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) {
    return 80;
  }
  return size.ws_col;
}

/// The first `width` bytes, without cutting a UTF-8 letter in two.
std::string_view shortened(std::string_view text, size_t width) {
  if (text.size() <= width) {
    return text;
  }
  while (width > 0 &&
         (static_cast<unsigned char>(text[width]) & 0xC0) == 0x80) {
    --width;
  }
  return text.substr(0, width);
}

} // namespace

bool stderr_is_terminal() {
  return ::isatty(STDERR_FILENO) == 1;
}

double steady_seconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

std::string clock_time(double seconds) {
  if (!(seconds >= 0 && seconds < 1e9)) {
    return "--:--";
  }
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  const auto hours = whole / 3600, minutes = whole / 60 % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60)
                   : fmt::format("{}:{:02}", minutes, whole % 60);
}

Progress::Progress(
    std::string label,
    int64_t total,
    int64_t already,
    ProgressOptions options)
    : label_(std::move(label)),
      options_(std::move(options)),
      stream_(options_.stream != nullptr ? *options_.stream : std::cerr),
      total_(std::max<int64_t>(total, 0)),
      already_(already),
      done_(already),
      start_(options_.clock()),
      last_(start_) {}

Progress::~Progress() {
  if (drawn_) {
    clear(); // an exception passed by: leave the line to its message
  }
}

void Progress::advance(int64_t images, std::string_view note) {
  done_ += images;
  if (!note.empty()) {
    note_ = note;
  }
  const auto interval =
      options_.terminal ? options_.bar_interval : options_.line_interval;
  if (!finished_ && options_.clock() - last_ >= interval) {
    draw();
  }
}

void Progress::line(std::string_view text) {
  clear();
  stream_ << text << '\n' << std::flush;
  last_ = options_.clock();
}

void Progress::finish() {
  if (std::exchange(finished_, true)) {
    return;
  }
  clear();
  if (!options_.terminal) {
    draw();
  }
}

std::string Progress::status() const {
  const double elapsed = options_.clock() - start_;
  const auto fresh = static_cast<double>(done_ - already_);
  const double rate = elapsed > 0 ? fresh / elapsed : 0;
  const auto left = static_cast<double>(std::max<int64_t>(total_ - done_, 0));
  const double share = total_ > 0
      ? std::min(1.0, static_cast<double>(done_) / static_cast<double>(total_))
      : 1.0;
  auto text = label_;
  if (options_.terminal) {
    const auto full = std::llround(share * static_cast<double>(kBarWidth));
    text += fmt::format(
        " [{:#<{}}{:.<{}}]",
        "",
        static_cast<int>(full),
        "",
        static_cast<int>(kBarWidth - full));
  } else {
    text += ":";
  }
  // Rounded down: 100 % is said when all is done.
  text += fmt::format(
      " {:3}%, {:.{}f} images/s, ",
      static_cast<int>(share * 100),
      rate,
      rate < 10 ? 1 : 0);
  const bool over = done_ >= total_;
  text += over ? clock_time(elapsed) + " in all"
               : clock_time(rate > 0 ? left / rate : -1) + " left";
  return note_.empty() ? text : text + " | " + note_;
}

void Progress::draw() {
  last_ = options_.clock();
  if (options_.terminal) {
    stream_ << kEraseLine << shortened(status(), terminal_width() - 1)
            << std::flush;
    drawn_ = true;
  } else {
    stream_ << status() << '\n' << std::flush;
  }
}

void Progress::clear() {
  if (std::exchange(drawn_, false)) {
    stream_ << kEraseLine << std::flush;
  }
}

} // namespace common
