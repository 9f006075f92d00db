// DICOM files as 8-bit RGB, by GDCM: compiled only where it is installed.
// SPDX-License-Identifier: Apache-2.0
#include "dicom.hpp"

#include <opencv2/imgproc.hpp>

#include <gdcmAttribute.h>
#include <gdcmImageReader.h>
#include <gdcmSequenceOfItems.h>
#include <gdcmTrace.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace trainer {
namespace {

/// How stored samples become what is shown, 0 to 1.
struct Window {
  double slope = 1, intercept = 0;
  double centre = 0, width = 0; // 0: none
  std::string function;
  bool inverted = false;

  double show(double sample) const {
    const double x = sample * slope + intercept;
    double share = 0;
    if (function == "SIGMOID") {
      share = 1 / (1 + std::exp(-4 * (x - centre) / width));
    } else if (function == "LINEAR_EXACT") {
      share = (x - centre) / width + .5;
    } else if (width > 1) {
      share = (x - (centre - .5)) / (width - 1) + .5;
    } else { // a threshold
      share = x > centre - .5 ? 1 : 0;
    }
    share = std::clamp(share, 0., 1.);
    return inverted ? 1 - share : share;
  }
};

/// Whether all elements up to the end of the pixels are there (PS3.5 7.1). Over
/// many a file that is cut off Debian's GDCM ends the program: it is built with
/// its assertions. What is compressed as a whole (deflated) is not looked into.
bool is_whole(const std::vector<unsigned char>& bytes) {
  std::string syntax; // of what follows the first group, which is explicit
  bool little = true, in_pixels = false;
  int unknown = 0; // how deep inside an open element UN: implicit (PS3.5 6.2.2)
  for (size_t at = 132; at + 8 <= bytes.size();) {
    const auto number = [&](size_t from, size_t size) {
      size_t value = 0;
      for (size_t i = 0; i < size && from + size <= bytes.size(); ++i) {
        value = value << 8U | bytes[little ? from + size - 1 - i : from + i];
      }
      return value;
    };
    little = true;
    if (number(at, 2) != 2) {
      little = syntax != "1.2.840.10008.1.2.2";
      if (syntax == "1.2.840.10008.1.2.1.99") {
        return true;
      }
    }
    const auto group = number(at, 2), element = number(at + 2, 2);
    const bool item = group == 0xfffe; // these tell no type
    const bool implicit =
        item || unknown > 0 || (group != 2 && syntax == "1.2.840.10008.1.2");
    const std::string type(
        bytes.begin() + std::ptrdiff_t(at) + 4,
        bytes.begin() + std::ptrdiff_t(at) + 6);
    const bool wide = !implicit &&
        std::string("OB OD OF OL OV OW SQ SV UC UN UR UT UV").find(type) !=
            std::string::npos;
    const size_t start = at + (wide ? 12 : 8);
    const auto length = implicit ? number(at + 4, 4)
        : wide                   ? number(at + 8, 4)
                                 : number(at + 6, 2);
    if (start > bytes.size()) {
      return false;
    }
    if (in_pixels && item && element == 0xe0dd) {
      return true;
    }
    const bool open = length == 0xffffffff; // its end is marked: go inside
    if (!open && length > bytes.size() - start) {
      return false;
    }
    if (item && element == 0xe0dd && unknown > 0) {
      --unknown;
    } else if (open && !item && (unknown > 0 || (!implicit && type == "UN"))) {
      ++unknown;
    }
    const bool pixels = group == 0x7fe0 && element == 0x0010;
    if (pixels && !open) {
      return true;
    }
    in_pixels = in_pixels || pixels;
    if (group == 2 && element == 0x0010) {
      if (open) {
        return false;
      }
      const auto from = bytes.begin() + std::ptrdiff_t(start);
      syntax.assign(from, from + std::ptrdiff_t(length));
      syntax.erase(std::min(syntax.find('\0'), syntax.size()));
    }
    at = open ? start : start + length;
  }
  return false;
}

/// The first value of an attribute, `none` where the file has none or blanks.
template <uint16_t Group, uint16_t Element>
double first_of(const gdcm::DataSet& set, double none) {
  gdcm::Attribute<Group, Element> attribute;
  const auto* value = set.GetDataElement(attribute.GetTag()).GetByteValue();
  if (value == nullptr ||
      std::string(value->GetPointer(), value->GetLength())
              .find_first_not_of(' ') == std::string::npos) {
    return none;
  }
  attribute.SetFromDataSet(set);
  return attribute.GetNumberOfValues() > 0 ? attribute.GetValues()[0] : none;
}

/// Whether the file has that sequence, and something in it.
bool has_items(const gdcm::DataSet& set, const gdcm::Tag& tag) {
  const auto& found = set.GetDataElement(tag);
  if (found.IsEmpty()) {
    return false;
  }
  const auto* items =
      dynamic_cast<const gdcm::SequenceOfItems*>(&found.GetValue());
  return items == nullptr || items->GetNumberOfItems() > 0;
}

} // namespace

cv::Mat read_dicom(
    const std::filesystem::path& file,
    const std::vector<unsigned char>& bytes) {
  const auto fail = [&](const std::string& reason) {
    throw std::runtime_error(
        file.string() + ": expected a picture, but it " + reason);
  };
  static const bool silent = [] { // we say it ourselves, with the file's name
    gdcm::Trace::WarningOff();
    gdcm::Trace::ErrorOff();
    return true;
  }();
  gdcm::ImageReader reader;
  reader.SetFileName(file.c_str());
  if (!silent || !is_whole(bytes) || !reader.Read()) {
    fail("is damaged DICOM, or of a kind that GDCM does not decode");
  }
  const auto& image = reader.GetImage();
  const auto& set = reader.GetFile().GetDataSet();
  const auto has = [&](uint16_t group, uint16_t element) {
    return set.FindDataElement(gdcm::Tag(group, element));
  };
  const auto format = image.GetPixelFormat();
  const unsigned bits = format.GetBitsStored();
  const unsigned allocated = format.GetBitsAllocated();
  const auto kind = image.GetPhotometricInterpretation();
  using Kind = gdcm::PhotometricInterpretation;
  const bool grey = kind == Kind::MONOCHROME1 || kind == Kind::MONOCHROME2;
  if (image.GetNumberOfDimensions() > 2 && image.GetDimension(2) > 1) {
    fail(
        "is DICOM of " + std::to_string(image.GetDimension(2)) +
        " frames: export the one that is meant");
  }
  const bool ycbcr = kind == Kind::YBR_FULL || kind == Kind::YBR_FULL_422;
  const bool colour = kind == Kind::RGB || ycbcr || kind == Kind::YBR_ICT ||
      kind == Kind::YBR_RCT; // of JPEG 2000, which gives RGB
  if (!(grey || colour) || format.GetSamplesPerPixel() != (grey ? 1 : 3) ||
      (allocated != 8 && (allocated != 16 || !grey)) || bits > allocated) {
    fail(
        std::string("is DICOM of the kind ") + kind.GetString() + ", " +
        std::to_string(allocated) + " bits: export it as PNG");
  }
  if (has_items(set, {0x0028, 0x3000}) ||
      (has_items(set, {0x0028, 0x3010}) &&
       !has(0x0028, 0x1050))) { // PS3.3 C.11.1, C.11.2
    fail("is DICOM with a lookup table: export it as PNG");
  }

  // Of the file, not of `format`: a codec may have set that to what it found.
  const double said = first_of<0x0028, 0x0101>(set, bits);
  const double high_bit = first_of<0x0028, 0x0102>(set, said - 1);
  if (high_bit != said - 1) {
    fail(
        "is DICOM whose highest bit is " +
        std::to_string(static_cast<int>(high_bit)) + " of " +
        std::to_string(static_cast<int>(said)) + ": export it as PNG");
  }

  const auto area = size_t{image.GetDimension(0)} * image.GetDimension(1);
  constexpr size_t kMost = size_t{1} << 30; // as OpenCV for other files
  if (area > kMost) {
    fail(
        "is DICOM of " + std::to_string(image.GetDimension(0)) + " x " +
        std::to_string(image.GetDimension(1)) + " pixels, which is too large");
  }
  const auto* stored = image.GetDataElement().GetByteValue(); // uncompressed
  const bool short_of_it = stored != nullptr && kind != Kind::YBR_FULL_422 &&
      stored->GetLength() < area * format.GetPixelSize();
  std::vector<char> buffer(short_of_it ? 0 : image.GetBufferLength());
  if (short_of_it || buffer.size() < area * format.GetPixelSize() ||
      !image.GetBuffer(buffer.data())) {
    fail("is DICOM whose samples are damaged or cut off");
  }
  const int width = static_cast<int>(image.GetDimension(0));
  const int height = static_cast<int>(image.GetDimension(1));
  cv::Mat rgb;
  if (!grey) {
    if (image.GetPlanarConfiguration() == 1) {
      std::vector<cv::Mat> planes;
      for (size_t i = 0; i < 3; ++i) {
        planes.emplace_back(
            height, width, CV_8U, buffer.data() + i * (buffer.size() / 3));
      }
      cv::merge(planes, rgb);
    } else {
      rgb = cv::Mat(height, width, CV_8UC3, buffer.data()).clone();
    }
    if (ycbcr) {
      cv::Mat swapped; // OpenCV has the two differences the other way round
      const int order[] = {0, 0, 1, 2, 2, 1};
      swapped.create(rgb.size(), rgb.type());
      cv::mixChannels(&rgb, 1, &swapped, 1, order, 3);
      cv::cvtColor(swapped, rgb, cv::COLOR_YCrCb2RGB);
    }
    return rgb;
  }

  // A sample's stored bits are a place in the table of what is shown.
  std::vector<int32_t> places(area);
  const int32_t count = int32_t{1} << bits;
  for (size_t i = 0; i < places.size(); ++i) {
    const auto* octets = reinterpret_cast<const unsigned char*>(buffer.data());
    const auto* words = reinterpret_cast<const uint16_t*>(buffer.data());
    places[i] = (allocated == 8 ? octets[i] : words[i]) & (count - 1);
  }
  const bool has_sign = format.GetPixelRepresentation() == 1;
  const auto sample = [&](int32_t place) {
    return place - (has_sign && place >= count / 2 ? count : 0);
  };
  Window window;
  window.slope = first_of<0x0028, 0x1053>(set, 1);
  window.intercept = first_of<0x0028, 0x1052>(set, 0);
  window.centre = first_of<0x0028, 0x1050>(set, 0);
  window.width = first_of<0x0028, 0x1051>(set, 0);
  window.inverted = kind == Kind::MONOCHROME1;
  if (has(0x0028, 0x1056)) {
    gdcm::Attribute<0x0028, 0x1056> function;
    function.SetFromDataSet(set);
    window.function = function.GetValue().Trim();
  }
  if (!(window.width > 0)) {
    int32_t least = 0, most = 255;
    if (bits != 8 || has_sign) {
      const auto lower = [&](int32_t a, int32_t b) {
        return sample(a) < sample(b);
      };
      const auto ends =
          std::minmax_element(places.begin(), places.end(), lower);
      least = sample(*ends.first);
      most = sample(*ends.second);
    }
    window.inverted = window.inverted != (window.slope < 0);
    window.slope = 1;
    window.intercept = 0;
    window.function = "LINEAR_EXACT";
    window.width = std::max(most - least, 1);
    window.centre = least + window.width / 2;
  }
  std::vector<uchar> table;
  for (int32_t place = 0; place < count; ++place) {
    table.push_back(
        static_cast<uchar>(std::nearbyint(255 * window.show(sample(place)))));
  }
  cv::Mat shown(height, width, CV_8U);
  std::transform(places.begin(), places.end(), shown.data, [&](int32_t place) {
    return table[static_cast<size_t>(place)];
  });
  cv::cvtColor(shown, rgb, cv::COLOR_GRAY2RGB);
  return rgb;
}

} // namespace trainer
