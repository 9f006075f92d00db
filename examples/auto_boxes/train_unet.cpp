// train_unet: trains auto_boxes' segmentation network, on masks or on boxes.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/unet.hpp"
#include "common/files.hpp"
#include "common/generated.hpp"
#include "common/masks.hpp"
#include "common/progress.hpp"
#include "resnet_trainer/checkpoint.hpp"
#include "resnet_trainer/dataset.hpp"
#include "resnet_trainer/files.hpp"
#include "resnet_trainer/lock.hpp"
#include "resnet_trainer/optimizer.hpp"
#include "resnet_trainer/picture.hpp"
#include "resnet_trainer/process.hpp"
#include "resnet_trainer/within.hpp"

#include <care/augment.hpp>
#include <care/imbalance/shuffle_sampler.hpp>
#include <care/segmentation.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h> // boxes
#include <torch/data/dataloader.h>
#include <torch/data/samplers/serialize.h>
#include <torch/optim/adam.h>
#include <torch/utils.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace fs = std::filesystem;
using auto_boxes::UNet;
using trainer::Batch;
using trainer::Row;

struct Settings {
  fs::path data, masks, out = "runs/unet.pt";
  std::string mask_pattern = "{}.png";
  std::vector<std::string> exclude; // labels
  std::string leave_fold;
  std::vector<int64_t> size{192}; // width, and height if it is another
  auto_boxes::UNetOptions net;
  int64_t epochs = 20, batch = 8, seed = 0, threads = 0, workers = 1;
  double lr = 2e-3;
  bool fresh = false;
};

void add_options(CLI::App& app, Settings& s) {
  const auto add = [&](const char* name, auto& value, const char* help) {
    return app.add_option(name, value, help)->capture_default_str();
  };
  const auto positive = CLI::PositiveNumber, natural = CLI::NonNegativeNumber;
  auto* data = add("--data", s.data, "manifest; else a set is generated");
  data->check(CLI::ExistingFile);
  auto* masks = add("--masks", s.masks, "folder of masks; else the manifest's");
  masks->check(CLI::ExistingDirectory)->needs(data);
  add("--mask-pattern", s.mask_pattern, "the mask's name; {}: the picture's")
      ->needs(masks);
  add("--exclude", s.exclude, "a label not to learn from; repeat for more")
      ->allow_extra_args(false);
  add("--leave-fold", s.leave_fold, "a fold not to learn from");
  add("--size", s.size, "at which it works: pixels, or WIDTHxHEIGHT")
      ->delimiter('x')
      ->expected(1, 2)
      ->allow_extra_args(false)
      ->check(CLI::Range(32, 4096));
  add("--width", s.net.width, "channels of the first level")->check(positive);
  add("--depth", s.net.depth, "how often it halves")->check(CLI::Range(1, 9));
  add("--epochs", s.epochs, "epochs")->check(positive);
  add("--batch", s.batch, "images in a batch")->check(positive);
  add("--lr", s.lr, "learning rate of Adam")
      ->check(trainer::within(1e-9, 1e38));
  add("--seed", s.seed, "of everything that is drawn")->check(natural);
  add("--threads", s.threads, "0: all cores")->check(natural);
  add("--workers", s.workers, "threads that decode pictures")->check(natural);
  add("--out", s.out, "file of the trained network");
  app.add_flag("--fresh", s.fresh, "start anew instead of going on");
}

/// What is learnt from, and what is only scored afterwards.
struct Task {
  Settings s;
  std::vector<Row> train, left_out;
  size_t masks = 0; // of pictures to learn from; 0: their boxes are learnt
};

Task make_task(const Settings& s) {
  auto rows = trainer::read_manifest(s.data);
  trainer::check_known("--exclude", labels_of(rows), s.exclude);
  if (!s.leave_fold.empty()) {
    trainer::check_known(
        "--leave-fold", values_of(rows, &Row::fold), {s.leave_fold});
  }
  if (!s.masks.empty()) {
    common::find_masks(rows, s.masks, s.mask_pattern);
  }
  Task task{s, {}, {}};
  std::string without; // a mask, though it has a box
  for (const auto& row : rows) {
    const bool left =
        row.split == "test" || (row.fold == s.leave_fold && !row.fold.empty());
    const bool excluded =
        std::any_of(s.exclude.begin(), s.exclude.end(), [&](const auto& label) {
          return trainer::has_label(row, label);
        });
    if (left || excluded) {
      task.left_out.push_back(row);
      continue;
    }
    task.train.push_back(row);
    task.masks += row.mask.empty() ? 0 : 1;
    without = row.mask.empty() && !row.boxes.empty() ? row.path : without;
  }
  const auto count = task.train.size();
  if (count == 0) {
    throw std::invalid_argument(fmt::format(
        "{}: expected pictures to learn from, but all {} are left out",
        s.data.string(),
        rows.size()));
  }
  if (task.masks > 0 ? !without.empty() : !s.masks.empty()) {
    throw std::invalid_argument(fmt::format(
        "expected masks {}, but found {} of {} pictures to learn from{}",
        s.masks.empty() ? "in the manifest's column"
                        : fmt::format(
                              "in {} called {} (--mask-pattern)",
                              s.masks.string(),
                              s.mask_pattern),
        task.masks,
        count,
        without.empty() ? "" : ", and none of " + without + " with its box"));
  }
  return task;
}

/// `learns`: without a last batch of one.
auto make_loader(
    const Task& task,
    const std::vector<Row>& rows,
    const care::ShuffleSampler& sampler,
    bool learns = false) {
  const auto batch = task.s.batch;
  const auto count = static_cast<int64_t>(rows.size());
  trainer::PicturesOptions options;
  options.size = task.s.net.size;
  options.masks = task.masks > 0;
  options.empty_masks = true;
  return torch::data::make_data_loader(
      trainer::Pictures(rows, {}, options),
      sampler,
      torch::data::DataLoaderOptions(static_cast<size_t>(batch))
          .drop_last(learns && trainer::ends_in_one(count, batch, batch))
          .workers(static_cast<size_t>(task.s.workers)));
}

/// Calls `look` for all batches of the rows, in order.
template <class Look>
void for_each_batch(
    const Task& task,
    const std::vector<Row>& rows,
    const Look& look) {
  if (!rows.empty()) {
    const auto options = care::ShuffleSamplerOptions().shuffle(false);
    const care::ShuffleSampler sampler(rows.size(), options);
    const auto loader = make_loader(task, rows, sampler);
    for (const auto& batch : *loader) {
      look(batch);
    }
  }
}

/// Reads everything once, for what is wrong must be said before a long
/// training; says what there is to learn, and refuses nothing and everything.
void look_through(const Task& task) {
  int64_t empty = 0, whole = 0;
  for_each_batch(task, task.train, [&](const Batch& batch) {
    const auto lesions = batch.lesions();
    empty += (lesions.amax({1, 2}) <= 0).sum().item<int64_t>();
    whole += (lesions.amin({1, 2}) >= 1).sum().item<int64_t>();
  });
  for_each_batch(task, task.left_out, [](const Batch& /*batch*/) {});
  const auto count = static_cast<int64_t>(task.train.size());
  const auto text = fmt::format(
      "{} pictures to learn from, {}, {} without a lesion, {} all lesion",
      count,
      task.masks > 0 ? fmt::format("{} with a mask", task.masks)
                     : "by their boxes",
      empty,
      whole);
  if (empty == count || whole == count) {
    throw std::invalid_argument("expected some lesions, but got " + text);
  }
  std::cout << text << std::endl;
}

/// What makes two trainings the same, wherever their files lie: masks by their
/// bytes.
std::string identity(const Task& task) {
  const auto& s = task.s;
  std::string data;
  for (const auto& row : task.train) {
    const auto mask = fs::is_regular_file(row.mask) // else it is said later
        ? trainer::fingerprint_of_file(row.mask)
        : "";
    data += fmt::format("{} {} {}\n", row.path, mask, row.corners());
  }
  return fmt::format(
      "size {}x{}, width {}, depth {}, epochs {}, batch {}, lr {}, seed {}, "
      "data {}",
      s.size.front(),
      s.size.back(),
      s.net.width,
      s.net.depth,
      s.epochs,
      s.batch,
      s.lr,
      s.seed,
      trainer::fingerprint(data));
}

/// [N, 3, H, W] in [0, 1].
torch::Tensor images_of(const Batch& batch) {
  return batch.images.to(torch::kFloat).div_(255);
}

/// 1 - soft Dice of each image, plus the cross-entropy of its pixels: [N].
torch::Tensor losses(const torch::Tensor& logits, const torch::Tensor& masks) {
  const auto target = masks.flatten(1), score = logits.flatten(1);
  const auto entropy = torch::binary_cross_entropy_with_logits(
                           score, target, {}, {}, at::Reduction::None)
                           .mean(1);
  const auto share = torch::sigmoid(score);
  const auto both = (share * target).sum(1);
  // One pixel more: a picture without a lesion has a Dice, too.
  const auto dice = (2 * both + 1) / (share.sum(1) + target.sum(1) + 1);
  return entropy + 1 - dice;
}

/// One pass over the pictures; returns the mean loss.
template <class Loader>
double train_epoch(
    UNet& net,
    torch::optim::Optimizer& optimizer,
    Loader& loader,
    const Settings& s,
    int64_t epoch,
    common::Progress& progress) {
  const auto done = static_cast<double>(epoch) / static_cast<double>(s.epochs);
  trainer::set_rate(optimizer, s.lr * trainer::cosine_decay(done));
  const auto flips =
      care::AugmentOptions::preset("flips").seed(static_cast<uint64_t>(s.seed));
  net->train();
  double sum = 0;
  int64_t images = 0, number = 0;
  for (const Batch& batch : loader) {
    const auto n = batch.images.size(0);
    const auto none = care::Boxes::none(n, s.net.size);
    const auto moved = care::augment(
        images_of(batch), none, {}, batch.index, epoch, flips, batch.lesions());
    const auto loss = losses(net(moved.images), moved.masks).mean();
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    ++number;
    images += n;
    sum += loss.item<double>() * static_cast<double>(n);
    if (!std::isfinite(sum)) {
      throw std::runtime_error(fmt::format(
          "the loss of batch {} of epoch {} is not finite; try a smaller --lr",
          number,
          epoch + 1));
    }
    progress.advance(n);
  }
  return sum / static_cast<double>(images);
}

/// Prints the mean Dice coefficient at probability one half, by label, over the
/// pictures with a lesion.
void print_dice(
    const char* title,
    const UNet& net,
    const Task& task,
    const std::vector<Row>& rows) {
  std::map<std::string, std::pair<double, int64_t>> dice; // sum and count
  for_each_batch(task, rows, [&](const Batch& batch) {
    const auto truth = batch.lesions() >= 0.5;
    const auto seen = care::segment(images_of(batch), net) >= 0.5;
    const auto size = truth.sum({1, 2});
    const auto each =
        2 * (truth & seen).sum({1, 2}) / (size + seen.sum({1, 2}));
    for (int64_t n = 0; n < truth.size(0); ++n) {
      if (size[n].item<int64_t>() > 0) {
        const auto place = batch.index[n].item<int64_t>();
        auto& [sum, count] = dice[rows[static_cast<size_t>(place)].label];
        sum += each[n].item<double>();
        ++count;
      }
    }
  });
  for (const auto& [label, entry] : dice) {
    const auto& [sum, count] = entry;
    const auto mean = sum / static_cast<double>(count);
    std::cout << fmt::format(
        "{}: Dice {:.3f} on {} of {}\n", title, mean, count, label);
  }
}

/// That what is there under the results' names is an earlier training's.
void check_own(const fs::path& out, const fs::path& checkpoint, bool fresh) {
  if (fs::is_directory(out)) {
    throw std::invalid_argument(
        "--out: expected a file, but got the folder " + out.string());
  }
  if (fs::exists(out)) {
    auto_boxes::load_unet(out); // throws for another file
  }
  if (fresh && fs::exists(checkpoint) && !trainer::is_checkpoint(checkpoint)) {
    throw std::invalid_argument(
        "--out: expected a training's checkpoint, or none, but got " +
        checkpoint.string());
  }
}

void run(Settings s) {
  const fs::path checkpoint = s.out.string() + ".checkpoint";
  common::check_not_input("--out", s.out, {s.data});
  check_own(s.out, checkpoint, s.fresh);
  s.net.size = {s.size.back(), s.size.front()};
  torch::set_num_threads(trainer::threads_or_all(s.threads));
  if (s.data.empty()) {
    auto folder = s.out;
    folder.replace_extension(".generated");
    s.data = common::write_generated_set(folder, {});
  }
  const auto task = make_task(s);
  const auto seed = static_cast<uint64_t>(s.seed);
  torch::manual_seed(seed);
  UNet net(s.net);
  torch::optim::Adam optimizer(
      net->parameters(), torch::optim::AdamOptions(s.lr));
  care::ShuffleSampler sampler(
      task.train.size(), care::ShuffleSamplerOptions().seed(seed));
  trainer::Progress state; // its best figure is the last loss here
  state.identity = identity(task);
  look_through(task); // before there is a lock: a fault makes no folder
  trainer::Lock lock(fs::absolute(s.out.string() + ".lock"));
  lock.take_alone(
      "--out: expected a file that no other training writes, but got " +
      s.out.string());
  if (!s.fresh && fs::exists(checkpoint)) {
    trainer::load_checkpoint(
        checkpoint, state, *net, optimizer, sampler, torch::kCPU);
  }

  const auto loader = make_loader(task, task.train, sampler, /*learns=*/true);
  const auto count = static_cast<int64_t>(task.train.size());
  common::Progress progress("U-Net", s.epochs * count, state.epoch * count);
  while (state.epoch < s.epochs) {
    state.best = train_epoch(net, optimizer, *loader, s, state.epoch, progress);
    sampler.seek(static_cast<size_t>(++state.epoch));
    trainer::save_checkpoint(checkpoint, state, *net, optimizer, sampler);
    progress.line(
        fmt::format("epoch {:2}: loss {:.4f}", state.epoch, state.best));
  }
  progress.finish();
  std::ostringstream bytes;
  torch::save(net, bytes);
  trainer::write_atomically(s.out, bytes.str());
  std::cout << fmt::format("loss {:.4f}\n", state.best);
  print_dice("seen", net, task, task.train);
  print_dice("never seen", net, task, task.left_out);
  std::cout << "Network: " << s.out.string() << '\n';
}

} // namespace

int main(int argc, char** argv) {
  trainer::wait_passively(argv);
  Settings settings;
  CLI::App app(
      "Trains a U-Net that auto_boxes asks for boxes. For research and "
      "education; not a medical device.",
      "train_unet");
  add_options(app, settings);
  CLI11_PARSE(app, argc, argv);
  return trainer::run_main("train_unet", [&] { run(settings); });
}
