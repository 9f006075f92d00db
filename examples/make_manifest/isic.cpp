// ISIC: ground truth with a column for each class, or HAM10000's metadata.
// SPDX-License-Identifier: Apache-2.0
#include "make_manifest/formats.hpp"

#include <algorithm>

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

/// The line's patient or, where it tells none, lesion: what one patient's
/// lesions share must not be in two parts.
std::string group_of(const trainer::Csv& csv, const trainer::Csv::Line& line) {
  std::string group;
  for (const auto& name : kGroup) {
    group = group.empty() ? csv.field(line, name) : group;
  }
  return group;
}

/// The pictures' groups, of a file of their own.
std::map<std::string, std::string> groups_of(
    const std::filesystem::path& file,
    Complaints& suspicious) {
  std::map<std::string, std::string> groups;
  if (!file.empty()) {
    const trainer::Csv csv(file);
    const auto image = needed(csv, kImage);
    needed(csv, kGroup);
    for (const auto& line : csv.lines()) {
      const auto name = group_of(csv, line);
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
    picture.group = group_of(csv, line);
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
