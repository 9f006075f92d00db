// Fine-tunes a pretrained network, plainly or with CARE: the trainer's data,
// loop and files, with another network. What differs stands here.
// SPDX-License-Identifier: Apache-2.0
#include "finetune/model.hpp"
#include "networks/by_name.hpp"
#include "resnet_trainer/run.hpp"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

namespace {

struct FinetuneOptions {
  std::string net = "efficientnet_lite0";
  std::string weights; // a file
  std::string freeze_until; // a layer; empty: all learn
  double backbone_rate = 0.1; // factor on the learning rate before the head
  double momentum = 0.1; // of BatchNorm
};

void add_options(CLI::App& app, FinetuneOptions& o) {
  app.add_option("--net", o.net, "which network")
      ->capture_default_str()
      ->check(CLI::IsMember(networks::families()));
  app.add_option("--weights", o.weights, "its weights: state_dict, safetensors")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option(
      "--freeze-until",
      o.freeze_until,
      "the first layer to learn: layer3, ...");
  app.add_option(
         "--backbone-rate", o.backbone_rate, "factor on --lr before the head")
      ->capture_default_str()
      ->check(CLI::Range(1e-6, 1.));
  app.add_option("--bn-momentum", o.momentum, "how fast BatchNorm follows")
      ->capture_default_str()
      ->check(CLI::Range(0., 1.));
}

trainer::Model<networks::Network> make_model(
    const FinetuneOptions& o,
    const trainer::Options& options,
    int64_t classes) {
  const auto& family = networks::families().at(o.net);
  auto model = finetune::model_of(o.net, options.size, classes);
  auto net = model.net;
  const auto report =
      trainer::load_weights(o.weights, *net, family.head, model.card);
  std::cout << o.weights << ": " << report;
  networks::set_batch_norm_momentum(*net, o.momentum);
  if (!o.freeze_until.empty()) {
    net->freeze_until(o.freeze_until);
  }
  trainer::Group backbone{{}, o.backbone_rate}, last{{}, 1};
  for (const auto& item : net->named_parameters()) {
    if (item.value().requires_grad()) {
      const bool in_head = item.key().rfind(family.head + ".", 0) == 0;
      (in_head ? last : backbone).parameters.push_back(item.value());
    }
  }
  TORCH_CHECK_VALUE(
      !backbone.parameters.empty(),
      "--freeze-until: expected a layer before ",
      family.head,
      ", or attention has nothing to learn, but got ",
      o.freeze_until);
  model.groups = {last, backbone};
  return model;
}

} // namespace

int main(int argc, char** argv) {
  trainer::wait_passively(argv);
  FinetuneOptions own;
  const auto options = trainer::parse_options(
      argc, argv, "finetune", [&](CLI::App& app) { add_options(app, own); });
  return trainer::run_main("finetune", [&] {
    trainer::run(options, [&](int64_t classes) {
      return make_model(own, options, classes);
    });
  });
}
