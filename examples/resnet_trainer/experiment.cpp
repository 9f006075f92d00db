// The experiment: every fold, seed and arm, one after another, resumable.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/experiment.hpp"

#include "common/files.hpp"
#include "common/identity.hpp"
#include "common/progress.hpp"
#include "common/random.hpp"
#include "resnet_trainer/data.hpp"
#include "resnet_trainer/report.hpp"
#include "resnet_trainer/results.hpp"
#include "resnet_trainer/train.hpp"
#include "resnet_trainer/verdict.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join
#include <torch/serialize.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace trainer {

namespace fs = std::filesystem;

namespace {

/// Refuses a folder that holds another experiment.
void claim_folder(const Settings& settings) {
  const fs::path out = settings.out;
  const auto file = out / "settings.json";
  auto mine = identity(settings);
  common::add_fingerprint(mine, settings.data);
  common::add_fingerprint(mine, settings.boxes);
  if (settings.fresh) {
    for (const char* part : {"runs", "weights", "checkpoints"}) {
      if (fs::exists(out / part) && !fs::exists(file)) {
        throw std::invalid_argument(fmt::format(
            "--fresh --out {}: expected a folder of this program to clear, but "
            "it holds a folder {} and no settings.json; choose another",
            settings.out,
            part));
      }
      fs::remove_all(out / part);
    }
  } else if (fs::exists(file)) {
    if (const auto other = common::mismatch(file, mine)) {
      throw std::invalid_argument(fmt::format(
          "--out {}: holds runs with {} = {}, but now it is {}; choose "
          "another folder, or --fresh to start anew",
          settings.out,
          other->key,
          other->theirs,
          other->mine));
    }
  }
  common::write_atomically(file, mine.dump(2) + "\n");
}

ResNet load_weights(
    const Settings& settings,
    int64_t classes,
    const fs::path& path) {
  auto net = make_net(settings, classes);
  try {
    torch::load(net, path.string());
  } catch (const c10::Error& error) {
    throw std::runtime_error(fmt::format(
        "{}: cannot read the weights; --fresh starts anew ({})",
        path.string(),
        error.what_without_backtrace()));
  }
  net->to(torch::Device(settings.device));
  return net;
}

class Experiment {
 public:
  Experiment(const Settings& settings)
      : settings_(settings),
        data_(load_data(settings)),
        rare_(rare_classes(settings, data_)),
        guided_(classes_of("--guide", settings.guide, data_.classes, rare_)),
        out_(settings.out) {}

  std::string run(const std::string& command) {
    std::vector<std::string> arms;
    if (settings_.compare) {
      arms.emplace_back(kPlain);
    }
    arms.emplace_back(kCare);
    std::vector<Run> runs;
    for (auto fold : data_.folds) {
      auto [fold_data, test] = split_fold(settings_, data_, fold);
      auto tests = data_.tests;
      if (tests.empty()) {
        tests.emplace_back("test", std::move(test));
      }
      for (int64_t i = 0; i < settings_.seeds; ++i) {
        const auto seed = settings_.first_seed + i;
        const auto training = boxes_for_training(
            settings_, data_.training_boxes, fold_data, fold, seed);
        check_guided(training.train, fold);
        for (const auto& arm : arms) {
          auto made = run_one(arm, fold, seed, training, tests);
          runs.insert(runs.end(), made.begin(), made.end());
        }
        fs::remove(stage1_path(fold, seed));
      }
      if (fold == data_.folds.front()) {
        take_pictures(arms, fold, tests.back().second);
      }
    }
    std::sort(runs.begin(), runs.end(), [&](const Run& a, const Run& b) {
      return std::make_tuple(
                 order_of(a.test_set), a.arm != kPlain, a.fold, a.seed) <
          std::make_tuple(
                 order_of(b.test_set), b.arm != kPlain, b.fold, b.seed);
    });

    Report report;
    report.data = data_.sentence;
    report.command = command;
    report.settings = to_json(settings_);
    report.settings["classes"] = data_.classes;
    report.settings["command"] = command;
    report.summary = summarize(runs, data_.classes, rare_);
    report.runs = runs;
    report.pictures = pictures_;
    write_results(out_, report.summary, runs, report.settings);
    write_report(out_, report);
    return results_text(report.summary);
  }

 private:
  int64_t order_of(const std::string& test_set) const {
    for (size_t i = 0; i < data_.tests.size(); ++i) {
      if (data_.tests[i].first == test_set) {
        return static_cast<int64_t>(i);
      }
    }
    return 0;
  }

  /// With no picture to guide, the arm with CARE would be plain training.
  void check_guided(const std::vector<common::Sample>& train, int64_t fold)
      const {
    const bool some =
        std::any_of(train.begin(), train.end(), [&](const auto& sample) {
          return sample.boxes.num_boxes() > 0 &&
              std::find(guided_.begin(), guided_.end(), sample.target) !=
              guided_.end();
        });
    if (!some && settings_.box_noise.missing <= 0) {
      throw std::invalid_argument(fmt::format(
          "--guide {}: expected training pictures of these classes with a box, "
          "but fold {} has none",
          fmt::join(settings_.guide, ","),
          fold));
    }
  }

  static std::string name(const std::string& arm, int64_t fold, int64_t seed) {
    return fmt::format("{}-fold{}-seed{}", arm, fold, seed);
  }
  fs::path stage1_path(int64_t fold, int64_t seed) const {
    return out_ / "checkpoints" / (name("stage1", fold, seed) + ".pt");
  }
  fs::path weights_path(const std::string& arm, int64_t fold, int64_t seed)
      const {
    return out_ / "weights" / (name(arm, fold, seed) + ".pt");
  }

  std::vector<Run> run_one(
      const std::string& arm,
      int64_t fold,
      int64_t seed,
      const FoldData& fold_data,
      const std::vector<std::pair<std::string, std::vector<common::Sample>>>&
          tests) const {
    const auto key = name(arm, fold, seed);
    auto file = [&](const std::string& test_set) {
      return out_ / "runs" / (key + "-" + test_set + ".json");
    };
    std::vector<Run> runs;
    for (const auto& test : tests) {
      if (fs::exists(file(test.first))) {
        runs.push_back(load_run(file(test.first)));
      }
    }
    if (runs.size() == tests.size()) {
      return runs;
    }
    runs.clear();
    Job job;
    job.care = arm == kCare;
    job.fold = fold;
    job.seed = seed;
    job.classes = static_cast<int64_t>(data_.classes.size());
    job.guided = guided_;
    job.rare = rare_;
    job.checkpoint = out_ / "checkpoints" / (key + ".pt");
    job.stage1 = stage1_path(fold, seed);
    job.label = fmt::format("{}, fold {}, seed {}", arm, fold, seed);
    const auto start = common::steady_seconds();
    auto trained = train(
        settings_, job, fold_data, make_method(settings_, job, fold_data));

    std::ostringstream bytes;
    torch::save(trained.net, bytes);
    common::write_atomically(weights_path(arm, fold, seed), bytes.str());
    for (const auto& [test_set, samples] : tests) {
      Run run;
      run.arm = arm;
      run.fold = fold;
      run.seed = seed;
      run.test_set = test_set;
      run.predictions = predict(settings_, trained.net, samples);
      run.epochs = trained.epochs;
      run.seconds = common::steady_seconds() - start;
      save_run(file(test_set), run);
      runs.push_back(std::move(run));
    }
    fs::remove(job.checkpoint);
    return runs;
  }

  void take_pictures(
      const std::vector<std::string>& arms,
      int64_t fold,
      const std::vector<common::Sample>& test) {
    const auto samples = picture_samples(test, rare_, settings_.pictures);
    if (samples.empty()) {
      return;
    }
    const auto classes = static_cast<int64_t>(data_.classes.size());
    for (const auto& arm : arms) {
      if (!fs::exists(weights_path(arm, fold, settings_.first_seed))) {
        continue; // deleted since; the figures need them no more
      }
      auto net = load_weights(
          settings_, classes, weights_path(arm, fold, settings_.first_seed));
      add_network(
          pictures_, arm_title(arm), settings_, net, samples, data_.classes);
    }
  }

  Settings settings_;
  Data data_;
  std::vector<int64_t> rare_;
  std::vector<int64_t> guided_;
  fs::path out_;
  AttentionPictures pictures_;
};

} // namespace

std::string run_experiment(
    const Settings& settings,
    const std::string& command) {
  Experiment experiment(settings);
  claim_folder(settings);
  return experiment.run(command);
}

} // namespace trainer
