// How well found boxes fit the manual ones, as a table.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/score.hpp"

#include <care/metrics/bootstrap.hpp>

#include <fmt/format.h>

#include <map>

namespace auto_boxes {
namespace {

/// The table's line of pictures with figures `of` [N, 6].
std::string line(const std::string& name, const torch::Tensor& of) {
  const auto means = care::bootstrap_intervals(
      [&](const std::vector<int64_t>& drawn, const std::vector<int64_t>&) {
        const auto mean = of.index_select(0, torch::tensor(drawn)).mean(0);
        const auto* first = mean.data_ptr<double>();
        return std::vector<double>(first, first + mean.numel());
      },
      of.size(0),
      1);
  auto text = fmt::format("| {} | {} |", name, of.size(0));
  for (size_t k = 0; k < means.size(); ++k) {
    const auto& [value, low, high] = means[k];
    text += k < 2 ? fmt::format(" {:.2f} [{:.2f}, {:.2f}] |", value, low, high)
                  : fmt::format(" {:.{}f} |", value, k < 5 ? 2 : 0);
  }
  return text + "\n";
}

} // namespace

std::string score_table(const std::vector<Found>& found) {
  std::map<std::string, std::vector<torch::Tensor>> labels;
  std::vector<torch::Tensor> all;
  for (const auto& f : found) {
    if (!f.row.boxes.empty()) {
      const double half = f.iou >= 0.5 ? 1 : 0, some = f.boxes.empty() ? 0 : 1;
      const auto ms = 1000 * f.seconds;
      all.push_back(torch::tensor(
          {half, f.iou, f.area_iou, f.best_iou, some, ms}, torch::kDouble));
      labels[f.row.label].push_back(all.back());
    }
  }
  std::string text =
      "| | images | IoU >= 0.5 | mean IoU | areas' IoU | best IoU | found | ms "
      "|\n|---|---|---|---|---|---|---|---|\n";
  for (const auto& [label, pictures] : labels) {
    text += line(label, torch::stack(pictures));
  }
  return all.empty() ? text : text + line("all", torch::stack(all));
}

} // namespace auto_boxes
