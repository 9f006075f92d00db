// What a program learns, from which pictures, for which classes.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_TASK_HPP
#define RESNET_TRAINER_TASK_HPP

#include "manifest.hpp"
#include "options.hpp"
#include "split.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace trainer {

struct Task {
  std::vector<std::string> classes;
  Split split;
  std::vector<int64_t> counts; ///< training pictures of each class
  std::vector<int64_t> guided; ///< classes
  bool masks = false; ///< regions are masks, not boxes
  std::string identity; ///< of options and data: what a checkpoint is of

  int64_t size() const {
    return static_cast<int64_t>(classes.size());
  }
  bool is_guided(const Row& row) const; ///< as one of `guided`
  bool is_guided(const Row& row, int64_t k) const; ///< as class k
};

/// The pictures to learn from, class by class, and what a person should know.
std::string summary_of(const Task& task, bool guides);

/// Reads and divides the data. Throws std::invalid_argument for options that
/// do not go with them.
Task make_task(const Options& options);

} // namespace trainer

#endif // RESNET_TRAINER_TASK_HPP
