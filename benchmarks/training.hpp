// Pictures in a folder, and the trainer's own parts learning from them.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_BENCHMARKS_TRAINING_HPP
#define CARE_BENCHMARKS_TRAINING_HPP

#include "resnet_trainer/files.hpp"
#include "resnet_trainer/picture.hpp"
#include "resnet_trainer/resnet.hpp"
#include "resnet_trainer/train.hpp"

#include <care/imbalance/shuffle_sampler.hpp>

#include <fmt/format.h>
#include <torch/data/dataloader.h>
#include <torch/nn/functional/loss.h>
#include <torch/optim/adam.h>
#include <opencv2/imgproc.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <vector>

namespace bench {

/// A folder for temporary files that is gone with this.
class Folder {
 public:
  Folder()
      : path(
            std::filesystem::temp_directory_path() /
            fmt::format("care_bench_{}", std::random_device()())) {}
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::filesystem::path path;
};

/// Writes `count` JPEGs and their manifest.csv, whose path it returns: bumps
/// and some grain. Every fourth one is "rare" and has a box round its patch.
/// Where the manifest is there already, nothing is written; throws
/// c10::ValueError where that is of another number or size of pictures.
inline std::filesystem::path write_pictures(
    const std::filesystem::path& folder,
    int64_t count,
    cv::Size size) {
  const auto manifest = folder / "manifest.csv";
  if (std::filesystem::exists(manifest)) {
    const auto rows = trainer::read_manifest(manifest);
    const auto there = trainer::read_picture(rows.at(0).file).size();
    TORCH_CHECK_VALUE(
        static_cast<int64_t>(rows.size()) == count && there == size,
        folder.string(),
        ": expected a folder without a manifest, or ",
        count,
        " pictures of ",
        size.width,
        "x",
        size.height,
        ", but got ",
        rows.size(),
        " of ",
        there.width,
        "x",
        there.height);
    return manifest;
  }
  std::filesystem::create_directories(folder);
  std::string csv = "path,label,xmin,ymin,xmax,ymax\n";
  cv::Mat bumps(size.height / 16 + 2, size.width / 16 + 2, CV_8UC3);
  cv::Mat grain(size, CV_8UC3), picture;
  cv::RNG random(0);
  for (int64_t i = 0; i < count; ++i) {
    random.fill(bumps, cv::RNG::UNIFORM, 60, 200);
    random.fill(grain, cv::RNG::UNIFORM, 0, 24);
    cv::resize(bumps, picture, size, 0, 0, cv::INTER_CUBIC);
    picture += grain;
    const cv::Rect patch(
        random.uniform(0, size.width / 2),
        random.uniform(0, size.height / 2),
        size.width / 3,
        size.height / 3);
    const bool rare = i % 4 == 0;
    picture(patch) *= rare ? 0.5 : 0.8;
    const auto name = fmt::format("{}.jpg", i);
    trainer::write_picture(folder / name, picture);
    const auto end = patch.br();
    csv += rare
        ? fmt::format(
              "{},rare,{},{},{},{}\n", name, patch.x, patch.y, end.x, end.y)
        : fmt::format("{},common,,,,\n", name);
  }
  trainer::write_atomically(manifest, csv);
  return manifest;
}

struct LoaderOptions {
  int64_t size = 144; ///< pixels of the network's input, both ways
  size_t batch = 32, workers = 0;
  bool cache = false;
};

inline auto make_loader(
    const std::vector<trainer::Row>& rows,
    const LoaderOptions& options) {
  trainer::PicturesOptions pictures;
  pictures.size = {options.size, options.size};
  pictures.cache = options.cache;
  return torch::data::make_data_loader(
      trainer::Pictures(rows, {"common", "rare"}, pictures),
      care::ShuffleSampler(rows.size()),
      torch::data::DataLoaderOptions(options.batch).workers(options.workers));
}

/// A thin ResNet-18 in training.
struct Training {
  explicit Training(double alpha, double width = 0.25)
      : guide(care::GuideOptions().classes({1}).alpha(alpha)) {
    trainer::ResNetOptions options;
    options.classes = 2;
    options.width = width;
    options.last_stride = 1;
    net = trainer::ResNet(options);
    trainer::to_channels_last(*net);
    optimizer = std::make_unique<torch::optim::Adam>(net->parameters(), 1e-4);
  }

  torch::Tensor criterion(
      const torch::Tensor& logits,
      const torch::Tensor& targets) const {
    namespace F = torch::nn::functional;
    return F::cross_entropy(
        logits, targets, F::CrossEntropyFuncOptions().weight(weights));
  }

  template <class Loader>
  trainer::Epoch epoch(
      Loader& loader,
      const trainer::StepOptions& options = {}) {
    return trainer::train_epoch(
        net,
        [this](const auto& logits, const auto& targets) {
          return criterion(logits, targets);
        },
        guide,
        *optimizer,
        loader,
        {},
        options);
  }

  trainer::ResNet net{nullptr};
  std::unique_ptr<torch::optim::Optimizer> optimizer;
  care::Guide<> guide;
  /// By inverse frequency, of three common pictures to a rare one.
  torch::Tensor weights = torch::tensor({2. / 3, 2.}, torch::kFloat);
};

} // namespace bench

#endif // CARE_BENCHMARKS_TRAINING_HPP
