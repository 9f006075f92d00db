// Each run of a test case begins with the same seed: it draws the same numbers
// alone, among others and in any order.
// SPDX-License-Identifier: Apache-2.0
#define CATCH_CONFIG_EXTERNAL_INTERFACES // Catch2 2: its listeners
#include "support/catch.hpp"

#if __has_include(<catch2/reporters/catch_reporter_event_listener.hpp>)
#include <catch2/reporters/catch_reporter_event_listener.hpp>
#include <catch2/reporters/catch_reporter_registrars.hpp>
using Listener = Catch::EventListenerBase;
#else
using Listener = Catch::TestEventListenerBase;
#endif

namespace {

// The outermost section is the case itself, entered anew for each inner section
// and generated value. Inner ones draw on: what they draw is not what the case
// drew before.
class Seeding : public Listener {
 public:
  using Listener::Listener;

  void sectionStarting(const Catch::SectionInfo& section) override {
    Listener::sectionStarting(section);
    if (depth_++ == 0) {
      torch::manual_seed(0);
    }
  }

  void sectionEnded(const Catch::SectionStats& stats) override {
    --depth_;
    Listener::sectionEnded(stats);
  }

 private:
  int depth_ = 0;
};

} // namespace

CATCH_REGISTER_LISTENER(Seeding)
