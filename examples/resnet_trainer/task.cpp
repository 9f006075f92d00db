// What a program learns, from which pictures, for which classes.
// SPDX-License-Identifier: Apache-2.0
#include "task.hpp"

#include "files.hpp"

#include <care/imbalance.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <algorithm>
#include <filesystem>
#include <set>
#include <stdexcept>

namespace trainer {
namespace {

namespace fs = std::filesystem;

/// The pictures of --data.
std::vector<Row> read_data(const std::string& data) {
  if (!fs::is_directory(data)) {
    return read_manifest(data);
  }
  auto rows = read_folder(data);
  const auto labels = labels_of(rows);
  const std::set<std::string> parts{
      "train", "val", "valid", "validation", "test"};
  if (std::all_of(labels.begin(), labels.end(), [&](const auto& label) {
        return parts.count(label) > 0;
      })) {
    throw std::invalid_argument(fmt::format(
        "--data: expected a folder for each class, but got the parts {}; "
        "make_manifest folder makes a manifest of them, one by one (--split, "
        "--append)",
        fmt::join(labels, ", ")));
  }
  return rows;
}

/// What tells the data of one training from another's, wherever they lie.
std::string identity_of(const Options& o, const Split& split) {
  std::string data;
  const auto add = [&](const std::string& text) { data += text + '\0'; };
  for (const auto* part : {&split.train, &split.val, &split.test}) {
    for (const auto& row : *part) {
      for (const auto& text :
           {row.path, row.label, row.split, row.fold, row.group}) {
        add(text);
      }
      if (o.masks() && !row.mask.empty()) {
        add(fingerprint_of_file(row.mask)); // redrawn, it is another
      }
      for (const auto& box : row.boxes) {
        add(fmt::format("{} {}", fmt::join(box.xyxy, " "), box.label));
      }
    }
    add(std::to_string(part->size()));
  }
  return "data " + fingerprint(data);
}

/// The classes that --guide names; all where it names none.
std::vector<int64_t> guided_classes(const Options& o, const Task& task) {
  check_known("--guide", task.classes, o.guide);
  std::vector<int64_t> guided;
  for (int64_t k = 0; k < task.size(); ++k) {
    const auto& label = task.classes[static_cast<size_t>(k)];
    if (o.guide.empty() ||
        std::find(o.guide.begin(), o.guide.end(), label) != o.guide.end()) {
      guided.push_back(k);
    }
  }
  return guided;
}

void check_labels(const Options& o, const std::vector<Row>& rows, int64_t k) {
  for (const auto& row : rows) {
    if (!o.multi_label() && split_labels(row.label).size() > 1) {
      throw std::invalid_argument(fmt::format(
          "{}: expected one label a picture, but got '{}'; --criterion bce "
          "learns several",
          row.where,
          row.label));
    }
  }
  if (k < 2) {
    throw std::invalid_argument(fmt::format(
        "{}: expected at least two labels to learn, but got {}",
        o.exclude.empty() ? "--data" : "--exclude",
        k));
  }
}

} // namespace

bool Task::is_guided(const Row& row) const {
  return std::any_of(guided.begin(), guided.end(), [&](int64_t k) {
    return is_guided(row, k);
  });
}

bool Task::is_guided(const Row& row, int64_t k) const {
  const auto& label = classes[static_cast<size_t>(k)];
  return row.has_region(masks) && has_label(row, label) &&
      (masks || // which speak for all labels
       std::any_of(row.boxes.begin(), row.boxes.end(), [&](const auto& box) {
         return box.label.empty() || box.label == label; // empty: of all
       }));
}

std::string summary_of(const Task& task, bool guides) {
  std::string text =
      fmt::format("{} pictures to learn from:", task.split.train.size());
  const auto& train = task.split.train;
  const auto is_guided = [&](int64_t k) {
    const auto& guided = task.guided;
    return std::count(guided.begin(), guided.end(), k) > 0 &&
        std::any_of(train.begin(), train.end(), [&](const Row& row) {
             return task.is_guided(row, k);
           });
  };
  for (size_t k = 0; k < task.classes.size(); ++k) {
    text += fmt::format(
        "{} {} {}{}",
        k == 0 ? "" : ",",
        task.counts[k],
        task.classes[k],
        guides && is_guided(static_cast<int64_t>(k)) ? " (guided)" : "");
  }
  text += "\n";
  for (const auto& note : task.split.notes) {
    text += "note: " + note + "\n";
  }
  return text;
}

Task make_task(const Options& o) {
  auto rows = read_data(o.data);
  check_effects(o, rows);
  check_known("--exclude", labels_of(rows), o.exclude);
  for (const auto& label : o.exclude) {
    const auto is_it = [&](const Row& row) { return has_label(row, label); };
    rows.erase(std::remove_if(rows.begin(), rows.end(), is_it), rows.end());
  }
  Task task;
  task.classes = labels_of(rows);
  check_labels(o, rows, task.size());
  task.split = split_rows(rows, o.split);
  task.identity = o.identity + identity_of(o, task.split);
  std::vector<int64_t> learnt;
  for (const auto& own : all_targets_of(task.split.train, task.classes)) {
    learnt.insert(learnt.end(), own.begin(), own.end());
  }
  task.counts = care::class_counts(learnt, task.size());
  task.guided = guided_classes(o, task);
  task.masks = o.masks();
  for (size_t k = 0; k < task.classes.size(); ++k) {
    if (task.counts[k] > 0) {
      continue;
    }
    if (o.class_weights) {
      throw std::invalid_argument(fmt::format(
          "--class-weights: expected pictures of every class to learn from, "
          "but got none of '{}'; --exclude leaves a class out",
          task.classes[k]));
    }
    task.split.notes.push_back(
        "no picture of '" + task.classes[k] + "' to learn from");
  }
  const auto& train = task.split.train;
  if (o.alpha > 0 && std::none_of(train.begin(), train.end(), [&](auto& row) {
        return task.is_guided(row);
      })) {
    throw std::invalid_argument(
        "--alpha: expected " + o.regions +
        " of the guided classes to learn from, but got none; --alpha 0 trains "
        "plainly");
  }
  return task;
}

} // namespace trainer
