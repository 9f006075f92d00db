// Reads a manifest: a CSV file that lists pictures, classes and lesion boxes.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_COMMON_MANIFEST_HPP
#define CARE_EXAMPLES_COMMON_MANIFEST_HPP

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace common {

/// One picture of a manifest.
struct Record {
  std::string path; ///< as written in the manifest
  std::filesystem::path file; ///< the same, found from the manifest's folder
  std::string label;
  /// xmin, ymin, xmax, ymax in pixels of the stored picture, half-open.
  std::vector<std::array<double, 4>> boxes;
  /// Of each box, in [0, 1]: 1 where the manifest gives none.
  std::vector<double> confidence;
  bool has_confidence = false; ///< some box was given one
  int64_t fold = -1; ///< -1: none given
  std::string group; ///< pictures that no split may part; empty: none given
  std::string where; ///< "manifest.csv:17", the picture's first line
  std::vector<std::string> box_where; ///< the line of each box
};

/// Reads a CSV file with the header
/// path,label,xmin,ymin,xmax,ymax[,fold][,group][,confidence].
///
/// Columns may come in any order; others are ignored. Paths are relative to
/// the manifest. Several rows of one path are several boxes of one picture;
/// empty box fields mean no box. Pictures of one group (a patient, a plant, a
/// slide) are kept on one side of every split. Fields may be quoted (RFC 4180).
/// Records keep the order in which their paths first appear. Throws
/// std::runtime_error "<manifest>:<line>: expected ..., but got ..." for a
/// malformed line; a path, label or group that is not UTF-8 is one.
std::vector<Record> read_manifest(const std::filesystem::path& manifest);

/// Whether `text` is UTF-8, as results and reports need it.
bool is_utf8(const std::string& text);

/// The labels that occur, each once, sorted.
std::vector<std::string> labels_of(const std::vector<Record>& records);

/// Throws std::invalid_argument, whose text begins with `where`, for a label
/// that does not occur.
void check_labels(
    const std::vector<Record>& records,
    const std::vector<std::string>& labels,
    const std::string& where = "");

/// The records without those of the given labels, each of which must occur
/// (`check_labels`).
std::vector<Record> without_labels(
    const std::vector<Record>& records,
    const std::vector<std::string>& labels);

} // namespace common

#endif // CARE_EXAMPLES_COMMON_MANIFEST_HPP
