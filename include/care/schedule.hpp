// When the attention loss is on, and how strongly: stages and warm-up.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_SCHEDULE_HPP
#define CARE_SCHEDULE_HPP

#include <c10/util/Exception.h>
#include <torch/arg.h>
#include <torch/serialize/archive.h>
#include <torch/types.h>

#include <algorithm>
#include <cstdint>

namespace care {

/// Options of `Schedule`, in epochs or steps: whatever `advance` counts.
struct ScheduleOptions {
  /// For `start`: off until `Schedule::begin` is called.
  static constexpr int64_t kManual = -1;

  /// How many are run with the attention loss off (stage 1). Default: 0.
  TORCH_ARG(int64_t, start) = 0;
  /// Over how many its strength then rises linearly to 1. Default: 0, at once.
  TORCH_ARG(int64_t, warmup) = 0;
};

/// The strength of the attention loss over time, 0 to 1.
///
///   strength = clamp((now - started + 1) / (warmup + 1), 0, 1)
///
/// The paper trains in two stages: cross-entropy until it stops falling, then
/// with the attention loss. Give the length of stage 1 as `start`, or kManual
/// and call `begin` when you see that stage 1 is over.
class Schedule {
 public:
  explicit Schedule(const ScheduleOptions& options = {}) : options_(options) {
    TORCH_CHECK_VALUE(
        options.start() >= ScheduleOptions::kManual,
        "care::Schedule: expected start >= 0 or kManual, but got ",
        options.start());
    TORCH_CHECK_VALUE(
        options.warmup() >= 0,
        "care::Schedule: expected warmup >= 0, but got ",
        options.warmup());
  }

  /// Counts one epoch (or step).
  void advance() {
    ++now_;
  }

  /// Starts stage 2 now, whatever `start` says; harmless when it runs already.
  void begin() {
    if (strength() == 0) {
      begun_ = now_;
    }
  }

  int64_t now() const {
    return now_;
  }

  double strength() const {
    const auto started = begun_ >= 0 ? begun_ : options_.start();
    if (started < 0 || now_ < started) {
      return 0;
    }
    return std::min(
        1.0,
        static_cast<double>(now_ - started + 1) /
            static_cast<double>(options_.warmup() + 1));
  }

  /// The options are not saved, as with every LibTorch module.
  void save(torch::serialize::OutputArchive& archive) const {
    archive.write("now", c10::IValue(now_));
    archive.write("begun", c10::IValue(begun_));
  }

  void load(torch::serialize::InputArchive& archive) {
    c10::IValue now, begun;
    archive.read("now", now);
    archive.read("begun", begun);
    now_ = now.toInt();
    begun_ = begun.toInt();
  }

  friend torch::serialize::OutputArchive& operator<<(
      torch::serialize::OutputArchive& archive,
      const Schedule& schedule) {
    schedule.save(archive);
    return archive;
  }
  friend torch::serialize::InputArchive& operator>>(
      torch::serialize::InputArchive& archive,
      Schedule& schedule) {
    schedule.load(archive);
    return archive;
  }

 private:
  ScheduleOptions options_;
  int64_t now_ = 0;
  int64_t begun_ = -1; // when begin() was called
};

} // namespace care

#endif // CARE_SCHEDULE_HPP
