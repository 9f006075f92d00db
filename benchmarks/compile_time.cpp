// What each header costs the compiler beyond the LibTorch headers it includes.
// SPDX-License-Identifier: Apache-2.0
//
//   compile_time [--jobs 2] [--only guide] [--compiler clang++-14]
//
// Compiles, without optimisation, a file that includes one header of the
// library, and one that includes the LibTorch headers alone which that header
// includes, directly or through others of the library; and the 45-line example
// beside the same training loop without the library. Seconds are the compiler's
// own (user and system), so another process that wants the core does little
// harm. `own` is the difference. The compiler is that of the build unless
// another is named that takes the same options.
#include "bench.hpp"

#include <fmt/format.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace fs = std::filesystem;

/// The headers in angle brackets that a file includes.
std::vector<std::string> includes_of(const fs::path& path) {
  std::vector<std::string> found;
  std::ifstream file(path);
  const std::string start = "#include <";
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(start, 0) == 0) {
      const auto end = line.find('>');
      found.push_back(line.substr(start.size(), end - start.size()));
    }
  }
  return found;
}

/// Adds the headers that are not the library's and that `path` includes,
/// directly or through the library's own.
void add_foreign(
    const fs::path& path,
    std::set<std::string>& seen,
    std::set<std::string>& foreign) {
  for (const auto& header : includes_of(path)) {
    if (header.rfind("care/", 0) != 0) {
      foreign.insert(header);
    } else if (seen.insert(header).second) {
      add_foreign(fs::path(CARE_INCLUDE) / header, seen, foreign);
    }
  }
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {
      std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string text_including(const std::set<std::string>& headers) {
  std::string text;
  for (const auto& header : headers) {
    text += fmt::format("#include <{}>\n", header);
  }
  return text;
}

/// Compiles texts, `jobs` at a time, each once.
class Compiler {
 public:
  explicit Compiler(std::string name)
      : name_(std::move(name)),
        folder_(
            fs::temp_directory_path() /
            fmt::format("care_compile_{}", getpid())) {
    fs::create_directory(folder_);
  }
  ~Compiler() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  Compiler(const Compiler&) = delete;
  Compiler& operator=(const Compiler&) = delete;

  void want(const std::string& text) {
    seconds_.emplace(text, 0);
  }

  void run(int64_t jobs) {
    std::map<pid_t, std::string> running;
    for (const auto& [text, unused] : seconds_) {
      if (static_cast<int64_t>(running.size()) == jobs) {
        wait_for_one(running);
      }
      const auto source = folder_ / fmt::format("{}.cpp", ++count_);
      std::ofstream(source) << text;
      running[start(source)] = text;
    }
    while (!running.empty()) {
      wait_for_one(running);
    }
  }

  double seconds(const std::string& text) const {
    return seconds_.at(text);
  }

 private:
  pid_t start(const fs::path& source) const {
    const auto command = fmt::format(
        "exec {} @{} -c {} -o {}.o",
        name_,
        CARE_COMPILE_OPTIONS,
        source.string(),
        source.string());
    const auto child = fork();
    if (child == 0) {
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
    return child;
  }

  void wait_for_one(std::map<pid_t, std::string>& running) {
    int status = 0;
    rusage usage{};
    const auto child = wait4(-1, &status, 0, &usage);
    TORCH_CHECK(
        WIFEXITED(status) && WEXITSTATUS(status) == 0,
        "compile_time: this does not compile:\n",
        running[child]);
    const auto of = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) +
          1e-6 * static_cast<double>(t.tv_usec);
    };
    seconds_[running[child]] = of(usage.ru_utime) + of(usage.ru_stime);
    running.erase(child);
  }

  std::string name_;
  fs::path folder_;
  std::map<std::string, double> seconds_;
  int count_ = 0;
};

struct Case {
  std::string name, text, foreign;
};

} // namespace

int main(int argc, char** argv) {
  const auto jobs = bench::option(argc, argv, "--jobs", 2);
  const auto only = bench::text_option(argc, argv, "--only", "");
  const auto name = bench::text_option(argc, argv, "--compiler", CARE_COMPILER);
  bench::Report report(
      "compile_time", fmt::format("{}, {} at a time", name, jobs));
  std::vector<Case> cases = {
      {"torch/torch.h", "#include <torch/torch.h>\n", ""}};
  std::set<fs::path> headers;
  for (const auto& entry :
       fs::directory_iterator(fs::path(CARE_INCLUDE) / "care")) {
    if (entry.path().extension() == ".hpp") {
      headers.insert(entry.path());
    }
  }
  for (const auto& header : headers) {
    std::set<std::string> seen, foreign;
    add_foreign(header, seen, foreign);
    cases.push_back(
        {"care/" + header.filename().string(),
         fmt::format("#include <care/{}>\n", header.filename().string()),
         text_including(foreign)});
  }
  auto example = text_of(CARE_EXAMPLE);
  const auto plain = text_of(CARE_PLAIN_EXAMPLE);
  cases.push_back({"the 45-line example", example, plain});
  const std::string everything = "care/care.hpp";
  example.replace(
      example.find(everything), everything.size(), "care/guide.hpp");
  cases.push_back({"the example with care/guide.hpp", example, plain});

  Compiler compiler(name);
  for (const auto& one : cases) {
    if (one.name.find(only) != std::string::npos) {
      compiler.want(one.text);
      compiler.want(one.foreign);
    }
  }
  compiler.run(jobs);
  for (const auto& one : cases) {
    if (one.name.find(only) == std::string::npos) {
      continue;
    }
    const auto all = compiler.seconds(one.text);
    const auto theirs =
        one.foreign.empty() ? all : compiler.seconds(one.foreign);
    report.add(
        {{"file", one.name},
         {"seconds", all},
         {"without_care", theirs},
         {"own", all - theirs},
         {"ratio", all / theirs}});
  }
  report.print();
}
