// Trains one network on several processes, plainly or with CARE: the trainer's
// data, loop and files. What differs from trainer::train is marked "ranks".
// SPDX-License-Identifier: Apache-2.0
#include "distributed/launch.hpp"
#include "distributed/parallel.hpp"
#include "networks/by_name.hpp"
#include "resnet_trainer/run.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct OwnOptions {
  std::string net = "resnet18", weights;
  int nproc = 1;
  int64_t timeout = 600; // seconds
};

void add_options(CLI::App& app, OwnOptions& o) {
  const auto add = [&](const char* name, auto& value, const char* help) {
    return app.add_option(name, value, help)->capture_default_str();
  };
  add("--net", o.net, "which network")
      ->check(CLI::IsMember(networks::families()));
  app.add_option("--weights", o.weights, "a state_dict or safetensors")
      ->check(CLI::ExistingFile);
  add("--nproc", o.nproc, "processes to start here; 1: RANK says which it is")
      ->check(CLI::Range(1, 4096))
      ->group(trainer::kNoIdentity);
  add("--timeout", o.timeout, "seconds after which a silent process is lost")
      ->check(CLI::Range(1, 1000000))
      ->group(trainer::kNoIdentity);
}

/// What one process says of its share of the rows, put together: each fills its
/// places in tensors of zeros, which are added up.
trainer::Predictions predict_together(
    networks::Network& net,
    const trainer::Options& o,
    const trainer::Task& task,
    const std::vector<trainer::Row>& rows,
    const trainer::Input& input,
    parallel::Ranks& ranks) {
  const auto all = torch::arange(static_cast<int64_t>(rows.size()));
  const auto places = all.slice(0, ranks.rank(), all.size(0), ranks.size());
  std::vector<trainer::Row> own;
  for (int64_t i = 0; i < places.size(0); ++i) {
    own.push_back(rows[static_cast<size_t>(places[i].item<int64_t>())]);
  }
  auto targets = torch::zeros({all.size(0)}, torch::kLong);
  auto probabilities = torch::zeros({all.size(0), task.size()}, torch::kDouble);
  if (!own.empty()) {
    const auto loader = trainer::in_order(o, task, own);
    const auto said = trainer::predict(net, *loader, input, false);
    targets.index_copy_(0, places, said.targets);
    probabilities.index_copy_(0, places, said.probabilities);
  }
  trainer::Predictions whole;
  whole.targets = ranks.sum(targets);
  whole.probabilities = ranks.sum(probabilities);
  return whole;
}

/// The means over all processes' images.
trainer::Epoch mean_over(const trainer::Epoch& e, parallel::Ranks& ranks) {
  const auto n = static_cast<double>(e.images),
             g = static_cast<double>(e.guided);
  const auto of_guided = [&](double mean) {
    return e.guided > 0 ? g * mean : 0;
  };
  const auto sums = ranks.sum(torch::tensor(
      {n,
       g,
       n * e.loss,
       n * e.accuracy,
       of_guided(e.inner),
       of_guided(e.outer),
       of_guided(e.inside)},
      torch::kDouble));
  const auto at = [&](int64_t i) { return sums[i].item<double>(); };
  return {
      at(2) / at(0),
      at(3) / at(0),
      at(4) / at(1),
      at(5) / at(1),
      at(6) / at(1),
      static_cast<int64_t>(at(0)),
      static_cast<int64_t>(at(1))};
}

networks::Network train(
    trainer::Options o,
    const trainer::Task& task,
    const trainer::Model<networks::Network>& model,
    const trainer::Input& input,
    parallel::Ranks& ranks) {
  const std::filesystem::path out = o.out, checkpoint = out / "checkpoint.pt";
  auto net = model.net, best = model.best;
  const auto optimizer = trainer::make_optimizer(o, model.groups);
  auto cross_entropy = torch::nn::functional::CrossEntropyFuncOptions();
  if (o.class_weights) {
    cross_entropy.weight(care::inverse_frequency_weights(task.counts));
  }
  const auto criterion = [&](const auto& logits, const auto& targets) {
    return torch::nn::functional::cross_entropy(logits, targets, cross_entropy);
  };
  care::Guide guide(
      care::GuideOptions()
          .classes(task.guided)
          .alpha(o.alpha)
          .sum_over_ranks(ranks.summing()) // ranks: one mean over all guided
          .schedule(care::ScheduleOptions().start(o.stage1).warmup(o.warmup)),
      care::AttentionLossOptions().lambda(o.lambda).tau(o.tau));

  trainer::Progress progress;
  progress.identity = task.identity;
  if (!o.fresh && std::filesystem::exists(checkpoint)) {
    trainer::load_checkpoint(
        checkpoint, progress, *net, *best, *optimizer, guide, input.device);
  }
  // ranks: all start alike, or not at all
  const auto epochs = ranks.sum(torch::tensor({progress.epoch}));
  if (epochs.item<int64_t>() != ranks.size() * progress.epoch) {
    throw std::runtime_error(
        checkpoint.string() +
        ": expected every process to find the same checkpoint, but the epochs "
        "differ; --out must be a folder that all of them see");
  }
  ranks.broadcast(*net);
  if (o.channels_last) {
    trainer::to_channels_last(*net);
  }
  const auto seed = static_cast<uint64_t>(o.seed);
  const auto targets = trainer::targets_of(task.split.train, task.classes);
  const auto whole_batch = o.batch;
  o.batch /= ranks.size(); // ranks: each its share of every batch
  const auto fit = [&](const auto& sampler, auto epoch_of) {
    care::RankSampler own(
        sampler,
        static_cast<size_t>(ranks.rank()),
        static_cast<size_t>(ranks.size()));
    own.seek(progress.epoch);
    epoch_of(*trainer::make_loader(o, task, task.split.train, own));
  };
  trainer::StepOptions step;
  step.bfloat16 = o.bfloat16;
  step.clip = o.clip;
  step.augment = care::AugmentOptions::preset(o.augment).seed(seed);
  step.after_backward = [&] { ranks.average_gradients(*net); }; // ranks

  const auto epochs_of = [&](auto& loader) {
    const auto steps =
        (static_cast<int64_t>(task.split.train.size()) + whole_batch - 1) /
        whole_batch;
    for (auto& epoch = progress.epoch; epoch < o.stage1 + o.stage2;) {
      const auto start = std::chrono::steady_clock::now();
      torch::manual_seed(seed + 1000 * static_cast<uint64_t>(epoch + 1));
      const auto rate =
          trainer::set_epoch_rate(*optimizer, model.groups, o, epoch);
      step.first_step = epoch * steps;
      const auto figures = mean_over(
          trainer::train_epoch(
              net, criterion, guide, *optimizer, loader, input, step),
          ranks);
      const std::chrono::duration<double> seconds =
          std::chrono::steady_clock::now() - start;
      guide.advance();
      ++epoch;
      ranks.broadcast(*net); // ranks: BatchNorm's statistics are rank 0's
      const auto& val = task.split.val;
      const auto mca = val.empty()
          ? std::nan("")
          : trainer::confusion(
                predict_together(net, o, task, val, input, ranks))
                .mca();
      const bool stage2 = epoch > o.stage1;
      if (o.best && stage2 && mca > progress.best) {
        progress.best = mca;
        trainer::copy_weights(*net, *best);
      }
      if (ranks.is_first()) { // ranks: one of them writes
        trainer::record(
            progress, figures, stage2 ? 2 : 1, rate, mca, seconds.count());
        std::filesystem::create_directories(out);
        trainer::save_checkpoint(
            checkpoint, progress, *net, *best, *optimizer, guide);
        trainer::write_atomically(out / "metrics.csv", progress.history);
      }
    }
  };
  if (o.balanced) {
    fit(care::ClassSampler(targets, care::ClassSamplerOptions().seed(seed)),
        epochs_of);
  } else {
    fit(care::ShuffleSampler(
            targets.size(), care::ShuffleSamplerOptions().seed(seed)),
        epochs_of);
  }
  return o.best && progress.best >= 0 ? best : net;
}

void run(const trainer::Options& o, const OwnOptions& own) {
  if (o.device != "cpu") {
    throw std::invalid_argument(
        "--device: expected cpu, which Gloo is for, but got " + o.device);
  }
  const auto place = std::getenv("RANK") != nullptr
      ? parallel::place_from_environment()
      : parallel::Place{0, 1, "127.0.0.1", parallel::free_port()};
  if (o.batch % place.size != 0) {
    throw std::invalid_argument(fmt::format(
        "--batch: expected a multiple of the {} processes, but got {}",
        place.size,
        o.batch));
  }
  const auto task = trainer::make_task(o);
  const char* local = std::getenv("LOCAL_WORLD_SIZE");
  torch::set_num_threads(std::max(
      1,
      trainer::threads_or_all(o.threads) /
          (o.threads == 0 && local != nullptr ? std::atoi(local) : 1)));
  torch::manual_seed(static_cast<uint64_t>(o.seed));
  const auto& family = networks::families().at(own.net);
  trainer::Model<networks::Network> model{
      family.make(task.size()), family.make(task.size()), {}, {}};
  model.card.network = {{"network", own.net}};
  model.card.mean = family.normalisation.mean;
  model.card.deviation = family.normalisation.deviation;
  model.card.classes = task.classes;
  model.card.size = o.size;
  if (!own.weights.empty()) {
    trainer::load_weights(own.weights, *model.net, family.head, model.card);
  }
  model.groups = {{model.net->parameters()}};
  const trainer::Input input{
      torch::kCPU, o.channels_last, model.card.mean, model.card.deviation};
  parallel::Ranks ranks(place, std::chrono::seconds(own.timeout));
  const auto net = train(o, task, model, input, ranks);
  if (ranks.is_first()) {
    trainer::test(o, task, net, input);
    trainer::write_model(
        std::filesystem::path(o.out) / "network.safetensors", *net, model.card);
  }
}

} // namespace

int main(int argc, char** argv) {
  trainer::wait_passively(argv);
  OwnOptions own;
  const auto options = trainer::parse_options(
      argc, argv, "distributed", [&](CLI::App& app) { add_options(app, own); });
  int status = 0;
  const int failed = trainer::run_main("distributed", [&] {
    if (own.nproc > 1 && std::getenv("RANK") == nullptr) {
      status = parallel::launch(own.nproc, argv);
    } else {
      run(options, own);
    }
  });
  return std::max(status, failed);
}
