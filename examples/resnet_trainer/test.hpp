// A network's test: the table, and pictures of where it looks.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_TEST_HPP
#define RESNET_TRAINER_TEST_HPP

#include "dataset.hpp"
#include "figures.hpp"
#include "files.hpp"
#include "options.hpp"
#include "picture.hpp"
#include "sheet.hpp"
#include "task.hpp"
#include "train.hpp"

#include <care/capture/target_layer.hpp>
#include <care/imbalance.hpp>
#include <care/metrics.hpp>

#include <fmt/format.h>
#include <torch/data/dataloader.h>
#include <torch/types.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace trainer {

/// `learns`: a single picture that is left for the last batch (of each process)
/// waits for another epoch, for BatchNorm cannot learn from one.
template <class Sampler>
auto make_loader(
    const Options& o,
    const Task& task,
    const std::vector<Row>& rows,
    Sampler sampler,
    int64_t batch,
    bool learns = false) {
  const auto count = static_cast<int64_t>(rows.size());
  PicturesOptions options;
  options.size = {o.size[1], o.size[0]};
  options.multi_label = o.multi_label();
  options.cache = o.cache;
  options.masks = o.masks();
  return torch::data::make_data_loader(
      Pictures(rows, task.classes, options),
      std::move(sampler),
      torch::data::DataLoaderOptions(static_cast<size_t>(batch))
          .drop_last(learns && ends_in_one(count, o.batch, batch))
          .workers(static_cast<size_t>(o.workers)));
}

inline auto in_order(
    const Options& o,
    const Task& task,
    const std::vector<Row>& rows) {
  const auto options = care::ShuffleSamplerOptions().shuffle(false);
  return make_loader(
      o, task, rows, care::ShuffleSampler(rows.size(), options), o.batch);
}

/// Decodes every picture, so that one that cannot be read ends a training
/// before it begins.
inline void look_through(
    const Options& o,
    const Task& task,
    const std::vector<Row>& rows) {
  if (rows.empty()) {
    return; // a share of few
  }
  const auto loader = in_order(o, task, rows);
  for (const auto& batch : *loader) {
    static_cast<void>(batch);
  }
}

/// Stored pictures with their regions, and where the network looks.
inline cv::Mat attention_sheet(
    const Predictions& said,
    const std::vector<Row>& rows,
    const Task& task) {
  std::vector<SheetRow> sheet;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto n = static_cast<int64_t>(i);
    const auto map = said.maps[n].contiguous();
    const auto& p = said.probabilities[n];
    const bool multi_label = said.targets.dim() == 2;
    const auto best =
        (multi_label ? said.shown[n] : p.argmax()).item<int64_t>();
    const auto& name = task.classes[static_cast<size_t>(best)];
    const auto says =
        fmt::format("says {} {:.2f}", name, p[best].item<double>());
    const bool wrong =
        multi_label ? p[best].item<double>() < 0.5 : name != rows[i].label;
    const cv::Mat cells(
        static_cast<int>(map.size(0)),
        static_cast<int>(map.size(1)),
        CV_32F,
        map.data_ptr<float>());
    const auto inside = said.epg[n].item<double>(); // NaN: none anywhere
    const auto share = std::isnan(inside)
        ? std::string("no positive attention")
        : fmt::format("{:.0f} % of attention inside", 100 * inside);
    auto& row = sheet.emplace_back(with_region(rows[i], task.masks));
    row.tiles = {
        {{}, {rows[i].label, rows[i].path}, false},
        {cells.clone(), {says, share}, wrong}};
  }
  return contact_sheet({"Picture and lesion", "Attention"}, sheet);
}

template <class Network>
void test(
    const Options& o,
    const Task& task,
    Network net,
    const Input& input,
    const care::TargetLayer& layer) {
  const std::filesystem::path out = o.out;
  auto loader = in_order(o, task, task.split.test);
  PredictOptions how;
  how.attention = std::any_of(
      task.split.test.begin(), task.split.test.end(), [&](const auto& row) {
        return row.has_region(task.masks);
      });
  how.layer = layer;
  how.multi_label = o.multi_label();
  const auto start = std::chrono::steady_clock::now();
  Predictions said = predict(net, *loader, input, how);
  const std::chrono::duration<double> seconds =
      std::chrono::steady_clock::now() - start;
  auto table = fmt::format(
      "{}macro AUC {}",
      table_of(said, task.classes),
      decimals(care::macro_average(auc_of(said))));
  if (how.attention) {
    const auto shares = said.epg.masked_select(said.epg.isfinite());
    table += fmt::format(
        ", EPG {} over {} of {} images with {}",
        decimals(shares.mean().item<double>()),
        shares.numel(),
        said.boxed.sum().item<int64_t>(),
        task.masks ? "a mask" : "a box");
  }
  table += '\n';
  const auto speed =
      static_cast<double>(task.split.test.size()) / seconds.count();
  std::cout << fmt::format("test: {:.0f} images/s\n\n{}", speed, table);
  write_atomically(out / "test.txt", table);

  // The first ones of the rarest class, then of the next: nothing is picked.
  std::vector<size_t> order;
  for (size_t i = 0; i < task.split.test.size(); ++i) {
    if (task.is_guided(task.split.test[i])) {
      order.push_back(i);
    }
  }
  const auto labels = rarest_targets_of(task.split.test, task.classes);
  const auto count_of = [&](size_t i) {
    return task.counts[static_cast<size_t>(labels[i])];
  };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return count_of(a) < count_of(b);
  });
  order.resize(std::min(order.size(), static_cast<size_t>(o.pictures)));
  std::vector<Row> shown;
  for (const auto i : order) {
    shown.push_back(task.split.test[i]);
  }
  if (!shown.empty()) {
    loader = in_order(o, task, shown);
    how.keep_maps = true;
    said = predict(net, *loader, input, how);
    write_picture(out / "attention.png", attention_sheet(said, shown, task));
  }
}

} // namespace trainer

#endif // RESNET_TRAINER_TEST_HPP
