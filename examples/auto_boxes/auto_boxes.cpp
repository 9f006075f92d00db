// auto_boxes: finds boxes on pictures without an annotator, once.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/find.hpp"
#include "auto_boxes/finder.hpp"
#include "auto_boxes/score.hpp"
#include "auto_boxes/sheet.hpp"
#include "common/csv.hpp"
#include "common/generated.hpp"
#include "resnet_trainer/files.hpp"
#include "resnet_trainer/lock.hpp"
#include "resnet_trainer/process.hpp"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace {

namespace fs = std::filesystem;
using auto_boxes::Found;
using trainer::Row;

struct Settings {
  fs::path input; // manifest or folder; empty: the generated set
  auto_boxes::FinderOptions finder;
  std::vector<std::string> labels, folds;
  bool score = false, fresh = false;
  size_t sheet = 200;
  int64_t threads = 0;
  fs::path out = "runs/auto_boxes";
};

void add_options(CLI::App& app, Settings& s) {
  const auto add = [&](const char* name, auto& value, const std::string& help) {
    return app.add_option(name, value, help)->capture_default_str();
  };
  add("input", s.input, "a manifest or a folder; else a set is generated")
      ->check(CLI::ExistingPath);
  add("--labels", s.labels, "only pictures of this label; repeat for more")
      ->allow_extra_args(false);
  add("--folds", s.folds, "only pictures of these folds, 0,1,...")
      ->delimiter(',')
      ->allow_extra_args(false);
  add("--method",
      s.finder.methods,
      std::string("tried in this order until one finds a box, a,b,...: ") +
          auto_boxes::kMethods)
      ->delimiter(',')
      ->allow_extra_args(false);
  add("--network", s.finder.network, "for segmentation: see train_unet")
      ->check(CLI::ExistingFile);
  add("--side", s.finder.side, "work at this longer side; 0: as stored")
      ->check(CLI::NonNegativeNumber);

  add("--threshold", s.finder.threshold, "of the map's cut, not the method's")
      ->check(CLI::IsMember({"otsu", "mean", "quantile", "fixed"}));
  const auto number = [&](const std::string& name, const char* help) {
    const auto keep = [&s, name](double x) { s.finder.numbers[name] = x; };
    return app.add_option_function<double>("--" + name, keep, help);
  };
  number("level", "times the mean; the quantile; the value");
  number("max-boxes", "on a picture")->check(CLI::TypeValidator<int>());
  number("min-area", "of a box's pixels, as a share");
  number("merge-gap", "join boxes that near, as a share");
  number("padding", "factor on each box");
  number("min-confidence", "drop boxes below");

  app.add_flag("--score", s.score, "compare with the input's own boxes");
  add("--sheet", s.sheet, "pictures on the contact sheet; 0: none");
  add("--threads", s.threads, "0: all cores")->check(CLI::NonNegativeNumber);
  add("--out", s.out, "folder for everything a run leaves");
  app.add_flag("--fresh", s.fresh, "find all anew");
}

/// The pictures that are asked for.
std::vector<Row> chosen(const Settings& s) {
  std::error_code none_there;
  if (fs::equivalent(s.input, s.out, none_there) ||
      fs::equivalent(s.input, s.out / "manifest.csv", none_there)) {
    throw std::invalid_argument(
        "--out: expected another folder than that of the input, " +
        s.input.string());
  }
  auto rows = fs::is_directory(s.input)
      ? trainer::read_folder(s.input, "unlabelled")
      : trainer::read_manifest(s.input);
  trainer::check_known("--labels", labels_of(rows), s.labels);
  trainer::check_known("--folds", values_of(rows, &Row::fold), s.folds);
  const auto is_other = [&](const Row& row) {
    const auto asked_for = [](const auto& list, const auto& is_its) {
      return list.empty() || std::any_of(list.begin(), list.end(), is_its);
    };
    const auto has = [&](const auto& label) { return has_label(row, label); };
    const auto in = [&](const auto& fold) { return row.fold == fold; };
    return !asked_for(s.labels, has) || !asked_for(s.folds, in) ||
        (fs::is_directory(s.input) && // where results are pictures, too
         common::lies_in(row.file, s.out));
  };
  rows.erase(std::remove_if(rows.begin(), rows.end(), is_other), rows.end());
  if (rows.empty()) {
    throw std::invalid_argument(
        "--labels, --folds, --out: expected pictures, but these leave none");
  }
  const auto has_none = [](const Row& row) { return row.boxes.empty(); };
  if (s.score && std::all_of(rows.begin(), rows.end(), has_none)) {
    throw std::invalid_argument(
        "--score: expected boxes in " + s.input.string() + ", but it has none");
  }
  return rows;
}

const char* const kResults[] = {"manifest.csv", "score.txt", "sheet.html"};

/// That files of the results' names are those of an earlier run.
void check_own(const fs::path& out) {
  for (const std::string name : kResults) {
    if (!fs::exists(out / "found.json") && fs::exists(out / name)) {
      throw std::invalid_argument(
          "--out: expected a folder of an earlier run or without a file of "
          "that name, but got " +
          (out / name).string());
    }
  }
}

/// What an earlier run left in the folder, or one that was killed; but not the
/// manifest, which somebody may train with until there is another.
void clear(const fs::path& out) {
  for (const std::string name : kResults) {
    fs::remove(out / (name + ".part"));
  }
  fs::remove(out / "score.txt");
  fs::remove(out / "sheet.html");
}

/// The rows of the input with the found boxes in place of their own.
std::vector<Row> rows_of(const std::vector<Found>& found) {
  std::vector<Row> rows;
  for (const auto& one : found) {
    auto& row = rows.emplace_back(one.row);
    row.boxes.clear();
    row.has_confidence = true;
    row.more["method"] = one.boxes.empty() ? "none" : one.boxes[0].method;
    for (const auto& box : one.boxes) {
      row.boxes.push_back({box.xyxy, "", "", box.confidence});
    }
  }
  return rows;
}

void run(Settings s) {
  const auto finder = auto_boxes::make_finder(s.finder);
  check_own(s.out);
  if (s.input.empty()) {
    s.input = common::write_generated_set(s.out / "generated", {});
  }
  const auto rows = chosen(s);
  trainer::Lock lock(s.out / ".lock");
  lock.take_alone(
      "--out: expected a folder that no other run works in, but got " +
      s.out.string());
  auto_boxes::FindSettings settings;
  settings.threads = trainer::threads_or_all(s.threads);
  settings.identity = auto_boxes::identity(s.finder);
  settings.cache = s.out / "found.json";
  settings.fresh = s.fresh;
  const auto found = auto_boxes::find_all(rows, finder, settings);
  clear(s.out);

  const auto without = std::count_if(
      found.begin(), found.end(), [](auto& one) { return one.boxes.empty(); });
  auto summary = fmt::format(
      "{}\n{} pictures, {} without a box, {} skipped\n",
      settings.identity,
      rows.size(),
      without,
      rows.size() - found.size());
  trainer::write_atomically(
      s.out / "manifest.csv", common::manifest_of(rows_of(found), s.out));
  if (s.score) {
    summary += "\n" + auto_boxes::score_table(found);
    trainer::write_atomically(s.out / "score.txt", summary);
  }
  if (s.sheet > 0) {
    auto_boxes::write_sheet(s.out, found, s.sheet, summary);
  }
  std::cout << summary << "Manifest: " << (s.out / "manifest.csv").string()
            << '\n';
}

} // namespace

int main(int argc, char** argv) {
  trainer::wait_passively(argv);
  Settings settings;
  CLI::App app(
      "Finds boxes on pictures without an annotator and writes a manifest for "
      "the trainer. For research and education; not a medical device.",
      "auto_boxes");
  add_options(app, settings);
  CLI11_PARSE(app, argc, argv);
  return trainer::run_main("auto_boxes", [&] { run(settings); });
}
