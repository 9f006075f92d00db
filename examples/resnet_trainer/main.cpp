// Trains a ResNet on one split of a manifest, plainly or with CARE.
// SPDX-License-Identifier: Apache-2.0
#include "checkpoint.hpp"
#include "options.hpp"
#include "picture.hpp"
#include "process.hpp"
#include "resnet.hpp"
#include "sheet.hpp"
#include "train.hpp"

#include <care/imbalance.hpp>
#include <care/metrics.hpp>

#include <fmt/format.h>
#include <torch/data/dataloader.h>
#include <torch/nn/functional/loss.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>
#include <torch/serialize.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

namespace {

using trainer::Options;
using trainer::Row;

// The network, named here alone: any module with forward(images) -> logits.
using Network = trainer::ResNet;

Network make_network(const Options& o, int64_t classes) {
  trainer::ResNetOptions options;
  options.depth = o.depth;
  options.classes = classes;
  options.width = o.width;
  options.last_stride = o.last_stride;
  return Network(options);
}

// What is learnt, from which pictures, for which classes.
struct Task {
  std::vector<std::string> classes;
  trainer::Split split;
  std::vector<int64_t> counts; // training pictures of each class
  std::vector<int64_t> guided; // classes
  std::string identity;

  int64_t size() const {
    return static_cast<int64_t>(classes.size());
  }
  bool is_guided(const Row& row) const {
    return !row.boxes.empty() &&
        std::any_of(guided.begin(), guided.end(), [&](int64_t k) {
          return classes[static_cast<size_t>(k)] == row.label;
        });
  }
};

// The place of a label that an option names.
int64_t place_of(
    const char* option,
    const std::string& label,
    const std::vector<std::string>& classes) {
  const auto found = std::find(classes.begin(), classes.end(), label);
  if (found == classes.end()) {
    throw std::invalid_argument(fmt::format(
        "{}: expected one of '{}', but got '{}'",
        option,
        fmt::join(classes, "', '"),
        label));
  }
  return found - classes.begin();
}

std::vector<int64_t> guided_classes(const Options& o, const Task& task) {
  std::vector<int64_t> guided;
  for (const auto& label : o.guide) {
    if (label == "all") {
      guided.resize(task.classes.size());
      std::iota(guided.begin(), guided.end(), 0);
      return guided;
    }
    guided.push_back(place_of("--guide", label, task.classes));
  }
  if (guided.empty()) {
    guided = care::classes_rarer_than(0.1, task.counts);
  }
  if (guided.empty()) {
    const auto& counts = task.counts;
    guided = {std::min_element(counts.begin(), counts.end()) - counts.begin()};
  }
  return guided;
}

Task make_task(const Options& o) {
  auto rows = std::filesystem::is_directory(o.data)
      ? trainer::read_folder(o.data)
      : trainer::read_manifest(o.data);
  check_effects(o, rows);
  for (const auto& label : o.exclude) {
    place_of("--exclude", label, trainer::labels_of(rows));
    const auto is_it = [&](const Row& row) { return row.label == label; };
    rows.erase(std::remove_if(rows.begin(), rows.end(), is_it), rows.end());
  }
  size_t data = 0; // wherever the files lie
  for (const auto& row : rows) {
    for (const auto& text :
         {row.path, row.label, row.split, row.fold, row.group}) {
      data = data * 31 + std::hash<std::string>()(text);
    }
    for (const auto& box : row.boxes) {
      for (const auto side : box) {
        data = data * 31 + std::hash<double>()(side);
      }
    }
  }
  Task task;
  task.identity = o.identity + fmt::format("data {:016x}", data);
  task.classes = trainer::labels_of(rows);
  task.split = trainer::split_rows(rows, o.split);
  task.counts = care::class_counts(
      trainer::targets_of(task.split.train, task.classes), task.size());
  task.guided = guided_classes(o, task);
  const auto& train = task.split.train;
  if (o.alpha > 0 && std::none_of(train.begin(), train.end(), [&](auto& row) {
        return task.is_guided(row);
      })) {
    throw std::invalid_argument(
        "--alpha: expected boxes of the guided classes to learn from, but got "
        "none; --alpha 0 trains plainly");
  }
  return task;
}

template <class Sampler>
auto make_loader(
    const Options& o,
    const Task& task,
    const std::vector<Row>& rows,
    Sampler sampler) {
  trainer::PicturesOptions options;
  options.size = {o.size[1], o.size[0]};
  options.cache = o.cache;
  return torch::data::make_data_loader(
      trainer::Pictures(rows, task.classes, options),
      std::move(sampler),
      torch::data::DataLoaderOptions(static_cast<size_t>(o.batch))
          .workers(static_cast<size_t>(o.workers)));
}

auto in_order(
    const Options& o,
    const Task& task,
    const std::vector<Row>& rows) {
  const auto options = care::ShuffleSamplerOptions().shuffle(false);
  return make_loader(o, task, rows, care::ShuffleSampler(rows.size(), options));
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(
    const Options& o,
    const std::vector<torch::Tensor>& parameters) {
  using namespace torch::optim;
  switch (o.optimizer) {
    case trainer::Optimizer::kAdamW:
      return std::make_unique<AdamW>(
          parameters, AdamWOptions(o.lr).weight_decay(o.weight_decay));
    case trainer::Optimizer::kAdam:
      return std::make_unique<Adam>(
          parameters, AdamOptions(o.lr).weight_decay(o.weight_decay));
    case trainer::Optimizer::kSgd:
      break;
  }
  return std::make_unique<SGD>(
      parameters, SGDOptions(o.lr).momentum(0.9).weight_decay(o.weight_decay));
}

// Sets the learning rate of an epoch, from 0: a rise, then constant or cosine.
double set_rate(
    torch::optim::Optimizer& optimizer,
    const Options& o,
    int64_t epoch) {
  const auto left = o.stage1 + o.stage2 - o.lr_warmup;
  const auto done = static_cast<double>(epoch - o.lr_warmup) /
      static_cast<double>(std::max<int64_t>(1, left));
  const double rate = epoch < o.lr_warmup ? o.lr *
          static_cast<double>(epoch + 1) / static_cast<double>(o.lr_warmup + 1)
      : o.cosine ? o.lr * (1 + std::cos(M_PI * done)) / 2
                 : o.lr;
  for (auto& group : optimizer.param_groups()) {
    group.options().set_lr(rate);
  }
  return rate;
}

care::ConfusionMatrix confusion(const trainer::Predictions& said) {
  care::ConfusionMatrix matrix(said.probabilities.size(1));
  matrix.update(said.targets, said.probabilities.argmax(1));
  return matrix;
}

// The epoch as a line of metrics.csv, and one for people.
void record(
    trainer::Progress& progress,
    const trainer::Epoch& e,
    int stage,
    double rate,
    double val_mca,
    double seconds) {
  auto& csv = progress.history;
  if (csv.empty()) {
    csv =
        "epoch,stage,rate,loss,accuracy,inner,outer,inside,guided,val_mca,"
        "images_per_second\n";
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
      val_mca,
      speed);
  auto line = fmt::format(
      "epoch {:3}: loss {:.3f}, accuracy {:.3f}",
      progress.epoch,
      e.loss,
      e.accuracy);
  if (e.guided > 0) {
    line += fmt::format(", attention inside {:.3f}", e.inside);
  }
  if (!std::isnan(val_mca)) {
    line += fmt::format(", validation MCA {:.3f}", val_mca);
  }
  std::cout << fmt::format("{}, {:.0f} images/s", line, speed) << std::endl;
}

// Both stages; goes on where a checkpoint stands.
template <class Sampler>
Network train(const Options& o, const Task& task, Sampler sampler) {
  const trainer::Input input{torch::Device(o.device), o.channels_last};
  const std::filesystem::path out = o.out, checkpoint = out / "checkpoint.pt";
  torch::manual_seed(static_cast<uint64_t>(o.seed));
  auto net = make_network(o, task.size());
  auto best = make_network(o, task.size());
  net->to(input.device);
  best->to(input.device);
  const auto optimizer = make_optimizer(o, net->parameters());
  auto cross_entropy = torch::nn::functional::CrossEntropyFuncOptions();
  if (o.class_weights) {
    cross_entropy.weight(
        care::inverse_frequency_weights(task.counts).to(input.device));
  }
  const auto criterion = [&](const auto& logits, const auto& targets) {
    return torch::nn::functional::cross_entropy(logits, targets, cross_entropy);
  };
  care::Guide guide(
      care::GuideOptions()
          .classes(task.guided)
          .alpha(o.alpha)
          .schedule(care::ScheduleOptions().start(o.stage1).warmup(o.warmup)),
      care::AttentionLossOptions().lambda(o.lambda).tau(o.tau));

  trainer::Progress progress;
  progress.identity = task.identity;
  if (!o.fresh && std::filesystem::exists(checkpoint)) {
    trainer::load_checkpoint(
        checkpoint, progress, *net, *best, *optimizer, guide, input.device);
    std::cout << "going on after epoch " << progress.epoch << '\n';
  }
  if (o.channels_last) {
    trainer::to_channels_last(*net);
  }
  sampler.seek(progress.epoch);
  const auto loader = make_loader(o, task, task.split.train, sampler);
  const auto& val = task.split.val;
  auto validation = val.empty() ? nullptr : in_order(o, task, val);
  trainer::StepOptions step;
  step.bfloat16 = o.bfloat16;
  step.clip = o.clip;
  step.augment = care::AugmentOptions::preset(o.augment).seed(
      static_cast<uint64_t>(o.seed));

  const auto steps =
      (static_cast<int64_t>(task.split.train.size()) + o.batch - 1) / o.batch;
  for (auto& epoch = progress.epoch; epoch < o.stage1 + o.stage2;) {
    const auto start = std::chrono::steady_clock::now();
    torch::manual_seed(static_cast<uint64_t>(o.seed + 1000 * (epoch + 1)));
    const auto rate = set_rate(*optimizer, o, epoch);
    step.first_step = epoch * steps;
    const auto figures = trainer::train_epoch(
        net, criterion, guide, *optimizer, *loader, input, step);
    const std::chrono::duration<double> seconds =
        std::chrono::steady_clock::now() - start;
    guide.advance();
    ++epoch;
    const auto mca = val.empty()
        ? std::nan("")
        : confusion(trainer::predict(net, *validation, input, false)).mca();
    const bool stage2 = epoch > o.stage1;
    if (o.best && stage2 && mca > progress.best) {
      progress.best = mca;
      trainer::copy_weights(*net, *best);
    }
    record(progress, figures, stage2 ? 2 : 1, rate, mca, seconds.count());
    std::filesystem::create_directories(out);
    trainer::save_checkpoint(
        checkpoint, progress, *net, *best, *optimizer, guide);
    trainer::write_atomically(out / "metrics.csv", progress.history);
  }
  return o.best && progress.best >= 0 ? best : net;
}

// Stored pictures with their boxes, and where the network looks.
cv::Mat attention_sheet(
    const trainer::Predictions& said,
    const std::vector<Row>& rows,
    const std::vector<std::string>& classes) {
  std::vector<trainer::SheetRow> sheet;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto n = static_cast<int64_t>(i);
    const auto map = said.maps[n].contiguous();
    const auto best = said.probabilities[n].argmax().item<int64_t>();
    const auto& name = classes[static_cast<size_t>(best)];
    const cv::Mat cells(
        static_cast<int>(map.size(0)),
        static_cast<int>(map.size(1)),
        CV_32F,
        map.data_ptr<float>());
    const auto share = fmt::format(
        "{:.0f} % of attention inside", 100 * said.epg[n].item<double>());
    sheet.push_back(
        {trainer::read_picture(rows[i].file),
         rows[i].boxes,
         {{{}, {rows[i].label, rows[i].path}, false},
          {cells.clone(), {"says " + name, share}, name != rows[i].label}}});
  }
  return trainer::contact_sheet({"Picture and boxes", "Attention"}, sheet);
}

void test(const Options& o, const Task& task, Network net) {
  const trainer::Input input{torch::Device(o.device), o.channels_last};
  const std::filesystem::path out = o.out;
  auto loader = in_order(o, task, task.split.test);
  auto said = trainer::predict(net, *loader, input, /*attention=*/true);
  const auto shares = said.epg.masked_select(said.epg.isfinite());
  const auto table = fmt::format(
      "{}macro AUC {:.3f}, EPG {:.3f} over {} of {} images with a box\n",
      confusion(said).to_string(task.classes),
      care::macro_average(
          care::one_vs_rest_auc(said.probabilities, said.targets)),
      shares.mean().item<double>(),
      shares.numel(),
      said.boxed.sum().item<int64_t>());
  std::cout << '\n' << table;
  trainer::write_atomically(out / "test.txt", table);
  torch::save(net, (out / "network.pt").string());

  std::vector<Row> shown; // the first ones: nothing is picked by hand
  for (const auto& row : task.split.test) {
    if (task.is_guided(row) &&
        static_cast<int64_t>(shown.size()) < o.pictures) {
      shown.push_back(row);
    }
  }
  if (!shown.empty()) {
    loader = in_order(o, task, shown);
    said = trainer::predict(net, *loader, input, true, /*keep_maps=*/true);
    trainer::write_picture(
        out / "attention.png", attention_sheet(said, shown, task.classes));
  }
}

void run(const Options& o) {
  const auto task = make_task(o);
  for (const auto& note : task.split.notes) {
    std::cout << "note: " << note << '\n';
  }
  torch::set_num_threads(trainer::threads_or_all(o.threads));
  const auto seed = static_cast<uint64_t>(o.seed);
  const auto targets = trainer::targets_of(task.split.train, task.classes);
  const auto net = o.balanced
      ? train(
            o,
            task,
            care::ClassSampler(targets, care::ClassSamplerOptions().seed(seed)))
      : train(
            o,
            task,
            care::ShuffleSampler(
                targets.size(), care::ShuffleSamplerOptions().seed(seed)));
  test(o, task, net);
}

} // namespace

int main(int argc, char** argv) {
  trainer::wait_passively(argv);
  const auto options = trainer::parse_options(argc, argv);
  return trainer::run_main("resnet_trainer", [&] { run(options); });
}
