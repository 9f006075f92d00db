// study: trains many arms on many splits, and says what the differences are.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/files.hpp"
#include "resnet_trainer/process.hpp"
#include "study/report.hpp"
#include "study/runs.hpp"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <csignal>
#include <filesystem>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Options {
  std::string settings;
  std::filesystem::path out = "runs/study";
  study::Machine machine;
  int64_t processes = 1, most = -1, only = -1;
  bool list = false;
  size_t pictures = 8;
};

/// Starts the other processes; each trains what no other has claimed.
std::vector<pid_t> start_others(int64_t processes, bool& is_other) {
  std::vector<pid_t> others;
  for (int64_t i = 1; i < processes && !is_other; ++i) {
    const auto pid = ::fork();
    is_other = pid == 0;
    if (is_other) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL); // it ends with this one
    }
    others.push_back(pid);
  }
  return others;
}

/// The networks' numbers and names, for --only.
void list(const study::Plan& plan) {
  const auto jobs = plan.jobs();
  for (size_t i = 0; i < jobs.size(); ++i) {
    std::cout << i << '\t' << plan.name(jobs[i]) << '\n';
  }
}

/// The job of that number alone, if it is not below 0.
std::vector<study::Job> chosen(const study::Plan& plan, int64_t only) {
  const auto jobs = plan.jobs();
  if (only < 0) {
    return jobs;
  }
  const auto number = static_cast<size_t>(only);
  if (number >= jobs.size()) {
    throw std::invalid_argument(fmt::format(
        "--only: expected a network from 0 to {}, but got {}",
        jobs.size() - 1,
        only));
  }
  return {jobs[number]};
}

/// Returns main's status.
int run(const Options& o) {
  const auto plan = study::read_plan(o.settings);
  if (o.list) {
    list(plan);
    return 0;
  }
  const auto jobs = chosen(plan, o.only);
  const study::Runs runs(plan, o.out);
  const auto before = runs.count_finished(jobs);
  bool is_other = false;
  const auto others = start_others(o.processes, is_other);
  auto machine = o.machine;
  machine.has_terminal = o.processes == 1;
  study::prepare(machine);
  const auto outcome = runs.train(jobs, o.most, machine);
  bool failed = !outcome.failed.empty();
  if (is_other || o.only >= 0) {
    return failed ? 1 : 0;
  }
  for (const auto pid : others) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    failed = failed || !WIFEXITED(status) || WEXITSTATUS(status) != 0;
  }
  const auto verdict = study::write_reports(runs, o.pictures);
  if (std::filesystem::exists(o.out / "results.md")) {
    std::cout << trainer::read_file(o.out / "results.md") << '\n';
  }
  std::cout << fmt::format(
      "{}\n\ntrained {} networks\n",
      verdict,
      others.empty() ? outcome.trained : runs.count_finished(jobs) - before);
  if (const auto page = o.out / "report.html"; std::filesystem::exists(page)) {
    std::cout << "Report: " << page.string() << '\n';
  }
  for (const auto& job : outcome.failed) {
    std::cerr << "failed: " << job << '\n';
  }
  if (failed && !others.empty()) { // what another process said is far above
    for (const auto& job : jobs) {
      if (runs.count_finished({job}) == 0) {
        std::cerr << "not finished: " << plan.name(job) << '\n';
      }
    }
  }
  return failed ? 1 : 0;
}

} // namespace

int main(int argc, char** argv) {
  trainer::wait_passively(argv);
  Options o;
  CLI::App app(
      "Trains the arms of a settings file on its splits and seeds, and "
      "compares them. Start it as often as you like on one folder: what is "
      "finished is not done again, and processes side by side share the work. "
      "For research and education; not a medical device.",
      "study");
  app.option_defaults()->always_capture_default();
  app.add_option("settings", o.settings, "the study's settings, a JSON file")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--out", o.out, "folder for everything the study leaves");
  app.add_option("--processes", o.processes, "that train side by side")
      ->check(CLI::Range(1, 1000));
  app.add_option("--threads", o.machine.threads, "of each process")
      ->check(CLI::PositiveNumber);
  app.add_option("--device", o.machine.device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option(
         "--most", o.most, "train at most this many networks; 0: report alone")
      ->check(CLI::Range(-1, 1000000))
      ->excludes("--processes"); // each would train as many
  app.add_flag("--list", o.list, "say which networks there are, and end");
  app.add_option(
         "--only", o.only, "train this one of the list, without a report")
      ->default_str("")
      ->check(CLI::Range(0, 1000000))
      ->excludes("--processes")
      ->excludes("--most");
  app.add_option("--pictures", o.pictures, "attention pictures in the report")
      ->check(CLI::Range(0, 16));
  CLI11_PARSE(app, argc, argv);
  int status = 1;
  trainer::run_main("study", [&] { status = run(o); });
  return status;
}
