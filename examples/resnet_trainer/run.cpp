// run: what one network gave on one test set, and its file.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/run.hpp"

#include "common/files.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>

namespace trainer {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kRunFormat = "care resnet_trainer run 1";

double number_or_nan(const Json& json) {
  return json.is_null() ? kNaN : json.get<double>();
}

} // namespace

int64_t Prediction::predicted() const {
  return std::max_element(probability.begin(), probability.end()) -
      probability.begin();
}

void save_run(const std::filesystem::path& path, const Run& run) {
  Json epochs = Json::array();
  for (const auto& row : run.epochs) {
    epochs.push_back(
        {{"epoch", row.epoch},
         {"stage", row.stage},
         {"train_loss", row.train_loss},
         {"inner", row.inner},
         {"outer", row.outer},
         {"inside_share", row.inside_share},
         {"guided", row.guided},
         {"train_accuracy", row.train_accuracy},
         {"val_mca", row.val_mca},
         {"val_accuracy", row.val_accuracy},
         {"val_rare_recall", row.val_rare_recall},
         {"seconds", row.seconds}});
  }
  Json predictions = Json::array();
  for (const auto& p : run.predictions) {
    predictions.push_back(
        {{"id", p.id},
         {"target", p.target},
         {"probability", p.probability},
         {"boxed", p.boxed},
         {"epg", p.epg}});
  }
  const Json json = {
      {"format", kRunFormat},
      {"arm", run.arm},
      {"fold", run.fold},
      {"seed", run.seed},
      {"test_set", run.test_set},
      {"seconds", run.seconds},
      {"epochs", epochs},
      {"predictions", predictions}};
  common::write_json(path, json);
}

Run load_run(const std::filesystem::path& path) {
  const auto text = common::read_file(path);
  try {
    const auto json = Json::parse(text);
    if (json.at("format") != kRunFormat) {
      throw std::runtime_error(fmt::format(
          "'{}': expected format '{}', but got {}",
          path.string(),
          kRunFormat,
          json.at("format").dump()));
    }
    Run run;
    run.arm = json.at("arm").get<std::string>();
    run.fold = json.at("fold").get<int64_t>();
    run.seed = json.at("seed").get<int64_t>();
    run.test_set = json.at("test_set").get<std::string>();
    run.seconds = number_or_nan(json.at("seconds"));
    for (const auto& row : json.at("epochs")) {
      EpochRow epoch;
      epoch.epoch = row.at("epoch").get<int64_t>();
      epoch.stage = row.at("stage").get<int>();
      epoch.train_loss = number_or_nan(row.at("train_loss"));
      epoch.inner = number_or_nan(row.at("inner"));
      epoch.outer = number_or_nan(row.at("outer"));
      epoch.inside_share = number_or_nan(row.at("inside_share"));
      epoch.guided = row.at("guided").get<int64_t>();
      epoch.train_accuracy = number_or_nan(row.at("train_accuracy"));
      epoch.val_mca = number_or_nan(row.at("val_mca"));
      epoch.val_accuracy = number_or_nan(row.at("val_accuracy"));
      epoch.val_rare_recall = number_or_nan(row.at("val_rare_recall"));
      epoch.seconds = number_or_nan(row.at("seconds"));
      run.epochs.push_back(epoch);
    }
    for (const auto& row : json.at("predictions")) {
      Prediction p;
      p.id = row.at("id").get<std::string>();
      p.target = row.at("target").get<int64_t>();
      for (const auto& x : row.at("probability")) {
        p.probability.push_back(number_or_nan(x));
      }
      p.boxed = row.at("boxed").get<bool>();
      p.epg = number_or_nan(row.at("epg"));
      run.predictions.push_back(std::move(p));
    }
    return run;
  } catch (const Json::exception& error) {
    throw std::runtime_error(fmt::format(
        "'{}': expected a run of this trainer, but got: {}",
        path.string(),
        error.what()));
  }
}

std::string metrics_csv(const std::vector<Run>& runs) {
  std::string text =
      "arm,fold,seed,epoch,stage,train_loss,inner,outer,inside_share,guided,"
      "train_accuracy,val_mca,val_accuracy,val_rare_recall,seconds\n";
  const auto number = [](double x) {
    return std::isnan(x) ? std::string() : fmt::format("{}", x);
  };
  std::set<std::tuple<std::string, int64_t, int64_t>> done;
  for (const auto& run : runs) {
    if (run.epochs.empty() ||
        !done.emplace(run.arm, run.fold, run.seed).second) {
      continue;
    }
    for (const auto& row : run.epochs) {
      text += fmt::format(
          "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n",
          run.arm,
          run.fold,
          run.seed,
          row.epoch,
          row.stage,
          number(row.train_loss),
          number(row.inner),
          number(row.outer),
          number(row.inside_share),
          row.guided,
          number(row.train_accuracy),
          number(row.val_mca),
          number(row.val_accuracy),
          number(row.val_rare_recall),
          number(row.seconds));
    }
  }
  return text;
}

} // namespace trainer
