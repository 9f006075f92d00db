// resnet_trainer: trains a ResNet with and without CARE on pictures with boxes.
// SPDX-License-Identifier: Apache-2.0
#include "common/command_line.hpp"
#include "resnet_trainer/experiment.hpp"
#include "resnet_trainer/settings.hpp"

#include <fmt/format.h>
#include <torch/cuda.h>
#include <torch/utils.h>
#include <CLI/CLI.hpp>

#include <iostream>
#include <stdexcept>
#include <string>

namespace {

using trainer::Settings;

std::vector<int64_t> parse_folds(const std::vector<std::string>& words) {
  std::vector<int64_t> folds;
  for (const auto& word : words) {
    if (word == "all") {
      return {};
    }
    try {
      size_t used = 0;
      folds.push_back(std::stoll(word, &used));
      if (used == word.size() && folds.back() >= 0) {
        continue;
      }
    } catch (const std::logic_error&) {
    }
    throw std::invalid_argument(fmt::format(
        "--test-fold: expected \"all\" or numbers from 0, but got {}", word));
  }
  return folds;
}

void add_options(
    CLI::App& app,
    Settings& s,
    std::string& size,
    std::vector<std::string>& folds) {
  const auto positive = CLI::PositiveNumber;
  const auto share = CLI::Range(0.0, 1.0);
  const auto below_one = CLI::Range(0.0, 0.99);

  auto* data = app.add_option_group("Data");
  data->add_option(
          "--data",
          s.data,
          "manifest: CSV with path,label,xmin,ymin,xmax,ymax,fold; without it "
          "a "
          "lesion set is generated")
      ->check(CLI::ExistingFile);
  data->add_option("--exclude", s.exclude, "labels to leave out, a,b,...")
      ->delimiter(',');
  data->add_option("--size", size, "network input: pixels or WIDTHxHEIGHT")
      ->capture_default_str();
  data->add_option(
          "--test-fold",
          folds,
          "folds to test, one after another: all or a,b,...")
      ->delimiter(',')
      ->capture_default_str();
  data->add_option("--folds", s.folds, "folds to make where none are given")
      ->check(CLI::Range(2, 100))
      ->capture_default_str();
  data->add_option(
          "--train-share",
          s.train_share,
          "random splits instead of folds: this share of each class to learn "
          "from, the rest to test")
      ->check(below_one)
      ->capture_default_str();
  data->add_option("--splits", s.splits, "how many random splits")
      ->check(positive)
      ->capture_default_str();
  data->add_option(
          "--val-share",
          s.val_share,
          "share of the training images kept for validation")
      ->check(below_one)
      ->capture_default_str();
  data->add_option(
          "--counts",
          s.counts,
          "generated: images of nevus, melanoma, keratosis, dermatofibroma")
      ->delimiter(',')
      ->expected(4)
      ->check(positive)
      ->capture_default_str();
  data->add_option(
          "--test-count", s.test_count, "generated: test images a class")
      ->check(positive)
      ->capture_default_str();
  data->add_option(
          "--contrast",
          s.contrast,
          "generated: how distinct the rare class looks")
      ->check(share)
      ->capture_default_str();

  auto* net = app.add_option_group("Network");
  net->add_option("--net", s.net, "the network")
      ->check(CLI::IsMember(
          {"resnet18", "resnet34", "resnet50", "resnet101", "resnet152"}))
      ->capture_default_str();
  net->add_option("--width", s.width, "factor on the channels")
      ->check(CLI::Range(0.01, 8.0))
      ->capture_default_str();
  net->add_option(
         "--last-stride",
         s.last_stride,
         "stride of the last stage; 1 doubles the map's size")
      ->check(CLI::IsMember({1, 2}))
      ->capture_default_str();

  auto* training = app.add_option_group("Training");
  training->add_option("--stage1", s.stage1, "epochs of plain training")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  training->add_option("--stage2", s.stage2, "epochs with the attention loss")
      ->check(positive)
      ->capture_default_str();
  training->add_option("--batch", s.batch, "images in a batch")
      ->check(positive)
      ->capture_default_str();
  training->add_option("--optimizer", s.optimizer, "adam or sgd")
      ->check(CLI::IsMember({"adam", "sgd"}))
      ->capture_default_str();
  training->add_option("--lr", s.lr, "learning rate")
      ->check(positive)
      ->capture_default_str();
  training->add_option("--weight-decay", s.weight_decay, "weight decay")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  training->add_option("--lr-schedule", s.lr_schedule, "cosine or constant")
      ->check(CLI::IsMember({"cosine", "constant"}))
      ->capture_default_str();
  training->add_flag(
      "--class-weights", s.class_weights, "weigh classes by inverse frequency");
  training->add_flag("--balanced", s.balanced, "class-balanced batches");
  training
      ->add_option(
          "--select",
          s.select,
          "test the last epoch, or the one of stage 2 with the best validation "
          "MCA")
      ->check(CLI::IsMember({"last", "best"}))
      ->capture_default_str();
  training
      ->add_option(
          "--precision",
          s.precision,
          "of the backbone in training: float, or bfloat16 (autocast; channels "
          "last), faster where the processor has it")
      ->check(CLI::IsMember({"float", "bfloat16"}))
      ->capture_default_str();
  training->add_option("--augment", s.augmentation, "none, flips or strong")
      ->check(CLI::IsMember({"none", "flips", "strong"}))
      ->capture_default_str();

  auto* attention = app.add_option_group("Attention");
  attention
      ->add_option(
          "--guide", s.guide, "classes to guide: labels a,b,..., rare or all")
      ->delimiter(',')
      ->capture_default_str();
  attention
      ->add_option(
          "--rare",
          s.rare,
          "labels of the rare classes; without it those below --rare-share")
      ->delimiter(',');
  attention
      ->add_option(
          "--rare-share", s.rare_share, "share of the images, see --rare")
      ->check(share)
      ->capture_default_str();
  attention->add_option("--alpha", s.alpha, "loss = (1 - alpha) Lc + alpha La")
      ->check(share)
      ->capture_default_str();
  attention->add_option("--lambda", s.lambda, "weight of the outer term")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  attention
      ->add_option(
          "--tau", s.tau, "attention inside beyond which no more is asked")
      ->check(CLI::Range(1e-6, 1.0))
      ->capture_default_str();
  attention
      ->add_option(
          "--warmup", s.warmup, "epochs over which La rises to strength")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  attention->add_flag(
      "--full-gradient",
      s.full_gradient,
      "differentiate the channel weights too");
  attention
      ->add_option(
          "--boxes",
          s.boxes,
          "manifest to take the training boxes from, matched by path; testing "
          "keeps those of --data")
      ->check(CLI::ExistingFile);
  attention->add_flag(
      "--weigh-boxes",
      s.weigh_boxes,
      "a training box counts by its confidence, not in full");
  attention->add_option("--dilate", s.dilate, "factor on the boxes in training")
      ->check(CLI::Range(0.05, 20.0))
      ->capture_default_str();
  attention
      ->add_option(
          "--box-shift",
          s.box_noise.shift,
          "move training boxes by this share of their sides")
      ->check(CLI::Range(0.0, 20.0))
      ->capture_default_str();
  attention
      ->add_option(
          "--box-missing",
          s.box_noise.missing,
          "take away this share of the training boxes")
      ->check(share)
      ->capture_default_str();
  attention->add_flag(
      "--box-shuffle",
      s.box_noise.shuffled,
      "give each training image the boxes of another (a control)");

  auto* run = app.add_option_group("Run");
  run->add_flag(
      "--compare",
      s.compare,
      "train without CARE too: same seeds, data, epochs");
  run->add_option("--seeds", s.seeds, "how many seeds")
      ->check(positive)
      ->capture_default_str();
  run->add_option("--first-seed", s.first_seed, "the first of them")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  run->add_option("--threads", s.threads, "0: all cores")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  run->add_option("--device", s.device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  run->add_option("--pictures", s.pictures, "attention pictures in the report")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  run->add_option("--out", s.out, "folder for everything a run leaves")
      ->capture_default_str();
  run->add_flag(
      "--fresh",
      s.fresh,
      "start anew instead of going on with what is in --out");
}

/// The command line as a shell takes it.
std::string quoted_command(int argc, char** argv) {
  const std::string plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
      "0123456789_-+=./:,@%";
  std::string command;
  for (int i = 0; i < argc; ++i) {
    std::string word = argv[i];
    if (word.empty() || word.find_first_not_of(plain) != std::string::npos) {
      for (size_t at = 0; (at = word.find('\'', at)) != std::string::npos;
           at += 4) {
        word.replace(at, 1, "'\\''");
      }
      word = "'" + word + "'";
    }
    command += (i > 0 ? " " : "") + word;
  }
  return command;
}

} // namespace

int main(int argc, char** argv) {
  Settings settings;
  std::string size = "96";
  std::vector<std::string> folds{"all"};
  CLI::App app(
      "Trains a ResNet with and without CARE on pictures with lesion boxes. "
      "For "
      "research and education; not a medical device.",
      "resnet_trainer");
  add_options(app, settings, size, folds);
  CLI11_PARSE(app, argc, argv);

  return common::run_main("resnet_trainer", [&] {
    settings.size = common::parse_size("--size", size);
    settings.test_folds = parse_folds(folds);
    settings.augment = trainer::parse_augmentation(settings.augmentation);
    settings.threads = common::threads_or_all(settings.threads);
    if (settings.device == "cuda" && !torch::cuda::is_available()) {
      throw std::invalid_argument(
          "--device: expected cpu, but got cuda, which this LibTorch or "
          "machine "
          "does not have");
    }
    if (!settings.boxes.empty() && settings.data.empty()) {
      throw std::invalid_argument(
          "--boxes: expected --data, whose pictures they lie on, but got none");
    }
    if (settings.data.empty() &&
        (settings.train_share > 0 || !settings.test_folds.empty())) {
      throw std::invalid_argument(
          "--train-share and --test-fold: expected --data, for the generated "
          "pictures have test sets of their own, but got none");
    }
    if (settings.select == "best" && settings.val_share <= 0) {
      throw std::invalid_argument(
          "--select best: expected --val-share above 0, but got 0");
    }
    torch::set_num_threads(static_cast<int>(settings.threads));
    std::cout << trainer::run_experiment(settings, quoted_command(argc, argv))
              << "\nReport: " << settings.out << "/report.html\n";
  });
}
