// What a program learns, from which pictures, for which classes.
// SPDX-License-Identifier: Apache-2.0
#include "task.hpp"

#include <care/guide.hpp>
#include <care/imbalance.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h> // join

#include <algorithm>
#include <filesystem>
#include <functional>
#include <numeric>
#include <stdexcept>

namespace trainer {
namespace {

// The place of a label that an option names.
int64_t place_of(
    const char* option,
    const std::string& label,
    const std::vector<std::string>& classes) {
  const auto found = std::find(classes.begin(), classes.end(), label);
  if (found == classes.end()) {
    throw std::invalid_argument(fmt::format(
        "{}: expected one of '{}', but got '{}'",
        option,
        fmt::join(classes, "', '"),
        label));
  }
  return found - classes.begin();
}

std::vector<int64_t> guided_classes(const Options& o, const Task& task) {
  std::vector<int64_t> guided;
  for (const auto& label : o.guide) {
    if (label == "all") {
      guided.resize(task.classes.size());
      std::iota(guided.begin(), guided.end(), 0);
      return guided;
    }
    guided.push_back(place_of("--guide", label, task.classes));
  }
  if (!guided.empty()) {
    return guided;
  }
  // The rare ones, else the rarest, of those that can be learnt.
  const auto& counts = task.counts;
  for (const auto k : care::classes_rarer_than(0.1, counts)) {
    if (counts[static_cast<size_t>(k)] > 0) {
      guided.push_back(k);
    }
  }
  if (guided.empty()) {
    const auto fewer = [](int64_t a, int64_t b) {
      return a > 0 && (b == 0 || a < b);
    };
    guided = {
        std::min_element(counts.begin(), counts.end(), fewer) - counts.begin()};
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
  return row.has_region(masks) &&
      std::any_of(guided.begin(), guided.end(), [&](int64_t k) {
           const auto& label = classes[static_cast<size_t>(k)];
           return has_label(row, label) &&
               (masks || // which speak for all labels
                std::any_of(
                    row.box_label.begin(),
                    row.box_label.end(),
                    [&](const auto& own) { // empty: of all labels
                      return own.empty() || own == label;
                    }));
         });
}

std::string summary_of(const Task& task, bool guides) {
  std::string text =
      fmt::format("{} pictures to learn from:", task.split.train.size());
  for (size_t k = 0; k < task.classes.size(); ++k) {
    const auto& guided = task.guided;
    const bool is_guided = guides &&
        std::count(guided.begin(), guided.end(), static_cast<int64_t>(k)) > 0;
    text += fmt::format(
        "{} {} {}{}",
        k == 0 ? "" : ",",
        task.counts[k],
        task.classes[k],
        is_guided ? " (guided)" : "");
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
  for (const auto& label : o.exclude) {
    place_of("--exclude", label, labels_of(rows));
    const auto is_it = [&](const Row& row) { return has_label(row, label); };
    rows.erase(std::remove_if(rows.begin(), rows.end(), is_it), rows.end());
  }
  size_t data = 0; // wherever the files lie
  for (const auto& row : rows) {
    const auto mask = o.masks() ? row.mask.filename().string() : "";
    for (const auto& text :
         {row.path, row.label, row.split, row.fold, row.group, mask}) {
      data = data * 31 + std::hash<std::string>()(text);
    }
    for (const auto& label : row.box_label) {
      data = label.empty() ? data : data * 31 + std::hash<std::string>()(label);
    }
    for (const auto& box : row.boxes) {
      for (const auto side : box) {
        data = data * 31 + std::hash<double>()(side);
      }
    }
  }
  Task task;
  task.identity = o.identity + fmt::format("data {:016x}", data);
  task.classes = labels_of(rows);
  check_labels(o, rows, task.size());
  task.split = split_rows(rows, o.split);
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
