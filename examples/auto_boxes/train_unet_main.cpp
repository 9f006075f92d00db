// train_unet: trains a segmentation network for auto_boxes.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/generated_set.hpp"
#include "auto_boxes/train_unet.hpp"
#include "common/command_line.hpp"

#include <fmt/format.h>
#include <torch/utils.h>
#include <CLI/CLI.hpp>

#include <filesystem>
#include <iostream>
#include <string>

namespace {

using auto_boxes::UNetSettings;

void add_options(CLI::App& app, UNetSettings& s, std::string& size) {
  const auto positive = CLI::PositiveNumber;
  auto* data = app.add_option_group("Data");
  data->add_option(
          "--data",
          s.data,
          "manifest; without it a lesion set with masks is generated")
      ->check(CLI::ExistingFile);
  data->add_option(
          "--masks",
          s.masks,
          "folder of PNG masks named as the pictures; without it the boxes "
          "are learnt")
      ->check(CLI::ExistingDirectory);
  data->add_option("--exclude", s.exclude, "labels not to learn from, a,b,...")
      ->delimiter(',');
  data->add_option("--leave-fold", s.leave_fold, "a fold not to learn from")
      ->check(CLI::NonNegativeNumber);
  data->add_option("--size", size, "at which the network works")
      ->capture_default_str();

  auto* training = app.add_option_group("Network and training");
  training->add_option("--width", s.net.width, "channels of the first level")
      ->check(positive)
      ->capture_default_str();
  training->add_option("--depth", s.net.depth, "how often it halves")
      ->check(CLI::Range(1, 9))
      ->capture_default_str();
  training->add_option("--epochs", s.epochs, "epochs")
      ->check(positive)
      ->capture_default_str();
  training->add_option("--batch", s.batch, "images in a batch")
      ->check(positive)
      ->capture_default_str();
  training->add_option("--lr", s.lr, "learning rate of Adam")
      ->check(positive)
      ->capture_default_str();
  training->add_option("--seed", s.seed, "seed")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();

  auto* run = app.add_option_group("Run");
  run->add_option("--threads", s.threads, "0: all cores")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  run->add_option("--out", s.out, "file of the trained network")
      ->capture_default_str();
  run->add_flag(
      "--fresh", s.fresh, "start anew instead of going on from a checkpoint");
}

void print(const char* title, const auto_boxes::DiceByLabel& dice) {
  for (const auto& [label, entry] : dice) {
    std::cout << fmt::format(
        "{}: Dice {:.3f} on {} of {}\n",
        title,
        entry.first,
        entry.second,
        label);
  }
}

} // namespace

int main(int argc, char** argv) {
  UNetSettings settings;
  std::string size = "192";
  CLI::App app(
      "Trains a U-Net that auto_boxes asks for boxes. For research and "
      "education; not a medical device.",
      "train_unet");
  add_options(app, settings, size);
  CLI11_PARSE(app, argc, argv);
  return common::run_main("train_unet", [&] {
    settings.size = common::parse_size("--size", size);
    settings.threads = common::threads_or_all(settings.threads);
    torch::set_num_threads(static_cast<int>(settings.threads));
    if (settings.data.empty()) {
      const auto folder =
          std::filesystem::path(settings.out).replace_extension(".generated");
      settings.data = auto_boxes::write_generated(
                          folder, {}, static_cast<int>(settings.threads))
                          .string();
      settings.masks = (folder / "masks").string();
    }
    const auto outcome = auto_boxes::train_unet(settings);
    std::cout << fmt::format("loss {:.4f}\n", outcome.loss);
    print("seen", outcome.seen);
    print("never seen", outcome.unseen);
    std::cout << "Network: " << settings.out << '\n';
  });
}
