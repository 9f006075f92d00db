// A training from the command line's options to the files that it leaves.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_RUN_HPP
#define RESNET_TRAINER_RUN_HPP

#include "checkpoint.hpp"
#include "device.hpp"
#include "figures.hpp"
#include "files.hpp"
#include "lock.hpp"
#include "model_file.hpp"
#include "optimizer.hpp"
#include "options.hpp"
#include "process.hpp"
#include "task.hpp"
#include "test.hpp"
#include "train.hpp"

#include <care/imbalance.hpp>

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/data/dataloader.h>
#include <torch/nn/functional/loss.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace trainer {

/// A network to train: any holder of a module with forward(images) -> logits.
template <class Network>
struct Model {
  Network net, best; ///< alike; `best` is room for the best epoch's weights
  ModelCard card; ///< `run` adds classes and size
  std::vector<Group> groups; ///< what of `net` is trained
  care::TargetLayer layer = {}; ///< the map that is guided and tested
};

/// What metrics.csv begins with.
inline constexpr const char* kColumns = "epoch,stage,rate,loss,accuracy";

/// The epoch as a line of metrics.csv, and one for people.
inline void record(
    Progress& progress,
    const Epoch& e,
    int stage,
    double rate,
    bool multi_label,
    double validation,
    double seconds) {
  auto& csv = progress.history;
  if (csv.empty()) {
    csv = fmt::format(
        "{},inner,outer,inside,guided,val_{},images_per_second\n",
        kColumns,
        multi_label ? "auc" : "mca");
  }
  const double speed = static_cast<double>(e.images) / seconds;
  csv += fmt::format(
      "{},{},{:g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{},{:.6g},{:.1f}\n",
      progress.epoch,
      stage,
      rate,
      e.loss,
      e.accuracy,
      e.inner,
      e.outer,
      e.inside,
      e.guided,
      validation,
      speed);
  auto line = fmt::format(
      "epoch {:3}: loss {:.3f}, accuracy {:.3f}",
      progress.epoch,
      e.loss,
      e.accuracy);
  if (e.guided > 0) {
    line += fmt::format(", attention inside {:.3f}", e.inside);
  }
  if (!std::isnan(validation)) {
    line += fmt::format(
        ", validation {} {:.3f}", multi_label ? "AUC" : "MCA", validation);
  }
  std::cout << fmt::format("{}, {:.0f} images/s", line, speed) << std::endl;
}

/// One process's share of the rows: every `size`-th, from `rank` on.
inline std::vector<Row> share_of(
    const std::vector<Row>& rows,
    int rank,
    int size) {
  std::vector<Row> share;
  for (auto i = static_cast<size_t>(rank); i < rows.size();
       i += static_cast<size_t>(size)) {
    share.push_back(rows[i]);
  }
  return share;
}

/// A training on this process alone; examples/distributed puts several in its
/// place, each with its share of every batch.
struct Alone {
  static constexpr int rank = 0, size = 1;

  care::SumOverRanks summing() const {
    return {};
  }
  std::function<void()> averaging(const torch::nn::Module&) const {
    return {};
  }
  void begin(const torch::nn::Module&, int64_t) const {}
  void end_epoch(const torch::nn::Module&) const {}
  template <class Predict>
  Predictions predictions(const std::vector<Row>& rows, const Predict& predict)
      const {
    return predict(rows);
  }
};

/// Removes what an earlier training left in its folder. Throws where files of
/// such names are no training's (by its checkpoint, or by the columns of
/// metrics.csv), and, unless that is meant, where a trained network is among
/// them.
inline void forget(const std::filesystem::path& out, bool is_meant) {
  if (!is_meant && std::filesystem::exists(out / "network.safetensors")) {
    throw std::invalid_argument(
        "--out: expected another folder, or --fresh, for no checkpoint tells "
        "what this network was trained on: " +
        (out / "network.safetensors").string());
  }
  std::string columns;
  std::ifstream(out / "metrics.csv") >> columns;
  const bool is_own =
      is_checkpoint(out / "checkpoint.pt") || columns.rfind(kColumns, 0) == 0;
  for (const char* name :
       {"metrics.csv",
        "test.txt",
        "network.safetensors",
        "attention.png",
        "checkpoint.pt"}) { // last: a kill in between leaves it a training's
    if (!is_own && std::filesystem::exists(out / name)) {
      throw std::invalid_argument(
          "--out: expected a folder of an earlier training or without a file "
          "of that name, but got " +
          (out / name).string());
    }
    std::filesystem::remove(out / name);
  }
}

/// Throws where `error` is LibTorch's, that BatchNorm got a single value: which
/// options help.
inline void check_batch_norm(const c10::Error& error, const Options& o) {
  const std::string text = error.what_without_backtrace();
  if (text.find("more than 1 value per channel") != std::string::npos) {
    throw std::invalid_argument(fmt::format(
        "--batch, --size: expected several pictures in a batch (of each "
        "process), or larger ones, for BatchNorm to learn from, but got one "
        "of {} x {}",
        o.size[0],
        o.size[1]));
  }
}

/// The classification loss of logits [N, K] and targets: of classes [N], or of
/// several labels [N, K].
inline auto criterion_of(
    const Options& o,
    const Task& task,
    torch::Device device) {
  namespace F = torch::nn::functional;
  const auto weights = o.class_weights
      ? care::inverse_frequency_weights(task.counts).to(device)
      : torch::Tensor();
  return [multi_label = o.multi_label(), weights](
             const torch::Tensor& logits, const torch::Tensor& targets) {
    return multi_label
        ? F::binary_cross_entropy_with_logits(
              logits,
              targets,
              F::BinaryCrossEntropyWithLogitsFuncOptions().pos_weight(weights))
        : F::cross_entropy(
              logits, targets, F::CrossEntropyFuncOptions().weight(weights));
  };
}

/// The guide: which classes, by which map of the network, how strongly, when.
inline care::Guide<> guide_of(
    const Options& o,
    const Task& task,
    const care::TargetLayer& layer,
    const care::SumOverRanks& summing) {
  return care::Guide<>(
      care::GuideOptions()
          .classes(task.guided)
          .target_layers({layer})
          .alpha(o.alpha)
          .sum_over_ranks(summing)
          .schedule(care::ScheduleOptions().start(o.stage1).warmup(o.warmup)),
      care::AttentionLossOptions().lambda(o.lambda).tau(o.tau));
}

/// Both stages; goes on where a checkpoint stands.
template <class Network, class Sampler, class Team>
Network train(
    const Options& o,
    const Task& task,
    const Model<Network>& model,
    const Input& input,
    const Sampler& sampler,
    const Team& team) {
  const std::filesystem::path out = o.out, checkpoint = out / "checkpoint.pt";
  auto net = model.net, best = model.best;
  net->to(input.device);
  best->to(input.device);
  const auto optimizer =
      make_optimizer(o.optimizer, model.groups, o.lr, o.weight_decay);
  const auto criterion = criterion_of(o, task, input.device);
  auto guide = guide_of(o, task, model.layer, team.summing());
  auto* const kept = o.best ? &*best : nullptr;
  Progress progress;
  progress.identity = task.identity +
      (team.size > 1 ? fmt::format("\nby {} processes", team.size) : "");
  if (!o.fresh && std::filesystem::exists(checkpoint)) {
    load_checkpoint(
        checkpoint, progress, *net, *optimizer, guide, input.device, kept);
    if (team.rank == 0) { // also what a kill kept from being written
      write_atomically(out / "metrics.csv", progress.history);
      std::cout << "going on after epoch " << progress.epoch << '\n';
    }
  } else if (team.rank == 0) {
    forget(out, o.fresh);
  }
  team.begin(*net, progress.epoch);
  if (o.channels_last) {
    to_channels_last(*net);
  }
  care::RankSampler own(
      sampler, static_cast<size_t>(team.rank), static_cast<size_t>(team.size));
  own.seek(progress.epoch);
  const auto batch = o.batch / team.size;
  const auto loader =
      make_loader(o, task, task.split.train, own, batch, /*learns=*/true);
  const auto& val = task.split.val;
  decltype(in_order(o, task, val)) val_loader; // of this process's share
  PredictOptions how;
  how.multi_label = o.multi_label();
  StepOptions step;
  step.bfloat16 = o.bfloat16;
  step.clip = o.clip;
  step.augment = care::AugmentOptions::preset(o.augment).seed(
      static_cast<uint64_t>(o.seed));
  step.after_backward = team.averaging(*net);
  step.total = team.summing();

  const auto steps = (static_cast<int64_t>(own.length()) + batch - 1) / batch;
  for (auto& epoch = progress.epoch; epoch < o.stage1 + o.stage2;) {
    const auto start = std::chrono::steady_clock::now();
    torch::manual_seed(static_cast<uint64_t>(o.seed + 1000 * (epoch + 1)));
    const auto rate = set_epoch_rate(*optimizer, model.groups, o, epoch);
    step.first_step = epoch * steps;
    const auto figures = [&] {
      try {
        return train_epoch(
            net, criterion, guide, *optimizer, *loader, input, step);
      } catch (const c10::Error& error) {
        check_batch_norm(error, o);
        throw;
      }
    }();
    const std::chrono::duration<double> seconds =
        std::chrono::steady_clock::now() - start;
    guide.advance();
    ++epoch;
    team.end_epoch(*net);
    const auto figure = val.empty()
        ? std::nan("")
        : validation_figure(team.predictions(val, [&](const auto& rows) {
            if (!val_loader) {
              val_loader = in_order(o, task, rows);
            }
            return predict(net, *val_loader, input, how);
          }));
    const bool stage2 = epoch > o.stage1;
    if (o.best && stage2 && figure > progress.best) {
      progress.best = figure;
      copy_weights(*net, *best);
    }
    if (team.rank > 0) {
      continue; // one of them writes
    }
    record(
        progress,
        figures,
        stage2 ? 2 : 1,
        rate,
        o.multi_label(),
        figure,
        seconds.count());
    save_checkpoint(checkpoint, progress, *net, *optimizer, guide, kept);
    write_atomically(out / "metrics.csv", progress.history);
  }
  return o.best && progress.best >= 0 ? best : net;
}

/// Trains and tests what `make_model`, (classes) -> Model<Network>, returns.
template <class MakeModel, class Team = Alone>
void run(const Options& o, const MakeModel& make_model, const Team& team = {}) {
  const auto device = device_of(o.device);
  const auto task = make_task(o);
  if (team.rank == 0) {
    std::cout << summary_of(task, o.alpha > 0);
  }
  torch::set_num_threads(threads_or_all(o.threads));
  const auto seed = static_cast<uint64_t>(o.seed);
  torch::manual_seed(seed);
  auto model = make_model(task.size());
  model.card.classes = task.classes;
  model.card.size = o.size;
  model.card.criterion = o.criterion;
  const Input input{
      device, o.channels_last, model.card.mean, model.card.deviation};
  const std::filesystem::path out = o.out;
  if (o.fresh || !std::filesystem::exists(out / "checkpoint.pt")) {
    // Before there is a lock: a fault makes no folder.
    look_through(o, task, share_of(task.split.test, team.rank, team.size));
  }
  std::unique_ptr<Lock> lock;
  if (team.rank == 0) {
    lock = std::make_unique<Lock>(out / ".lock");
    lock->take_alone(
        "--out: expected a folder that no other training works in, but got " +
        o.out);
  }
  const auto go = [&](const auto& sampler) {
    return train(o, task, model, input, sampler, team);
  };
  const auto targets = rarest_targets_of(task.split.train, task.classes);
  const auto net = o.balanced
      ? go(care::ClassSampler(targets, care::ClassSamplerOptions().seed(seed)))
      : go(care::ShuffleSampler(
            targets.size(), care::ShuffleSamplerOptions().seed(seed)));
  if (team.rank > 0) {
    return;
  }
  write_model(out / "network.safetensors", *net, model.card);
  test(o, task, net, input, model.layer);
}

} // namespace trainer

#endif // RESNET_TRAINER_RUN_HPP
