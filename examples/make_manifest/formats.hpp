// The archives' formats: each tells of pictures, and what is wrong in it; and
// what is made of that.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_MAKE_MANIFEST_FORMATS_HPP
#define CARE_EXAMPLES_MAKE_MANIFEST_FORMATS_HPP

#include "resnet_trainer/csv.hpp"
#include "resnet_trainer/manifest.hpp"

#include <opencv2/core/types.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace make_manifest {

using Box = std::array<double, 4>;

/// Everything suspicious, one a line: "file:line: expected ..., but got ...".
struct Complaints {
  std::vector<std::string> lines;

  void add(
      const std::string& where,
      const std::string& expected,
      const std::string& got) {
    lines.push_back(where + ": expected " + expected + ", but got " + got);
  }
};

/// A picture as a format tells of it. Its `path` is the format's name for it;
/// an empty `label` means that its boxes' labels are its own.
struct Told : trainer::Row {
  cv::Size size; ///< the format's word for it; empty: none
  bool fractions = false; ///< boxes are shares of width and height
  std::string exif; ///< apply, ignore; empty: nobody said
  bool is_old = false; ///< of the manifest that is added to
  /// Its file has annotations: if none of them is a box that can be read, it is
  /// no picture without a lesion.
  bool is_annotated = false;
};

/// The pictures of a folder, by the names that annotations give them; those in
/// a folder of masks within it are none.
class Pictures {
 public:
  Pictures(
      const std::filesystem::path& folder,
      const std::filesystem::path& masks);
  /// The files that a name may mean, with or without its ending: the one of
  /// that path in the folder, else those whose path ends with the name or is
  /// the end of it.
  std::vector<std::filesystem::path> find(const std::string& name) const;
  const std::vector<trainer::Row>& rows() const {
    return rows_;
  }

 private:
  using Places = std::set<size_t>; // in rows_

  std::vector<trainer::Row> rows_;
  std::map<std::string, Places> places_; // by the files' names
};

/// What a format reads.
struct Source {
  std::filesystem::path input; ///< the annotations: a file or a folder
  std::filesystem::path more; ///< a second file; which, the command says
  bool from_one = false; ///< pixels count from 1, and a box holds its last one
  Pictures pictures;
};

// The formats. They throw where nothing at all can be read.
std::vector<Told> read_voc(const Source& source, Complaints& suspicious);
std::vector<Told> read_coco(const Source& source, Complaints& suspicious);
std::vector<Told> read_yolo(const Source& source, Complaints& suspicious);
std::vector<Told> read_isic(const Source& source, Complaints& suspicious);
std::vector<Told> read_rsna(const Source& source, Complaints& suspicious);
std::vector<Told> read_nih(const Source& source, Complaints& suspicious);
std::vector<Told> read_vindr(const Source& source, Complaints& suspicious);
std::vector<Told> read_folder(const Source& source, Complaints& suspicious);

/// The whole file, without a byte order mark. Throws std::runtime_error where
/// it cannot be read.
std::string text_of(const std::filesystem::path& file);

/// The files of a folder with that ending, at any depth, sorted. Throws
/// std::runtime_error if there are none.
std::vector<std::filesystem::path> files_of(
    const std::filesystem::path& folder,
    const std::string& ending);

/// Four fields of a line as numbers. Complains and returns false where they are
/// none.
bool parse_box(
    const trainer::Csv& csv,
    const trainer::Csv::Line& line,
    const std::array<std::string, 4>& columns,
    Box& box,
    Complaints& suspicious);

/// What the user's own table says of the pictures; those it does not name go.
std::vector<Told> with_table(
    const std::filesystem::path& file,
    const std::vector<Told>& told,
    Complaints& suspicious);

/// The pictures that can be read, their boxes in pixels of the stored picture
/// and cut at its border. `told` has its `file` and `mask`; a new picture
/// without boxes gets those round the connected parts of its mask that cover at
/// least `least_part` of the picture.
///
/// Complains of a picture that is missing or damaged, or of another size than
/// told; of an EXIF orientation that nobody spoke of; of boxes that are empty
/// or outside; of a mask that cannot be read, is empty, of another size, of the
/// turned picture or another picture's, too; of one file under two names, two
/// files with one content, and a group, or a content, in two parts.
std::vector<Told> check(
    std::vector<Told> told,
    double least_part,
    Complaints& suspicious);

} // namespace make_manifest

#endif // CARE_EXAMPLES_MAKE_MANIFEST_FORMATS_HPP
