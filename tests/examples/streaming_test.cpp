// Tests that what the trainer holds does not grow with the pictures seen.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/files.hpp"

#include "resnet_trainer/picture.hpp"
#include "resnet_trainer/train.hpp"

#include <care/imbalance/shuffle_sampler.hpp>

#include <torch/data/dataloader.h>
#include <torch/nn/functional/loss.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/optim/sgd.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <vector>

#if defined(__has_feature)
#define CARE_TEST_HAS_FEATURE(name) __has_feature(name)
#else
#define CARE_TEST_HAS_FEATURE(name) 0
#endif

namespace {

/// AddressSanitizer does, for a while: there is nothing to measure.
#if defined(__SANITIZE_ADDRESS__) || CARE_TEST_HAS_FEATURE(address_sanitizer)
constexpr bool kKeepsWhatIsFreed = true;
#else
constexpr bool kKeepsWhatIsFreed = false;
#endif

class TinyNetImpl : public torch::nn::Module {
 public:
  torch::Tensor forward(const torch::Tensor& x) {
    return head(convolution(x).relu().mean({2, 3}));
  }

 private:
  torch::nn::Conv2d convolution = register_module(
      "convolution",
      torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 4, 8).stride(8)));
  torch::nn::Linear head = register_module("head", torch::nn::Linear(4, 2));
};
TORCH_MODULE(TinyNet);

/// What of this process lies in memory.
int64_t resident_bytes() {
  std::ifstream pages("/proc/self/statm");
  int64_t all = 0, here = 0;
  pages >> all >> here;
  return here * ::sysconf(_SC_PAGESIZE);
}

/// Bytes that an epoch over `count` pictures of 12 kB gains after 2,048 of
/// them.
int64_t growth(int64_t count, bool cache) {
  constexpr int64_t kBatch = 64;
  const care_test::Folder folder;
  const auto file = folder.path / "picture.png";
  trainer::write_picture(file, cv::Mat(64, 64, CV_8UC3, cv::Scalar(9, 60, 90)));
  std::vector<trainer::Row> rows(static_cast<size_t>(count));
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].file = file;
    rows[i].label = i % 4 == 0 ? "rare" : "common";
    rows[i].boxes = {{{8, 8, 40, 40}, "here", ""}};
  }
  trainer::PicturesOptions options;
  options.size = {64, 64};
  options.cache = cache;
  const auto loader = torch::data::make_data_loader(
      trainer::Pictures(rows, {"common", "rare"}, options),
      care::ShuffleSampler(rows.size()),
      torch::data::DataLoaderOptions(kBatch).workers(2));
  TinyNet net;
  torch::optim::SGD optimizer(net->parameters(), 1e-3);
  int64_t pictures = 0, before = 0;
  trainer::StepOptions step;
  step.after_backward = [&] {
    pictures += kBatch;
    before = pictures == 2048 ? resident_bytes() : before;
  };
  trainer::train_epoch(
      net,
      [](const auto& logits, const auto& targets) {
        return torch::nn::functional::cross_entropy(logits, targets);
      },
      care::Guide<>(care::GuideOptions().classes({1}).alpha(0.5)),
      optimizer,
      *loader,
      {},
      step);
  CHECK(pictures == count);
  return resident_bytes() - before;
}

} // namespace

TEST_CASE("train: memory does not grow with the pictures seen", "[train]") {
  if (kKeepsWhatIsFreed) {
    WARN("skipped: AddressSanitizer keeps what is freed");
    return;
  }
  constexpr int64_t kMost = 15000000;
  CHECK(growth(6016, /*cache=*/false) < kMost);
  CHECK(growth(4096, /*cache=*/true) > kMost); // so it would be seen
}
