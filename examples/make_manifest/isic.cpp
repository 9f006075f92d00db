// ISIC: ground truth with a column for each class, or HAM10000's metadata.
// SPDX-License-Identifier: Apache-2.0
#include "make_manifest/formats.hpp"

#include <algorithm>
#include <map>
#include <string>

namespace make_manifest {
namespace {

/// The first of these columns that the file has; "": it has none.
std::string first_of(
    const trainer::Csv& csv,
    const std::vector<std::string>& names) {
  for (const auto& name : names) {
    if (csv.columns().count(name) > 0) {
      return name;
    }
  }
  return "";
}

/// Throws unless the file has one of these columns; which.
std::string needed(
    const trainer::Csv& csv,
    const std::vector<std::string>& names) {
  const auto name = first_of(csv, names);
  csv.expect({name.empty() ? names[0] : name}, {});
  return name;
}

const std::vector<std::string> kImage{"image", "image_id", "image_name"};
const std::vector<std::string> kGroup{"patient_id", "lesion_id"};

/// The group of each line: its patient; where it tells none, that of another
/// line of its lesion; else its lesion. What one patient's pictures share must
/// not be in two parts.
class Groups {
 public:
  explicit Groups(const trainer::Csv& csv) : csv_(csv) {
    for (const auto& line : csv.lines()) {
      const auto patient = csv.field(line, "patient_id");
      if (!patient.empty()) {
        patients_.emplace(csv.field(line, "lesion_id"), patient);
      }
    }
    patients_.erase(""); // of lines without a lesion
  }

  std::string of(const trainer::Csv::Line& line) const {
    const auto patient = csv_.field(line, "patient_id");
    const auto lesion = csv_.field(line, "lesion_id");
    const auto known = patients_.find(lesion);
    return !patient.empty()        ? patient
        : known != patients_.end() ? known->second
                                   : lesion;
  }

 private:
  const trainer::Csv& csv_;
  std::map<std::string, std::string> patients_; // of lesions
};

/// The pictures' groups, of a file of their own.
std::map<std::string, std::string> groups_of(
    const std::filesystem::path& file,
    Complaints& suspicious) {
  std::map<std::string, std::string> groups;
  if (!file.empty()) {
    const trainer::Csv csv(file);
    const auto image = needed(csv, kImage);
    needed(csv, kGroup);
    const Groups all(csv);
    for (const auto& line : csv.lines()) {
      const auto name = all.of(line);
      const auto& first =
          groups.emplace(csv.field(line, image), name).first->second;
      if (first != name) {
        suspicious.add(
            csv.where(line),
            "the group '" + first + "' as before",
            "'" + name + "'");
      }
    }
  }
  return groups;
}

} // namespace

std::vector<Told> read_isic(const Source& source, Complaints& suspicious) {
  const trainer::Csv csv(source.input);
  const auto image = needed(csv, kImage);
  const auto diagnosis = first_of(csv, {"dx", "diagnosis"});
  const Groups own_groups(csv);
  const auto groups = groups_of(source.more, suspicious);
  std::vector<Told> told;
  for (const auto& line : csv.lines()) {
    Told picture;
    picture.path = csv.field(line, image);
    picture.where = csv.where(line);
    std::vector<std::string> labels;
    if (!diagnosis.empty()) {
      labels = {csv.field(line, diagnosis)};
    } else {
      for (const auto& [name, place] : csv.columns()) {
        const auto& field = line.fields[place];
        double share = 0;
        const bool is_class = name != image &&
            std::count(kGroup.begin(), kGroup.end(), name) == 0 &&
            name != "score_weight" && name != "validation_weight"; // ISIC 2019
        if (is_class && !trainer::parse_number(field, share)) {
          csv.fail(line, "a number for " + name, "'" + field + "'");
        }
        if (share > 0.5) {
          labels.push_back(name);
        }
      }
    }
    if (labels.size() != 1 || labels[0].empty()) {
      suspicious.add(
          picture.where,
          "one diagnosis",
          labels.size() > 1 ? labels[0] + " and " + labels[1] : "none");
      continue;
    }
    picture.label = labels[0];
    picture.group = own_groups.of(line);
    if (!source.more.empty()) {
      const auto found = groups.find(picture.path);
      if (found == groups.end()) {
        suspicious.add(
            picture.where,
            "a line for " + picture.path + " in " + source.more.string(),
            "none");
      } else {
        picture.group = found->second;
      }
    }
    told.push_back(picture);
  }
  return told;
}

} // namespace make_manifest
