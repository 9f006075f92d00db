// How the cost of the attention part grows.
// SPDX-License-Identifier: Apache-2.0
//
//   growth [--rounds 15] [--threads 1]
//
// `Guide::loss` and its backward pass to the features, [32, 512, 14, 14] unless
// a row says otherwise: every image guided by one box, input 224x224. One thing
// is changed at a time. "times" is the cost against that of the first row of
// its series, "size" what was changed against the first row: linear growth has
// both alike, and flat growth keeps "times" at 1.
#include "bench.hpp"

#include <care/boxes.hpp>
#include <care/guide.hpp>

#include <fmt/format.h>
#include <torch/autograd.h>
#include <torch/nn/functional/linear.h>

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace {

struct Setting {
  int64_t batch = 32;
  int64_t guided = 32; // images
  int64_t boxes = 1; // of a guided image
  int64_t input = 224;
};

std::function<void()> work_of(const Setting& setting) {
  const auto features =
      torch::randn({setting.batch, 512, 14, 14}).requires_grad_();
  const auto logits = torch::nn::functional::linear(
      features.mean({2, 3}), torch::randn({7, 512}).requires_grad_());
  const auto target = torch::arange(setting.batch, torch::kLong) % 7;
  std::vector<std::vector<std::array<double, 4>>> lists(
      static_cast<size_t>(setting.batch));
  const auto s = static_cast<double>(setting.input);
  for (size_t i = 0; i < static_cast<size_t>(setting.guided); ++i) {
    for (int64_t k = 0; k < setting.boxes; ++k) {
      const double at =
          0.8 * s * static_cast<double>(k) / static_cast<double>(setting.boxes);
      lists[i].push_back({at, 0.3 * s, at + 0.15 * s, 0.3 * s + at / 2 + 9});
    }
  }
  const auto boxes =
      care::Boxes::from_lists(lists, {setting.input, setting.input});
  return [=] {
    const care::Guide guide;
    const auto loss =
        guide.loss(torch::zeros({}), {logits, features}, target, boxes);
    if (loss.attention.guided > 0) {
      torch::autograd::grad({loss.total}, {features}, {}, true);
    }
  };
}

} // namespace

int main(int argc, char** argv) {
  const auto rounds = bench::option(argc, argv, "--rounds", 15);
  const auto threads = bench::set_threads(argc, argv, 1);
  torch::manual_seed(0);
  bench::Report report(
      "growth", fmt::format("{} threads, {} rounds", threads, rounds));
  struct Series {
    std::string name;
    std::vector<int64_t> values;
    std::function<Setting(int64_t)> setting;
  };
  const auto with = [](auto change) {
    return [change](int64_t value) {
      Setting setting;
      change(setting, value);
      return setting;
    };
  };
  const std::vector<Series> all = {
      {"batch", {8, 16, 32, 64}, with([](Setting& s, int64_t value) {
         s.batch = s.guided = value;
       })},
      {"guided of 64", {16, 32, 64, 0}, with([](Setting& s, int64_t value) {
         s.batch = 64;
         s.guided = value;
       })},
      {"boxes an image", {1, 2, 4, 8}, with([](Setting& s, int64_t value) {
         s.boxes = value;
       })},
      {"input", {224, 448, 896, 1792}, with([](Setting& s, int64_t value) {
         s.input = value;
       })}};
  for (const auto& series : all) {
    std::vector<std::function<void()>> works;
    for (const auto value : series.values) {
      works.push_back(work_of(series.setting(value)));
    }
    const auto contest = bench::in_turns(rounds, works);
    for (size_t i = 0; i < works.size(); ++i) {
      report.add(
          {{"series", series.name},
           {"value", series.values[i]},
           {"ms", 1e3 * contest.median(i)},
           {"size",
            static_cast<double>(series.values[i]) /
                static_cast<double>(series.values[0])},
           {"times", contest.ratio(i, 0)}});
    }
  }
  report.print();
}
