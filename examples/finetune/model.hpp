// A network by its name, pretrained where there are weights, as the trainer
// takes it.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_FINETUNE_MODEL_HPP
#define CARE_EXAMPLES_FINETUNE_MODEL_HPP

#include "networks/by_name.hpp"
#include "resnet_trainer/run.hpp"
#include "resnet_trainer/within.hpp"

#include <c10/util/Exception.h>
#include <CLI/CLI.hpp>

#include <cstdint>
#include <iostream>
#include <string>

namespace finetune {

struct Options {
  std::string net = "efficientnet_lite0";
  std::string weights; ///< a file; empty: none
  std::string freeze_until; ///< a layer; empty: all learn
  double backbone_rate = 0.1; ///< factor on the learning rate before the head
  double momentum = 0.1; ///< of BatchNorm
};

inline void add_options(CLI::App& app, Options& o) {
  app.add_option("--net", o.net, "which network")
      ->capture_default_str()
      ->check(CLI::IsMember(networks::names()));
  app.add_option("--weights", o.weights, "its weights: state_dict, safetensors")
      ->check(CLI::ExistingFile);
  app.add_option(
      "--freeze-until",
      o.freeze_until,
      "the first layer to learn: layer3, ...");
  app.add_option(
         "--backbone-rate", o.backbone_rate, "factor on --lr before the head")
      ->capture_default_str()
      ->check(trainer::within(1e-6, 1));
  app.add_option("--bn-momentum", o.momentum, "how fast BatchNorm follows")
      ->capture_default_str()
      ->check(trainer::within(0, 1));
}

/// The network that the options name; with `says` it is printed what came of
/// the weights. Throws for weights that do not fit, for an input that the
/// network does not take, and where attention has no layer to learn.
inline trainer::Model<networks::Network> make_model(
    const Options& o,
    const trainer::Options& options,
    int64_t classes,
    bool says = true) {
  const auto& family = networks::families().at(o.net);
  const auto part_of = [](const std::string& layer) {
    return layer.substr(0, layer.find('.'));
  };
  TORCH_CHECK_VALUE( // not VGG's classifier either: it is behind the map
      part_of(o.freeze_until) != part_of(family.head),
      "--freeze-until: expected a layer before ",
      part_of(family.head),
      ", or attention has nothing to learn, but got ",
      o.freeze_until);
  networks::NetworkOptions made;
  made.classes = classes;
  made.size = {options.size[0], options.size[1]};
  trainer::Model<networks::Network> model{
      networks::make(o.net, made), networks::make(o.net, made), {}, {}};
  model.layer = family.layer;
  model.card.network = {{"network", o.net}};
  model.card.mean = family.normalisation.mean;
  model.card.deviation = family.normalisation.deviation;
  auto net = model.net;
  if (!o.weights.empty()) {
    const auto report =
        trainer::load_weights(o.weights, *net, family.head, model.card);
    std::cout << (says ? o.weights + ": " + report : "");
  }
  const bool has_norm = networks::set_batch_norm_momentum(*net, o.momentum);
  TORCH_CHECK_VALUE(
      has_norm || o.momentum == Options().momentum,
      "--bn-momentum: expected a network with BatchNorm, but got ",
      o.net);
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
  model.groups = {last, backbone};
  return model;
}

} // namespace finetune

#endif // CARE_EXAMPLES_FINETUNE_MODEL_HPP
