// Trains a ResNet on one split of a manifest, plainly or with CARE.
// SPDX-License-Identifier: Apache-2.0
#include "resnet.hpp"
#include "run.hpp"
#include "within.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cstdint>
#include <iostream>
#include <string>

namespace {

// The network, named here alone: any module with forward(images) -> logits.
using Network = trainer::ResNet;

struct NetworkOptions {
  trainer::ResNetOptions net;
  std::string weights; // a file to start from; empty: none
};

void add_options(CLI::App& app, NetworkOptions& o) {
  const auto add = [&](const char* name, auto& value, const char* help) {
    return app.add_option(name, value, help)->capture_default_str();
  };
  add("--depth", o.net.depth, "of the ResNet: 18, 34, 50, 101 or 152")
      ->check(CLI::Range(18, 152));
  add("--width", o.net.width, "factor on its channels")
      ->check(trainer::within(.01, 8));
  add("--last-stride", o.net.last_stride, "1 doubles the map's size")
      ->check(CLI::Range(1, 2));
  app.add_option(
         "--weights", o.weights, "a state_dict or safetensors to start from")
      ->check(CLI::ExistingFile);
}

trainer::Model<Network> make_model(NetworkOptions o, int64_t classes) {
  o.net.classes = classes;
  trainer::Model<Network> model{Network(o.net), Network(o.net), {}, {}};
  model.card.network = {
      {"network", fmt::format("resnet{}", o.net.depth)},
      {"width", fmt::format("{}", o.net.width)},
      {"depth", fmt::format("{}", o.net.depth)},
      {"last_stride", fmt::format("{}", o.net.last_stride)}};
  if (!o.weights.empty()) {
    // ImageNet's, unless the file says otherwise.
    model.card.mean = {0.485, 0.456, 0.406};
    model.card.deviation = {0.229, 0.224, 0.225};
    const auto report =
        trainer::load_weights(o.weights, *model.net, "fc", model.card);
    std::cout << o.weights << ": " << report;
  }
  model.groups = {{model.net->parameters()}};
  return model;
}

} // namespace

int main(int argc, char** argv) {
  trainer::wait_passively(argv);
  NetworkOptions network;
  const auto options =
      trainer::parse_options(argc, argv, "resnet_trainer", [&](CLI::App& app) {
        add_options(app, network);
      });
  return trainer::run_main("resnet_trainer", [&] {
    trainer::run(
        options, [&](int64_t classes) { return make_model(network, classes); });
  });
}
