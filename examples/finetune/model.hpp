// A network by its name, as the trainer takes it.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_FINETUNE_MODEL_HPP
#define CARE_EXAMPLES_FINETUNE_MODEL_HPP

#include "networks/by_name.hpp"
#include "resnet_trainer/run.hpp"

#include <c10/util/Exception.h>

#include <cstdint>
#include <string>
#include <vector>

namespace finetune {

/// The network of that name with its first weights, and the input it is made
/// for; `groups` are the caller's to say. Throws c10::ValueError for a `size`
/// (width and height) that it cannot take.
inline trainer::Model<networks::Network> model_of(
    const std::string& name,
    const std::vector<int64_t>& size,
    int64_t classes) {
  const auto& family = networks::families().at(name);
  TORCH_CHECK_VALUE(
      family.image == 0 || size == std::vector<int64_t>(2, family.image),
      "--size: expected ",
      family.image,
      " for ",
      name,
      ", but got ",
      size);
  trainer::Model<networks::Network> model{
      family.make(classes), family.make(classes), {}, {}};
  model.layer = family.layer;
  model.card.network = {{"network", name}};
  model.card.mean = family.normalisation.mean;
  model.card.deviation = family.normalisation.deviation;
  return model;
}

} // namespace finetune

#endif // CARE_EXAMPLES_FINETUNE_MODEL_HPP
