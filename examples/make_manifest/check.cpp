// Looks at every picture that a format tells of.
// SPDX-License-Identifier: Apache-2.0
#include "common/csv.hpp"
#include "common/progress.hpp"
#include "make_manifest/formats.hpp"
#include "make_manifest/orientation.hpp"
#include "resnet_trainer/files.hpp"
#include "resnet_trainer/picture.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join
#include <opencv2/core/utility.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <cmath>
#include <exception>
#include <mutex>

namespace make_manifest {
namespace {

namespace fs = std::filesystem;
using trainer::Row;

std::string pixels(cv::Size size) {
  return fmt::format("{} x {} pixels", size.width, size.height);
}

/// Boxes round the connected parts of a mask, the largest first.
void add_parts(Told& told, const cv::Mat& mask, double least_part) {
  cv::Mat labels, figures, middles;
  const int count =
      cv::connectedComponentsWithStats(mask, labels, figures, middles);
  std::vector<cv::Vec<int, 5>> parts; // x, y, width, height, area
  for (int i = 1; i < count; ++i) {
    parts.emplace_back(figures.ptr<int>(i));
  }
  std::stable_sort(
      parts.begin(), parts.end(), [](auto& a, auto& b) { return a[4] > b[4]; });
  for (const auto& part : parts) {
    const double x = part[0], y = part[1];
    if (part[4] >= least_part * mask.size().area() || &part == &parts[0]) {
      told.boxes.push_back(
          {{x, y, x + part[2], y + part[3]}, told.mask.string(), ""});
    }
  }
}

/// Whether nothing of the box is left in the digits that a manifest has.
bool is_empty(const Box& box) {
  const auto same = [](double a, double b) {
    return common::csv_number(a) == common::csv_number(b);
  };
  return !(box[0] < box[2] && box[1] < box[3]) || same(box[0], box[2]) ||
      same(box[1], box[3]);
}

/// The boxes brought to the stored picture; those that are none go.
void settle_boxes(
    Told& told,
    cv::Size stored,
    int orientation,
    Complaints& suspicious) {
  const auto meant = turned(stored, orientation);
  std::vector<trainer::LesionBox> kept;
  for (auto region : told.boxes) {
    auto& box = region.xyxy;
    auto cut = box;
    double beyond = 0;
    for (size_t i = 0; i < 4; ++i) {
      const double length = i % 2 == 0 ? meant.width : meant.height;
      box[i] *= told.fractions ? length : 1;
      cut[i] = std::clamp(box[i], 0.0, length);
      beyond = std::max(beyond, std::abs(box[i] - cut[i]));
    }
    cut = as_stored(cut, stored, orientation);
    const bool inverted = is_empty(box);
    const bool lost = inverted || is_empty(cut);
    if (lost || beyond > 0.5) { // less is rounding
      suspicious.add(
          region.where,
          inverted ? "xmin < xmax and ymin < ymax"
                   : "a box on the picture of " + pixels(meant),
          fmt::format(
              "{:.6g}, which is {}",
              fmt::join(box, ", "),
              lost ? "left out" : "cut"));
    }
    box = cut;
    if (!lost) {
      kept.push_back(region);
    }
  }
  told.boxes = kept;
}

/// Looks at one picture. Returns a fingerprint of its pixels, "" where it
/// cannot be read.
std::string look(Told& told, double least_part, Complaints& suspicious) {
  cv::Mat picture;
  try {
    picture = trainer::read_picture(told.file);
  } catch (const std::exception& error) { // nothing leaves a thread
    suspicious.lines.push_back(told.where + ": " + error.what());
    return "";
  }
  int orientation = orientation_of(trainer::read_file(told.file));
  if (orientation != 1 && told.exif.empty()) {
    suspicious.add(
        told.where,
        "a picture that is not to be turned",
        fmt::format(
            "EXIF orientation {}: say --exif apply for boxes on the turned "
            "picture, --exif ignore for boxes on the stored one",
            orientation));
  }
  orientation = told.exif == "apply" ? orientation : 1;
  const auto meant = turned(picture.size(), orientation);
  if (!told.size.empty() && told.size != meant) {
    suspicious.add(
        told.where,
        "a picture of " + pixels(told.size) + " as it says",
        pixels(meant));
  }
  if (!told.mask.empty()) {
    try {
      const auto mask = trainer::read_mask(told.mask, meant);
      if (told.boxes.empty() && !told.is_old) {
        told.fractions = false; // what comes are pixels
        add_parts(told, mask, least_part);
      }
      if (cv::countNonZero(mask) == 0) {
        suspicious.add(told.mask.string(), "a lesion", "an empty mask");
        told.mask.clear();
      } else if (orientation != 1) { // the trainer does not turn it back
        suspicious.add(
            told.where,
            "a mask of the picture as stored",
            told.mask.string() + " of the turned one, which is left out");
        told.mask.clear();
      }
    } catch (const std::exception& error) {
      suspicious.lines.push_back(error.what());
      told.mask.clear();
    }
  }
  settle_boxes(told, picture.size(), orientation, suspicious);
  const std::string_view bytes(
      reinterpret_cast<const char*>(picture.data),
      picture.total() * picture.elemSize());
  return pixels(picture.size()) + trainer::fingerprint(bytes);
}

/// Complains where one key has several rows, or rows in several parts.
class Keys {
 public:
  void see(
      const std::string& key,
      const Row& row,
      bool only_parts,
      const std::string& what,
      Complaints& suspicious) {
    const auto& first = *first_.emplace(key, &row).first->second;
    const auto part = [](const Row& of) { return of.split + of.fold; };
    const bool parted = part(row) != part(first);
    if (!key.empty() && &first != &row && (!only_parts || parted)) {
      suspicious.add(
          row.where,
          what,
          fmt::format(
              "that of {}, {}{}",
              first.where,
              first.path,
              parted
                  ? fmt::format(
                        ", in two parts: '{}' and '{}'", part(first), part(row))
                  : ""));
    }
  }

 private:
  std::map<std::string, const Row*> first_;
};

/// Complains of what the trainer would refuse in a manifest.
void check_words(const Told& row, Complaints& suspicious) {
  for (const auto& [expected, got] : trainer::faults_of(row)) {
    suspicious.add(row.where, expected, got);
  }
  if (trainer::utf8_end(row.label) < row.label.size()) { // boxes' are of it
    suspicious.add(row.where, "a label in UTF-8", "other bytes");
  }
  for (const auto& region : row.boxes) {
    if (region.label.find('|') != std::string::npos) {
      suspicious.add(
          region.where, "a box's label without '|'", "'" + region.label + "'");
    }
  }
}

} // namespace

std::vector<Told> check(
    std::vector<Told> told,
    double least_part,
    Complaints& suspicious) {
  const auto count = told.size();
  std::vector<std::string> content(count);
  std::vector<Complaints> own(count); // in the order of the pictures
  std::mutex mutex;
  common::Progress progress("looking at pictures", int64_t(count));
  cv::parallel_for_(cv::Range(0, int(count)), [&](const cv::Range& range) {
    for (auto i = size_t(range.start); i < size_t(range.end); ++i) {
      content[i] = look(told[i], least_part, own[i]);
      const std::lock_guard<std::mutex> lock(mutex);
      progress.advance(1);
    }
  });
  progress.finish();

  std::vector<Told> rows;
  std::map<fs::path, size_t> places; // of the files, in told
  Keys contents, groups, masks;
  for (size_t i = 0; i < count; ++i) {
    auto& lines = suspicious.lines;
    lines.insert(lines.end(), own[i].lines.begin(), own[i].lines.end());
    if (content[i].empty()) {
      continue;
    }
    const auto& row = told[i];
    check_words(row, suspicious);
    const auto [first, is_new] =
        places.emplace(fs::weakly_canonical(row.file), i);
    if (!is_new) {
      suspicious.add(
          row.where,
          "a picture of its own",
          fmt::format(
              "'{}', which is '{}' of {}; this line is left out",
              row.path,
              told[first->second].path,
              told[first->second].where));
      continue;
    }
    contents.see(content[i], row, false, "a content of its own", suspicious);
    groups.see(row.group, row, true, "a group in one part", suspicious);
    masks.see(row.mask.string(), row, false, "a mask of its own", suspicious);
    rows.push_back(row);
  }
  return rows;
}

} // namespace make_manifest
