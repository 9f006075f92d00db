// The most memory a guided step takes, against a plain step.
// SPDX-License-Identifier: Apache-2.0
//
//   memory [--depth 50] [--batch 16] [--size 224] [--rounds 3] [--steps 2]
//
// A process knows only the most it ever held, so each kind of step has
// processes of its own, in turns; the figure is what the system says of each
// when it ends. Every image is guided. A system that has no fork cannot run
// this.
#include "bench.hpp"
#include "resnet_trainer/resnet.hpp"

#include <care/care.hpp>

#include <fmt/format.h>
#include <torch/nn/functional/loss.h>
#include <torch/optim/sgd.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace {

namespace F = torch::nn::functional;

struct Setting {
  int64_t depth, batch, size, steps, threads;
};

enum class Kind { kPlain, kWatched, kGuided };

void run(const Setting& setting, Kind kind) {
  torch::set_num_threads(static_cast<int>(setting.threads));
  torch::manual_seed(0);
  trainer::ResNetOptions options;
  options.depth = setting.depth;
  options.classes = 7;
  trainer::ResNet net(options);
  torch::optim::SGD optimizer(net->parameters(), 1e-3);
  const auto images =
      torch::randn({setting.batch, 3, setting.size, setting.size});
  const auto target = torch::arange(setting.batch, torch::kLong) % 7;
  const auto s = static_cast<double>(setting.size);
  const std::array<double, 4> box = {0.2 * s, 0.3 * s, 0.6 * s, 0.8 * s};
  const auto boxes = care::Boxes::from_lists(
      std::vector<std::vector<std::array<double, 4>>>(
          static_cast<size_t>(setting.batch), {box}),
      {setting.size, setting.size});
  const care::Guide guide;
  const auto head = [&](const torch::Tensor& x) { return net->classify(x); };
  for (int64_t step = 0; step < setting.steps; ++step) {
    torch::Tensor loss;
    if (kind == Kind::kPlain) {
      loss = F::cross_entropy(net->forward(images), target);
    } else {
      const auto seen = kind == Kind::kWatched
          ? guide.watch(net, images)
          : guide.watch(net->features(images), head);
      loss =
          guide.loss(F::cross_entropy(seen.logits, target), seen, target, boxes)
              .total;
    }
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
  }
}

/// Runs it in a process of its own; the most it held, in MiB.
double peak(const Setting& setting, Kind kind) {
  const auto child = fork();
  TORCH_CHECK(child >= 0, "memory: fork failed");
  if (child == 0) {
    run(setting, kind);
    _exit(0);
  }
  int status = 0;
  rusage usage{};
  wait4(child, &status, 0, &usage);
  TORCH_CHECK(
      WIFEXITED(status) && WEXITSTATUS(status) == 0, "memory: a step failed");
  return static_cast<double>(usage.ru_maxrss) / 1024; // KiB on Linux
}

} // namespace

int main(int argc, char** argv) {
  const Setting setting{
      bench::option(argc, argv, "--depth", 50),
      bench::option(argc, argv, "--batch", 16),
      bench::option(argc, argv, "--size", 224),
      bench::option(argc, argv, "--steps", 2),
      bench::option(argc, argv, "--threads", 2)};
  const auto rounds = bench::option(argc, argv, "--rounds", 3);
  bench::Report report(
      "memory",
      fmt::format(
          "ResNet-{}, {}x{}, batch {}, {} steps, {} threads, {} rounds",
          setting.depth,
          setting.size,
          setting.size,
          setting.batch,
          setting.steps,
          setting.threads,
          rounds));
  const std::array<Kind, 3> kinds = {
      Kind::kPlain, Kind::kGuided, Kind::kWatched};
  const std::array<const char*, 3> names = {
      "plain", "guided, features by hand", "guided, watched"};
  std::array<std::vector<double>, 3> peaks;
  for (int64_t round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < kinds.size(); ++i) {
      peaks[i].push_back(peak(setting, kinds[i]));
    }
  }
  const auto plain = bench::quantile(peaks[0], 0.5);
  for (size_t i = 0; i < kinds.size(); ++i) {
    const auto most = bench::quantile(peaks[i], 0.5);
    report.add(
        {{"step", names[i]},
         {"peak_MiB", most},
         {"lowest", bench::quantile(peaks[i], 0)},
         {"highest", bench::quantile(peaks[i], 1)},
         {"ratio", most / plain}});
  }
  report.print();
}
