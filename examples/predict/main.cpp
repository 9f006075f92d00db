// What a trained network says of pictures: a table of probabilities, and where
// the network looks.
// SPDX-License-Identifier: Apache-2.0
#include "common/csv.hpp"
#include "common/files.hpp"
#include "common/json.hpp"
#include "common/progress.hpp"
#include "networks/by_name.hpp"
#include "resnet_trainer/csv.hpp"
#include "resnet_trainer/dataset.hpp"
#include "resnet_trainer/device.hpp"
#include "resnet_trainer/files.hpp"
#include "resnet_trainer/manifest.hpp"
#include "resnet_trainer/model_file.hpp"
#include "resnet_trainer/picture.hpp"
#include "resnet_trainer/process.hpp"
#include "resnet_trainer/sheet.hpp"
#include "resnet_trainer/train.hpp"

#include <care/imbalance/shuffle_sampler.hpp>

#include <fmt/format.h>
#include <torch/data/dataloader.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Options {
  std::string network, out = "predictions.csv", overlays, device = "cpu";
  std::vector<std::string> pictures;
  int64_t batch = 32, workers = 1, threads = 0;
};

void add_options(CLI::App& app, Options& o) {
  const auto add = [&](const char* name, auto& value, const char* help) {
    return app.add_option(name, value, help)->capture_default_str();
  };
  app.add_option("network", o.network, "network.safetensors of a training")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("pictures", o.pictures, "files, folders, manifests")
      ->required();
  add("--out", o.out, "the table");
  app.add_option("--overlays", o.overlays, "folder for where it looks");
  add("--batch", o.batch, "pictures in a batch")->check(CLI::Range(1, 4096));
  add("--workers", o.workers, "threads that decode")->check(CLI::Range(0, 64));
  add("--threads", o.threads, "0: all cores")->check(CLI::Range(0, 4096));
  add("--device", o.device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}));
}

/// The network that a card names, of one that has them with their width and
/// last stride.
networks::Network make_network(const trainer::ModelCard& card) {
  const auto number = [&](const char* key, double otherwise) {
    const auto said = card.network.find(key);
    if (said == card.network.end()) {
      return otherwise;
    }
    const auto json = nlohmann::json::parse(said->second, nullptr, false);
    if (!json.is_number()) {
      throw std::runtime_error(
          std::string("expected a number as the network's ") + key +
          ", but got '" + said->second + "'");
    }
    return json.get<double>();
  };
  networks::NetworkOptions options;
  options.classes = static_cast<int64_t>(card.classes.size());
  options.width = number("width", 1);
  options.last_stride = static_cast<int64_t>(number("last_stride", 2));
  options.size = {card.size[0], card.size[1]};
  return networks::make(card.network.at("network"), options);
}

/// The pictures that a table's column `path` names, each once: it may have a
/// line for each box. Nothing else is asked of the table.
std::vector<trainer::Row> read_paths(const fs::path& table) {
  const trainer::Csv csv(table);
  csv.expect({"path"}, {});
  std::vector<trainer::Row> rows;
  std::set<std::string> known;
  for (const auto& line : csv.lines()) {
    trainer::Row row;
    row.path = csv.field(line, "path");
    row.file = table.parent_path() / row.path;
    row.where = csv.where(line);
    if (row.path.empty()) {
      csv.fail(line, "a path", "none");
    }
    if (known.insert(row.file.lexically_normal().string()).second) {
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

/// A folder's pictures, but for those that this program put into `overlays`.
std::vector<trainer::Row> read_folder(
    const fs::path& folder,
    const std::string& overlays) {
  auto rows = trainer::read_folder(folder, "unlabelled");
  if (!overlays.empty()) {
    if (common::lies_in(folder, overlays)) {
      throw std::invalid_argument(
          "--overlays: expected another folder than that of the pictures, but "
          "got " +
          overlays);
    }
    const auto is_own = [&](const auto& row) {
      return common::lies_in(row.file, overlays);
    };
    rows.erase(std::remove_if(rows.begin(), rows.end(), is_own), rows.end());
  }
  for (auto& row : rows) {
    row.path = (folder / row.path).generic_string();
  }
  return rows;
}

/// The pictures that the command line names, each with the path of its line.
std::vector<trainer::Row> rows_of(const Options& o) {
  std::vector<trainer::Row> rows;
  for (const auto& text : o.pictures) {
    const fs::path name = text;
    std::vector<trainer::Row> found(1);
    if (fs::is_directory(name)) {
      found = read_folder(name, o.overlays);
    } else if (trainer::ending_of(name) == ".csv") {
      found = read_paths(name);
    } else {
      found[0].path = found[0].where = text;
      found[0].file = name;
    }
    rows.insert(rows.end(), found.begin(), found.end());
  }
  if (rows.empty()) {
    throw std::runtime_error("expected pictures, but got none");
  }
  return rows;
}

/// Throws at the start, not at the end, where nothing can be written.
void make_places(const Options& o) {
  if (fs::is_directory(o.out)) {
    throw std::invalid_argument(
        "--out: expected a file, but got the folder " + o.out);
  }
  std::vector<fs::path> inputs{o.network};
  inputs.insert(inputs.end(), o.pictures.begin(), o.pictures.end());
  common::check_not_input("--out", o.out, inputs);
  trainer::check_writable(o.out);
  if (!o.overlays.empty()) {
    fs::create_directories(o.overlays);
  }
}

/// A picture's line of the table. It ends in the likeliest class, or, of
/// several labels, in all that are at least as likely as not: "a|b".
std::string line_of(
    const trainer::Row& row,
    const torch::Tensor& probabilities,
    const trainer::ModelCard& card) {
  auto line = common::csv_field(row.path);
  std::string labels;
  for (size_t k = 0; k < card.classes.size(); ++k) {
    const auto p = probabilities[static_cast<int64_t>(k)].item<double>();
    line += fmt::format(",{:.6g}", p);
    if (p >= 0.5) {
      labels += (labels.empty() ? "" : "|") + card.classes[k];
    }
  }
  const auto best = static_cast<size_t>(probabilities.argmax().item<int64_t>());
  const auto& said = card.criterion == "bce" ? labels : card.classes[best];
  return line + "," + common::csv_field(said) + "\n";
}

/// The stored picture under the map of one class, at most 480 pixels wide.
void write_overlay(
    const fs::path& path,
    const trainer::Row& row,
    const torch::Tensor& map) {
  const auto cells = map.contiguous();
  const cv::Mat heat(
      static_cast<int>(cells.size(0)),
      static_cast<int>(cells.size(1)),
      CV_32F,
      cells.data_ptr<float>());
  const trainer::SheetRow drawn{trainer::read_picture(row.file), {}, {}};
  trainer::write_picture(
      path,
      trainer::draw_tile(
          drawn, {heat, {}, false}, std::min(drawn.picture.cols, 480)));
}

/// Writes the table; how many pictures could not be read.
size_t predict(const Options& o) {
  trainer::Input input;
  input.device = trainer::device_of(o.device);
  torch::set_num_threads(trainer::threads_or_all(o.threads));
  auto card = trainer::read_card(o.network);
  auto net = make_network(card);
  trainer::load_weights(o.network, *net, "", card);
  input.mean = card.mean;
  input.deviation = card.deviation;
  net->to(input.device);
  trainer::to_channels_last(*net);
  trainer::PredictOptions how;
  how.attention = how.keep_maps = !o.overlays.empty();
  how.multi_label = card.criterion == "bce";
  how.layer = networks::families().at(card.network.at("network")).layer;

  const auto rows = rows_of(o);
  make_places(o);
  trainer::PicturesOptions options;
  options.size = {card.size[1], card.size[0]};
  options.keep_faults = true;
  const auto loader = torch::data::make_data_loader(
      trainer::Pictures(rows, {}, options),
      care::ShuffleSampler(
          rows.size(), care::ShuffleSamplerOptions().shuffle(false)),
      torch::data::DataLoaderOptions(static_cast<size_t>(o.batch))
          .workers(static_cast<size_t>(o.workers)));

  std::string table = "path";
  for (const auto& name : card.classes) {
    table += "," + common::csv_field(name);
  }
  table += ",predicted\n";
  size_t faults = 0;
  common::Progress progress("predict", static_cast<int64_t>(rows.size()));
  for (const auto& batch : *loader) {
    const std::array<trainer::Batch, 1> one{batch};
    const auto said = trainer::predict(net, one, input, how);
    for (int64_t i = 0; i < batch.index.size(0); ++i) {
      const auto place = batch.index[i].item<int64_t>();
      const auto& row = rows[static_cast<size_t>(place)];
      if (const auto fault = batch.faults.find(place);
          fault != batch.faults.end()) {
        progress.line("not read: " + fault->second);
        ++faults;
        continue;
      }
      table += line_of(row, said.probabilities[i], card);
      if (how.attention) {
        const auto name = fmt::format(
            "{:05}-{}.png", place + 1, trainer::name_without_ending(row.file));
        write_overlay(fs::path(o.overlays) / name, row, said.maps[i]);
      }
    }
    progress.advance(batch.index.size(0));
  }
  progress.finish();
  trainer::write_atomically(o.out, table);
  std::cerr << fmt::format( // the table may go to the other stream
      "{}: {} pictures, {} could not be read\n",
      o.out,
      rows.size() - faults,
      faults);
  return faults;
}

} // namespace

int main(int argc, char** argv) {
  trainer::wait_passively(argv);
  Options o;
  CLI::App app(
      "Writes what a trained network says of pictures. Ends with 2 where some "
      "could not be read. For research and education; not a medical device.",
      "predict");
  add_options(app, o);
  CLI11_PARSE(app, argc, argv);
  size_t faults = 0;
  const auto status =
      trainer::run_main("predict", [&] { faults = predict(o); });
  return status == 0 && faults > 0 ? 2 : status;
}
