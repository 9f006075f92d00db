// Picture files of any depth and format as 8-bit RGB, and lesion masks.
// SPDX-License-Identifier: Apache-2.0
#include "picture.hpp"

#include "dicom.hpp"
#include "files.hpp"
#include "tiff.hpp"

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace trainer {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<unsigned char>;

constexpr const char* kJpeg = "\xff\xd8"; // what one begins with

bool begins_with(const Bytes& bytes, std::string_view mark, size_t from = 0) {
  return bytes.size() >= from + mark.size() &&
      std::equal(
             mark.begin(),
             mark.end(),
             bytes.begin() + from,
             [](char a, unsigned char b) {
               return static_cast<unsigned char>(a) == b;
             });
}

/// OpenCV decodes a JPEG that ends too early and fills the rest with grey: look
/// for the end marker of the picture's own scans. What stands behind it (the
/// film of a motion photo) is none of ours.
bool is_cut_off_jpeg(const Bytes& bytes) {
  if (!begins_with(bytes, kJpeg)) {
    return false;
  }
  for (size_t at = 2; at + 1 < bytes.size();) {
    if (bytes[at] != 0xff) {
      ++at; // a scan's data
      continue;
    }
    const auto marker = bytes[at + 1];
    if (marker == 0xd9) {
      return false;
    }
    const bool alone = marker <= 0x01 || (marker >= 0xd0 && marker <= 0xd8);
    if (alone || marker == 0xff) {
      at += marker == 0xff ? 1 : 2;
    } else if (at + 3 < bytes.size()) {
      at += 2 + (size_t{bytes[at + 2]} << 8U | bytes[at + 3]);
    } else {
      return true;
    }
  }
  return true;
}

/// Whether it is of a kind whose black may be not quite black: JPEG, JPEG 2000,
/// or WebP but for its plain lossless kind (with metadata it counts as lossy).
bool may_lose(const Bytes& bytes) {
  return begins_with(bytes, kJpeg) || begins_with(bytes, "jP  \r\n", 4) ||
      begins_with(bytes, "\xff\x4f\xff\x51") ||
      (begins_with(bytes, "RIFF") && begins_with(bytes, "WEBP", 8) &&
       !begins_with(bytes, "VP8L", 12));
}

/// The significant bits a sample that a PNG names (its chunk sBIT), the most of
/// its colours; 0: it names none.
int significant_bits(const Bytes& bytes) {
  const auto number = [&](size_t at) {
    return size_t{bytes[at]} << 24U | size_t{bytes[at + 1]} << 16U |
        size_t{bytes[at + 2]} << 8U | bytes[at + 3];
  };
  if (!begins_with(bytes, "\x89PNG\r\n\x1a\n")) {
    return 0;
  }
  for (size_t at = 8; at + 12 <= bytes.size();) {
    const auto length = number(at);
    if (begins_with(bytes, "IDAT", at + 4) || length > bytes.size() - at - 12) {
      return 0;
    }
    if (begins_with(bytes, "sBIT", at + 4) && length > 0) {
      const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(at + 8);
      const auto colours = length - (length + 1) % 2; // alpha is last
      return *std::max_element(
          from, from + static_cast<std::ptrdiff_t>(colours));
    }
    at += 12 + length;
  }
  return 0;
}

/// Whether 16-bit samples hold `bits` bits in their upper part, as PNG wants
/// them (shifted up, or with the upper bits repeated below).
bool is_scaled_up(const cv::Mat& samples, int bits) {
  const int spare = 16 - bits;
  const uint16_t low =
      static_cast<uint16_t>((1U << static_cast<unsigned>(spare)) - 1);
  const cv::Mat flat = samples.reshape(1);
  return std::all_of(
      flat.begin<uint16_t>(), flat.end<uint16_t>(), [&](uint16_t x) {
        const auto below = static_cast<uint16_t>(x & low);
        return below == 0 || below == static_cast<uint16_t>((x >> bits) & low);
      });
}

/// Samples of more than 8 bits to bytes.
cv::Mat to_bytes(const cv::Mat& picture, int bits, const fs::path& file) {
  double least = 0, most = 65535;
  if (picture.depth() == CV_16U && bits > 0 && bits <= 16) {
    if (!is_scaled_up(picture, bits)) {
      most = static_cast<double>((1 << bits) - 1);
    }
  } else {
    cv::minMaxLoc(picture.reshape(1), &least, &most);
    if (!cv::checkRange(picture)) {
      throw std::runtime_error(
          file.string() + ": expected finite samples, but got others");
    }
    static std::atomic<bool> said{false};
    if (!said.exchange(true)) {
      std::cerr << "note: " << file.string() << " has more than 8 bits a sample"
                << " and does not say how many count: pictures like it are"
                << " brought to bytes from their least to their largest"
                << " sample, here " << least << " to " << most << '\n';
    }
  }
  cv::Mat bytes;
  const double scale = most > least ? 255 / (most - least) : 0;
  picture.convertTo(bytes, CV_8U, scale, -least * scale);
  return bytes;
}

/// What OpenCV makes of a file, as it is stored: of a TIFF it would turn the
/// picture (its tag is set to none), and read some kinds wrongly. Throws
/// std::runtime_error that says what is wrong.
cv::Mat decoded(Bytes& bytes) {
  TiffTags tags(bytes);
  tags.set_first(tags.kOrientation, 1);
  if (tags.first(tags.kBits, 8) > 8 &&
      ((tags.first(tags.kPlanar, 1) == 2 && tags.first(tags.kSamples, 1) > 1) ||
       tags.first(tags.kPhotometric, 1) == 0)) {
    throw std::runtime_error(
        "is a TIFF of more than 8 bits in planes or with 0 as white, which is "
        "not read: save it as PNG");
  }
  cv::Mat picture;
  std::string reason;
  try {
    picture = cv::imdecode(bytes, cv::IMREAD_UNCHANGED);
  } catch (const cv::Exception& error) {
    reason = " (OpenCV: " + error.err + ")";
  }
  if (picture.empty()) {
    throw std::runtime_error(
        "is damaged, too large or in an unknown format" + reason);
  }
  return picture;
}

Bytes read_bytes(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary | std::ios::ate);
  if (!stream || !fs::is_regular_file(file)) {
    throw std::runtime_error(
        file.string() + ": expected a picture, but it cannot be opened");
  }
  Bytes bytes(static_cast<size_t>(stream.tellg()));
  stream.seekg(0);
  stream.read(
      reinterpret_cast<char*>(bytes.data()),
      static_cast<std::streamsize>(bytes.size()));
  if (!stream) {
    throw std::runtime_error(
        file.string() + ": expected a picture, but reading it failed");
  }
  return bytes;
}

} // namespace

cv::Mat read_picture(const fs::path& file) {
  const auto fail = [&](const std::string& reason) {
    throw std::runtime_error(
        file.string() + ": expected a picture, but it " + reason);
  };
  auto bytes = read_bytes(file);
  if (begins_with(bytes, "DICM", 128)) {
#ifdef RESNET_TRAINER_GDCM
    return read_dicom(file, bytes); // OpenCV knows no window
#else
    fail(
        "is DICOM, which this program was built without: install libgdcm-dev "
        "and configure and build it anew");
#endif
  }
  if (is_cut_off_jpeg(bytes)) {
    fail("is a JPEG that ends too early");
  }
  cv::Mat picture;
  try {
    picture = decoded(bytes);
  } catch (const std::runtime_error& error) {
    fail(error.what());
  }
  if (picture.channels() == 4) { // alpha has no say in what the colours are
    cv::Mat colours(picture.size(), CV_MAKETYPE(picture.depth(), 3));
    const int order[] = {0, 0, 1, 1, 2, 2};
    cv::mixChannels(&picture, 1, &colours, 1, order, 3);
    picture = colours;
  }
  if (picture.channels() != 1 && picture.channels() != 3) {
    fail("has " + std::to_string(picture.channels()) + " channels");
  }
  if (picture.depth() != CV_8U) {
    picture = to_bytes(picture, significant_bits(bytes), file);
  }
  cv::cvtColor(
      picture,
      picture,
      picture.channels() == 1 ? cv::COLOR_GRAY2RGB : cv::COLOR_BGR2RGB);
  return picture;
}

cv::Mat read_mask(const fs::path& file, cv::Size size) {
  const auto fail = [&](const std::string& expected, const std::string& got) {
    throw std::runtime_error(
        file.string() + ": expected " + expected + ", but got " + got);
  };
  const auto pixels = [](cv::Size s) {
    return std::to_string(s.width) + " x " + std::to_string(s.height);
  };
  cv::Mat mask;
  bool lossy = false;
  std::string reason;
  std::error_code none_there;
  try {
    if (fs::is_regular_file(file, none_there)) {
      auto bytes = read_bytes(file);
      lossy = may_lose(bytes);
      mask = decoded(bytes);
    }
  } catch (const std::runtime_error& error) {
    reason = std::string(" (it ") + error.what() + ")";
  }
  if (size == cv::Size()) {
    size = mask.size();
  }
  if (mask.empty() || mask.size() != size) {
    fail(
        "a mask of " + pixels(size) + " pixels",
        mask.empty() ? "none that can be read" + reason : pixels(mask.size()));
  }
  std::vector<cv::Mat> channels;
  cv::split(mask, channels);
  cv::Mat lesion(size, CV_8U, cv::Scalar(0));
  const int half = mask.depth() == CV_16U ? 32768 : 128;
  for (size_t c = 0; c < channels.size() && c < 3; ++c) {
    lesion |= lossy ? channels[c] >= half : channels[c] != 0;
  }
  if (channels.size() == 4 && cv::countNonZero(lesion) % size.area() == 0 &&
      cv::countNonZero(channels[3]) % size.area() != 0) {
    fail(
        "a lesion in another colour than the rest",
        "one that only its transparency tells; save it without alpha");
  }
  return lesion;
}

cv::Mat resized(const cv::Mat& picture, cv::Size size) {
  // OpenCV takes means over areas only where both sides shrink.
  const cv::Size within(
      std::min(size.width, picture.cols), std::min(size.height, picture.rows));
  cv::Mat shrunk, result;
  cv::resize(picture, shrunk, within, 0, 0, cv::INTER_AREA);
  if (within == size) {
    return shrunk;
  }
  cv::resize(shrunk, result, size, 0, 0, cv::INTER_LINEAR);
  return result;
}

void write_picture(const fs::path& path, const cv::Mat& rgb) {
  if (!cv::haveImageWriter(path.string())) {
    throw std::runtime_error(
        path.string() + ": expected a picture's ending, such as .png");
  }
  cv::Mat bgr;
  cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
  Bytes bytes;
  cv::imencode(path.extension().string(), bgr, bytes);
  write_atomically(
      path,
      {reinterpret_cast<const char*>(bytes.data()), bytes.size()},
      /*durable=*/false); // there may be thousands
}

} // namespace trainer
