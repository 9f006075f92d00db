// A trained network's file: safetensors that say what using it needs.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_MODEL_FILE_HPP
#define RESNET_TRAINER_MODEL_FILE_HPP

#include <torch/nn/module.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace trainer {

/// What using a network needs beside its weights.
struct ModelCard {
  /// Its name and options: {"network": "resnet18", "width": "1", ...}.
  std::map<std::string, std::string> network;
  std::vector<std::string> classes = {}; ///< in the logits' order
  std::vector<int64_t> size = {}; ///< of the input: width, height
  /// Pixels in [0, 1] become (pixel - mean) / deviation; red, green, blue.
  std::array<double, 3> mean{0.5, 0.5, 0.5}, deviation{0.25, 0.25, 0.25};
  /// What it learnt by: "ce", one class a picture, or "bce", several labels.
  std::string criterion = "ce";
};

/// Writes the network in one step; the lists in its `__metadata__` are JSON.
void write_model(
    const std::filesystem::path& path,
    const torch::nn::Module& net,
    const ModelCard& card);

/// The card of a file that `write_model` left. Throws std::runtime_error with
/// the file's name for another.
ModelCard read_card(const std::string& path);

/// Takes mean and deviation from a file that names them. Throws
/// std::runtime_error for such that are none.
void take_normalisation(const std::string& path, ModelCard& card);

/// Takes over the weights of a file: Python's state_dict, safetensors, or what
/// `write_model` wrote; and mean and deviation where it names them. The layer
/// `head` may be of another size, and then stays as it is; empty: all must fit.
/// Gives what came of it in words. Throws c10::ValueError that lists what does
/// not fit.
std::string load_weights(
    const std::string& path,
    torch::nn::Module& net,
    const std::string& head,
    ModelCard& card);

} // namespace trainer

#endif // RESNET_TRAINER_MODEL_FILE_HPP
