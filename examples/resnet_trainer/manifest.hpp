// Reads a manifest: a CSV file that lists pictures, classes and lesion boxes.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_MANIFEST_HPP
#define RESNET_TRAINER_MANIFEST_HPP

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace trainer {

struct LesionBox {
  /// xmin, ymin, xmax, ymax in pixels of the stored picture, half-open.
  std::array<double, 4> xyxy{};
  std::string where; ///< "manifest.csv:17", its line
  std::string label; ///< the one it speaks for, of several; empty: them all
  double confidence = 1; ///< 0 to 1; 1: none given
};

/// One picture of a manifest.
struct Row {
  std::string path; ///< as written in the manifest
  std::filesystem::path file; ///< the same, found from the manifest's folder
  std::string label; ///< "a|b": a picture of both
  std::vector<LesionBox> boxes;
  bool has_confidence = false; ///< some box was given one
  std::string split; ///< train, val or test; empty: none given
  std::string fold; ///< 0, 1, ...; empty: none given
  std::string group; ///< what no split may part; empty: of its own
  std::filesystem::path mask; ///< a picture of the lesion; empty: none given
  std::map<std::string, std::string> more; ///< the other columns, first line
  std::string more_where; ///< a line that says another thing there, if any
  std::string where; ///< "manifest.csv:17", the picture's first line

  /// Whether something says where its lesion is: a mask, or else boxes.
  bool has_region(bool masks) const {
    return masks ? !mask.empty() : !boxes.empty();
  }
  /// The boxes' `xyxy`.
  std::vector<std::array<double, 4>> corners() const;
};

/// What is wrong with a row, after its line of the manifest.
std::string with_line(const Row& row, const std::string& text);

/// Reads a CSV file with the header
/// path,label,xmin,ymin,xmax,ymax
///     [,split][,fold][,group][,mask][,confidence][,box_label].
///
/// Columns may come in any order. Paths are relative to the manifest. Several
/// rows of one file, however it is spelled, are several boxes of one picture;
/// empty box fields mean no box. Fields may be quoted (RFC 4180). Rows keep the
/// order in which their files first appear. Throws std::runtime_error
/// "<manifest>:<line>: expected ..., but got ...": nothing is guessed.
std::vector<Row> read_manifest(const std::filesystem::path& manifest);

/// All files below a folder, sorted; links to folders are followed, and what is
/// hidden (.venv, .ipynb_checkpoints, ._1.png) is passed by. Throws
/// std::runtime_error that names a folder which is reached twice, or cannot be
/// read.
std::vector<std::filesystem::path> files_in(
    const std::filesystem::path& folder);

/// A file's ending in small letters, with its dot: ".jpg" of A.JPG.
std::string ending_of(const std::filesystem::path& file);

/// The pictures of a folder that holds a folder for each class: no boxes. Those
/// in no such folder get the label `unlabelled`; empty: they are left out.
/// Throws std::runtime_error as `files_in`, if there are none, for names not in
/// UTF-8, and for a class's name with '|', which parts labels.
std::vector<Row> read_folder(
    const std::filesystem::path& folder,
    const std::string& unlabelled = "");

/// A file's name without its ending; all of it where that is a number, as in a
/// DICOM's UID.
std::string name_without_ending(const std::filesystem::path& file);

/// The labels of a picture: "a|b" is {"a", "b"}.
std::vector<std::string> split_labels(const std::string& label);

/// Whether it is one of the picture's labels.
bool has_label(const Row& row, const std::string& label);

/// What a manifest may not say in label, split and fold: for each fault what is
/// expected there, and what is.
std::vector<std::pair<std::string, std::string>> faults_of(const Row& row);

/// The values of a column, each once, sorted; "a|b" is two.
std::vector<std::string> values_of(
    const std::vector<Row>& rows,
    std::string Row::*column);

/// Whether any row has something in that column.
inline bool any_has(const std::vector<Row>& rows, std::string Row::*column) {
  return std::any_of(rows.begin(), rows.end(), [&](const Row& row) {
    return !(row.*column).empty();
  });
}

/// The labels that occur.
inline std::vector<std::string> labels_of(const std::vector<Row>& rows) {
  return values_of(rows, &Row::label);
}

/// Throws std::invalid_argument that names `option` unless each of `wanted` is
/// one of `known`.
void check_known(
    const std::string& option,
    const std::vector<std::string>& known,
    const std::vector<std::string>& wanted);

/// The places in `classes` of each row's labels. Throws std::runtime_error that
/// names the line for a label that is not there.
std::vector<std::vector<int64_t>> all_targets_of(
    const std::vector<Row>& rows,
    const std::vector<std::string>& classes);

/// Of each row the place of the label that the fewest rows have: its only one,
/// where no picture has several.
std::vector<int64_t> rarest_targets_of(
    const std::vector<Row>& rows,
    const std::vector<std::string>& classes);

/// The place of each row's label in `classes`. Throws std::runtime_error that
/// names the line for a label that is not there, and for several labels.
std::vector<int64_t> targets_of(
    const std::vector<Row>& rows,
    const std::vector<std::string>& classes);

} // namespace trainer

#endif // RESNET_TRAINER_MANIFEST_HPP
