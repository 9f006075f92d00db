// study: trains many arms on many splits, and says what the differences are.
// SPDX-License-Identifier: Apache-2.0
#include "study/plan.hpp"
#include "study/report.hpp"
#include "study/runs.hpp"

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <torch/cuda.h>
#include <torch/utils.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>

int main(int argc, char** argv) {
  std::string settings, out = "runs/study", device = "cpu";
  int64_t threads = 1, most = -1, pictures = 8;
  CLI::App app(
      "Trains the arms of a settings file on its splits and seeds, and "
      "compares "
      "them. Start it as often as you like on one folder: what is finished is "
      "not done again, and processes side by side share the work. For research "
      "and education; not a medical device.",
      "study");
  app.add_option("settings", settings, "the study's settings, a JSON file")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--out", out, "folder for everything the study leaves")
      ->capture_default_str();
  app.add_option("--threads", threads, "of this process")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--device", device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->capture_default_str();
  app.add_option(
         "--most", most, "train at most this many networks; 0: report alone")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--pictures", pictures, "attention pictures in the report")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    if (device == "cuda" && !torch::cuda::is_available()) {
      throw std::invalid_argument(
          "--device: expected cpu, but got cuda, which this LibTorch or "
          "machine "
          "does not have");
    }
    torch::set_num_threads(static_cast<int>(threads));
    auto plan = study::read_plan(settings);
    plan.recipe.threads = threads;
    plan.recipe.device = device;
    study::Runs runs(std::move(plan), out);
    const auto trained = runs.train(most);
    study::write_reports(runs, pictures);
    std::cout << fmt::format(
        "trained {} networks\nReport: {}/report.html\n", trained, out);
    return 0;
  } catch (const c10::Error& error) {
    std::cerr << "study: " << error.what_without_backtrace() << '\n';
  } catch (const std::exception& error) {
    std::cerr << "study: " << error.what() << '\n';
  }
  return 1;
}
