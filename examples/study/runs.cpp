// Runs: trains what a plan lists, by one process or several, resumable.
// SPDX-License-Identifier: Apache-2.0
#include "study/runs.hpp"

#include "common/files.hpp"
#include "study/faults.hpp"

#include <fmt/format.h>

#include <exception>
#include <iostream>
#include <utility>

namespace study {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

/// Throws when the file has something else than `mine`; then the runs there
/// were made with it.
void compare(const fs::path& path, const Json& mine) {
  if (!fs::exists(path)) {
    return;
  }
  const auto theirs = common::read_json(path);
  for (const auto& [key, value] : mine.items()) {
    const auto other = theirs.value(key, Json());
    if (other != value) {
      throw std::invalid_argument(fmt::format(
          "{}: the runs there were made with {} = {}, but now it is {}; choose "
          "another folder, or another name for the arm",
          path.string(),
          key,
          other.dump(),
          value.dump()));
    }
  }
}

/// Before any picture is painted.
Plan compared(Plan plan, const fs::path& out) {
  compare(out / "study.json", identity(plan));
  return plan;
}

} // namespace

Runs::Runs(Plan plan, fs::path out)
    : plan_(compared(std::move(plan), out)),
      out_(std::move(out)),
      data_(plan_, out_) {
  std::vector<std::pair<fs::path, Json>> files;
  auto study = identity(plan_);
  study["data"] = fingerprint(data_.rows);
  files.emplace_back(out_ / "study.json", study);
  for (const auto& arm : plan_.arms) {
    auto json = identity(arm);
    const auto manifest = arm.box_manifest();
    if (!manifest.empty()) {
      json["boxes"] = fingerprint(with_boxes_of(manifest, data_.rows));
    }
    files.emplace_back(out_ / "arms" / (arm.name + ".json"), json);
  }
  for (const auto& [path, json] : files) {
    compare(path, json);
  }
  presence_ = std::make_shared<Presence>(out_);
  Lock lock(out_ / "study.lock");
  lock.take(LOCK_EX);
  for (const auto& [path, json] : files) {
    compare(path, json); // another process may have begun another study
    if (!fs::exists(path)) {
      common::write_json(path, json);
    }
  }
}

fs::path Runs::file(const Job& job) const {
  return out_ / "runs" / (plan_.name(job) + ".json");
}

void Runs::train_one(
    const Job& job,
    const fs::path& checkpoint,
    const Machine& machine) const {
  const auto& arm = plan_.arms[job.arm];
  auto parts = data_.parts(plan_, job);
  if (!arm.box_manifest().empty()) {
    parts.train = with_boxes_of(arm.box_manifest(), parts.train);
  }
  const auto seed = static_cast<uint64_t>(1000 * job.split + job.seed);
  parts.train = with_faults(parts.train, arm, seed);
  constexpr size_t kShown = 16;
  const auto shown = plan_.is_first(job)
      ? data_.shown(plan_, parts.test, kShown)
      : std::vector<Row>();
  const auto run =
      train_job(plan_, data_, job, parts, shown, checkpoint, machine);
  save_run(file(job), run);
}

Runs::Outcome Runs::train(int64_t most, const Machine& machine) const {
  Outcome outcome;
  for (const auto& job : plan_.jobs()) {
    if (outcome.trained == most) {
      break;
    }
    const auto name = plan_.name(job);
    const auto checkpoint = out_ / "checkpoints" / (name + ".pt");
    const auto claim = out_ / "checkpoints" / (name + ".claim");
    if (!fs::exists(file(job))) {
      Lock lock(claim);
      // Another process may have finished it between the two looks.
      if (lock.take(LOCK_EX | LOCK_NB) && !fs::exists(file(job))) {
        try {
          train_one(job, checkpoint, machine);
          ++outcome.trained;
        } catch (const std::exception& error) {
          outcome.failed.push_back(name + ": " + error.what());
          std::cerr << outcome.failed.back() << std::endl;
        }
      }
    }
    if (fs::exists(file(job))) {
      fs::remove(checkpoint);
      fs::remove(claim);
    }
  }
  return outcome;
}

std::vector<Runs::Finished> Runs::finished() const {
  std::vector<Finished> all;
  for (const auto& job : plan_.jobs()) {
    if (fs::exists(file(job))) {
      all.push_back({job, load_run(file(job))});
    }
  }
  return all;
}

} // namespace study
