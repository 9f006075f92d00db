// What the trainer costs beyond a bare step, and reading beyond decoding.
// SPDX-License-Identifier: Apache-2.0
//
//   loading [--pictures 64] [--rounds 5] [--size 112] [--threads 1]
//
// Pictures of grain, 640x480, written as JPEG to a folder for temporary files.
// "decode" is cv::imread alone, "load" what the trainer makes of the files:
// batches of 16, boxes checked, pictures at --size. Then epochs of a thin
// ResNet-18: "bare step" forward, cross-entropy, backward and Adam on a batch
// that lies ready; the trainer's loop, plain (alpha 0) and guided, on pictures
// in memory and decoded by one worker. Last, boxes without an annotator.
#include "bench.hpp"
#include "resnet_trainer/picture.hpp"
#include "resnet_trainer/resnet.hpp"
#include "resnet_trainer/train.hpp"

#include <care/find_boxes.hpp>
#include <care/imbalance/shuffle_sampler.hpp>
#include <care/saliency.hpp>

#include <fmt/format.h>
#include <torch/data/dataloader.h>
#include <torch/nn/functional/loss.h>
#include <torch/optim/adam.h>
#include <opencv2/imgcodecs.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <system_error>
#include <vector>

namespace {

namespace fs = std::filesystem;
namespace F = torch::nn::functional;

/// A folder of pictures that is gone with this.
class Folder {
 public:
  explicit Folder(int64_t count)
      : folder_(
            fs::temp_directory_path() /
            fmt::format("care_loading_{}", std::random_device()())) {
    fs::create_directory(folder_);
    cv::Mat picture(480, 640, CV_8UC3);
    for (int64_t i = 0; i < count; ++i) {
      cv::randu(picture, 60, 200);
      picture(cv::Rect(100, 100, 200, 150)) = cv::Scalar(40, 60, 160);
      trainer::Row row;
      row.path = fmt::format("{}.jpg", i);
      row.file = folder_ / row.path;
      row.label = i % 4 == 0 ? "rare" : "common";
      row.boxes = {{100, 100, 300, 250}};
      row.confidence = {1};
      row.where = row.path;
      row.box_where = {row.path};
      cv::imwrite(row.file.string(), picture);
      rows_.push_back(row);
    }
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::vector<trainer::Row>& rows() const {
    return rows_;
  }

 private:
  fs::path folder_;
  std::vector<trainer::Row> rows_;
};

auto make_loader(
    const std::vector<trainer::Row>& rows,
    int64_t size,
    bool cache,
    size_t workers) {
  trainer::PicturesOptions options;
  options.size = {size, size};
  options.cache = cache;
  return torch::data::make_data_loader(
      trainer::Pictures(rows, {"common", "rare"}, options),
      care::ShuffleSampler(rows.size()),
      torch::data::DataLoaderOptions(16).workers(workers));
}

/// A network in training, and its epochs.
struct Training {
  explicit Training(double alpha)
      : guide(care::GuideOptions().classes({1}).alpha(alpha)) {
    trainer::ResNetOptions options;
    options.classes = 2;
    options.width = 0.25;
    options.last_stride = 1;
    net = trainer::ResNet(options);
    trainer::to_channels_last(*net);
    optimizer = std::make_unique<torch::optim::Adam>(net->parameters(), 1e-4);
  }

  template <class Loader>
  void epoch(Loader& loader) {
    const auto criterion = [](const auto& logits, const auto& targets) {
      return F::cross_entropy(logits, targets);
    };
    trainer::train_epoch(net, criterion, guide, *optimizer, loader, {}, {});
  }

  /// As many steps as an epoch has, on one batch that lies ready.
  void bare(
      const torch::Tensor& images,
      const torch::Tensor& targets,
      int64_t steps) {
    net->train();
    for (int64_t i = 0; i < steps; ++i) {
      const auto loss = F::cross_entropy(net->forward(images), targets);
      optimizer->zero_grad();
      loss.backward();
      optimizer->step();
    }
  }

  trainer::ResNet net{nullptr};
  std::unique_ptr<torch::optim::Optimizer> optimizer;
  care::Guide<> guide;
};

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
  const Folder folder(count);
  const auto& rows = folder.rows();
  const auto files = make_loader(rows, size, false, 0);
  const auto worker = make_loader(rows, size, false, 1);
  const auto memory = make_loader(rows, size, true, 0);
  const trainer::Input input;
  torch::Tensor images, targets;
  for (const auto& batch : *memory) { // which fills the cache
    images = input.normalised(input.pixels(batch));
    targets = batch.targets;
  }
  Training bare(0), plain(0), guided(0.5), decoding(0);
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
      {"bare step", [&] { bare.bare(images, targets, count / 16); }, 2},
      {"plain, in memory", [&] { plain.epoch(*memory); }, 2},
      {"guided, in memory", [&] { guided.epoch(*memory); }, 2},
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
