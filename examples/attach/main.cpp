// attach: a guided step with networks that know nothing of care, and a table of
// what is taken from each.
// SPDX-License-Identifier: Apache-2.0
#include "networks/by_name.hpp"
#include "networks/hybrid.hpp"
#include "resnet_trainer/process.hpp"

#include <care/care.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/nn/functional/loss.h>
#include <torch/optim/sgd.h>
#include <torch/script.h>
#include <CLI/CLI.hpp>

#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

namespace {

std::vector<torch::Tensor> parameters_of(const torch::jit::Module& net) {
  std::vector<torch::Tensor> result;
  for (const auto& p : net.parameters()) {
    result.push_back(p);
  }
  return result;
}

template <class Net>
std::vector<torch::Tensor> parameters_of(const Net& net) {
  return net->parameters();
}

std::string shape(const torch::Tensor& x) {
  return fmt::format("{}", fmt::join(x.sizes().slice(1), "x"));
}

constexpr const char* kRow = "{:<18} {:>11} {:<15} {:>10} {:>6} {:>6} {:>8}\n";

/// One guided step of a network, and a line of the table.
template <class Net>
void attach(
    const std::string& name,
    Net net,
    int64_t size,
    const care::TargetLayer& layer = {}) {
  const auto images = torch::rand({1, 3, size, size});
  const auto target = torch::tensor({0}, torch::kLong);
  const auto third = static_cast<double>(size) / 3;
  const auto boxes = care::Boxes::from_lists(
      {{{third, third, 2 * third, 2 * third}}}, {size, size});
  const auto parameters = parameters_of(net);
  torch::optim::SGD optimizer(parameters, 1e-3);

  const care::Guide guide(care::GuideOptions().target_layers({layer}));
  const auto seen = guide.watch(net, images);
  const care::GuidedLoss loss = guide.loss(
      torch::nn::functional::cross_entropy(seen.logits, target),
      seen,
      target,
      boxes);
  auto made_by = seen.features.grad_fn()->name(); // as autograd calls it
  made_by = made_by.substr(0, made_by.find("Backward"));
  const auto map = seen.layout().to_map(seen.features);
  loss.backward();
  optimizer.step();

  int64_t count = 0;
  for (const auto& p : parameters) {
    count += p.numel();
  }
  fmt::print(
      kRow,
      name,
      count,
      made_by,
      shape(map),
      size / map.size(2),
      shape(seen.logits),
      fmt::format("{:.3f}", loss.attention.loss.item<double>()));
  std::cout.flush();
}

/// All of examples/networks that take pictures of that size.
void attach_all(int64_t size) {
  networks::NetworkOptions options;
  options.size = {size, size};
  for (const auto& [name, family] : networks::families()) {
    if (family.image == 0 || family.image == size) {
      attach(name, networks::make(name, options), size, family.layer);
    }
  }
  networks::HybridOptions hybrid;
  hybrid.image = size;
  attach("hybrid (ViT_C)", networks::Hybrid(hybrid), size);
}

} // namespace

int main(int argc, char** argv) {
  int64_t size = 224;
  std::string script;
  CLI::App app(
      "One guided step with each network of examples/networks, and what is "
      "taken from it.");
  app.add_option(
         "--size", size, "height and width of the pictures, a multiple of 16")
      ->check(CLI::Range(int64_t{64}, int64_t{1024}))
      ->capture_default_str();
  app.add_option(
         "--script", script, "your own network instead: a TorchScript file")
      ->check(CLI::ExistingFile);
  CLI11_PARSE(app, argc, argv);
  return trainer::run_main("attach", [&] {
    torch::manual_seed(0);
    fmt::print(
        kRow,
        "network",
        "parameters",
        "map made by",
        "map",
        "stride",
        "logits",
        "La");
    if (script.empty()) {
      attach_all(size);
    } else {
      const auto name = std::filesystem::path(script).filename().string();
      attach(name, torch::jit::load(script), size);
    }
  });
}
