// Tests of care/schedule.hpp: stages, warm-up, saving.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/schedule.hpp>

#include <sstream>

using care::Schedule;
using care::ScheduleOptions;

namespace {

std::vector<double> strengths(const ScheduleOptions& options, int steps) {
  Schedule schedule(options);
  std::vector<double> result;
  for (int i = 0; i < steps; ++i) {
    result.push_back(schedule.strength());
    schedule.advance();
  }
  return result;
}

using List = std::vector<double>;

} // namespace

TEST_CASE("Schedule: stages and warm-up", "[schedule]") {
  CHECK(strengths({}, 3) == List{1, 1, 1});
  CHECK(strengths(ScheduleOptions().start(2), 4) == List{0, 0, 1, 1});
  CHECK(
      strengths(ScheduleOptions().warmup(3), 5) == List{0.25, 0.5, 0.75, 1, 1});
  CHECK(
      strengths(ScheduleOptions().start(2).warmup(1), 5) ==
      List{0, 0, 0.5, 1, 1});
  CHECK(
      strengths(ScheduleOptions().start(ScheduleOptions::kManual), 3) ==
      List{0, 0, 0});
}

TEST_CASE("Schedule: begin starts stage 2", "[schedule]") {
  for (const int64_t start : {ScheduleOptions::kManual + 0, int64_t{9}}) {
    Schedule schedule(ScheduleOptions().start(start).warmup(1));
    schedule.advance();
    CHECK(schedule.strength() == 0);
    schedule.begin();
    CHECK(schedule.strength() == 0.5);
    schedule.begin(); // runs already
    schedule.advance();
    schedule.begin();
    CHECK(schedule.strength() == 1);
    CHECK(schedule.now() == 2);
  }
}

TEST_CASE("Schedule: saves and loads", "[schedule]") {
  const auto options =
      ScheduleOptions().start(ScheduleOptions::kManual).warmup(3);
  Schedule schedule(options);
  schedule.advance();
  schedule.begin();
  schedule.advance();
  torch::serialize::OutputArchive out;
  schedule.save(out);
  std::stringstream stream;
  out.save_to(stream);
  torch::serialize::InputArchive in;
  in.load_from(stream);
  Schedule other(options);
  other.load(in);
  for (int i = 0; i < 4; ++i) {
    CHECK(other.now() == schedule.now());
    CHECK(other.strength() == schedule.strength());
    other.advance();
    schedule.advance();
  }
  // Not begun stays not begun.
  torch::serialize::OutputArchive fresh;
  Schedule(options).save(fresh);
  std::stringstream second;
  fresh.save_to(second);
  torch::serialize::InputArchive read;
  read.load_from(second);
  other.load(read);
  CHECK(other.strength() == 0);
  CHECK(other.now() == 0);
}

TEST_CASE("Schedule: torch::save and torch::load", "[schedule]") {
  care::Schedule first(care::ScheduleOptions().start(3));
  first.advance();
  first.begin();
  first.advance();
  std::stringstream file;
  torch::save(first, file);
  care::Schedule second(care::ScheduleOptions().start(3));
  torch::load(second, file);
  CHECK(second.now() == 2);
  CHECK(second.strength() == 1);
}

TEST_CASE("Schedule: bad input", "[schedule]") {
  CARE_REQUIRE_THROWS_AS(
      Schedule(ScheduleOptions().start(-2)),
      c10::ValueError,
      "care::Schedule: expected start >= 0 or kManual, but got -2");
  CARE_REQUIRE_THROWS_AS(
      Schedule(ScheduleOptions().warmup(-1)),
      c10::ValueError,
      "care::Schedule: expected warmup >= 0, but got -1");
}
