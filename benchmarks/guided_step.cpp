// What a guided training step costs, against a plain step of the same run.
// SPDX-License-Identifier: Apache-2.0
//
//   guided_step [--batch 16] [--size 224] [--pairs 15] [--threads 0]
//
// ResNet-18, random pictures. Plain and guided steps take turns, so that a
// machine whose speed drifts treats both alike; each pair gives a ratio. Where
// steps vary by more than the cost sought, the ratio cannot show it: so all
// that a guided step does beyond a plain one is also timed by itself ("added":
// the map, the regions, the loss, and the loss's backward pass to the
// features). Prints a table, and the same figures as JSON on the last line.
#include "bench.hpp"
#include "resnet_trainer/resnet.hpp"

#include <care/care.hpp>

#include <fmt/format.h>
#include <torch/nn/functional/loss.h>
#include <torch/optim/sgd.h>
#include <torch/version.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace {

namespace F = torch::nn::functional;
using bench::option;
using bench::quantile;
using bench::seconds_of;

struct Row {
  int64_t guided;
  std::vector<double> plain, care, ratio;
  std::vector<double> added; // the guided step's extra work, by itself
};

} // namespace

int main(int argc, char** argv) {
  const auto batch = option(argc, argv, "--batch", 16);
  const auto size = option(argc, argv, "--size", 224);
  const auto pairs = option(argc, argv, "--pairs", 15);
  const auto threads = bench::set_threads(argc, argv);
  torch::manual_seed(0);

  trainer::ResNetOptions options;
  options.classes = 7;
  trainer::ResNet net(options);
  torch::optim::SGD optimizer(net->parameters(), 1e-3);
  const auto images = torch::randn({batch, 3, size, size});
  const auto target = torch::arange(batch, torch::kLong) % options.classes;
  const care::Guide guide;

  auto plain_step = [&] {
    optimizer.zero_grad();
    F::cross_entropy(net->forward(images), target).backward();
    optimizer.step();
  };
  auto guided_step = [&](const care::Boxes& boxes) {
    auto seen = guide.watch(net->features(images), [&](const auto& features) {
      return net->classify(features);
    });
    auto loss =
        guide.loss(F::cross_entropy(seen.logits, target), seen, target, boxes);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
  };
  // On features that end the graph: only the attention loss's own part is left.
  const auto features = net->features(images).detach().requires_grad_();
  const auto zero = torch::zeros({});
  auto added_seconds = [&](const care::Boxes& boxes) {
    const auto seen =
        guide.watch(features, [&](const auto& x) { return net->classify(x); });
    return seconds_of([&] {
      const auto loss = guide.loss(zero, seen, target, boxes);
      if (loss.attention.guided > 0) {
        loss.backward();
      }
    });
  };

  std::vector<Row> rows;
  for (const auto guided : {int64_t{0}, batch / 4, batch}) {
    std::vector<std::vector<std::array<double, 4>>> lists(
        static_cast<size_t>(batch));
    for (int64_t i = 0; i < guided; ++i) {
      const auto s = static_cast<double>(size);
      lists[static_cast<size_t>(i)] = {{0.2 * s, 0.3 * s, 0.6 * s, 0.8 * s}};
    }
    const auto boxes = care::Boxes::from_lists(lists, {size, size});
    Row row;
    row.guided = guided;
    plain_step();
    guided_step(boxes);
    for (int64_t i = 0; i < pairs; ++i) {
      double plain = 0, care = 0;
      if (i % 2 == 0) {
        plain = seconds_of(plain_step);
        care = seconds_of([&] { guided_step(boxes); });
      } else {
        care = seconds_of([&] { guided_step(boxes); });
        plain = seconds_of(plain_step);
      }
      row.plain.push_back(plain);
      row.care.push_back(care);
      row.ratio.push_back(care / plain);
      row.added.push_back(added_seconds(boxes));
    }
    rows.push_back(row);
  }

  fmt::print(
      "ResNet-18, {}x{}, batch {}, {} threads, LibTorch {}, {} pairs\n"
      "guided images  plain ms  guided ms  ratio (median)  quartiles      "
      "added ms  1 + added / plain\n",
      size,
      size,
      batch,
      threads,
      TORCH_VERSION,
      pairs);
  std::string json;
  for (const auto& row : rows) {
    fmt::print(
        "{:13}  {:8.1f}  {:9.1f}  {:14.4f}  {:.4f}-{:.4f}  {:8.2f}  {:17.4f}\n",
        row.guided,
        1e3 * quantile(row.plain, 0.5),
        1e3 * quantile(row.care, 0.5),
        quantile(row.ratio, 0.5),
        quantile(row.ratio, 0.25),
        quantile(row.ratio, 0.75),
        1e3 * quantile(row.added, 0.5),
        1 + quantile(row.added, 0.5) / quantile(row.plain, 0.5));
    json += fmt::format(
        "{}{{\"guided\": {}, \"plain_ms\": {:.3f}, \"guided_ms\": {:.3f}, "
        "\"ratio\": {:.5f}, \"added_ms\": {:.3f}, \"direct_ratio\": {:.5f}}}",
        json.empty() ? "" : ", ",
        row.guided,
        1e3 * quantile(row.plain, 0.5),
        1e3 * quantile(row.care, 0.5),
        quantile(row.ratio, 0.5),
        1e3 * quantile(row.added, 0.5),
        1 + quantile(row.added, 0.5) / quantile(row.plain, 0.5));
  }
  fmt::print("{{\"benchmark\": \"guided_step\", \"rows\": [{}]}}\n", json);
}
