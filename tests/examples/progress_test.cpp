// The progress bar and the plain lines, with a clock of the test's own.
// SPDX-License-Identifier: Apache-2.0
#include "common/progress.hpp"

#include "support/support.hpp"

#include <sstream>

using common::Progress;
using common::ProgressOptions;

namespace {

struct Bench {
  double now = 100;
  std::ostringstream out;

  ProgressOptions options(bool terminal) {
    ProgressOptions options;
    options.terminal = terminal;
    options.clock = [this] { return now; };
    options.stream = &out;
    return options;
  }
};

} // namespace

TEST_CASE("progress: times are read as on a clock") {
  CHECK(common::clock_time(0) == "0:00");
  CHECK(common::clock_time(75.4) == "1:15");
  CHECK(common::clock_time(3675) == "1:01:15");
  CHECK(common::clock_time(-1) == "--:--");
  CHECK(common::clock_time(std::numeric_limits<double>::infinity()) == "--:--");
}

TEST_CASE("progress: plain lines come a few seconds apart") {
  Bench bench;
  Progress progress("plain", 400, 0, bench.options(false));
  for (int i = 0; i < 20; ++i) {
    bench.now += 1;
    progress.advance(10, "epoch 1");
  }
  CHECK(
      bench.out.str() ==
      "plain:  25%, 10 images/s, 0:30 left | epoch 1\n"
      "plain:  50%, 10 images/s, 0:20 left | epoch 1\n");
  bench.out.str("");
  progress.line("epoch 1: done");
  progress.advance(200);
  progress.finish();
  progress.finish();
  CHECK(
      bench.out.str() ==
      "epoch 1: done\n"
      "plain: 100%, 20 images/s, 0:20 in all | epoch 1\n");
}

TEST_CASE("progress: a resumed job counts its rate from where it began") {
  Bench bench;
  Progress progress("care", 100, 50, bench.options(false));
  bench.now += 10;
  progress.advance(25);
  CHECK(bench.out.str() == "care:  75%, 2.5 images/s, 0:10 left\n");
}

TEST_CASE("progress: a terminal gets a bar, which lines push aside") {
  Bench bench;
  {
    Progress progress("plain", 100, 0, bench.options(true));
    bench.now += 0.05;
    progress.advance(1); // too soon to draw
    CHECK(bench.out.str().empty());
    bench.now += 1.95;
    progress.advance(49);
    CHECK(
        bench.out.str() ==
        "\r\x1b[Kplain [############............]  50%, 25 images/s, 0:02 "
        "left");
    bench.out.str("");
    progress.line("epoch 1");
    CHECK(bench.out.str() == "\r\x1b[Kepoch 1\n");
    bench.now += 2;
    progress.advance(50);
    bench.out.str("");
  }
  CHECK(bench.out.str() == "\r\x1b[K"); // nothing is left of it
}

TEST_CASE("progress: an empty job is done") {
  Bench bench;
  Progress progress("none", 0, 0, bench.options(false));
  progress.finish();
  CHECK(bench.out.str() == "none: 100%, 0.0 images/s, 0:00 in all\n");
}
