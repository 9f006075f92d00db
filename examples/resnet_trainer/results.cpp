// results: the summary as a table, as text and as JSON.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/results.hpp"

#include "common/files.hpp"
#include "resnet_trainer/verdict.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace trainer {

namespace {

using Json = nlohmann::ordered_json;

size_t at(int64_t i) {
  return static_cast<size_t>(i);
}

Json to_json(const care::Interval& x) {
  return {{"value", x.value}, {"low", x.low}, {"high", x.high}};
}

template <typename T>
Json by_class(
    const std::vector<std::string>& classes,
    const std::vector<T>& x) {
  Json json = Json::object();
  for (size_t c = 0; c < classes.size(); ++c) {
    if constexpr (std::is_same_v<T, care::Interval>) {
      json[classes[c]] = to_json(x[c]);
    } else {
      json[classes[c]] = x[c];
    }
  }
  return json;
}

Json to_json(const Figures& x, const std::vector<std::string>& classes) {
  return {
      {"mca", to_json(x.mca)},
      {"accuracy", to_json(x.accuracy)},
      {"rare_recall", to_json(x.rare_recall)},
      {"epg", to_json(x.epg)},
      {"recall", by_class(classes, x.recall)},
      {"precision", by_class(classes, x.precision)},
      {"f1", by_class(classes, x.f1)},
      {"epg_by_class", by_class(classes, x.epg_by_class)}};
}

Json to_json(
    const RunSummary& x,
    const std::string& test_set,
    const std::vector<std::string>& classes) {
  return {
      {"fold", x.fold},
      {"seed", x.seed},
      {"test_set", test_set},
      {"images", x.images},
      {"mca", x.mca},
      {"accuracy", x.accuracy},
      {"rare_recall", x.rare_recall},
      {"epg", x.epg},
      {"images_with_box", x.boxed},
      {"undefined_maps", x.undefined_maps},
      {"recall", by_class(classes, x.recall)},
      {"precision", by_class(classes, x.precision)},
      {"f1", by_class(classes, x.f1)},
      {"confusion", x.confusion}};
}

/// "arms" and, when both are there, "difference".
void add_test(Json& json, const TestSummary& test, const Summary& summary) {
  json["test_set"] = test.test_set;
  json["arms"] = Json::object();
  for (const auto& arm : test.arms) {
    auto pooled = to_json(arm, summary.classes);
    pooled["images"] = arm.images;
    pooled["folds"] = arm.folds;
    pooled["seeds"] = arm.seeds;
    pooled["maps"] = arm.maps;
    pooled["undefined_maps"] = arm.undefined_maps;
    pooled["confusion"] = arm.confusion;
    Json runs = Json::array();
    for (const auto& run : arm.runs) {
      runs.push_back(to_json(run, test.test_set, summary.classes));
    }
    json["arms"][arm.arm] = {{"runs", runs}, {"pooled", pooled}};
  }
  if (test.difference) {
    json["difference"] = to_json(*test.difference, summary.classes);
  }
}

std::string interval_text(const care::Interval& x, bool with_sign) {
  const auto number = [with_sign](double v) {
    if (std::isnan(v)) {
      return std::string("-");
    }
    v = std::round(v * 1000) / 1000 + 0.0; // no -0
    return with_sign ? fmt::format("{:+.3f}", v) : fmt::format("{:.3f}", v);
  };
  if (std::isnan(x.value)) {
    return "-";
  }
  return fmt::format(
      "{} [{}, {}]", number(x.value), number(x.low), number(x.high));
}

std::string test_text(const Summary& summary, const TestSummary& test) {
  const auto& first = test.arms.front();
  auto text = fmt::format(
      "Test set '{}': {}, {}, {}.\n",
      test.test_set,
      counted(first.images, "image"),
      counted(static_cast<int64_t>(first.folds.size()), "fold"),
      counted(static_cast<int64_t>(first.seeds.size()), "seed"));
  constexpr int kColumn = 24;
  size_t width = 16;
  for (const auto& name : summary.classes) {
    width = std::max(width, name.size() + 10);
  }
  text += fmt::format("\n{:<{}}", "", width);
  for (const auto& arm : test.arms) {
    text += fmt::format("{:<{}}", arm.arm, kColumn);
  }
  text += test.difference ? "care - plain\n" : "\n";
  std::string group;
  for (const auto& row : comparison_table(summary, test)) {
    if (row.group != group) {
      group = row.group;
      text += group.empty() ? "\n" : fmt::format("\n{}\n", group);
    }
    const auto name = (row.group.empty() ? "" : "  ") + row.name +
        (row.rare ? " (rare)" : "");
    auto line = fmt::format("{:<{}}", name, width);
    for (const auto& x : row.arms) {
      line += fmt::format("{:<{}}", interval_text(x, false), kColumn);
    }
    if (row.difference) {
      line += interval_text(*row.difference, true);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  auto line = fmt::format("{:<{}}", "all-zero maps", width);
  for (const auto& arm : test.arms) {
    line += fmt::format(
        "{:<{}}",
        fmt::format("{} of {}", arm.undefined_maps, arm.maps),
        kColumn);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  text += line + "\n";
  for (const auto& arm : test.arms) {
    care::ConfusionMatrix matrix(static_cast<int64_t>(summary.classes.size()));
    const auto k = static_cast<int64_t>(arm.confusion.size());
    auto counts = torch::zeros({k, k}, torch::kLong);
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < k; ++j) {
        counts[i][j] = arm.confusion[at(i)][at(j)];
      }
    }
    matrix.add(counts);
    text += fmt::format(
        "\nConfusion matrix, {} (all folds and seeds)\n{}",
        arm.arm,
        matrix.to_string(summary.classes));
  }
  return text;
}

} // namespace

std::vector<TableRow> comparison_table(
    const Summary& summary,
    const TestSummary& test) {
  std::vector<TableRow> rows;
  const auto add = [&](const char* group, const std::string& name, auto get) {
    TableRow row;
    row.group = group;
    row.name = name;
    for (const auto& arm : test.arms) {
      row.arms.push_back(get(arm));
    }
    if (test.difference) {
      row.difference = get(*test.difference);
    }
    rows.push_back(row);
  };
  using ByClass = std::vector<care::Interval> Figures::*;
  const std::array<std::pair<const char*, ByClass>, 4> groups{
      {{"recall", &Figures::recall},
       {"precision", &Figures::precision},
       {"F1", &Figures::f1},
       {"EPG by class", &Figures::epg_by_class}}};
  for (const auto& [group, member] : groups) {
    for (size_t c = 0; c < summary.classes.size(); ++c) {
      add(group, summary.classes[c], [&, m = member](const Figures& x) {
        return (x.*m)[c];
      });
      rows.back().rare = std::find(
                             summary.rare.begin(),
                             summary.rare.end(),
                             static_cast<int64_t>(c)) != summary.rare.end();
    }
  }
  add("", "MCA", [](const Figures& x) { return x.mca; });
  add("", "accuracy", [](const Figures& x) { return x.accuracy; });
  add("", "rare recall", [](const Figures& x) { return x.rare_recall; });
  add("", "EPG", [](const Figures& x) { return x.epg; });
  // A row in which nothing was measured (a class without boxes) says nothing.
  rows.erase(
      std::remove_if(
          rows.begin(),
          rows.end(),
          [](const TableRow& row) {
            return row.group == "EPG by class" &&
                std::all_of(
                       row.arms.begin(), row.arms.end(), [](const auto& x) {
                         return std::isnan(x.value);
                       });
          }),
      rows.end());
  return rows;
}

Json results_json(const Summary& summary, const Json& settings) {
  Json rare = Json::array();
  for (const auto c : summary.rare) {
    rare.push_back(summary.classes[at(c)]);
  }
  Json json = {
      {"settings", settings},
      {"classes", summary.classes},
      {"rare", rare},
      {"interval",
       {{"level", summary.options.level},
        {"repeats", summary.options.repeats},
        {"over", "test images and seeds"}}}};
  if (summary.tests.empty()) {
    return json;
  }
  add_test(json, summary.tests.front(), summary);
  for (size_t i = 1; i < summary.tests.size(); ++i) {
    const auto& test = summary.tests[i];
    add_test(json["other_test_sets"][test.test_set], test, summary);
  }
  return json;
}

std::string results_text(const Summary& summary) {
  std::string text;
  for (const auto& test : summary.tests) {
    text += test_text(summary, test) + "\n";
  }
  return text +
      fmt::format(
             "In brackets: {:g} % intervals, a bootstrap over test images and "
             "seeds ({} repeats).\n"
             "MCA is the mean of the recalls; EPG the share of the true "
             "class's "
             "attention inside\nthe boxes, over images with a box whose map is "
             "not all zero.\n",
             summary.options.level * 100,
             summary.options.repeats);
}

void write_results(
    const std::filesystem::path& folder,
    const Summary& summary,
    const std::vector<Run>& runs,
    const Json& settings) {
  common::write_json(folder / "results.json", results_json(summary, settings));
  common::write_atomically(folder / "results.txt", results_text(summary));
  common::write_atomically(folder / "metrics.csv", metrics_csv(runs));
}

} // namespace trainer
