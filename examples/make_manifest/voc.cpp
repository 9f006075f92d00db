// Pascal VOC: an XML file for each picture, as labelImg writes them.
// SPDX-License-Identifier: Apache-2.0
#include "make_manifest/formats.hpp"

#include <fmt/format.h>
#include <pugixml.hpp>

#include <algorithm>
#include <cstddef>

namespace make_manifest {

std::vector<Told> read_voc(const Source& source, Complaints& suspicious) {
  std::vector<Told> told;
  for (const auto& file : files_of(source.input, ".xml")) {
    const auto text = text_of(file);
    const auto where = [&](std::ptrdiff_t offset) { // beyond it: of UTF-16
      const auto size = static_cast<std::ptrdiff_t>(text.size());
      const auto end =
          text.begin() + std::clamp<std::ptrdiff_t>(offset, 0, size);
      return fmt::format(
          "{}:{}", file.string(), 1 + std::count(text.begin(), end, '\n'));
    };
    pugi::xml_document xml;
    const auto outcome = xml.load_buffer(
        text.data(),
        text.size(),
        pugi::parse_default | pugi::parse_trim_pcdata);
    const auto annotation = xml.child("annotation");
    if (!outcome || !annotation) {
      suspicious.add(
          where(outcome.offset),
          "an annotation in XML",
          outcome ? "none" : outcome.description());
      continue;
    }
    auto& picture = told.emplace_back();
    picture.path = annotation.child_value("filename");
    picture.where = where(annotation.child("filename").offset_debug());
    picture.size = {
        annotation.child("size").child("width").text().as_int(),
        annotation.child("size").child("height").text().as_int()};
    if (std::filesystem::path(picture.path).stem() != file.stem()) {
      // who renames pictures forgets what stands in the XML
      suspicious.add(
          picture.where,
          "the picture " + file.stem().string(),
          "'" + picture.path + "', which is left aside");
      picture.path = file.stem().string();
    }
    for (const auto object : annotation.children("object")) {
      picture.is_annotated = true;
      const auto line = where(object.offset_debug());
      const auto limits = object.child("bndbox");
      const std::array<const char*, 4> names{"xmin", "ymin", "xmax", "ymax"};
      Box box{};
      const bool whole = std::equal(
          names.begin(), names.end(), box.begin(), [&](auto name, double& x) {
            return trainer::parse_number(limits.child_value(name), x);
          });
      const std::string label = object.child_value("name");
      if (!whole || label.empty()) {
        suspicious.add(
            line,
            "an object with a name and a bndbox of four numbers",
            "another");
        continue;
      }
      if (trainer::utf8_end(label) < label.size()) {
        suspicious.add(line, "a name in UTF-8", "other bytes");
        continue;
      }
      box[0] -= source.from_one ? 1 : 0;
      box[1] -= source.from_one ? 1 : 0;
      picture.boxes.push_back({box, line, label});
    }
  }
  return told;
}

} // namespace make_manifest
