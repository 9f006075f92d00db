// What reading pictures costs beyond decoding them, and finding boxes in them.
// SPDX-License-Identifier: Apache-2.0
//
//   loading [--pictures 64] [--rounds 7]
//
// Generated pictures of 640x480, written as JPEG to a folder for temporary
// files. "decode" is cv::imread alone; "load" the trainer's reading, which
// checks boxes and brings pictures to 224x224; "examples" what an epoch makes
// of them in memory (augmentation, normalisation, batches of 32). Then boxes
// without an annotator, by each saliency method. One thread throughout.
#include "bench.hpp"
#include "common/generated.hpp"
#include "common/manifest.hpp"
#include "resnet_trainer/dataset.hpp"

#include <care/find_boxes.hpp>
#include <care/saliency.hpp>

#include <fmt/format.h>
#include <opencv2/core/utility.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <system_error>
#include <vector>

namespace {

namespace fs = std::filesystem;

/// A folder of pictures that is gone with this.
class Pictures {
 public:
  explicit Pictures(int64_t count)
      : folder_(
            fs::temp_directory_path() /
            fmt::format("care_loading_{}", std::random_device()())) {
    fs::create_directory(folder_);
    common::GeneratedOptions options;
    options.size = {480, 640};
    options.counts = {count / 4, count / 4, count / 4, count / 4};
    for (int64_t i = 0; i < count / 4 * 4; ++i) {
      const auto picture = common::draw_generated(options, i);
      cv::Mat bgr;
      cv::cvtColor(picture.image, bgr, cv::COLOR_RGB2BGR);
      common::Record record;
      record.path = fmt::format("{}.jpg", i);
      record.file = folder_ / record.path;
      record.where = record.path;
      record.label =
          common::generated_classes().at(static_cast<size_t>(picture.target));
      record.boxes.push_back(
          {static_cast<double>(picture.box.x),
           static_cast<double>(picture.box.y),
           static_cast<double>(picture.box.x + picture.box.width),
           static_cast<double>(picture.box.y + picture.box.height)});
      record.box_where.push_back(record.path);
      cv::imwrite(record.file.string(), bgr);
      records_.push_back(record);
    }
  }
  ~Pictures() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  Pictures(const Pictures&) = delete;
  Pictures& operator=(const Pictures&) = delete;

  const std::vector<common::Record>& records() const {
    return records_;
  }

 private:
  fs::path folder_;
  std::vector<common::Record> records_;
};

} // namespace

int main(int argc, char** argv) {
  const auto count = bench::option(argc, argv, "--pictures", 64);
  const auto rounds = bench::option(argc, argv, "--rounds", 7);
  bench::set_threads(argc, argv, 1);
  cv::setNumThreads(1);
  bench::Report report(
      "loading",
      fmt::format("{} pictures, {} rounds, 1 thread", count, rounds));
  const Pictures pictures(count);
  const auto& records = pictures.records();
  const auto classes = common::generated_classes();
  const care::Size size{224, 224};
  const auto samples = trainer::load_samples(records, classes, size, 1);

  trainer::DatasetOptions augmented;
  augmented.augment.hflip = true;
  augmented.augment.crop_scale_min = 0.7;
  augmented.augment.rotate = 15;
  augmented.augment.brightness = 0.2;
  trainer::LesionDataset dataset(samples, augmented);
  std::vector<torch::Tensor> all;
  for (size_t i = 0; i < samples.size(); ++i) {
    all.push_back((dataset.get({i, 0, 0}).image * 0.25 + 0.5).clamp(0, 1));
  }
  const auto images = torch::stack(all);

  struct Work {
    std::string name;
    std::function<void()> run;
  };
  const std::vector<Work> works = {
      {"decode",
       [&] {
         for (const auto& record : records) {
           cv::imread(record.file.string());
         }
       }},
      {"load", [&] { trainer::load_samples(records, classes, size, 1); }},
      {"examples",
       [&] {
         for (size_t first = 0; first < samples.size(); first += 32) {
           std::vector<trainer::Draw> draws;
           for (size_t i = first; i < std::min(first + 32, samples.size());
                ++i) {
             draws.push_back({i, 1, 0});
           }
           dataset.get_batch(draws);
         }
       }},
      {"boxes: spectral residual",
       [&] { care::find_boxes(care::spectral_residual(images)); }},
      {"boxes: frequency tuned",
       [&] { care::find_boxes(care::frequency_tuned(images)); }},
      {"boxes: robust background",
       [&] { care::find_boxes(care::robust_background(images)); }},
      {"boxes: lesion contrast",
       [&] { care::find_boxes(care::lesion_contrast(images)); }}};
  std::vector<std::function<void()>> runs;
  for (const auto& work : works) {
    runs.push_back(work.run);
  }
  const auto contest = bench::in_turns(rounds, runs);
  for (size_t i = 0; i < works.size(); ++i) {
    report.add(
        {{"work", works[i].name},
         {"pictures_a_second",
          static_cast<double>(samples.size()) / contest.median(i)},
         {"times_decode", contest.ratio(i, 0)}});
  }
  report.print();
}
