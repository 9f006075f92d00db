// How well found boxes fit the manual ones.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/score.hpp"

#include "common/pictures.hpp"

#include <care/rasterize.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>

namespace auto_boxes {
namespace {

using common::Record;

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const auto value : values) {
    sum += value;
  }
  return sum / static_cast<double>(values.size());
}

care::Interval mean_with_interval(const std::vector<double>& values) {
  return care::bootstrap_interval(
      [&](const std::vector<int64_t>& images, const std::vector<int64_t>&) {
        double sum = 0;
        for (const auto i : images) {
          sum += values[static_cast<size_t>(i)];
        }
        return sum / static_cast<double>(images.size());
      },
      static_cast<int64_t>(values.size()),
      1);
}

/// Intersection over union of all boxes of one image, and all of another.
double area_iou(
    const std::vector<std::array<double, 4>>& a,
    const std::vector<std::array<double, 4>>& b,
    care::Size size) {
  // At 256 pixels a side or less, with the covered share of each.
  const care::Size small{
      std::min<int64_t>(size.height, 256), std::min<int64_t>(size.width, 256)};
  const auto masks = care::pixel_mask(
      care::Boxes::from_lists({a, b}, size).clip().resize(small));
  const auto both = torch::min(masks[0], masks[1]).sum().item<double>();
  const auto any = torch::max(masks[0], masks[1]).sum().item<double>();
  return both / any;
}

} // namespace

double box_iou(const std::array<double, 4>& a, const std::array<double, 4>& b) {
  const auto side = [&](size_t low) {
    return std::max(
        0.0, std::min(a[low + 2], b[low + 2]) - std::max(a[low], b[low]));
  };
  const auto area = [](const std::array<double, 4>& box) {
    return (box[2] - box[0]) * (box[3] - box[1]);
  };
  const auto both = side(0) * side(1);
  return both / (area(a) + area(b) - both);
}

Fit fit_of(const Record& record, const Found& found) {
  if (record.boxes.empty()) {
    throw std::invalid_argument(
        record.where + ": expected a manual box to compare with, but got none");
  }
  Fit fit;
  if (found.boxes.empty()) {
    return fit;
  }
  fit.found = true;
  std::vector<std::array<double, 4>> boxes;
  for (const auto& box : found.boxes) {
    boxes.push_back(box.xyxy);
  }
  const auto width = static_cast<double>(found.size.width);
  const auto height = static_cast<double>(found.size.height);
  for (auto manual : record.boxes) {
    for (size_t i = 0; i < 4; ++i) { // found boxes end at the border, too
      manual[i] = std::clamp(manual[i], 0.0, i % 2 == 0 ? width : height);
    }
    fit.iou = std::max(fit.iou, box_iou(boxes.front(), manual));
  }
  fit.area_iou = area_iou(boxes, record.boxes, found.size);
  return fit;
}

std::vector<Score> score(
    const std::vector<Record>& records,
    const std::vector<Found>& found) {
  std::map<std::string, std::vector<size_t>> groups;
  std::vector<size_t> all;
  for (size_t i = 0; i < records.size(); ++i) {
    if (!records[i].boxes.empty() && found[i].error.empty()) {
      groups[records[i].label].push_back(i);
      all.push_back(i);
    }
  }
  std::vector<std::pair<std::string, std::vector<size_t>>> parts(
      groups.begin(), groups.end());
  if (!all.empty()) {
    parts.emplace_back("all", all);
  }
  std::vector<Score> scores;
  for (const auto& [group, places] : parts) {
    std::vector<double> half, iou, area, best, some, time;
    for (const auto i : places) {
      const auto fit = fit_of(records[i], found[i]);
      half.push_back(fit.iou >= 0.5 ? 1 : 0);
      iou.push_back(fit.iou);
      area.push_back(fit.area_iou);
      best.push_back(std::isnan(found[i].best_iou) ? 0 : found[i].best_iou);
      some.push_back(fit.found ? 1 : 0);
      time.push_back(found[i].seconds * 1000);
    }
    Score s;
    s.group = group;
    s.images = static_cast<int64_t>(places.size());
    s.half = mean_with_interval(half);
    s.iou = mean_with_interval(iou);
    s.area_iou = mean(area);
    s.best_iou = mean(best);
    s.found = mean(some);
    s.milliseconds = mean(time);
    scores.push_back(std::move(s));
  }
  return scores;
}

std::string score_table(const std::vector<Score>& scores) {
  std::string text =
      "| | images | IoU >= 0.5 | mean IoU | areas' IoU | best IoU | found | ms "
      "|\n|---|---|---|---|---|---|---|---|\n";
  const auto interval = [](const care::Interval& x) {
    return fmt::format("{:.2f} [{:.2f}, {:.2f}]", x.value, x.low, x.high);
  };
  for (const auto& s : scores) {
    text += fmt::format(
        "| {} | {} | {} | {} | {:.2f} | {:.2f} | {:.2f} | {:.0f} |\n",
        s.group,
        s.images,
        interval(s.half),
        interval(s.iou),
        s.area_iou,
        s.best_iou,
        s.found,
        s.milliseconds);
  }
  return text;
}

} // namespace auto_boxes
