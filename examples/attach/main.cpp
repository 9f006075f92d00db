// attach: a guided step with networks that know nothing of care, and a table of
// what is taken from each.
// SPDX-License-Identifier: Apache-2.0
#include "networks/densenet.hpp"
#include "networks/efficientnet_lite.hpp"
#include "networks/hybrid.hpp"
#include "networks/mobilenet.hpp"
#include "networks/scripted.hpp"
#include "networks/sequential.hpp"
#include "networks/vgg.hpp"
#include "resnet_trainer/process.hpp"
#include "resnet_trainer/resnet.hpp"

#include <care/care.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/nn.h>
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

constexpr const char* kRow = "{:<15} {:>11} {:<13} {:>13} {:>6} {:>7} {:>8}\n";

/// One guided step of a network, and a line of the table.
template <class Net>
void attach(const std::string& name, Net net, int64_t size) {
  const auto images = torch::rand({1, 3, size, size});
  const auto target = torch::tensor({0}, torch::kLong);
  const auto third = static_cast<double>(size) / 3;
  const auto boxes = care::Boxes::from_lists(
      {{{third, third, 2 * third, 2 * third}}}, {size, size});
  const auto parameters = parameters_of(net);
  torch::optim::SGD optimizer(parameters, 1e-3);

  const care::Guide<> guide;
  const auto seen = guide.watch(net, images);
  const care::GuidedLoss loss = guide.loss(
      torch::nn::functional::cross_entropy(seen.logits, target),
      seen,
      target,
      boxes);
  auto made_by = seen.features.grad_fn()->name(); // as autograd calls it
  made_by = made_by.substr(0, made_by.find("Backward"));
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
      shape(seen.features),
      size / seen.features.size(2),
      shape(seen.logits),
      fmt::format("{:.3f}", loss.attention.loss.item<double>()));
  std::cout.flush();
}

torch::jit::Module scripted() {
  const auto path =
      std::filesystem::temp_directory_path() / "care_attach_example.pt";
  networks::write_scripted(path.string());
  auto net = torch::jit::load(path.string());
  std::filesystem::remove(path);
  return net;
}

void attach_all(int64_t size) {
  for (const int64_t depth : {18, 50, 152}) {
    trainer::ResNetOptions options;
    options.depth = depth;
    attach(fmt::format("ResNet-{}", depth), trainer::ResNet(options), size);
  }
  for (const int64_t depth : {16, 19}) {
    networks::VggOptions options;
    options.depth = depth;
    attach(fmt::format("VGG-{}", depth), networks::Vgg(options), size);
  }
  attach("DenseNet-121", networks::DenseNet(), size);
  attach("MobileNet-V2", networks::MobileNetV2(), size);
  attach("EfficientNet-L0", networks::EfficientNetLite(), size);
  networks::HybridOptions options;
  options.image = size;
  attach("ViT_C-1GF", networks::Hybrid(options), size);
  attach("Sequential", networks::sequential(), size);
  attach("TorchScript", scripted(), size);
}

} // namespace

int main(int argc, char** argv) {
  int64_t size = 224;
  std::string script;
  CLI::App app(
      "One guided step with each of the published networks, and what is "
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
