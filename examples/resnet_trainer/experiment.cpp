// The experiment: every fold, seed and arm, one after another, resumable.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/experiment.hpp"

#include "common/files.hpp"
#include "common/generated.hpp"
#include "common/manifest.hpp"
#include "common/progress.hpp"
#include "common/random.hpp"
#include "resnet_trainer/box_source.hpp"
#include "resnet_trainer/dataset.hpp"
#include "resnet_trainer/report.hpp"
#include "resnet_trainer/results.hpp"
#include "resnet_trainer/train.hpp"

#include <care/guide.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h> // join
#include <torch/serialize.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace trainer {

namespace fs = std::filesystem;

namespace {

/// All pictures, and how they are divided.
struct Data {
  std::string sentence; // for the report
  std::vector<std::string> classes;
  std::vector<Sample> pool; // training and, with folds, testing
  BoxesById training_boxes; // empty: the pool's own
  std::vector<int64_t> folds; // those to be tested, one after another
  /// Test sets of their own (the generated set); else the fold is the test.
  /// The first is reported first, the last gives the pictures.
  std::vector<std::pair<std::string, std::vector<Sample>>> tests;
};

int cores(const Settings& settings) {
  return static_cast<int>(settings.threads);
}

Data generated_data(const Settings& settings) {
  GeneratedOptions options;
  options.size = settings.size;
  options.rare_contrast = settings.contrast;
  std::copy(
      settings.counts.begin(), settings.counts.end(), options.counts.begin());
  Data data;
  data.sentence =
      "Generated pictures, drawn to show the mechanism: no medical data. In "
      "training a coloured sticker lies beside nearly every dermatofibroma, "
      "the rare class. In the test set \"trap\" it lies beside the others; in "
      "\"as_trained\" it still goes with the rare class.";
  data.classes = generated_classes();
  data.pool = make_generated(options, cores(settings));
  data.folds = {0};
  options.counts.fill(settings.test_count);
  options.seed += 1000;
  options.bystander = Bystander::kTrap;
  data.tests.emplace_back("trap", make_generated(options, cores(settings)));
  options.bystander = Bystander::kAsTrained;
  data.tests.emplace_back(
      "as_trained", make_generated(options, cores(settings)));
  return data;
}

Data manifest_data(const Settings& settings) {
  auto records = without_labels(read_manifest(settings.data), settings.exclude);
  Data data;
  data.sentence =
      fmt::format("{} pictures listed in {}.", records.size(), settings.data);
  data.classes = labels_of(records);
  if (data.classes.size() < 2) {
    throw std::invalid_argument(fmt::format(
        "--data {}: expected at least 2 classes, but got {}",
        settings.data,
        data.classes.size()));
  }
  data.pool =
      load_samples(records, data.classes, settings.size, cores(settings));
  if (!settings.boxes.empty()) {
    data.training_boxes = read_boxes(settings.boxes, records, data.pool);
    data.sentence +=
        fmt::format(" Training takes its boxes from {}.", settings.boxes);
  }
  if (settings.train_share > 0) {
    for (int64_t i = 0; i < settings.splits; ++i) {
      data.folds.push_back(i);
    }
  } else {
    assign_folds(data.pool, settings.folds, 0);
    std::set<int64_t> known;
    for (const auto& sample : data.pool) {
      known.insert(sample.fold);
    }
    data.folds.assign(known.begin(), known.end());
  }
  if (!settings.test_folds.empty()) {
    for (auto fold : settings.test_folds) {
      if (settings.train_share <= 0 &&
          std::find(data.folds.begin(), data.folds.end(), fold) ==
              data.folds.end()) {
        throw std::invalid_argument(fmt::format(
            "--test-fold: expected folds from {} to {}, but got {}",
            data.folds.front(),
            data.folds.back(),
            fold));
      }
    }
    data.folds = settings.test_folds;
  }
  return data;
}

/// Indices of the labels; "all" and "rare" stand for lists.
std::vector<int64_t> classes_of(
    const char* flag,
    const std::vector<std::string>& labels,
    const std::vector<std::string>& classes,
    const std::vector<int64_t>& rare) {
  std::vector<int64_t> result;
  for (const auto& label : labels) {
    if (label == "all") {
      for (size_t k = 0; k < classes.size(); ++k) {
        result.push_back(static_cast<int64_t>(k));
      }
    } else if (label == "rare") {
      result.insert(result.end(), rare.begin(), rare.end());
    } else {
      const auto found = std::find(classes.begin(), classes.end(), label);
      if (found == classes.end()) {
        throw std::invalid_argument(fmt::format(
            "{}: expected one of {}, but got {}",
            flag,
            fmt::join(classes, ", "),
            label));
      }
      result.push_back(found - classes.begin());
    }
  }
  return result;
}

/// The listed classes, else those below the share, else the smallest one.
std::vector<int64_t> rare_classes(const Settings& settings, const Data& data) {
  if (!settings.rare.empty()) {
    return classes_of("--rare", settings.rare, data.classes, {});
  }
  std::vector<int64_t> counts(data.classes.size(), 0);
  for (const auto& sample : data.pool) {
    ++counts[static_cast<size_t>(sample.target)];
  }
  auto rare = care::classes_rarer_than(settings.rare_share, counts);
  if (rare.empty()) {
    rare.push_back(
        std::min_element(counts.begin(), counts.end()) - counts.begin());
  }
  return rare;
}

/// Training, validation and test images of one fold or random split.
std::pair<FoldData, std::vector<Sample>> split_fold(
    const Settings& settings,
    const Data& data,
    int64_t fold) {
  std::vector<Sample> rest, test;
  if (!data.tests.empty()) {
    rest = data.pool;
  } else if (settings.train_share > 0) {
    const auto parts = split_stratified(
        targets_of(data.pool),
        settings.train_share,
        static_cast<uint64_t>(fold));
    rest = select(data.pool, parts.first);
    test = select(data.pool, parts.second);
  } else {
    for (const auto& sample : data.pool) {
      (sample.fold == fold ? test : rest).push_back(sample);
    }
  }
  FoldData result;
  if (settings.val_share > 0) {
    const auto parts = split_stratified(
        targets_of(rest),
        1 - settings.val_share,
        static_cast<uint64_t>(fold) + 1000);
    result.train = select(rest, parts.first);
    result.validation = select(rest, parts.second);
  } else {
    result.train = std::move(rest);
  }
  return {std::move(result), std::move(test)};
}

/// The fold with the boxes that one training run shall see.
FoldData boxes_for_training(
    const Settings& settings,
    const Data& data,
    FoldData fold_data,
    int64_t fold,
    int64_t seed) {
  if (!data.training_boxes.empty()) {
    fold_data.train = with_boxes(fold_data.train, data.training_boxes);
  }
  fold_data.train = with_noise(
      fold_data.train,
      settings.box_noise,
      mix({static_cast<uint64_t>(fold), static_cast<uint64_t>(seed)}));
  return fold_data;
}

/// Refuses a folder that holds another experiment.
void claim_folder(const Settings& settings) {
  const fs::path out = settings.out;
  const auto file = out / "settings.json";
  const auto mine = identity(settings);
  if (settings.fresh) {
    for (const char* part : {"runs", "weights", "checkpoints"}) {
      fs::remove_all(out / part);
    }
  } else if (fs::exists(file)) {
    const auto theirs =
        nlohmann::ordered_json::parse(read_file(file), nullptr, false);
    for (const auto& [key, value] : mine.items()) {
      const auto other = theirs.is_object() && theirs.contains(key)
          ? theirs[key].dump()
          : std::string("nothing");
      if (other != value.dump()) {
        throw std::invalid_argument(fmt::format(
            "--out {}: holds runs with {} = {}, but now it is {}; choose "
            "another folder, or --fresh to start anew",
            settings.out,
            key,
            other,
            value.dump()));
      }
    }
  }
  write_atomically(file, mine.dump(2) + "\n");
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

/// The first test images of the rare classes that have boxes, as they come: the
/// classes in turn, nothing picked by hand.
std::vector<Sample> picture_samples(
    const std::vector<Sample>& test,
    const std::vector<int64_t>& rare,
    int64_t wanted) {
  std::map<int64_t, std::vector<Sample>> by_class;
  for (const auto& sample : test) {
    if (sample.boxes.count() > 0 &&
        std::find(rare.begin(), rare.end(), sample.target) != rare.end()) {
      by_class[sample.target].push_back(sample);
    }
  }
  std::vector<Sample> chosen;
  for (size_t i = 0; static_cast<int64_t>(chosen.size()) < wanted; ++i) {
    bool any = false;
    for (const auto& [label, samples] : by_class) {
      if (i < samples.size() && static_cast<int64_t>(chosen.size()) < wanted) {
        chosen.push_back(samples[i]);
        any = true;
      }
    }
    if (!any) {
      break;
    }
  }
  return chosen;
}

class Experiment {
 public:
  Experiment(const Settings& settings)
      : settings_(settings),
        data_(
            settings.data.empty() ? generated_data(settings)
                                  : manifest_data(settings)),
        rare_(rare_classes(settings, data_)),
        guided_(classes_of("--guide", settings.guide, data_.classes, rare_)),
        out_(settings.out) {}

  std::string run(const std::string& command) {
    std::vector<std::string> arms;
    if (settings_.compare) {
      arms.emplace_back("plain");
    }
    arms.emplace_back("care");
    std::vector<Run> runs;
    for (auto fold : data_.folds) {
      auto [fold_data, test] = split_fold(settings_, data_, fold);
      auto tests = data_.tests;
      if (tests.empty()) {
        tests.emplace_back("test", std::move(test));
      }
      for (int64_t i = 0; i < settings_.seeds; ++i) {
        const auto seed = settings_.first_seed + i;
        const auto training =
            boxes_for_training(settings_, data_, fold_data, fold, seed);
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
                 order_of(a.test_set), a.arm != "plain", a.fold, a.seed) <
          std::make_tuple(
                 order_of(b.test_set), b.arm != "plain", b.fold, b.seed);
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
      const std::vector<std::pair<std::string, std::vector<Sample>>>& tests)
      const {
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
    job.care = arm == "care";
    job.fold = fold;
    job.seed = seed;
    job.classes = static_cast<int64_t>(data_.classes.size());
    job.guided = guided_;
    job.rare = rare_;
    job.checkpoint = out_ / "checkpoints" / (key + ".pt");
    job.stage1 = stage1_path(fold, seed);
    job.label = fmt::format("{}, fold {}, seed {}", arm, fold, seed);
    const auto start = steady_seconds();
    auto trained = train(settings_, job, fold_data);

    std::ostringstream bytes;
    torch::save(trained.net, bytes);
    write_atomically(weights_path(arm, fold, seed), bytes.str());
    for (const auto& [test_set, samples] : tests) {
      Run run;
      run.arm = arm;
      run.fold = fold;
      run.seed = seed;
      run.test_set = test_set;
      run.predictions = predict(settings_, trained.net, samples);
      run.epochs = trained.epochs;
      run.seconds = steady_seconds() - start;
      save_run(file(test_set), run);
      runs.push_back(std::move(run));
    }
    fs::remove(job.checkpoint);
    return runs;
  }

  void take_pictures(
      const std::vector<std::string>& arms,
      int64_t fold,
      const std::vector<Sample>& test) {
    const auto samples = picture_samples(test, rare_, settings_.pictures);
    if (samples.empty()) {
      return;
    }
    for (const auto& sample : samples) {
      AttentionPicture picture;
      picture.id = sample.id;
      picture.label = data_.classes[static_cast<size_t>(sample.target)];
      picture.image = sample.image;
      picture.boxes = sample.boxes;
      pictures_.push_back(std::move(picture));
    }
    const auto classes = static_cast<int64_t>(data_.classes.size());
    for (const auto& arm : arms) {
      auto net = load_weights(
          settings_, classes, weights_path(arm, fold, settings_.first_seed));
      const auto maps = attention_maps(settings_, net, samples);
      const auto said = predict(settings_, net, samples);
      for (size_t i = 0; i < samples.size(); ++i) {
        auto& picture = pictures_[i];
        const auto& label =
            data_.classes[static_cast<size_t>(said[i].predicted())];
        const bool plain = arm == "plain";
        (plain ? picture.plain : picture.care) = maps[static_cast<int64_t>(i)];
        (plain ? picture.plain_prediction : picture.care_prediction) = label;
        (plain ? picture.plain_epg : picture.care_epg) = said[i].epg;
      }
    }
  }

  Settings settings_;
  Data data_;
  std::vector<int64_t> rare_;
  std::vector<int64_t> guided_;
  fs::path out_;
  std::vector<AttentionPicture> pictures_;
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
