// Tests of the program that uses a trained network.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"
#include "support/program.hpp"
#include "support/small_set.hpp"

#include "resnet_trainer/csv.hpp"

#include <fmt/format.h>
#include <opencv2/imgcodecs.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using care_test::contains;
using care_test::read_text;
using care_test::write_text;

/// The small set with every second picture to test.
fs::path write_split_set(const fs::path& folder, int count) {
  const auto manifest = care_test::write_small_set(folder, count);
  std::istringstream lines(read_text(manifest));
  std::string line, text;
  for (int i = -1; std::getline(lines, line); ++i) {
    const auto* part = i % 2 == 0 ? "train" : "test";
    text += line + "," + (i < 0 ? "split" : part) + "\n";
  }
  return write_text(manifest, text);
}

/// A small network, trained for a second.
fs::path train_network(
    const fs::path& data,
    const fs::path& out,
    const std::string& more = "--val-share 0",
    const std::string& width = ".125") {
  const auto run = care_test::run_program(
      CARE_TRAINER,
      "--data " + data.string() + " --out " + out.string() +
          " --size 48x32 --stage1 1 --stage2 1 --batch 4 --threads 1 "
          "--pictures 0 --width " +
          width + " " + more);
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  return out / "network.safetensors";
}

/// One on 24 pictures, for tests to which any will do.
const fs::path& small_network() {
  static const care_test::Folder folder;
  static const auto net = train_network(
      write_split_set(folder.path / "set", 24), folder.path / "run");
  return net;
}

care_test::ProgramOutcome predict(const std::string& arguments) {
  return care_test::run_program(CARE_PREDICT, arguments + " --threads 1");
}

/// A line of the table by column, by its path.
using Table = std::map<std::string, std::map<std::string, std::string>>;

Table read_table(const fs::path& file) {
  const trainer::Csv csv(file);
  Table table;
  for (const auto& line : csv.lines()) {
    auto& row = table[csv.field(line, "path")];
    for (const auto& column : csv.columns()) {
      row[column.first] = csv.field(line, column.first);
    }
  }
  return table;
}

/// How often one of `yes` is above one of `no`: the area under the curve.
double auc(const std::vector<double>& yes, const std::vector<double>& no) {
  double above = 0;
  for (const double a : yes) {
    for (const double b : no) {
      above += a > b ? 1 : a == b ? 0.5 : 0;
    }
  }
  return above / static_cast<double>(yes.size() * no.size());
}

} // namespace

TEST_CASE("predict: says what the trainer's test said", "[predict]") {
  const care_test::Folder folder;
  const auto data = write_split_set(folder.path / "set", 48);
  // To six digits this width is of another network.
  const auto net =
      train_network(data, folder.path / "run", "--val-share 0", ".1328125");
  const auto out = folder.path / "new" / "table.csv";
  const auto run = predict(
      net.string() + " " + data.string() + " --batch 7 --workers 2 --out " +
      out.string());
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  CHECK(contains(run.text, "predict: 100%"));
  CHECK(contains(run.text, "table.csv: 48 pictures, 0 could not be read"));
  CHECK(contains(read_text(out), "path,common,rare,predicted\n0.png,"));
  CHECK_FALSE(fs::exists(out.string() + ".part"));

  const auto table = read_table(out);
  REQUIRE(table.size() == 48);
  std::vector<double> rare, common;
  double right_rare = 0, right_common = 0;
  for (int i = 0; i < 48; ++i) {
    const auto& row = table.at(std::to_string(i) + ".png");
    const auto p = std::stod(row.at("rare"));
    CHECK(p + std::stod(row.at("common")) == Approx(1).margin(2e-6));
    CHECK(row.at("predicted") == (p > 0.5 ? "rare" : "common"));
    if (i % 2 == 1) {
      (i % 3 == 0 ? rare : common).push_back(p);
      (i % 3 == 0 ? right_rare : right_common) += (i % 3 == 0) == (p > 0.5);
    }
  }
  const auto test = read_text(folder.path / "run" / "test.txt");
  CAPTURE(test);
  CHECK(contains(test, fmt::format("macro AUC {:.3f},", auc(rare, common))));
  CHECK(contains(
      test,
      fmt::format(
          "MCA {:.3f}, accuracy {:.3f}",
          (right_rare / 8 + right_common / 16) / 2,
          (right_rare + right_common) / 24)));
}

TEST_CASE("predict: of several labels each has its probability", "[predict]") {
  const care_test::Folder folder;
  const auto data = care_test::write_labelled_set(folder.path / "set", 48);
  const auto run = folder.path / "run", out = folder.path / "table.csv";
  const auto net = train_network(data, run, "--criterion bce --guide rare");
  REQUIRE(
      predict(net.string() + " " + data.string() + " --out " + out.string())
          .status == 0);
  const auto table = read_table(out);
  const auto test = read_text(run / "test.txt");
  CAPTURE(test);
  const std::vector<std::string> classes{"common", "odd", "rare"};
  for (const auto& label : classes) {
    std::vector<double> yes, no;
    for (int i = 0; i < 48; ++i) {
      const bool has =
          label == "odd" ? i % 2 == 1 : (i % 3 == 0) == (label == "rare");
      if (i % 8 >= 6) { // the test part
        const auto& row = table.at(std::to_string(i) + ".png");
        (has ? yes : no).push_back(std::stod(row.at(label)));
      }
    }
    CHECK(contains(
        test,
        fmt::format(
            "{:<24}  {:8}  {:5.3f}\n", label, yes.size(), auc(yes, no))));
  }
  bool any_sums_to_other = false;
  for (const auto& [path, row] : table) {
    double sum = 0;
    std::string answer;
    for (const auto& label : classes) {
      const auto p = std::stod(row.at(label));
      sum += p;
      answer += p < 0.5 ? "" : (answer.empty() ? "" : "|") + label;
    }
    any_sums_to_other = any_sums_to_other || std::abs(sum - 1) > 0.1;
    CHECK(row.at("predicted") == answer);
  }
  CHECK(any_sums_to_other);
}

TEST_CASE("predict: a picture that cannot be read is named", "[predict]") {
  const care_test::Folder folder;
  const auto set = folder.path / "set";
  write_split_set(set, 24);
  const auto& net = small_network();
  const auto out = folder.path / "table.csv";
  const auto bytes = read_text(set / "1.png");
  write_text(set / "1.png", bytes.substr(0, bytes.size() / 2));
  const auto run = predict(
      net.string() + " " + (set / "0.png").string() + " " +
      (set / "1.png").string() + " " + (set / "none.png").string() + " " +
      (set / "2.png").string() + " --out " + out.string());
  CAPTURE(run.text);
  CHECK(run.status == 2);
  CHECK(contains(run.text, "not read: " + (set / "1.png").string() + ": "));
  CHECK(contains(run.text, (set / "none.png").string() + ": expected a pic"));
  CHECK(contains(run.text, "table.csv: 2 pictures, 2 could not be read"));
  auto table = read_table(out);
  CHECK(table.size() == 2);
  CHECK(table.count((set / "2.png").string()) == 1);

  // The others' probabilities are those that they have alone, and of a folder.
  fs::remove(set / "1.png");
  const auto alone = folder.path / "alone.csv";
  CHECK(
      predict(net.string() + " " + set.string() + " --out " + alone.string())
          .status == 0);
  auto others = read_table(alone);
  CHECK(others.size() == 23);
  const auto second = (set / "2.png").string();
  CHECK(
      std::stod(table[second]["rare"]) ==
      Approx(std::stod(others[second]["rare"])).margin(1e-5));
}

TEST_CASE("predict: shows where the network looks", "[predict]") {
  const care_test::Folder folder;
  const auto set = folder.path / "set";
  write_split_set(set, 24);
  const auto& net = small_network();
  const auto looks = folder.path / "looks";
  const auto files = (set / "3.png").string() + " " + (set / "4.png").string();
  const auto plain = folder.path / "plain.csv", seen = folder.path / "seen.csv";
  REQUIRE(
      predict(net.string() + " " + files + " --out " + plain.string()).status ==
      0);
  const auto run = predict(
      net.string() + " " + files + " --overlays " + looks.string() + " --out " +
      seen.string());
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  const auto first = cv::imread((looks / "00001-3.png").string());
  const auto second = cv::imread((looks / "00002-4.png").string());
  CHECK(first.size() == cv::Size(40, 32)); // as stored
  CHECK(second.size() == first.size());
  CHECK(cv::norm(first, second) > 0);
  const auto a = read_table(plain), b = read_table(seen);
  const auto path = (set / "3.png").string();
  CHECK(
      std::stod(a.at(path).at("rare")) ==
      Approx(std::stod(b.at(path).at("rare"))).margin(1e-5));
}

TEST_CASE("predict: asks nothing of a table but its paths", "[predict]") {
  const care_test::Folder folder;
  const auto set = folder.path / "set", out = folder.path / "table.csv";
  write_split_set(set, 4);
  const auto paths_from = [&](const std::string& name, const char* csv) {
    const auto table = write_text(set / name, csv);
    const auto run = predict(
        small_network().string() + " " + table.string() + " --out " +
        out.string());
    INFO(run.text);
    CHECK(run.status == 0);
    const auto said = read_table(out);
    std::string paths;
    for (const auto& line : said) {
      paths += line.first + " ";
    }
    return paths;
  };
  CHECK(paths_from("Q.CSV", "path\n2.png\n0.png\n") == "0.png 2.png ");
  // A line for each box; boxes in fractions, labels and splits of their own.
  CHECK(
      paths_from(
          "fractions.csv",
          "label,path,xmin,ymin,xmax,ymax,split\n,1.png,0.1,0.2,0.5,0.9,x\n"
          "a,./1.png,9,8,7,,y\n|,3.png,,,,,\n") == "1.png 3.png ");
  const auto table = write_text(set / "none.csv", "path,label\n,x\n");
  const auto run = predict(small_network().string() + " " + table.string());
  CHECK(run.status == 1);
  CHECK(contains(run.text, "none.csv:2: expected a path, but got none"));
}

TEST_CASE("predict: finds its outputs' places at the start", "[predict]") {
  const care_test::Folder folder;
  const auto set = folder.path / "set", out = folder.path / "table.csv";
  write_split_set(set, 4);
  const auto run = [&](const std::string& more) {
    return predict(small_network().string() + " " + set.string() + " " + more);
  };
  // Its own overlays are no pictures to look at.
  const auto looks = " --overlays " + (set / "looks/").string();
  for (int round = 0; round < 2; ++round) {
    const auto good = run("--out " + out.string() + looks);
    CHECK(good.status == 0);
    CHECK(contains(good.text, "table.csv: 4 pictures, 0 could"));
  }
  fs::remove_all(set / "looks");
  // The table alone is what goes to the standard output.
  const auto piped = care_test::run_program(
      "( " CARE_PREDICT,
      small_network().string() + " " + set.string() +
          " --threads 1 --out /dev/stdout 2> /dev/null )");
  CHECK(piped.status == 0);
  CHECK(std::count(piped.text.begin(), piped.text.end(), '\n') == 5);
  const auto same =
      run("--out " + out.string() + " --overlays " + set.string());
  CHECK(same.status == 1);
  CHECK(contains(same.text, "--overlays: expected another folder"));

  const auto taken = folder.path / "folder";
  fs::create_directories(taken);
  const auto refused = run("--out " + taken.string());
  CHECK(refused.status == 1);
  CHECK(contains(refused.text, "--out: expected a file, but got the folder"));
  CHECK_FALSE(contains(refused.text, "predict: 100%"));
  CHECK_FALSE(fs::exists(taken.string() + ".part"));

  fs::create_directories(folder.path / "t.csv.part");
  const auto late = run("--out " + (folder.path / "t.csv").string());
  CHECK(late.status == 1);
  CHECK(contains(late.text, "t.csv: cannot be written: Is a directory"));
  CHECK_FALSE(contains(late.text, "predict: 100%"));
}

TEST_CASE("predict: writes over nothing that it reads", "[predict]") {
  const care_test::Folder folder;
  const auto network = folder.path / "network.safetensors";
  fs::copy_file(small_network(), network);
  const auto before = read_text(network);
  const auto table = write_text(folder.path / "in.csv", "path\na.png\n");
  const auto base = network.string() + " " + table.string() + " --out ";
  for (const auto& out : {network, table}) {
    const auto run = predict(base + out.string());
    CHECK(run.status == 1);
    CHECK(contains(run.text, "--out: expected another file than the input"));
  }
  CHECK(read_text(network) == before);
  CHECK(read_text(table) == "path\na.png\n");
}

#ifdef RESNET_TRAINER_GDCM
TEST_CASE("predict: of DICOM it says what it says of the picture in it") {
  const care_test::Folder folder;
  const auto out = folder.path / "table.csv";
  const auto files = fs::path(CARE_TEST_DATA_DIR) / "dicom";
  const auto run = predict(
      small_network().string() + " " + care_test::quoted(files) + " --out " +
      out.string());
  CAPTURE(run.text);
  CHECK(run.status == 2);
  CHECK(contains(run.text, "frames.dcm: "));
  auto table = read_table(out);
  int pairs = 0;
  for (const auto& item : table) {
    fs::path file = item.first;
    if (file.extension() != ".dcm") {
      continue;
    }
    const auto ours = std::stod(table[file.string()]["rare"]);
    file.replace_extension(".png");
    // Within what JPEG's roundings of single pixels may change.
    CHECK(ours == Approx(std::stod(table[file.string()]["rare"])).margin(2e-3));
    ++pairs;
  }
  CHECK(pairs == 32);
}
#endif

TEST_CASE("predict: takes only what a training left", "[predict]") {
  const care_test::Folder folder;
  const auto out = folder.path / "table.csv";
  const auto error = [&](const fs::path& net, const std::string& pictures) {
    const auto run = predict(
        care_test::quoted(net) + " " + pictures + " --out " + out.string());
    CHECK(run.status == 1);
    CHECK_FALSE(fs::exists(out));
    return run.text;
  };
  CHECK(contains(
      error(CARE_WEIGHTS "/net.pth", "x.png"),
      "expected a network that the trainer left, with its name, classes"));
  const auto data = write_split_set(folder.path / "set", 24);
  CHECK(contains(error(data, "x.png"), "expected a file of torch.save"));

  const auto& net = small_network();
  const auto no_gpu = care_test::run_program( // also where there is one
      "CUDA_VISIBLE_DEVICES= " CARE_PREDICT,
      net.string() + " x.png --device cuda --out " + out.string());
  CHECK(no_gpu.status == 1);
  CHECK(contains(no_gpu.text, "--device: expected cpu, but got cuda"));
  const auto bytes = read_text(net);
  const auto changed = [&](std::string from, const std::string& to) {
    auto text = bytes;
    const auto at = text.find(from);
    REQUIRE(at != std::string::npos);
    return write_text(
        folder.path / "changed", text.replace(at, from.size(), to));
  };
  const auto png = (folder.path / "set" / "0.png").string();
  CHECK(contains(
      error(changed(R"("size":"[48,32]")", R"("size":"[48,-2]")"), png),
      "'resnet18', '[\"common\",\"rare\"]', '[48,-2]' and 'ce'"));
  CHECK(contains(
      error(changed(R"("width":"0.125")", R"("width":"0.25 ")"), png),
      "expected weights that fit the network"));
  CHECK(contains(
      error(changed(R"("width":"0.125")", R"("width":"wide!")"), png),
      "expected a number as the network's width, but got 'wide!'"));
  CHECK(contains(
      error(changed(R"("width":"0.125")", R"("widtt":"0.125")"), png),
      "expected weights that fit the network"));
  CHECK(contains(
      error(net, (folder.path / "none.csv").string()),
      "expected a CSV file, but it cannot be opened"));
}
