// What a program learns, from which pictures, for which classes.
// SPDX-License-Identifier: Apache-2.0
#include "task.hpp"

#include <care/imbalance.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <numeric>
#include <stdexcept>

namespace trainer {
namespace {

/// The classes that --guide names; all where it names none, or "all".
std::vector<int64_t> guided_classes(const Options& o, const Task& task) {
  std::vector<int64_t> guided;
  for (const auto& label : o.guide) {
    if (label != "all") {
      check_known("--guide", task.classes, {label});
      const auto place =
          std::find(task.classes.begin(), task.classes.end(), label);
      guided.push_back(place - task.classes.begin());
    }
  }
  if (o.guide.empty() || guided.size() < o.guide.size()) {
    guided.resize(task.classes.size());
    std::iota(guided.begin(), guided.end(), 0);
  }
  return guided;
}

void check_labels(const Options& o, const std::vector<Row>& rows, int64_t k) {
  for (const auto& row : rows) {
    if (!o.several() && split_labels(row.label).size() > 1) {
      throw std::invalid_argument(fmt::format(
          "{}: expected one label a picture, but got '{}'; --criterion bce "
          "learns several",
          row.where,
          row.label));
    }
  }
  if (o.several() && k < 2) {
    throw std::invalid_argument(
        "--criterion bce: expected at least two labels, but got one");
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
  auto rows = std::filesystem::is_directory(o.data) ? read_folder(o.data)
                                                    : read_manifest(o.data);
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
  size_t data = 0; // wherever the files lie
  const auto add = [&](const Row& row) {
    const auto mask = o.masks() ? row.mask.filename().string() : "";
    for (const auto& text :
         {row.path, row.label, row.split, row.fold, row.group, mask}) {
      data = data * 31 + std::hash<std::string>()(text);
    }
    for (const auto& box : row.boxes) {
      for (const auto side : box.xyxy) {
        data = data * 31 + std::hash<double>()(side);
      }
      data = data * 31 + std::hash<std::string>()(box.label);
    }
  };
  for (const auto* part : {&task.split.train, &task.split.val}) {
    std::for_each(part->begin(), part->end(), add);
    data = data * 31 + part->size();
  }
  std::for_each(task.split.test.begin(), task.split.test.end(), add);
  task.identity = o.identity + fmt::format("data {:016x}", data);
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
