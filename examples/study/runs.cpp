// Runs: trains what a plan lists, by one process or several, resumable.
// SPDX-License-Identifier: Apache-2.0
#include "study/runs.hpp"

#include "common/files.hpp"
#include "common/identity.hpp"
#include "common/manifest.hpp"
#include "common/progress.hpp"
#include "resnet_trainer/dataset.hpp"
#include "study/method.hpp"

#include <care/imbalance/class_weights.hpp>

#include <fmt/format.h>
#include <torch/serialize.h>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>

namespace study {

namespace fs = std::filesystem;

namespace {

/// The sole right to train one network. The system takes it back when the
/// process ends, also when it is killed.
class Claim {
 public:
  explicit Claim(const fs::path& path) {
    fs::create_directories(path.parent_path());
    file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file_ < 0) {
      throw std::runtime_error(fmt::format(
          "cannot make '{}': {}",
          path.string(),
          std::generic_category().message(errno)));
    }
    held_ = ::flock(file_, LOCK_EX | LOCK_NB) == 0;
  }
  ~Claim() {
    ::close(file_);
  }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

  bool held() const {
    return held_;
  }

 private:
  int file_;
  bool held_ = false;
};

/// Writes `mine` unless the file has it; throws when it has something else.
void keep_or_compare(const fs::path& path, const Json& mine) {
  if (!fs::exists(path)) {
    common::write_atomically(path, mine.dump(2) + "\n");
    return;
  }
  if (const auto other = common::mismatch(path, mine)) {
    throw std::invalid_argument(fmt::format(
        "{}: the runs there were made with {} = {}, but now it is {}; choose "
        "another folder, or another name for the arm",
        path.string(),
        other->key,
        other->theirs,
        other->mine));
  }
}

/// Removes a file, and the halves that killed processes left of it.
void remove_with_parts(const fs::path& path) {
  if (!fs::exists(path.parent_path())) {
    return;
  }
  const auto name = path.filename().string();
  for (const auto& entry : fs::directory_iterator(path.parent_path())) {
    if (entry.path().filename().string().rfind(name, 0) == 0) {
      fs::remove(entry.path());
    }
  }
}

} // namespace

Runs::Runs(Plan plan, fs::path out)
    : plan_(std::move(plan)),
      out_(std::move(out)) {
  auto plan_identity = identity(plan_);
  common::add_fingerprint(plan_identity, plan_.recipe.data);
  keep_or_compare(out_ / "study.json", plan_identity);
  for (const auto& arm : plan_.arms) {
    auto arm_identity = identity(arm);
    common::add_fingerprint(arm_identity, arm.box_manifest());
    keep_or_compare(out_ / "arms" / (arm.name + ".json"), arm_identity);
  }
  data_ = trainer::load_data(plan_.recipe);
  rare_ = trainer::rare_classes(plan_.recipe, data_);
  for (const auto& arm : plan_.arms) { // a misspelt label ends it here
    trainer::classes_of("guide", arm.guide, data_.classes, rare_);
    const auto manifest = arm.box_manifest();
    if (!manifest.empty() && boxes_.count(manifest) == 0) {
      const auto records = common::without_labels(
          common::read_manifest(plan_.recipe.data), plan_.recipe.exclude);
      boxes_[manifest] = trainer::read_boxes(manifest, records, data_.pool);
    }
  }
}

fs::path Runs::file(const Job& job) const {
  return out_ / "runs" / (job.name(plan_.arms[job.arm].name) + ".json");
}

fs::path Runs::weights(const Job& job) const {
  return out_ / "weights" / (job.name(plan_.arms[job.arm].name) + ".pt");
}

fs::path Runs::checkpoint(const Job& job, const char* ending) const {
  return out_ / "checkpoints" / (job.name(plan_.arms[job.arm].name) + ending);
}

bool Runs::is_first(const Job& job) const {
  for (const auto& set : plan_.split_sets) {
    if (set.train_share == job.train_share && set.splits[0] == job.split) {
      return job.seed == plan_.seeds[0];
    }
  }
  return false;
}

std::pair<trainer::FoldData, std::vector<common::Sample>> Runs::split(
    const Job& job) const {
  auto settings = plan_.recipe;
  settings.train_share = job.train_share;
  auto parts = trainer::split_fold(settings, data_, job.split);
  if (!data_.tests.empty()) {
    parts.second = data_.tests.front().second;
  }
  if (parts.first.train.empty() || parts.second.empty()) {
    throw std::invalid_argument(fmt::format(
        "splits: expected images to train and to test in {} {}, but got {} "
        "and {}",
        job.train_share > 0 ? "split" : "fold",
        job.split,
        parts.first.train.size(),
        parts.second.size()));
  }
  return parts;
}

void Runs::train_one(const Job& job) const {
  const auto& arm = plan_.arms[job.arm];
  const auto settings = settings_of(plan_, arm);
  const auto parts = split(job);
  const auto boxes = boxes_.find(arm.box_manifest());
  const auto data = trainer::boxes_for_training(
      settings,
      boxes == boxes_.end() ? trainer::BoxesById() : boxes->second,
      parts.first,
      job.split,
      job.seed);
  const auto classes = static_cast<int64_t>(data_.classes.size());
  const auto counts =
      care::class_counts(trainer::targets_of(parts.first.train), classes);

  trainer::Job training;
  training.label = job.name(arm.name);
  training.fold = job.split;
  training.seed = job.seed;
  training.classes = classes;
  training.guided =
      trainer::classes_of("guide", arm.guide, data_.classes, rare_);
  training.rare = rare_;
  training.checkpoint = checkpoint(job, ".pt");
  // Two arms share no first stage: they may differ in anything.
  training.stage1 = checkpoint(job, "-stage1.pt");
  const auto start = common::steady_seconds();
  auto trained = trainer::train(
      settings,
      training,
      data,
      method_of(
          arm,
          training.guided,
          counts,
          plan_.epochs,
          settings.size,
          torch::Device(settings.device)));
  trainer::Run run;
  run.arm = arm.name;
  run.fold = job.split;
  run.seed = job.seed;
  run.predictions = trainer::predict(settings, trained.net, parts.second);
  run.epochs = trained.epochs;
  run.seconds = common::steady_seconds() - start;
  if (is_first(job)) {
    std::ostringstream bytes;
    torch::save(trained.net, bytes);
    common::write_atomically(weights(job), bytes.str());
  }
  trainer::save_run(file(job), run);
}

int64_t Runs::train(int64_t most) {
  int64_t trained = 0;
  for (const auto& job : plan_.jobs()) {
    if (trained == most) {
      break;
    }
    if (!fs::exists(file(job))) {
      const Claim claim(checkpoint(job, ".claim"));
      // Another process may have finished it between the two looks.
      if (claim.held() && !fs::exists(file(job))) {
        train_one(job);
        ++trained;
      }
    }
    if (fs::exists(file(job))) { // a killed process may have left them
      remove_with_parts(checkpoint(job, ".pt"));
      remove_with_parts(checkpoint(job, "-stage1.pt"));
    }
  }
  return trained;
}

std::vector<Finished> Runs::finished() const {
  std::vector<Finished> all;
  for (const auto& job : plan_.jobs()) {
    if (fs::exists(file(job))) {
      all.push_back({job, trainer::load_run(file(job))});
    }
  }
  return all;
}

} // namespace study
