// Chest radiographs: RSNA pneumonia, NIH ChestX-ray14, VinDr-CXR. Their tables
// have a line for each box.
// SPDX-License-Identifier: Apache-2.0
#include "make_manifest/formats.hpp"

#include <algorithm>
#include <set>

namespace make_manifest {
namespace {

using trainer::Csv;

/// Pictures in the order in which a table names them, several times or not.
class Collected {
 public:
  Told& at(const std::string& name, const std::string& where) {
    const auto [found, is_new] = places_.emplace(name, told.size());
    if (is_new) {
      told.emplace_back();
      told.back().path = name;
      told.back().where = where;
    }
    return told[found->second];
  }
  bool has(const std::string& name) const {
    return places_.count(name) > 0;
  }

  std::vector<Told> told;

 private:
  std::map<std::string, size_t> places_;
};

/// The line's box, from its corner and size. False: it tells none.
bool parse_corner(
    const Csv& csv,
    const Csv::Line& line,
    const std::array<std::string, 4>& columns,
    Box& box,
    Complaints& suspicious) {
  const bool whole = parse_box(csv, line, columns, box, suspicious);
  box[2] += box[0];
  box[3] += box[1];
  return whole;
}

} // namespace

std::vector<Told> read_rsna(const Source& source, Complaints& suspicious) {
  const Csv csv(source.input);
  csv.expect({"patientId", "x", "y", "width", "height", "Target"}, {});
  std::map<std::string, std::string> classes; // of the patients
  if (!source.more.empty()) {
    const Csv details(source.more);
    details.expect({"patientId", "class"}, {});
    for (const auto& line : details.lines()) {
      const auto name = details.field(line, "class");
      const auto& first =
          classes.emplace(details.field(line, "patientId"), name).first->second;
      if (first != name) {
        suspicious.add(
            details.where(line),
            "the class '" + first + "' as before",
            "'" + name + "'");
      }
    }
  }
  Collected pictures;
  for (const auto& line : csv.lines()) {
    const auto name = csv.field(line, "patientId"), where = csv.where(line);
    const auto target = csv.field(line, "Target");
    auto& picture = pictures.at(name, where);
    const auto found = classes.find(name);
    const bool ill = target == "1", has_box = !csv.field(line, "x").empty();
    if ((target != "0" && !ill) || ill != has_box) {
      suspicious.add(
          where,
          "a Target of 1 with a box or of 0 without",
          "'" + target + "'" + (has_box ? " with one" : " without"));
    }
    const std::string label = found != classes.end() ? found->second
        : ill                                        ? "Lung Opacity"
                                                     : "No Lung Opacity";
    if ((!source.more.empty() && found == classes.end()) ||
        ill != (label == "Lung Opacity") ||
        (!picture.label.empty() && picture.label != label)) {
      suspicious.add(
          where,
          "a class that agrees with the Target " + target,
          found == classes.end() ? "none" : "'" + label + "'");
    }
    picture.label = label;
    Box box{};
    if (has_box &&
        parse_corner(
            csv, line, {"x", "y", "width", "height"}, box, suspicious)) {
      picture.boxes.push_back({box, where, ""});
    }
  }
  return pictures.told;
}

std::vector<Told> read_nih(const Source& source, Complaints& suspicious) {
  const Csv csv(source.input);
  csv.expect({"Image Index", "Finding Labels", "Patient ID"}, {});
  Collected pictures;
  for (const auto& line : csv.lines()) {
    const auto name = csv.field(line, "Image Index");
    if (pictures.has(name)) {
      suspicious.add(csv.where(line), "one line for " + name, "another");
    }
    auto& picture = pictures.at(name, csv.where(line));
    picture.label = csv.field(line, "Finding Labels");
    picture.group = csv.field(line, "Patient ID");
  }
  if (source.more.empty()) {
    return pictures.told;
  }
  const Csv boxes(source.more); // their header's "Bbox [x,y,w,h]" is four
  const std::array<std::string, 4> columns{"Bbox [x", "y", "w", "h]"};
  boxes.expect(
      {"Image Index",
       "Finding Label",
       columns[0],
       columns[1],
       columns[2],
       columns[3]},
      {});
  for (const auto& line : boxes.lines()) {
    const auto name = boxes.field(line, "Image Index");
    auto label = boxes.field(line, "Finding Label");
    label = label == "Infiltrate" ? "Infiltration" : label; // two spellings
    const auto where = boxes.where(line);
    Box box{};
    if (!pictures.has(name)) {
      suspicious.add(
          where, "a picture of " + source.input.string(), "'" + name + "'");
    } else if (parse_corner(boxes, line, columns, box, suspicious)) {
      auto& picture = pictures.at(name, where);
      const auto labels = trainer::split_labels(picture.label);
      if (std::find(labels.begin(), labels.end(), label) == labels.end()) {
        suspicious.add(
            where,
            "a label of " + name + ", " + picture.label,
            "'" + label + "', whose box is left out");
      } else {
        picture.boxes.push_back({box, where, label});
      }
    }
  }
  return pictures.told;
}

std::vector<Told> read_vindr(const Source& source, Complaints& suspicious) {
  const Csv csv(source.input);
  csv.expect(
      {"image_id", "class_name", "x_min", "y_min", "x_max", "y_max"}, {});
  Collected pictures;
  std::map<std::string, std::set<std::string>> findings; // of any reader
  for (const auto& line : csv.lines()) {
    const auto name = csv.field(line, "image_id");
    const auto label = csv.field(line, "class_name");
    auto& picture = pictures.at(name, csv.where(line));
    Box box{};
    if (label != "No finding") {
      findings[name].insert(label);
      if (parse_box(
              csv,
              line,
              {"x_min", "y_min", "x_max", "y_max"},
              box,
              suspicious)) {
        picture.boxes.push_back({box, csv.where(line), label});
      }
    }
  }
  for (auto& picture : pictures.told) {
    for (const auto& label : findings[picture.path]) {
      picture.label += (picture.label.empty() ? "" : "|") + label;
    }
    picture.label = picture.label.empty() ? "No finding" : picture.label;
  }
  return pictures.told;
}

} // namespace make_manifest
