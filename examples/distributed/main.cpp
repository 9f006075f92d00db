// Trains one network on several processes, plainly or with CARE: the trainer's
// data, loop and files. What differs is in Team.
// SPDX-License-Identifier: Apache-2.0
#include "distributed/launch.hpp"
#include "distributed/parallel.hpp"
#include "finetune/model.hpp"
#include "resnet_trainer/run.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <vector>

namespace {

struct OwnOptions {
  finetune::Options model;
  int nproc = 1;
  int64_t timeout = 600; // seconds
};

void add_options(CLI::App& app, OwnOptions& o) {
  o.model.net = "resnet18";
  o.model.backbone_rate = 1; // it may start from nothing
  finetune::add_options(app, o.model);
  const auto add = [&](const char* name, auto& value, const char* help) {
    return app.add_option(name, value, help)
        ->capture_default_str()
        ->group(trainer::kNoIdentity);
  };
  add("--nproc", o.nproc, "processes to start here; 1: RANK says which it is")
      ->check(CLI::Range(1, 4096));
  add("--timeout", o.timeout, "seconds after which a silent process is lost")
      ->check(CLI::Range(1, 1000000));
}

/// In the place of trainer::Alone: several processes, each with its share.
class Team {
 public:
  const int rank, size;

  explicit Team(parallel::Ranks& ranks)
      : rank(ranks.rank()),
        size(ranks.size()),
        ranks_(ranks) {}

  care::SumOverRanks summing() const {
    return ranks_.summing();
  }
  std::function<void()> averaging(const torch::nn::Module& net) const {
    return [this, &net] { ranks_.average_gradients(net); };
  }

  /// All start alike, or not at all.
  void begin(const torch::nn::Module& net, int64_t epoch) const {
    const auto epochs = ranks_.sum(torch::tensor({epoch}));
    if (epochs.item<int64_t>() != size * epoch) {
      throw std::runtime_error(
          "--out: expected a folder that all processes see, but they found "
          "checkpoints of different epochs");
    }
    ranks_.broadcast(net);
  }
  /// BatchNorm's running statistics are rank 0's.
  void end_epoch(const torch::nn::Module& net) const {
    ranks_.broadcast(net);
  }

  /// What `predict` says of each process's share of the rows, put together:
  /// each fills its places in tensors of zeros, which are added up.
  template <class Predict>
  trainer::Predictions predictions(
      const std::vector<trainer::Row>& rows,
      const Predict& predict) const {
    const auto n = static_cast<int64_t>(rows.size());
    if (n < size) {
      return predict(rows);
    }
    const auto places = torch::arange(rank, n, size, torch::kLong);
    const trainer::Predictions said =
        predict(trainer::share_of(rows, rank, size));
    const auto whole = [&](const torch::Tensor& part) {
      auto sizes = part.sizes().vec();
      sizes[0] = n;
      return ranks_.sum(
          torch::zeros(sizes, part.options()).index_copy_(0, places, part));
    };
    trainer::Predictions all;
    all.targets = whole(said.targets);
    all.probabilities = whole(said.probabilities);
    return all;
  }

 private:
  parallel::Ranks& ranks_;
};

/// Whether something (torchrun, Slurm, a shell) gave this process its place.
bool is_launched() {
  return std::getenv("RANK") != nullptr || std::getenv("WORLD_SIZE") != nullptr;
}

void run(trainer::Options o, const OwnOptions& own) {
  if (o.device != "cpu") {
    throw std::invalid_argument(
        "--device: expected cpu, which Gloo is for, but got " + o.device);
  }
  const auto place = is_launched()
      ? parallel::place_from_environment()
      : parallel::Place{0, 1, "127.0.0.1", parallel::free_port()};
  if (own.nproc > 1 && own.nproc != place.size) {
    throw std::invalid_argument(fmt::format(
        "--nproc: expected {} as WORLD_SIZE has it, or none, but got {}",
        place.size,
        own.nproc));
  }
  if (o.batch % place.size != 0) {
    throw std::invalid_argument(fmt::format(
        "--batch: expected a multiple of the {} processes, but got {}",
        place.size,
        o.batch));
  }
  if (const char* here = std::getenv("LOCAL_WORLD_SIZE");
      o.threads == 0 && here) {
    o.threads =
        std::max(1, trainer::threads_or_all(0) / std::max(1, std::atoi(here)));
  }
  parallel::Ranks ranks(place, std::chrono::seconds(own.timeout));
  trainer::run(
      o,
      [&](int64_t classes) {
        return finetune::make_model(own.model, o, classes, place.rank == 0);
      },
      Team(ranks));
}

} // namespace

int main(int argc, char** argv) {
  trainer::wait_passively(argv);
  OwnOptions own;
  const auto options = trainer::parse_options(
      argc, argv, "distributed", [&](CLI::App& app) { add_options(app, own); });
  int status = 0;
  const int failed = trainer::run_main("distributed", [&] {
    if (own.nproc > 1 && !is_launched()) {
      status = parallel::launch(own.nproc, argv);
    } else {
      run(options, own);
    }
  });
  return std::max(status, failed);
}
