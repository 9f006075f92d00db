// Every setting of a run: what the command line sets and results.json records.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/settings.hpp"

#include <nlohmann/json.hpp>

namespace trainer {

AugmentOptions parse_augmentation(const std::string& name) {
  AugmentOptions options;
  if (name == "flips" || name == "strong") {
    options.hflip = options.vflip = true;
  }
  if (name == "strong") {
    options.rot90 = true;
    options.crop_scale_min = 0.7;
    options.rotate = 15;
    options.shear = 5;
    options.scale = 0.1;
    options.brightness = options.contrast = options.saturation = 0.2;
    options.hue = 0.02;
  }
  return options;
}

nlohmann::ordered_json identity(const Settings& s) {
  nlohmann::ordered_json json = {
      {"data", s.data.empty() ? "generated" : s.data},
      {"exclude", s.exclude},
      {"height", s.size.height},
      {"width", s.size.width},
      {"folds", s.folds},
      {"train_share", s.train_share},
      {"val_share", s.val_share},
      {"net", s.net},
      {"net_width", s.width},
      {"last_stride", s.last_stride},
      {"stage1", s.stage1},
      {"stage2", s.stage2},
      {"batch", s.batch},
      {"optimizer", s.optimizer},
      {"lr", s.lr},
      {"weight_decay", s.weight_decay},
      {"lr_schedule", s.lr_schedule},
      {"class_weights", s.class_weights},
      {"balanced", s.balanced},
      {"select", s.select},
      {"precision", s.precision},
      {"augmentation", s.augmentation},
      {"guide", s.guide},
      {"rare", s.rare},
      {"rare_share", s.rare_share},
      {"alpha", s.alpha},
      {"lambda", s.lambda},
      {"tau", s.tau},
      {"warmup", s.warmup},
      {"full_gradient", s.full_gradient},
      {"boxes", s.boxes},
      {"weigh_boxes", s.weigh_boxes},
      {"dilate", s.dilate},
      {"box_shift", s.box_noise.shift},
      {"box_missing", s.box_noise.missing},
      {"box_shuffled", s.box_noise.shuffled}};
  if (s.data.empty()) {
    json["counts"] = s.counts;
    json["test_count"] = s.test_count;
    json["contrast"] = s.contrast;
  }
  return json;
}

nlohmann::ordered_json to_json(const Settings& s) {
  auto json = identity(s);
  json["compare"] = s.compare;
  json["test_folds"] = s.test_folds;
  json["splits"] = s.splits;
  json["seeds"] = s.seeds;
  json["first_seed"] = s.first_seed;
  json["threads"] = s.threads;
  json["device"] = s.device;
  return json;
}

} // namespace trainer
