// A trained network's file, whose card is JSON.
// SPDX-License-Identifier: Apache-2.0
#include "model_file.hpp"

#include "picture.hpp"
#include "weights/weights.hpp"

#include <care/version.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <sstream>
#include <stdexcept>

namespace trainer {
namespace {

void take_normalisation(
    const weights::Weights& file,
    const std::string& name,
    ModelCard& card) {
  const auto take =
      [&](const char* key, std::array<double, 3>& values, double least) {
        const auto found = file.metadata.find(key);
        if (found == file.metadata.end()) {
          return;
        }
        const auto json = nlohmann::json::parse(found->second, nullptr, false);
        bool good = json.is_array() && json.size() == values.size();
        for (size_t i = 0; good && i < values.size(); ++i) {
          values[i] = json[i].is_number() ? json[i].get<double>() : least - 1;
          good = values[i] >= least && values[i] <= 1e3;
        }
        if (!good) {
          throw std::runtime_error(
              name + ": expected three numbers as " + key + ", but got " +
              found->second.substr(0, 100));
        }
      };
  take("mean", card.mean, -1e3);
  take("deviation", card.deviation, 1e-6);
}

} // namespace

void write_model(
    const std::filesystem::path& path,
    const torch::nn::Module& net,
    const ModelCard& card) {
  auto metadata = card.network;
  metadata["classes"] = nlohmann::json(card.classes).dump();
  metadata["size"] = nlohmann::json(card.size).dump();
  metadata["mean"] = nlohmann::json(card.mean).dump();
  metadata["deviation"] = nlohmann::json(card.deviation).dump();
  metadata["criterion"] = card.criterion;
  metadata["eight_bits"] = kEightBits;
  metadata["care"] = fmt::format(
      "{}.{}.{}", CARE_VERSION_MAJOR, CARE_VERSION_MINOR, CARE_VERSION_PATCH);
  weights::write_safetensors(path, {weights::state_dict(net), metadata});
}

ModelCard read_card(const std::string& path) {
  const auto file = weights::read(path);
  const auto text = [&](const char* key, const char* otherwise = "") {
    const auto found = file.metadata.find(key);
    return found == file.metadata.end() ? otherwise : found->second;
  };
  const auto json = [&](const char* key) {
    return nlohmann::json::parse(text(key), nullptr, false);
  };
  ModelCard card;
  card.network = file.metadata;
  card.criterion = text("criterion", "ce");
  take_normalisation(file, path, card);
  bool good = card.criterion == "ce" || card.criterion == "bce";
  try {
    json("classes").get_to(card.classes);
    json("size").get_to(card.size);
  } catch (const nlohmann::json::exception&) {
    good = false;
  }
  const auto is_side = [](int64_t side) { return side > 0 && side <= 16384; };
  if (!good || card.network["network"].empty() || card.classes.empty() ||
      card.size.size() != 2 || !is_side(card.size[0]) ||
      !is_side(card.size[1])) {
    throw std::runtime_error(
        path +
        ": expected a network that the trainer left, with its name, classes, "
        "size and criterion, but got '" +
        card.network["network"] + "', '" + text("classes").substr(0, 100) +
        "', '" + text("size") + "' and '" + text("criterion") + "'");
  }
  return card;
}

void take_normalisation(const std::string& path, ModelCard& card) {
  take_normalisation(weights::read(path), path, card);
}

std::string load_weights(
    const std::string& path,
    torch::nn::Module& net,
    const std::string& head,
    ModelCard& card) {
  const auto file = weights::read(path);
  take_normalisation(file, path, card);
  std::ostringstream report;
  report << weights::load_into(net, file, weights::LoadOptions().head(head));
  return report.str();
}

} // namespace trainer
