// What a guided training step costs, against a plain step of the same run.
// SPDX-License-Identifier: Apache-2.0
//
//   guided_step [--depth 18] [--batch 16] [--size 224] [--rounds 3]
//               [--device cpu] [--threads 0]
//
// Without --depth: ResNet-18 and ResNet-50, batch 16 and 32; on a CUDA device
// ResNet-50, batch 128, channels last, in float32, and in bfloat16 and half
// under autocast, half with the loss scaler. Random pictures. All steps of a
// network take turns. Where steps vary by more than the cost sought, their
// ratio cannot show it: so all that a guided step does beyond a plain one is
// also timed by itself, on features that end the graph ("added": the map, the
// regions, the loss, and the loss's backward pass to the features). The figure
// to trust is then "direct", 1 + added / plain.
#include "bench.hpp"
#include "resnet_trainer/resnet.hpp"

#include <care/care.hpp>

#include <fmt/format.h>
#include <torch/cuda.h>
#include <torch/nn/functional/loss.h>
#include <torch/optim/sgd.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace {

namespace F = torch::nn::functional;

struct Setting {
  int64_t depth, batch, size, rounds;
  torch::Device device;
  torch::Dtype dtype;
};

struct Guidance {
  int64_t guided; // images
  care::GradientOrder order;
};

class Steps {
 public:
  explicit Steps(const Setting& setting)
      : setting_(setting),
        target_(torch::arange(setting.batch, torch::kLong) % 7) {
    trainer::ResNetOptions options;
    options.depth = setting.depth;
    options.classes = 7;
    net_ = trainer::ResNet(options);
    net_->to(setting.device);
    optimizer_ = std::make_unique<torch::optim::SGD>(net_->parameters(), 1e-3);
    images_ = torch::randn({setting.batch, 3, setting.size, setting.size})
                  .to(setting.device);
    if (setting.device.is_cuda()) {
      for (auto& p : net_->parameters()) {
        if (p.dim() == 4) {
          p.set_data(p.contiguous(torch::MemoryFormat::ChannelsLast));
        }
      }
      images_ = images_.contiguous(torch::MemoryFormat::ChannelsLast);
    }
    features_ = features().detach().requires_grad_();
  }

  void plain() {
    train(classification(net_->classify(features())));
  }

  void guided(const Guidance& guidance) {
    const auto guide = guide_of(guidance);
    const auto seen = guide.watch(
        features(), [&](const torch::Tensor& x) { return net_->classify(x); });
    train(
        guide
            .loss(
                classification(seen.logits), seen, target_, boxes_of(guidance))
            .total);
  }

  /// Seconds of what `guided` does beyond `plain`.
  double added(const Guidance& guidance) {
    const auto guide = guide_of(guidance);
    const auto boxes = boxes_of(guidance);
    const auto zero = torch::zeros({}, images_.options());
    const auto seen = guide.watch(
        features_, [&](const torch::Tensor& x) { return net_->classify(x); });
    wait();
    return bench::seconds_of([&] {
      const auto loss = guide.loss(zero, seen, target_, boxes);
      if (loss.attention.guided > 0) {
        loss.backward();
      }
      wait();
    });
  }

 private:
  static care::Guide<> guide_of(const Guidance& guidance) {
    return care::Guide(care::GuideOptions().order(guidance.order));
  }

  torch::Tensor features() {
    const bool mixed = setting_.dtype != torch::kFloat;
    const care::Autocast autocast(
        setting_.device, mixed ? setting_.dtype : torch::kBFloat16, mixed);
    return net_->features(images_);
  }

  void train(const torch::Tensor& loss) {
    optimizer_->zero_grad();
    if (setting_.dtype == torch::kHalf) {
      scaler_.scale(loss).backward();
      scaler_.step(*optimizer_);
    } else {
      loss.backward();
      optimizer_->step();
    }
    wait();
  }

  torch::Tensor classification(const torch::Tensor& logits) const {
    return F::cross_entropy(logits, target_.to(setting_.device, true));
  }

  care::Boxes boxes_of(const Guidance& guidance) const {
    const auto s = static_cast<double>(setting_.size);
    std::vector<std::vector<std::array<double, 4>>> lists(
        static_cast<size_t>(setting_.batch));
    for (int64_t i = 0; i < guidance.guided; ++i) {
      lists[static_cast<size_t>(i)] = {{0.2 * s, 0.3 * s, 0.6 * s, 0.8 * s}};
    }
    return care::Boxes::from_lists(lists, {setting_.size, setting_.size});
  }

  void wait() const {
    if (setting_.device.is_cuda()) {
      torch::cuda::synchronize();
    }
  }

  Setting setting_;
  trainer::ResNet net_{nullptr};
  std::unique_ptr<torch::optim::SGD> optimizer_;
  care::GradScaler scaler_;
  torch::Tensor images_, target_, features_;
};

void compare(const Setting& setting, bench::Report& report) {
  torch::manual_seed(0);
  Steps steps(setting);
  constexpr auto kFirst = care::GradientOrder::kFirst;
  constexpr auto kFull = care::GradientOrder::kFull;
  const std::vector<Guidance> guidances = {
      {0, kFirst},
      {setting.batch / 4, kFirst},
      {setting.batch, kFirst},
      {setting.batch / 4, kFull},
      {setting.batch, kFull}};
  std::vector<std::function<void()>> works = {[&] { steps.plain(); }};
  for (const auto& guidance : guidances) {
    works.emplace_back([&] { steps.guided(guidance); });
  }
  steps.plain();
  works.back()();
  const auto contest = bench::in_turns(setting.rounds, works, false);
  for (size_t i = 0; i < guidances.size(); ++i) {
    std::vector<double> added;
    for (int64_t round = 0; round < 4 * setting.rounds; ++round) {
      added.push_back(steps.added(guidances[i]));
    }
    const double extra = bench::quantile(added, 0.5);
    report.add(
        {{"net", fmt::format("ResNet-{}", setting.depth)},
         {"dtype", c10::toString(setting.dtype)},
         {"batch", setting.batch},
         {"guided", guidances[i].guided},
         {"order", guidances[i].order == kFirst ? "first" : "full"},
         {"plain_ms", 1e3 * contest.median(0)},
         {"guided_ms", 1e3 * contest.median(i + 1)},
         {"ratio", contest.ratio(i + 1, 0)},
         {"quarter", contest.ratio(i + 1, 0, 0.25)},
         {"three_quarters", contest.ratio(i + 1, 0, 0.75)},
         {"added_ms", 1e3 * extra},
         {"direct", 1 + extra / contest.median(0)}});
  }
}

} // namespace

int main(int argc, char** argv) {
  const auto size = bench::option(argc, argv, "--size", 224);
  const auto rounds = bench::option(argc, argv, "--rounds", 3);
  const auto depth = bench::option(argc, argv, "--depth", 0);
  const auto batch = bench::option(argc, argv, "--batch", 16);
  const torch::Device device(bench::text_option(argc, argv, "--device", "cpu"));
  const auto threads = bench::set_threads(argc, argv);
  bench::Report report(
      "guided_step",
      fmt::format(
          "{}x{}, {}, {} threads, {} rounds",
          size,
          size,
          device.str(),
          threads,
          rounds));
  std::vector<Setting> settings;
  const auto add = [&](int64_t layers, int64_t images, torch::Dtype dtype) {
    settings.push_back({layers, images, size, rounds, device, dtype});
  };
  if (depth > 0) {
    add(depth, batch, torch::kFloat);
  } else if (device.is_cuda()) {
    add(50, 128, torch::kFloat);
    add(50, 128, torch::kBFloat16);
    add(50, 128, torch::kHalf);
  } else {
    for (const int64_t layers : {18, 50}) {
      for (const int64_t images : {16, 32}) {
        add(layers, images, torch::kFloat);
      }
    }
  }
  for (const auto& setting : settings) {
    compare(setting, report);
  }
  report.print();
}
