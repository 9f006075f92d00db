// Trains one network of a study, and asks it about its test pictures.
// SPDX-License-Identifier: Apache-2.0
#include "study/train_job.hpp"

#include "common/progress.hpp"
#include "resnet_trainer/checkpoint.hpp"
#include "resnet_trainer/device.hpp"
#include "resnet_trainer/train.hpp"
#include "study/faults.hpp"
#include "study/method.hpp"

#include <care/imbalance.hpp>

#include <torch/data/dataloader.h>
#include <torch/utils.h>

#include <fmt/format.h>
#include <fmt/ranges.h> // join
#include <opencv2/core.hpp>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <stdexcept>
#include <thread>

namespace study {
namespace {

/// What a job is made of.
struct Task {
  const Data& data;
  const Job& job;
  const Machine& machine;
  const Recipe& recipe = data.plan.recipe;
  const Arm& arm = data.plan.arms[job.arm];
  std::vector<int64_t> guided = data.classes_of("guide", arm.guide);
  uint64_t seed = static_cast<uint64_t>(job.seed);
  trainer::Input input = input_of(recipe, machine.device);
};

/// `learns`: without a last batch of one, as the trainer, and with the boxes'
/// weights where the arm has them.
template <class Sampler>
auto make_loader(
    const Task& task,
    const std::vector<Row>& rows,
    Sampler sampler,
    bool learns = false) {
  const auto [width, height] = size_of(task.recipe);
  trainer::PicturesOptions options;
  options.size = {height, width};
  options.weigh_boxes = learns && task.arm.weigh_boxes;
  options.cache = true;
  options.masks = task.recipe.masks();
  options.any_mask_size = task.arm.boxes == "shuffled";
  const auto batch = task.recipe.batch;
  const auto count = static_cast<int64_t>(rows.size());
  return torch::data::make_data_loader(
      trainer::Pictures(rows, task.data.classes, options),
      std::move(sampler),
      torch::data::DataLoaderOptions(static_cast<size_t>(batch))
          .drop_last(learns && trainer::ends_in_one(count, batch, batch))
          .workers(1));
}

trainer::Predictions ask(
    const Task& task,
    Network net,
    const std::vector<Row>& rows,
    trainer::PredictOptions how) {
  const auto in_order = care::ShuffleSamplerOptions().shuffle(false);
  const care::ShuffleSampler sampler(rows.size(), in_order);
  auto loader = make_loader(task, rows, sampler);
  how.layer = networks::families().at(task.recipe.net).layer;
  return trainer::predict(net, *loader, task.input, how);
}

/// Without a picture to guide the arm would be its own control.
void check(
    const Task& task,
    const std::vector<Row>& rows,
    const std::vector<int64_t>& counts) {
  const auto& arm = task.arm;
  const bool some = std::any_of(rows.begin(), rows.end(), [&](const Row& row) {
    return row.has_region(task.recipe.masks()) &&
        std::count(
            task.guided.begin(), task.guided.end(), task.data.target_of(row)) >
        0;
  });
  if (arm.is_guided() && !some && arm.box_missing == 0) {
    throw std::runtime_error(fmt::format(
        "expected pictures of the guided classes with a {} to learn from, but "
        "got none",
        task.recipe.masks() ? "mask" : "box"));
  }
  for (size_t k = 0; k < counts.size(); ++k) {
    if (counts[k] == 0 && arm.imbalance != Imbalance::kCe) {
      throw std::runtime_error(
          "expected pictures of '" + task.data.classes[k] +
          "' to learn from, but got none in this split");
    }
  }
}

trainer::Optimizer optimizer_of(const Recipe& recipe) {
  return recipe.optimizer == Optimizer::kAdam ? trainer::Optimizer::kAdam
      : recipe.optimizer == Optimizer::kAdamW ? trainer::Optimizer::kAdamW
                                              : trainer::Optimizer::kSgd;
}

template <class Sampler>
Network train(
    const Task& task,
    const std::vector<Row>& rows,
    const std::filesystem::path& checkpoint,
    Sampler sampler) {
  const auto& [data, job, machine, recipe, arm, guided, seed, input] = task;
  const auto classes = static_cast<int64_t>(data.classes.size());
  const auto counts =
      care::class_counts(trainer::targets_of(rows, data.classes), classes);
  check(task, rows, counts);
  torch::manual_seed(seed);
  auto net = make_network(recipe, arm, classes);
  net->to(input.device);
  const auto optimizer = trainer::make_optimizer(
      optimizer_of(recipe),
      {{net->parameters()}},
      recipe.lr,
      recipe.weight_decay);
  const auto criterion =
      criterion_of(arm.imbalance, counts, recipe.epochs, input.device);
  ArmGuide guide(arm, guided, recipe);

  trainer::Progress state;
  if (std::filesystem::exists(checkpoint) &&
      !trainer::is_checkpoint(checkpoint)) { // cut off, say
    std::cerr << fmt::format(
                     "{}: expected a checkpoint, but it cannot be read; {} is "
                     "begun anew",
                     checkpoint.string(),
                     data.plan.name(job))
              << std::endl;
    std::filesystem::remove(checkpoint);
  }
  if (std::filesystem::exists(checkpoint)) {
    trainer::load_checkpoint(
        checkpoint, state, *net, *optimizer, guide, input.device);
  }
  if (recipe.channels_last) {
    trainer::to_channels_last(*net);
  }
  sampler.seek(state.epoch);
  const auto loader = make_loader(task, rows, sampler, /*learns=*/true);
  trainer::StepOptions step;
  step.bfloat16 = recipe.precision == Precision::kBFloat16;
  step.augment = augmentation_of(recipe, arm).seed(seed);
  const auto images = static_cast<int64_t>(rows.size());
  const auto steps = (images + recipe.batch - 1) / recipe.batch;
  common::ProgressOptions shown;
  shown.terminal = shown.terminal && machine.has_terminal;
  common::Progress progress(
      data.plan.name(job), recipe.epochs * images, state.epoch * images, shown);
  for (auto& epoch = state.epoch; epoch < recipe.epochs;) {
    trainer::set_rate(*optimizer, rate_of(recipe, epoch));
    step.first_step = epoch * steps;
    // What the network draws itself, for dropout, comes from here.
    torch::manual_seed(seed + 1000 * static_cast<uint64_t>(epoch + 1));
    const auto figures = trainer::train_epoch(
        net,
        [&](const torch::Tensor& logits, const torch::Tensor& target) {
          return criterion(logits, target, epoch);
        },
        guide,
        *optimizer,
        *loader,
        input,
        step);
    guide.advance();
    ++epoch;
    trainer::save_checkpoint(checkpoint, state, *net, *optimizer, guide);
    auto note = fmt::format(
        "epoch {}, loss {:.3f}, accuracy {:.3f}",
        epoch,
        figures.loss,
        figures.accuracy);
    if (figures.guided > 0) {
      note += fmt::format(", attention inside {:.3f}", figures.inside);
    }
    progress.advance(images, note);
  }
  progress.finish();
  return net;
}

Network train(
    const Task& task,
    const std::vector<Row>& rows,
    const std::filesystem::path& checkpoint) {
  const auto targets = trainer::targets_of(rows, task.data.classes);
  const auto imbalance = task.arm.imbalance;
  const bool root = imbalance == Imbalance::kSquareRootSampling;
  if (root || imbalance == Imbalance::kClassBalancedSampling) {
    const auto options =
        care::ClassSamplerOptions().seed(task.seed).power(root ? 0.5 : 0);
    const care::ClassSampler sampler(targets, options);
    return train(task, rows, checkpoint, sampler);
  }
  const auto options = care::ShuffleSamplerOptions().seed(task.seed);
  const care::ShuffleSampler sampler(rows.size(), options);
  return train(task, rows, checkpoint, sampler);
}

std::vector<double> row_of(const torch::Tensor& table, int64_t row) {
  const auto values = table[row].to(torch::kDouble).contiguous();
  const auto* first = values.data_ptr<double>();
  return {first, first + values.numel()};
}

} // namespace

void prepare(const Machine& machine) {
  trainer::device_of(machine.device); // throws
  torch::set_num_threads(static_cast<int>(machine.threads));
}

void check_weights(const Data& data) {
  const auto& recipe = data.plan.recipe;
  if (recipe.weights.empty()) {
    return;
  }
  torch::set_num_threads(1);
  try {
    const auto classes = static_cast<int64_t>(data.classes.size());
    make_network(recipe, data.plan.arms.at(0), classes);
  } catch (const c10::Error& error) {
    throw std::runtime_error(error.what_without_backtrace());
  }
}

Pairs read_pictures(const Data& data) {
  constexpr size_t kMostNamed = 10;
  torch::set_num_threads(1);
  const auto& rows = data.rows;
  trainer::PicturesOptions options;
  options.size = {16, 17}; // all that the hash looks at
  options.masks = data.plan.recipe.masks();
  options.keep_faults = true;
  const auto in_order = care::ShuffleSamplerOptions().shuffle(false);
  const auto loader = torch::data::make_data_loader(
      trainer::Pictures(rows, {}, options),
      care::ShuffleSampler(rows.size(), in_order),
      torch::data::DataLoaderOptions(32).workers(
          std::max(1U, std::thread::hardware_concurrency())));
  std::vector<Hash> hashes;
  std::vector<std::string> faults;
  common::Progress progress(
      "reading pictures", static_cast<int64_t>(rows.size()));
  for (const auto& batch : *loader) {
    const auto pixels = batch.images.permute({0, 2, 3, 1}).contiguous();
    for (int64_t i = 0; i < pixels.size(0); ++i) {
      hashes.push_back(
          difference_hash(cv::Mat(16, 17, CV_8UC3, pixels[i].data_ptr())));
    }
    for (const auto& fault : batch.faults) {
      faults.push_back(fault.second);
    }
    progress.advance(pixels.size(0));
  }
  progress.finish();
  if (!faults.empty()) {
    const auto count = faults.size();
    faults.resize(std::min(count, kMostNamed));
    throw std::runtime_error(fmt::format(
        "data: expected pictures to train and test with, but {} of {} are "
        "none:\n{}{}",
        count,
        rows.size(),
        fmt::join(faults, "\n"),
        count > kMostNamed ? "\n..." : ""));
  }
  return near_duplicates(hashes);
}

Run train_job(
    const Data& data,
    const Job& job,
    const std::filesystem::path& checkpoint,
    const Machine& machine) {
  constexpr size_t kMostShown = 16;
  try {
    const auto start = common::steady_seconds();
    const Task task{data, job, machine};
    const auto parts = data.parts(job);
    const auto faults = static_cast<uint64_t>(1000 * job.split + job.seed);
    const auto rows =
        with_faults(parts.train, task.arm, faults, task.recipe.masks());
    const auto net = train(task, rows, checkpoint);
    Run run;
    trainer::PredictOptions how;
    for (const auto view : data.plan.views()) {
      auto tested = parts.test;
      how.attention = view == View::kWhole;
      how.grey = view == View::kLesionAlone ? trainer::Grey::kSurroundings
          : view == View::kLesionGrey       ? trainer::Grey::kLesion
                                            : trainer::Grey::kNothing;
      if (how.grey != trainer::Grey::kNothing) {
        const auto without = [&](const Row& row) {
          return !row.has_region(task.recipe.masks());
        };
        tested.erase(
            std::remove_if(tested.begin(), tested.end(), without),
            tested.end());
      }
      if (tested.empty()) {
        continue;
      }
      const auto said = ask(task, net, tested, how);
      for (size_t i = 0; i < tested.size(); ++i) {
        const auto n = static_cast<int64_t>(i);
        const auto epg = said.epg[n].item<double>();
        run.predictions.push_back(
            {tested[i].path,
             row_of(said.probabilities, n),
             said.boxed[n].item<bool>(),
             std::isnan(epg) ? std::nullopt : std::make_optional(epg),
             view});
      }
    }
    const auto shown = data.shown(parts.test, kMostShown);
    if (data.plan.is_first(job) && !shown.empty()) {
      how = {};
      how.attention = how.keep_maps = true;
      const auto maps = ask(task, net, shown, how).maps;
      for (const auto& row : shown) {
        const auto n = static_cast<int64_t>(run.looks.size());
        run.looks.push_back(
            {row.path, maps.size(1), row_of(maps.flatten(1), n)});
      }
    }
    run.seconds = common::steady_seconds() - start;
    return run;
  } catch (const c10::Error& error) {
    throw std::runtime_error(error.what_without_backtrace());
  }
}

} // namespace study
