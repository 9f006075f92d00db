// What it costs to watch a forward.
// SPDX-License-Identifier: Apache-2.0
//
//   watching [--net resnet18] [--batch 16] [--size 224] [--pairs 9]
//   [--small-pairs 400] [--threads 0]
//
// ResNet-18, DenseNet-121 with its 121 BatchNorms or ConvNeXt-Tiny with its 23
// LayerNorms. Watching costs a callback for each operator and a walk through
// the last nodes of the graph: the same for small images as for large ones. So
// it is measured where it can be seen, as the difference between watched and
// plain forwards of two 64x64 images, in turn; and stated as a share of a
// forward at full size, whose own ratio is printed beside it.
#include "bench.hpp"
#include "networks/convnext.hpp"
#include "networks/densenet.hpp"
#include "resnet_trainer/resnet.hpp"

#include <care/capture.hpp>

#include <fmt/format.h>
#include <torch/types.h>

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

namespace {

using Forward = std::function<torch::Tensor(const torch::Tensor&)>;

struct Network {
  Forward forward; ///< empty: there is none of that name
  care::TargetLayer layer = {};
};

bench::Contest take_turns(
    const Network& net,
    const torch::Tensor& images,
    int64_t pairs) {
  auto forward = [&] { return net.forward(images); };
  return bench::in_turns(
      pairs,
      {[&] { auto logits = forward(); },
       [&] { auto seen = care::capture(forward, {net.layer}); }});
}

Network network(const std::string& name) {
  if (name == "densenet121") {
    networks::DenseNet net(networks::DenseNetOptions{});
    return {[net](const auto& images) mutable { return net(images); }};
  }
  if (name == "convnext_tiny") {
    networks::ConvNext net(networks::ConvNextOptions{});
    return {
        [net](const auto& images) mutable { return net(images); },
        care::TargetLayer().channels_last()};
  }
  if (name == "resnet18") {
    trainer::ResNetOptions options;
    options.classes = 7;
    trainer::ResNet net(options);
    return {[net](const auto& images) mutable { return net(images); }};
  }
  return {};
}

} // namespace

int main(int argc, char** argv) {
  const auto name = bench::text_option(argc, argv, "--net", "resnet18");
  const auto batch = bench::option(argc, argv, "--batch", 16);
  const auto size = bench::option(argc, argv, "--size", 224);
  const auto pairs = bench::option(argc, argv, "--pairs", 9);
  const auto small_pairs = bench::option(argc, argv, "--small-pairs", 400);
  const auto threads = bench::set_threads(argc, argv);
  bench::no_more_options();
  torch::manual_seed(0);
  const auto net = network(name);
  if (!net.forward) {
    std::fprintf(
        stderr,
        "watching: --net: expected resnet18, densenet121 or convnext_tiny, "
        "but got '%s'\n",
        name.c_str());
    return 1;
  }

  const auto small = take_turns(net, torch::randn({2, 3, 64, 64}), small_pairs);
  const auto large =
      take_turns(net, torch::randn({batch, 3, size, size}), pairs);
  std::vector<double> differences;
  for (size_t i = 0; i < static_cast<size_t>(small_pairs); ++i) {
    differences.push_back(small.seconds[1][i] - small.seconds[0][i]);
  }
  const auto cost = bench::quantile(differences, 0.5);
  bench::Report report(
      "watching",
      fmt::format(
          "{5}, {0}x{0}, batch {1}, {2} threads, {3} pairs of small "
          "forwards and {4} of large ones",
          size,
          batch,
          threads,
          small_pairs,
          pairs,
          name));
  report.add(
      {{"cost_ms", 1e3 * cost},
       {"quarter", 1e3 * bench::quantile(differences, 0.25)},
       {"three_quarters", 1e3 * bench::quantile(differences, 0.75)},
       {"forward_ms", 1e3 * large.median(0)},
       {"share", cost / large.median(0)},
       {"ratio", large.ratio(1, 0)}});
  report.print();
}
