// A training's whole state in one file, so that it goes on exactly.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_CHECKPOINT_HPP
#define RESNET_TRAINER_CHECKPOINT_HPP

#include "files.hpp"

#include <c10/util/Exception.h>
#include <torch/nn/module.h>
#include <torch/optim/optimizer.h>
#include <torch/serialize.h>
#include <torch/types.h>

#include <cstdint>
#include <exception>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <string>

namespace trainer {

/// What changes while a network trains, beside the network itself.
struct Progress {
  int64_t epoch = 0; ///< finished ones
  double best = -1; ///< the best validation figure so far
  std::string history; ///< metrics.csv so far
  std::string identity; ///< what the training is of: settings and data
};

/// Copies every parameter and buffer of one network into another like it.
inline void copy_weights(const torch::nn::Module& from, torch::nn::Module& to) {
  torch::NoGradGuard no_grad;
  auto parameters = to.named_parameters();
  for (const auto& item : from.named_parameters()) {
    parameters[item.key()].copy_(item.value());
  }
  auto buffers = to.named_buffers();
  for (const auto& item : from.named_buffers()) {
    buffers[item.key()].copy_(item.value());
  }
}

/// Writes everything, with the network of the best epoch where it is kept.
template <class Guide>
void save_checkpoint(
    const std::filesystem::path& path,
    const Progress& progress,
    const torch::nn::Module& net,
    const torch::optim::Optimizer& optimizer,
    const Guide& guide,
    const torch::nn::Module* best = nullptr) {
  torch::serialize::OutputArchive archive, parts[4];
  net.save(parts[0]);
  optimizer.save(parts[1]);
  parts[2] << guide;
  archive.write("net", parts[0]);
  archive.write("optimizer", parts[1]);
  archive.write("guide", parts[2]);
  if (best != nullptr) {
    best->save(parts[3]);
    archive.write("best", parts[3]);
  }
  archive.write("epoch", c10::IValue(progress.epoch));
  archive.write("best_figure", c10::IValue(progress.best));
  archive.write("history", c10::IValue(progress.history));
  archive.write("identity", c10::IValue(progress.identity));
  std::ostringstream bytes;
  archive.save_to(bytes);
  write_atomically(path, bytes.str());
}

/// Whether `save_checkpoint` wrote the file.
inline bool is_checkpoint(const std::filesystem::path& path) {
  try {
    torch::serialize::InputArchive archive;
    archive.load_from(path.string(), torch::kCPU);
    c10::IValue identity;
    return archive.try_read("identity", identity);
  } catch (const std::exception&) {
    return false;
  }
}

/// Reads what `save_checkpoint` wrote into parts like those it had. Throws
/// std::runtime_error for a damaged file and for a training of another
/// `progress.identity`.
template <class Guide>
void load_checkpoint(
    const std::filesystem::path& path,
    Progress& progress,
    torch::nn::Module& net,
    torch::optim::Optimizer& optimizer,
    Guide& guide,
    torch::Device device,
    torch::nn::Module* best = nullptr) {
  try {
    torch::serialize::InputArchive archive, parts[4];
    archive.load_from(path.string(), device);
    const auto value = [&](const char* key) {
      c10::IValue read;
      archive.read(key, read);
      return read;
    };
    const auto identity = value("identity").toStringRef();
    if (identity != progress.identity) {
      throw std::runtime_error(
          path.string() + ": expected a training of\n" + progress.identity +
          "\nbut it is one of\n" + identity +
          "\nGive another --out, or --fresh (where the program has that) to "
          "forget it");
    }
    archive.read("net", parts[0]);
    archive.read("optimizer", parts[1]);
    archive.read("guide", parts[2]);
    net.load(parts[0]);
    optimizer.load(parts[1]);
    parts[2] >> guide;
    if (best != nullptr) {
      archive.read("best", parts[3]);
      best->load(parts[3]);
    }
    progress.epoch = value("epoch").toInt();
    progress.best = value("best_figure").toDouble();
    progress.history = value("history").toStringRef();
  } catch (const c10::Error& error) {
    throw std::runtime_error(
        path.string() +
        ": cannot go on from this checkpoint; delete it (or say --fresh, where "
        "the program has that) to start anew (" +
        error.what_without_backtrace() + ")");
  } catch (const std::runtime_error&) {
    throw;
  } catch (const std::exception& error) { // of another program's file
    throw std::runtime_error(
        path.string() + ": expected a training's checkpoint (" + error.what() +
        ")");
  }
}

} // namespace trainer

#endif // RESNET_TRAINER_CHECKPOINT_HPP
