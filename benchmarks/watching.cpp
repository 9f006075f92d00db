// What it costs to watch a forward.
// SPDX-License-Identifier: Apache-2.0
//
//   watching [--batch 16] [--size 224] [--pairs 9] [--small-pairs 400]
//   [--threads 0]
//
// ResNet-18. Watching costs a callback for each operator and a walk through the
// last nodes of the graph: the same for small images as for large ones. So it
// is measured where it can be seen, as the difference between watched and plain
// forwards of two 64x64 images, in turn; and stated as a share of a forward at
// full size, whose own ratio is printed beside it.
// Prints a table, and the same figures as JSON on the last line.
#include "bench.hpp"
#include "resnet_trainer/resnet.hpp"

#include <care/capture.hpp>

#include <fmt/format.h>
#include <torch/types.h>
#include <torch/version.h>

#include <cstdint>
#include <vector>

namespace {

struct Times {
  std::vector<double> plain, watched, difference, ratio;
};

Times take_turns(
    trainer::ResNet& net,
    const torch::Tensor& images,
    int64_t pairs) {
  auto forward = [&] { return net->forward(images); };
  auto plain = [&] {
    return bench::seconds_of([&] { auto logits = forward(); });
  };
  auto watched = [&] {
    return bench::seconds_of([&] { auto seen = care::capture(forward); });
  };
  plain();
  watched();
  Times times;
  for (int64_t i = 0; i < pairs; ++i) {
    double a = 0, b = 0;
    if (i % 2 == 0) {
      a = plain();
      b = watched();
    } else {
      b = watched();
      a = plain();
    }
    times.plain.push_back(a);
    times.watched.push_back(b);
    times.difference.push_back(b - a);
    times.ratio.push_back(b / a);
  }
  return times;
}

} // namespace

int main(int argc, char** argv) {
  const auto batch = bench::option(argc, argv, "--batch", 16);
  const auto size = bench::option(argc, argv, "--size", 224);
  const auto pairs = bench::option(argc, argv, "--pairs", 9);
  const auto small_pairs = bench::option(argc, argv, "--small-pairs", 400);
  const auto threads = bench::set_threads(argc, argv);
  torch::manual_seed(0);
  trainer::ResNetOptions options;
  options.classes = 7;
  trainer::ResNet net(options);

  const auto small = take_turns(net, torch::randn({2, 3, 64, 64}), small_pairs);
  const auto large =
      take_turns(net, torch::randn({batch, 3, size, size}), pairs);
  using bench::quantile;
  const auto cost = quantile(small.difference, 0.5);
  const auto forward = quantile(large.plain, 0.5);
  fmt::print(
      "ResNet-18, {} threads, LibTorch {}\n"
      "watching a forward costs {:.3f} ms (quartiles {:.3f} to {:.3f}; {} "
      "pairs "
      "at 64x64, batch 2, of {:.1f} ms)\n"
      "a forward at {}x{}, batch {}, takes {:.1f} ms: watching is {:.3f} % of "
      "it\n"
      "ratio measured there: {:.4f} (quartiles {:.4f} to {:.4f}; {} pairs)\n",
      threads,
      TORCH_VERSION,
      1e3 * cost,
      1e3 * quantile(small.difference, 0.25),
      1e3 * quantile(small.difference, 0.75),
      small_pairs,
      1e3 * quantile(small.plain, 0.5),
      size,
      size,
      batch,
      1e3 * forward,
      100 * cost / forward,
      quantile(large.ratio, 0.5),
      quantile(large.ratio, 0.25),
      quantile(large.ratio, 0.75),
      pairs);
  fmt::print(
      "{{\"benchmark\": \"watching\", \"cost_ms\": {:.4f}, \"forward_ms\": "
      "{:.2f}, \"share\": {:.6f}, \"ratio\": {:.5f}}}\n",
      1e3 * cost,
      1e3 * forward,
      cost / forward,
      quantile(large.ratio, 0.5));
}
