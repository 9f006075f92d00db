// What the trainer costs beyond a bare step, and reading beyond decoding.
// SPDX-License-Identifier: Apache-2.0
//
//   loading [--pictures 64] [--rounds 5] [--size 112] [--threads 1]
//
// Pictures of 640x480, written as JPEG to a folder for temporary files.
// "decode" is cv::imread alone, "load" what the trainer makes of the files:
// batches of 16, boxes checked, pictures at --size. Then epochs of a thin
// ResNet-18: "bare step" forward, cross-entropy, backward and Adam on a batch
// that lies ready; the trainer's loop, plain (alpha 0), guided and with strong
// augmentation, on pictures in memory and decoded by one worker. Last, boxes
// without an annotator.
#include "bench.hpp"
#include "training.hpp"

#include <care/find_boxes.hpp>
#include <care/saliency.hpp>

#include <fmt/format.h>
#include <opencv2/imgcodecs.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace {

/// As many steps as an epoch has, on one batch that lies ready.
void bare_steps(
    bench::Training& training,
    const torch::Tensor& images,
    const torch::Tensor& targets,
    int64_t steps) {
  training.net->train();
  for (int64_t i = 0; i < steps; ++i) {
    const auto loss =
        training.criterion(training.net->forward(images), targets);
    training.optimizer->zero_grad();
    loss.backward();
    training.optimizer->step();
  }
}

} // namespace

int main(int argc, char** argv) {
  const auto count = bench::option(argc, argv, "--pictures", 64) / 16 * 16;
  const auto rounds = bench::option(argc, argv, "--rounds", 5);
  const auto size = bench::option(argc, argv, "--size", 112);
  const auto threads = bench::set_threads(argc, argv, 1);
  bench::Report report(
      "loading",
      fmt::format(
          "{} pictures at {}, {} rounds, {} threads",
          count,
          size,
          rounds,
          threads));
  const bench::Folder folder;
  const auto rows = trainer::read_manifest(
      bench::write_pictures(folder.path, count, {640, 480}));
  const auto files = bench::make_loader(rows, {size, 16, 0, false});
  const auto worker = bench::make_loader(rows, {size, 16, 1, false});
  const auto memory = bench::make_loader(rows, {size, 16, 0, true});
  const trainer::Input input;
  torch::Tensor images, targets;
  for (const auto& batch : *memory) { // which fills the cache
    images = input.normalised(input.pixels(batch));
    targets = batch.targets;
  }
  bench::Training bare(0), plain(0), guided(0.5), augmented(0), decoding(0);
  trainer::StepOptions strong; // and half of the outsides exchanged
  strong.augment =
      care::AugmentOptions::preset("strong").outside(care::OutsideOptions());
  const auto pixels = torch::rand({count, 3, 224, 224});

  struct Work {
    std::string name;
    std::function<void()> run;
    size_t base; // the row it is compared with
  };
  const std::vector<Work> works = {
      {"decode",
       [&] {
         for (const auto& row : rows) {
           cv::imread(row.file.string());
         }
       },
       0},
      {"load",
       [&] {
         for (const auto& batch : *files) {
           static_cast<void>(batch);
         }
       },
       0},
      {"bare step", [&] { bare_steps(bare, images, targets, count / 16); }, 2},
      {"plain, in memory", [&] { plain.epoch(*memory); }, 2},
      {"guided, in memory", [&] { guided.epoch(*memory); }, 2},
      {"plain, augmented, in memory",
       [&] { augmented.epoch(*memory, strong); },
       2},
      {"plain, one worker decodes", [&] { decoding.epoch(*worker); }, 2},
      {"boxes: spectral residual",
       [&] { care::find_boxes(care::spectral_residual(pixels)); },
       0},
      {"boxes: frequency tuned",
       [&] { care::find_boxes(care::frequency_tuned(pixels)); },
       0},
      {"boxes: robust background",
       [&] { care::find_boxes(care::robust_background(pixels)); },
       0},
      {"boxes: lesion contrast",
       [&] { care::find_boxes(care::lesion_contrast(pixels)); },
       0}};
  std::vector<std::function<void()>> runs;
  for (const auto& work : works) {
    runs.push_back(work.run);
  }
  const auto contest = bench::in_turns(rounds, runs);
  for (size_t i = 0; i < works.size(); ++i) {
    report.add(
        {{"work", works[i].name},
         {"pictures_a_second", static_cast<double>(count) / contest.median(i)},
         {"time_over", works[works[i].base].name},
         {"ratio", contest.ratio(i, works[i].base)}});
  }
  report.print();
}
