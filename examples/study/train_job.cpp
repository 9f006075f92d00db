// Trains one network of a study, and asks it about its test pictures.
// SPDX-License-Identifier: Apache-2.0
#include "study/train_job.hpp"

#include "common/progress.hpp"
#include "resnet_trainer/checkpoint.hpp"
#include "resnet_trainer/train.hpp"
#include "study/method.hpp"

#include <care/imbalance.hpp>

#include <torch/cuda.h>
#include <torch/data/dataloader.h>
#include <torch/utils.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace study {
namespace {

class Training {
  template <class Sampler>
  auto make_loader(const std::vector<Row>& rows, Sampler sampler) const {
    const auto [width, height] = size_of(recipe_);
    trainer::PicturesOptions options;
    options.size = {height, width};
    options.weigh_boxes = arm_.weigh_boxes;
    options.cache = true;
    return torch::data::make_data_loader(
        trainer::Pictures(rows, data_.classes, options),
        std::move(sampler),
        torch::data::DataLoaderOptions(static_cast<size_t>(recipe_.batch))
            .workers(1));
  }

 public:
  Training(
      const Plan& plan,
      const Data& data,
      const Job& job,
      const Machine& machine)
      : plan_(plan),
        recipe_(plan.recipe),
        data_(data),
        job_(job),
        arm_(plan.arms[job.arm]),
        machine_(machine),
        input_(input_of(recipe_, torch::Device(machine.device))) {}

  Network train(
      const std::vector<Row>& rows,
      const std::filesystem::path& checkpoint) const {
    const auto targets = trainer::targets_of(rows, data_.classes);
    const auto seed = static_cast<uint64_t>(job_.seed);
    auto of_classes = care::ClassSamplerOptions().seed(seed);
    switch (arm_.imbalance) {
      case Imbalance::kSquareRootSampling:
        of_classes.power(0.5);
        [[fallthrough]];
      case Imbalance::kClassBalancedSampling:
        return train(
            rows, targets, checkpoint, care::ClassSampler(targets, of_classes));
      default:
        return train(
            rows,
            targets,
            checkpoint,
            care::ShuffleSampler(
                rows.size(), care::ShuffleSamplerOptions().seed(seed)));
    }
  }

  trainer::Predictions ask(
      Network net,
      const std::vector<Row>& rows,
      bool keep_maps) const {
    const auto in_order = care::ShuffleSamplerOptions().shuffle(false);
    auto loader =
        make_loader(rows, care::ShuffleSampler(rows.size(), in_order));
    return trainer::predict(net, *loader, input_, true, keep_maps);
  }

 private:
  template <class Sampler>
  Network train(
      const std::vector<Row>& rows,
      const std::vector<int64_t>& targets,
      const std::filesystem::path& checkpoint,
      Sampler sampler) const {
    const auto seed = static_cast<uint64_t>(job_.seed);
    const auto classes = static_cast<int64_t>(data_.classes.size());
    const auto counts = care::class_counts(targets, classes);
    const auto guided = data_.classes_of("guide", arm_.guide);
    check(rows, counts, guided);
    torch::manual_seed(seed);
    auto net = make_network(recipe_, arm_, classes);
    net->to(input_.device);
    const auto optimizer = make_optimizer(recipe_, net);
    const auto criterion =
        criterion_of(arm_.imbalance, counts, recipe_.epochs, input_.device);
    ArmGuide guide(arm_, guided, recipe_);

    trainer::Progress state;
    if (std::filesystem::exists(checkpoint)) {
      trainer::load_checkpoint(
          checkpoint, state, *net, *net, *optimizer, guide, input_.device);
    }
    if (recipe_.channels_last) {
      trainer::to_channels_last(*net);
    }
    sampler.seek(state.epoch);
    const auto loader = make_loader(rows, sampler);
    trainer::StepOptions step;
    step.bfloat16 = recipe_.precision == Precision::kBFloat16;
    step.augment = augmentation_of(recipe_, arm_).seed(seed);
    const auto images = static_cast<int64_t>(rows.size());
    common::ProgressOptions shown;
    shown.terminal = shown.terminal && machine_.has_terminal;
    common::Progress progress(
        plan_.name(job_), recipe_.epochs * images, state.epoch * images, shown);
    while (state.epoch < recipe_.epochs) {
      set_rate(*optimizer, recipe_, state.epoch);
      step.first_step =
          state.epoch * ((images + recipe_.batch - 1) / recipe_.batch);
      // What the network draws itself, for dropout, comes from here.
      torch::manual_seed(seed + 1000 * static_cast<uint64_t>(state.epoch + 1));
      const auto figures = trainer::train_epoch(
          net,
          [&](const torch::Tensor& logits, const torch::Tensor& target) {
            return criterion(logits, target, state.epoch);
          },
          guide,
          *optimizer,
          *loader,
          input_,
          step);
      guide.advance();
      ++state.epoch;
      trainer::save_checkpoint(
          checkpoint, state, *net, *net, *optimizer, guide);
      auto note = fmt::format(
          "epoch {}, loss {:.3f}, accuracy {:.3f}",
          state.epoch,
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

  /// Without a picture to guide the arm would be its own control.
  void check(
      const std::vector<Row>& rows,
      const std::vector<int64_t>& counts,
      const std::vector<int64_t>& guided) const {
    const bool some =
        std::any_of(rows.begin(), rows.end(), [&](const Row& row) {
          const auto target = static_cast<int64_t>(data_.target_of(row));
          return !row.boxes.empty() &&
              std::count(guided.begin(), guided.end(), target) > 0;
        });
    if (arm_.is_guided() && !some && arm_.box_missing == 0) {
      throw std::runtime_error(
          "expected pictures of the guided classes with a box to learn from, "
          "but got none");
    }
    for (size_t k = 0; k < counts.size(); ++k) {
      if (counts[k] == 0 && arm_.imbalance != Imbalance::kCe) {
        throw std::runtime_error(
            "expected pictures of '" + data_.classes[k] +
            "' to learn from, but got none in this split");
      }
    }
  }

  const Plan& plan_;
  const Recipe& recipe_;
  const Data& data_;
  const Job& job_;
  const Arm& arm_;
  const Machine& machine_;
  trainer::Input input_;
};

std::vector<double> row_of(const torch::Tensor& table, int64_t row) {
  const auto values = table[row].to(torch::kDouble).contiguous();
  const auto* first = values.data_ptr<double>();
  return {first, first + values.numel()};
}

} // namespace

void prepare(const Machine& machine) {
  if (machine.device == "cuda" && !torch::cuda::is_available()) {
    throw std::invalid_argument(
        "--device: expected cpu, but got cuda, which this LibTorch or machine "
        "does not have");
  }
  torch::set_num_threads(static_cast<int>(machine.threads));
}

Run train_job(
    const Plan& plan,
    const Data& data,
    const Job& job,
    const Parts& parts,
    const std::vector<Row>& shown,
    const std::filesystem::path& checkpoint,
    const Machine& machine) {
  try {
    const auto start = common::steady_seconds();
    const Training training(plan, data, job, machine);
    const auto net = training.train(parts.train, checkpoint);
    Run run;
    const auto said = training.ask(net, parts.test, false);
    for (const auto& row : parts.test) {
      const auto n = static_cast<int64_t>(run.predictions.size());
      const auto epg = said.epg[n].item<double>();
      Prediction p{row.path, row_of(said.probabilities, n), false, {}};
      p.boxed = said.boxed[n].item<bool>();
      if (!std::isnan(epg)) {
        p.epg = epg;
      }
      run.predictions.push_back(std::move(p));
    }
    if (!shown.empty()) {
      const auto maps = training.ask(net, shown, true).maps;
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
