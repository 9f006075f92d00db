// What the benchmarks share: options, clocks, contests in turns, reports.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_BENCHMARKS_BENCH_HPP
#define CARE_BENCHMARKS_BENCH_HPP

#include <fmt/format.h>
#include <torch/utils.h>
#include <torch/version.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace bench {

/// What of the command line no option has been read from.
inline std::vector<std::string>& unread(int argc, char** argv) {
  static std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
  return words;
}

/// `--name value` of the command line, or `fallback`.
inline std::string text_option(
    int argc,
    char** argv,
    const std::string& name,
    const std::string& fallback) {
  auto& words = unread(argc, argv);
  for (size_t i = 0; i + 1 < words.size(); i += 2) {
    if (words[i] == name) {
      auto value = words[i + 1];
      const auto at = words.begin() + static_cast<std::ptrdiff_t>(i);
      words.erase(at, at + 2);
      return value;
    }
  }
  return fallback;
}

inline int64_t option(
    int argc,
    char** argv,
    const char* name,
    int64_t fallback) {
  const auto text = text_option(argc, argv, name, std::to_string(fallback));
  char* end = nullptr;
  const auto value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0') {
    fmt::print(stderr, "{}: expected a number, but got '{}'\n", name, text);
    std::exit(2);
  }
  return value;
}

/// Ends a program whose command line holds what no option was read from.
inline void no_more_options() {
  const auto& words = unread(0, nullptr);
  if (!words.empty()) {
    fmt::print(stderr, "no option '{}', or no value for it\n", words[0]);
    std::exit(2);
  }
}

/// Sets LibTorch's threads to `--threads` (default: all cores); returns them.
inline int64_t set_threads(int argc, char** argv, int64_t fallback = 0) {
  auto threads = option(argc, argv, "--threads", fallback);
  if (threads <= 0) {
    threads = std::max(1U, std::thread::hardware_concurrency());
  }
  torch::set_num_threads(static_cast<int>(threads));
  return threads;
}

template <class Work>
double seconds_of(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

inline double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(
      q * static_cast<double>(values.size() - 1) + 0.5)];
}

/// Seconds of several works that took turns.
struct Contest {
  std::vector<std::vector<double>> seconds; // [works][rounds]

  double median(size_t work) const {
    return quantile(seconds[work], 0.5);
  }
  /// Quantile of the ratios of two works, each of one round.
  double ratio(size_t work, size_t to, double q = 0.5) const {
    std::vector<double> ratios;
    for (size_t i = 0; i < seconds[work].size(); ++i) {
      ratios.push_back(seconds[work][i] / seconds[to][i]);
    }
    return quantile(ratios, q);
  }
};

/// Runs each work `rounds` times, in turns, each round beginning with another
/// one: a machine whose speed drifts treats all alike. Works that share what
/// has to be warm may be warmed up by the caller instead.
inline Contest in_turns(
    int64_t rounds,
    const std::vector<std::function<void()>>& works,
    bool warm_up = true) {
  for (size_t i = 0; warm_up && i < works.size(); ++i) {
    works[i]();
  }
  Contest contest{std::vector<std::vector<double>>(works.size())};
  for (size_t round = 0; round < static_cast<size_t>(rounds); ++round) {
    for (size_t i = 0; i < works.size(); ++i) {
      const auto turn = (i + round) % works.size();
      contest.seconds[turn].push_back(seconds_of(works[turn]));
    }
  }
  return contest;
}

/// Rows of named values: a table for people, and the same as JSON on the last
/// line. It begins when all options have been read.
class Report {
 public:
  using Row = nlohmann::ordered_json;

  Report(std::string name, std::string setting)
      : name_(std::move(name)),
        setting_(std::move(setting)) {
    no_more_options();
    fmt::print("{}: {}, LibTorch {}\n", name_, setting_, TORCH_VERSION);
  }

  void add(const Row& row) {
    rows_.push_back(row);
  }

  void print() const {
    std::vector<std::vector<std::string>> lines(1);
    for (const auto& item : rows_.at(0).items()) {
      lines[0].push_back(item.key());
    }
    for (const auto& row : rows_) {
      auto& line = lines.emplace_back();
      for (const auto& value : row) {
        line.push_back(text_of(value));
      }
    }
    std::vector<size_t> widths(lines[0].size());
    for (const auto& line : lines) {
      for (size_t i = 0; i < line.size(); ++i) {
        widths[i] = std::max(widths[i], line[i].size());
      }
    }
    for (const auto& line : lines) {
      for (size_t i = 0; i < line.size(); ++i) {
        fmt::print(
            "{:>{}}{}", line[i], widths[i], i + 1 < line.size() ? "  " : "\n");
      }
    }
    Row all;
    all["benchmark"] = name_;
    all["setting"] = setting_;
    all["libtorch"] = TORCH_VERSION;
    all["rows"] = rows_;
    fmt::print("{}\n", all.dump());
  }

 private:
  static std::string text_of(const Row& value) {
    return value.is_string()      ? value.get<std::string>()
        : value.is_number_float() ? fmt::format("{:.4g}", value.get<double>())
                                  : value.dump();
  }

  std::string name_, setting_;
  std::vector<Row> rows_;
};

} // namespace bench

#endif // CARE_BENCHMARKS_BENCH_HPP
