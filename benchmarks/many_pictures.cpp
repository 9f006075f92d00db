// Many pictures: what the trainer holds while an epoch goes on.
// SPDX-License-Identifier: Apache-2.0
//
//   many_pictures [--pictures 100000] [--threads 1] [--workers 1]
//
// Writes JPEGs of 64 pixels to a folder for temporary files. Then what the
// trainer does with their manifest, for a very thin ResNet-18 on 32 pixels:
// seconds since the start, and memory that the process holds, when the manifest
// is read and divided, after the first step, and on the way through an epoch.
#include "bench.hpp"
#include "training.hpp"

#include "resnet_trainer/task.hpp"
#include "resnet_trainer/test.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <string>

namespace {

/// What of the process lies in memory, in MiB.
double resident() {
  std::ifstream pages("/proc/self/statm");
  int64_t all = 0, here = 0;
  pages >> all >> here;
  return static_cast<double>(here * ::sysconf(_SC_PAGESIZE)) / (1 << 20);
}

} // namespace

int main(int argc, char** argv) {
  const auto count = bench::option(argc, argv, "--pictures", 100000);
  const auto threads = bench::set_threads(argc, argv, 1);
  trainer::Options o;
  o.workers = bench::option(argc, argv, "--workers", 1);
  o.size = {32, 32};
  o.batch = 32;
  bench::no_more_options();
  const bench::Folder folder;
  o.data = bench::write_pictures(folder.path, count, {64, 64}).string();
  bench::Report report(
      "many_pictures",
      fmt::format(
          "{} pictures, {} threads, {} workers", count, threads, o.workers));
  const auto start = std::chrono::steady_clock::now();
  const auto add = [&](const std::string& after) {
    const std::chrono::duration<double> seconds =
        std::chrono::steady_clock::now() - start;
    report.add(
        {{"after", after},
         {"seconds", seconds.count()},
         {"resident_MiB", resident()}});
  };

  add("start");
  const auto task = trainer::make_task(o);
  add("manifest");
  const auto& rows = task.split.train;
  const auto loader = trainer::make_loader(
      o, task, rows, care::ShuffleSampler(rows.size()), o.batch);
  bench::Training training(o.alpha, 0.1);
  int64_t seen = 0;
  trainer::StepOptions step;
  step.augment = care::AugmentOptions::preset(o.augment);
  step.after_backward = [&] {
    seen += o.batch;
    const auto every = seen < 4000 ? 1000 : 10000;
    if (seen == o.batch || seen % every < o.batch) {
      add(fmt::format("{} pictures", seen));
    }
  };
  training.epoch(*loader, step);
  add("the epoch");
  report.print();
}
