// make_manifest: archives' formats to a manifest, and what is wrong in them.
// SPDX-License-Identifier: Apache-2.0
#include "common/csv.hpp"
#include "common/files.hpp"
#include "common/masks.hpp"
#include "make_manifest/formats.hpp"
#include "resnet_trainer/files.hpp"
#include "resnet_trainer/lock.hpp"
#include "resnet_trainer/within.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join
#include <CLI/CLI.hpp>

#include <algorithm>
#include <exception>
#include <iostream>
#include <optional>
#include <set>
#include <stdexcept>

namespace make_manifest {
namespace {

namespace fs = std::filesystem;

struct Format {
  const char *name, *help, *input;
  const char *more, *more_help; // an option for a second file; "": none
  std::vector<Told> (*read)(const Source&, Complaints&);
};

const Format kFormats[] = {
    {"folder",
     "a folder for each class, or one folder with --masks or --table",
     "the folder",
     "",
     "",
     read_folder},
    {"voc",
     "Pascal VOC, labelImg",
     "the folder of XML files",
     "",
     "",
     read_voc},
    {"coco", "COCO", "the JSON file", "", "", read_coco},
    {"yolo",
     "YOLO",
     "the folder of text files",
     "--names",
     "data.yaml or classes.txt",
     read_yolo},
    {"isic",
     "ISIC, HAM10000",
     "ground truth with a column for each class, or metadata with a diagnosis",
     "--groups",
     "CSV with patient_id or lesion_id",
     read_isic},
    {"rsna",
     "RSNA pneumonia",
     "stage_2_train_labels.csv",
     "--details",
     "stage_2_detailed_class_info.csv",
     read_rsna},
    {"nih",
     "NIH ChestX-ray14",
     "Data_Entry_2017.csv",
     "--boxes",
     "BBox_List_2017.csv",
     read_nih},
    {"vindr", "VinDr-CXR", "train.csv", "", "", read_vindr}};

struct Settings {
  fs::path input, more, images, masks, table, out = "manifest.csv";
  std::string pattern = "{}.png", split, exif, unlabelled = "none";
  std::vector<std::string> only;
  bool from_one = false, append = false, fresh = false, strict = false;
  double least_part = 1e-3;
};

void add_options(CLI::App& app, const Format& format, Settings& s) {
  const auto add = [&](const char* name, auto& value, const char* help) {
    return app.add_option(name, value, help)->capture_default_str();
  };
  add("input", s.input, format.input)->required()->check(CLI::ExistingPath);
  if (format.read != read_folder) {
    add("--images", s.images, "folder of the pictures, at any depth")
        ->required()
        ->check(CLI::ExistingDirectory);
  }
  if (*format.more != '\0') {
    add(format.more, s.more, format.more_help)
        ->required(format.read == read_yolo)
        ->check(CLI::ExistingFile);
  }
  if (format.read == read_voc) {
    const char* help = "pixels count from 1, and a box holds its last one";
    app.add_flag("--from-one", s.from_one, help);
  }
  auto* const masks = add("--masks", s.masks, "folder of lesion masks")
                          ->check(CLI::ExistingDirectory);
  add("--pattern", s.pattern, "the masks' names, {} for the picture's")
      ->needs(masks);
  add("--least-part", s.least_part, "of a mask that gets a box, as a share")
      ->check(trainer::within(0, 1))
      ->needs(masks);
  add("--table", s.table, "CSV: path and label, group, split or fold")
      ->check(CLI::ExistingFile);
  add("--only", s.only, "a label to keep; repeat for more")
      ->allow_extra_args(false);
  add("--unlabelled", s.unlabelled, "label of pictures with no label or box");
  add("--exif", s.exif, "whether boxes know of EXIF orientation")
      ->check(CLI::IsMember({"apply", "ignore"}));
  add("--split", s.split, "the part these pictures are")
      ->check(CLI::IsMember({"train", "val", "test"}));
  add("--out", s.out, "the manifest");
  app.add_flag("--append", s.append, "to the manifest that is there");
  app.add_flag("--fresh", s.fresh, "in place of the manifest that is there")
      ->excludes("--append");
  app.add_flag("--strict", s.strict, "write nothing where anything is wrong");
}

/// That each label to keep is some picture's or box's, or one of the manifest
/// that is added to: a part may lack a class.
void check_only(
    const std::vector<Told>& told,
    const std::vector<Told>& before,
    const Settings& s) {
  std::set<std::string> known;
  for (const auto* rows : {&told, &before}) {
    for (const auto& row : *rows) {
      const auto own =
          trainer::split_labels(row.label.empty() ? s.unlabelled : row.label);
      known.insert(own.begin(), own.end());
      for (const auto& region : row.boxes) {
        known.insert(region.label);
      }
    }
  }
  known.erase("");
  trainer::check_known("--only", {known.begin(), known.end()}, s.only);
}

/// Keeps of boxes and labels what is wanted. A picture without a label gets its
/// boxes' labels. False: nothing is left of the picture.
bool settle_label(Told& told, const Settings& s) {
  const auto wanted = [&](const std::string& label) {
    return s.only.empty() || label.empty() ||
        std::count(s.only.begin(), s.only.end(), label) > 0;
  };
  std::vector<trainer::LesionBox> kept;
  std::set<std::string> labels;
  for (const auto& region : told.boxes) {
    if (wanted(region.label)) {
      kept.push_back(region);
      labels.insert(region.label);
    }
  }
  told.boxes = kept;
  labels.erase("");
  if (told.label.empty()) {
    told.label = labels.empty() ? s.unlabelled
                                : fmt::format("{}", fmt::join(labels, "|"));
    return true;
  }
  std::vector<std::string> own;
  for (const auto& label : trainer::split_labels(told.label)) {
    if (wanted(label)) {
      own.push_back(label);
    }
  }
  if (own.empty() && labels.empty()) { // a box without one has the picture's
    return false;
  }
  told.label =
      own.empty() ? told.label : fmt::format("{}", fmt::join(own, "|"));
  for (auto& region : told.boxes) { // the table calls the picture otherwise
    if (std::count(own.begin(), own.end(), region.label) == 0) {
      region.label.clear();
    }
  }
  return true;
}

/// The pictures of a manifest that was made before.
std::vector<Told> read_before(const fs::path& manifest) {
  std::vector<Told> told;
  for (const auto& row : trainer::read_manifest(manifest)) {
    auto& before = told.emplace_back();
    static_cast<trainer::Row&>(before) = row;
    before.exif = "ignore"; // it has been seen to
    before.is_old = true;
    if (!row.more_where.empty()) {
      throw std::runtime_error(
          row.more_where +
          ": expected other columns as in the picture's first line, which are "
          "those that --append keeps, but got others");
    }
  }
  return told;
}

/// The pictures as the trainer knows them.
std::vector<trainer::Row> rows_of(const std::vector<Told>& told) {
  std::vector<trainer::Row> rows;
  for (const auto& one : told) {
    auto& row = rows.emplace_back(one);
    for (auto& box : row.boxes) {
      box.label = row.label.find('|') == row.label.npos ? "" : box.label;
    }
  }
  return rows;
}

/// Classes, counts, and how large the boxes are.
std::string summary_of(const std::vector<Told>& rows) {
  std::map<std::string, std::array<int64_t, 3>> classes;
  std::vector<double> sides; // the shorter ones
  for (const auto& row : rows) {
    for (const auto& label : trainer::split_labels(row.label)) {
      const auto is_its = [&](const trainer::LesionBox& region) {
        return region.label.empty() || region.label == label;
      };
      const auto boxes =
          std::count_if(row.boxes.begin(), row.boxes.end(), is_its);
      auto& counts = classes[label];
      counts[0] += 1;
      counts[1] += boxes > 0 ? 1 : 0;
      counts[2] += boxes;
    }
    for (const auto& region : row.boxes) {
      const auto& box = region.xyxy;
      sides.push_back(std::min(box[2] - box[0], box[3] - box[1]));
    }
  }
  constexpr auto kLine = "{:<24}{:>10}{:>12}{:>10}\n";
  auto text = fmt::format(kLine, "class", "pictures", "with boxes", "boxes");
  for (const auto& [label, counts] : classes) {
    text += fmt::format(kLine, label, counts[0], counts[1], counts[2]);
  }
  if (!sides.empty()) {
    std::sort(sides.begin(), sides.end());
    text += fmt::format(
        "a box's shorter side: {:.6g} to {:.6g} pixels, median {:.6g}\n",
        sides.front(),
        sides.back(),
        sides[sides.size() / 2]);
  }
  return text;
}

/// Throws where a picture of the manifest that is added to, or its mask or a
/// box, is not there to be looked at: to write it without that would lose it.
void check_kept(
    const std::vector<Told>& before,
    const std::vector<Told>& rows,
    const Settings& s) {
  std::map<std::string, const Told*> kept;
  for (const auto& row : rows) {
    kept.emplace(row.where, &row);
  }
  for (const auto& row : before) {
    const auto found = kept.find(row.where);
    const bool gone = found == kept.end();
    if (gone || found->second->mask.empty() != row.mask.empty() ||
        found->second->boxes.size() < row.boxes.size()) {
      throw std::runtime_error(fmt::format(
          "{} is not written: it would lose {}{} of {}",
          s.out.string(),
          gone ? "" : "a box or the mask of ",
          row.path,
          row.where));
    }
  }
}

void run(const Format& format, const Settings& s) {
  common::check_not_input("--out", s.out, {s.input, s.more, s.table});
  const auto folder = fs::absolute(s.out).parent_path();
  if (trainer::is_device(s.out)) {
    throw std::invalid_argument(
        "--out: expected a file, from whose folder the paths in it lead, but "
        "got " +
        s.out.string());
  }
  std::optional<trainer::Lock> lock; // else two that add lose one's pictures
  if (s.append) {
    lock.emplace(folder / (s.out.filename().string() + ".lock"))
        .take_alone(s.out.string() + ": another process is adding to it");
  } else if (!s.fresh && fs::exists(s.out)) {
    throw std::invalid_argument(
        "--out: expected a manifest that is not there yet, or --append to add "
        "to it, or --fresh to replace it, but got " +
        s.out.string());
  }
  Complaints suspicious;
  const Source source{
      s.input,
      s.more,
      s.from_one,
      Pictures(s.images.empty() ? s.input : s.images, s.masks)};
  auto told = format.read(source, suspicious);
  std::set<fs::path> masks;
  for (auto& row : told) {
    row.exif = s.exif;
    row.split = s.split;
    if (row.file.empty()) {
      const auto files = source.pictures.find(row.path);
      row.file = files.size() == 1 ? files[0] : s.images / row.path;
      if (files.size() > 1) {
        suspicious.add(row.where, "one picture " + row.path, "several");
      }
    }
    if (!s.masks.empty()) {
      row.mask = common::mask_of(row, s.masks, s.pattern);
      masks.insert(
          row.mask.empty() ? fs::path() : fs::weakly_canonical(row.mask));
    }
  }
  const auto is_mask = [&](const Told& row) { // which lie beside the pictures
    return masks.count(fs::weakly_canonical(row.file)) > 0;
  };
  told.erase(std::remove_if(told.begin(), told.end(), is_mask), told.end());
  masks.erase(fs::path());
  if (!s.masks.empty() && masks.empty()) {
    throw std::runtime_error(fmt::format(
        "--pattern: expected masks in {} called {}, but got none for {} "
        "pictures",
        s.masks.string(),
        s.pattern,
        told.size()));
  }
  if (!s.table.empty()) {
    told = with_table(s.table, told, suspicious);
  }
  const auto before = s.append ? read_before(s.out) : std::vector<Told>();
  check_only(told, before, s);
  auto all = before;
  for (auto& row : told) {
    if (row.is_annotated && row.label.empty() && row.boxes.empty()) {
      suspicious.add(
          row.where,
          "an annotation of " + row.path + " that can be read",
          "none: it may show a lesion, and is left out");
    } else if (settle_label(row, s)) {
      all.push_back(row);
    }
  }
  const auto rows = check(all, s.least_part, suspicious);
  for (const auto& line : suspicious.lines) {
    std::cout << line << '\n';
  }
  check_kept(before, rows, s);
  std::cout << summary_of(rows);
  const auto counts = fmt::format(
      "{} pictures, {} suspicious", rows.size(), suspicious.lines.size());
  if (rows.empty() || (s.strict && !suspicious.lines.empty())) {
    throw std::runtime_error(s.out.string() + " is not written: " + counts);
  }
  trainer::write_atomically(s.out, common::manifest_of(rows_of(rows), folder));
  std::cout << s.out.string() << ": " << counts << '\n';
}

} // namespace
} // namespace make_manifest

int main(int argc, char** argv) {
  using make_manifest::kFormats;
  make_manifest::Settings settings;
  CLI::App app(
      "Makes a manifest for the trainer from an archive's files, and says what "
      "is wrong in them.",
      "make_manifest");
  app.require_subcommand(1);
  for (const auto& format : kFormats) {
    add_options(
        *app.add_subcommand(format.name, format.help), format, settings);
  }
  CLI11_PARSE(app, argc, argv);
  const auto is_chosen = [&](const make_manifest::Format& format) {
    return app.got_subcommand(format.name);
  };
  try {
    run(*std::find_if(std::begin(kFormats), std::end(kFormats), is_chosen),
        settings);
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "make_manifest: " << error.what() << '\n';
    return 1;
  }
}
