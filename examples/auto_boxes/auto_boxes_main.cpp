// auto_boxes: finds boxes on pictures without an annotator, once, as a
// manifest. SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/find.hpp"
#include "auto_boxes/generated_set.hpp"
#include "auto_boxes/input.hpp"
#include "auto_boxes/methods.hpp"
#include "auto_boxes/score.hpp"
#include "auto_boxes/sheet.hpp"
#include "common/command_line.hpp"
#include "common/files.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join
#include <torch/utils.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <iostream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Settings {
  std::string input; // manifest or folder; empty: the generated set
  std::vector<std::string> methods{"background"};
  std::string network;
  auto_boxes::FinderChoice choice;
  int64_t side = 512;
  std::vector<std::string> labels;
  std::vector<int64_t> folds;
  bool score = false;
  int64_t sheet = 200;
  int64_t threads = 0;
  std::string out = "runs/auto_boxes";
  bool fresh = false;
};

/// Options by themselves: what was found with others is of no use.
std::string identity(const Settings& s) {
  std::string text =
      fmt::format("{}, side {}", fmt::join(s.methods, " else "), s.side);
  const auto add = [&](const char* name, const auto& value) {
    if (value) {
      text += fmt::format(", {} {}", name, *value);
    }
  };
  add("threshold", s.choice.threshold);
  add("level", s.choice.level);
  add("min-area", s.choice.min_area);
  add("max-boxes", s.choice.max_boxes);
  add("merge-gap", s.choice.merge_gap);
  add("padding", s.choice.padding);
  add("min-confidence", s.choice.min_confidence);
  if (!s.network.empty()) {
    const auto bytes = common::read_file(s.network);
    text += fmt::format(
        ", network {} bytes {:016x}",
        bytes.size(),
        std::hash<std::string>{}(bytes));
  }
  return text;
}

void add_options(CLI::App& app, Settings& s) {
  const auto share = CLI::Range(0.0, 1.0);
  auto* data = app.add_option_group("Pictures");
  data->add_option(
          "input",
          s.input,
          "a manifest, or a folder of pictures; without it a lesion set is "
          "generated")
      ->check(CLI::ExistingPath);
  data->add_option("--labels", s.labels, "only pictures of these, a,b,...")
      ->delimiter(',');
  data->add_option("--folds", s.folds, "only pictures of these folds, 0,1,...")
      ->delimiter(',');

  auto* how = app.add_option_group("Method");
  how->add_option(
         "--method",
         s.methods,
         fmt::format(
             "tried in this order until one finds a box, a,b,...: {}",
             fmt::join(auto_boxes::method_names(), ", ")))
      ->delimiter(',')
      ->capture_default_str();
  how->add_option("--network", s.network, "for segmentation: see train_unet")
      ->check(CLI::ExistingFile);
  how->add_option(
         "--side", s.side, "work at this longer side in pixels; 0: as stored")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();

  auto* boxes = app.add_option_group("Boxes, where not as the method has them");
  boxes->add_option("--threshold", s.choice.threshold, "of the map's cut")
      ->check(CLI::IsMember({"otsu", "mean", "quantile", "fixed"}));
  boxes->add_option(
      "--level", s.choice.level, "times the mean; the quantile; the value");
  boxes->add_option("--max-boxes", s.choice.max_boxes, "on a picture")
      ->check(CLI::PositiveNumber);
  boxes
      ->add_option(
          "--min-area", s.choice.min_area, "of a box's pixels, as a share")
      ->check(share);
  boxes->add_option(
      "--merge-gap", s.choice.merge_gap, "join boxes that near, as a share");
  boxes->add_option("--padding", s.choice.padding, "factor on each box")
      ->check(CLI::PositiveNumber);
  boxes
      ->add_option(
          "--min-confidence", s.choice.min_confidence, "drop boxes below")
      ->check(share);

  auto* run = app.add_option_group("Run");
  run->add_flag(
      "--score", s.score, "compare with the boxes of the input manifest");
  run->add_option("--sheet", s.sheet, "pictures on the contact sheet; 0: none")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  run->add_option("--threads", s.threads, "0: all cores")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  run->add_option("--out", s.out, "folder for everything a run leaves")
      ->capture_default_str();
  run->add_flag("--fresh", s.fresh, "find all anew");
}

std::vector<common::Record> chosen(
    const std::vector<common::Record>& records,
    const Settings& s) {
  common::check_labels(records, s.labels, "--labels: ");
  std::vector<common::Record> kept;
  for (const auto& record : records) {
    const auto one_of = [](const auto& wanted, const auto& value) {
      return wanted.empty() ||
          std::find(wanted.begin(), wanted.end(), value) != wanted.end();
    };
    if (one_of(s.labels, record.label) && one_of(s.folds, record.fold)) {
      kept.push_back(record);
    }
  }
  if (kept.empty()) {
    throw std::invalid_argument(fmt::format(
        "--labels, --folds: expected some of the {} pictures, but none fits",
        records.size()));
  }
  return kept;
}

void run(Settings s) {
  s.threads = common::threads_or_all(s.threads);
  torch::set_num_threads(1); // a picture for each thread
  const auto jobs = static_cast<int>(s.threads);
  const auto methods = auto_boxes::make_methods(s.methods, s.network, s.choice);
  const fs::path out = s.out;
  if (s.input.empty()) {
    s.input = auto_boxes::write_generated(out / "generated", {}, jobs).string();
  }
  const auto records = chosen(auto_boxes::read_input(s.input, out), s);

  auto_boxes::FindSettings settings;
  settings.side = s.side;
  settings.threads = jobs;
  settings.identity = identity(s);
  settings.cache = out / "found.json";
  settings.fresh = s.fresh;
  const auto found = auto_boxes::find_all(records, methods, settings);

  int64_t skipped = 0, without = 0;
  for (const auto& one : found) {
    skipped += one.error.empty() ? 0 : 1;
    without += one.error.empty() && one.boxes.empty() ? 1 : 0;
  }
  auto summary = fmt::format(
      "{}\n{} pictures, {} without a box, {} skipped\n",
      settings.identity,
      records.size(),
      without,
      skipped);
  if (s.score) {
    const auto scores = auto_boxes::score(records, found);
    if (scores.empty()) {
      throw std::invalid_argument(
          "--score: expected boxes in " + s.input + ", but it has none");
    }
    summary += "\n" + auto_boxes::score_table(scores);
    common::write_atomically(out / "score.txt", summary);
  }
  auto_boxes::write_manifest(out / "manifest.csv", records, found);
  if (s.sheet > 0) {
    auto_boxes::write_sheet(out, records, found, s.sheet, jobs, summary);
  }
  std::cout << summary << "Manifest: " << (out / "manifest.csv").string()
            << '\n';
}

} // namespace

int main(int argc, char** argv) {
  Settings settings;
  CLI::App app(
      "Finds boxes on pictures without an annotator and writes a manifest for "
      "the trainer. For research and education; not a medical device.",
      "auto_boxes");
  add_options(app, settings);
  CLI11_PARSE(app, argc, argv);
  return common::run_main("auto_boxes", [&] { run(settings); });
}
