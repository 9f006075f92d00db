// The whole training, from files to weights: an epoch of the trainer's parts.
// SPDX-License-Identifier: Apache-2.0
//
//   end_to_end [--data FOLDER] [--pictures 2000] [--side 256] [--first 2000]
//              [--threads 1] [--workers 1]
//
// Writes --pictures JPEGs of --side pixels where FOLDER has no manifest. The
// --first of them become batches of 32 pictures of 144 pixels, are changed by
// the preset "strong" and train a thin ResNet-18 in float, with class weights:
// one epoch plainly, one guided by the boxes that a quarter of them have. Each
// begins with a new network, optimizer and loader; the files have been read
// once. end_to_end.py does the same in Python and runs both in turns.
#include "bench.hpp"
#include "training.hpp"

#include "resnet_trainer/process.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

int main(int argc, char** argv) {
  trainer::wait_passively(argv);
  const auto folder =
      bench::text_option(argc, argv, "--data", "build/end_to_end_pictures");
  const auto count = bench::option(argc, argv, "--pictures", 2000);
  const auto side = static_cast<int>(bench::option(argc, argv, "--side", 256));
  const auto first = bench::option(argc, argv, "--first", 2000);
  const auto threads = bench::set_threads(argc, argv, 1);
  bench::LoaderOptions options;
  options.workers =
      static_cast<size_t>(bench::option(argc, argv, "--workers", 1));
  bench::no_more_options();

  auto rows = trainer::read_manifest(
      bench::write_pictures(folder, count, {side, side}));
  rows.resize(std::min(rows.size(), static_cast<size_t>(first)));
  bench::Report report(
      "end_to_end",
      fmt::format(
          "{} pictures, {} threads, {} workers",
          rows.size(),
          threads,
          options.workers));
  const auto pictures = static_cast<double>(rows.size());
  const auto add = [&](const std::string& work, double seconds) {
    report.add({{"work", work}, {"pictures_a_second", pictures / seconds}});
  };
  add("load", bench::seconds_of([&] {
        const auto loader = bench::make_loader(rows, options);
        for (const auto& batch : *loader) {
          static_cast<void>(batch);
        }
      }));
  for (const double alpha : {0., 0.5}) {
    add(alpha > 0 ? "guided" : "plain", bench::seconds_of([&] {
          trainer::StepOptions step;
          step.augment = care::AugmentOptions::preset("strong");
          bench::Training training(alpha);
          training.epoch(*bench::make_loader(rows, options), step);
        }));
  }
  report.print();
}
