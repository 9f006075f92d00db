// Tests of the trainer's picture reader: what people's files are like.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"

#include "resnet_trainer/files.hpp"
#include "resnet_trainer/picture.hpp"

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace {

using care_test::contains;
using care_test::error_of;
using care_test::read_text;
using care_test::write_text;
using trainer::read_picture;

std::string encoded(const std::string& kind, const cv::Mat& picture) {
  std::vector<uchar> bytes;
  cv::imencode(kind, picture, bytes);
  return {bytes.begin(), bytes.end()};
}

/// A JPEG of some grain, so that its scan is longer than a few bytes.
std::string jpeg() {
  cv::Mat picture(48, 64, CV_8UC3);
  cv::randu(picture, 0, 255);
  return encoded(".jpg", picture);
}

uint32_t crc_of(const std::string& bytes) {
  uint32_t crc = 0xffffffff;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) {
      crc = crc >> 1U ^ (crc & 1U ? 0xedb88320 : 0);
    }
  }
  return ~crc;
}

/// The PNG with a chunk that says how many bits of each channel count.
std::string with_significant_bits(std::string png, const std::string& bits) {
  const auto number = [](uint32_t n) {
    return std::string{
        static_cast<char>(n >> 24U),
        static_cast<char>(n >> 16U),
        static_cast<char>(n >> 8U),
        static_cast<char>(n)};
  };
  const auto length = static_cast<uint32_t>(bits.size());
  const auto chunk = "sBIT" + bits;
  return png.insert(33, number(length) + chunk + number(crc_of(chunk)));
}

/// Ground with a square lesion, 16 bits a sample.
cv::Mat deep(uint16_t ground, uint16_t lesion) {
  cv::Mat picture(32, 32, CV_16U, cv::Scalar(ground));
  picture(cv::Rect(8, 8, 8, 8)) = lesion;
  return picture;
}

int at(const cv::Mat& rgb, int y, int x) {
  return rgb.at<cv::Vec3b>(y, x)[0];
}

} // namespace

TEST_CASE("picture: reads every format as RGB of 8 bits, as it is stored") {
  const care_test::Folder folder;
  cv::Mat bgr(8, 12, CV_8UC3, cv::Scalar(10, 100, 200));
  for (const char* kind : {".png", ".bmp", ".tiff", ".webp", ".jpg"}) {
    CAPTURE(kind);
    const auto file = folder.path / (std::string("a") + kind);
    write_text(file, encoded(kind, bgr));
    const auto rgb = read_picture(file);
    REQUIRE(rgb.type() == CV_8UC3);
    CHECK(rgb.size() == cv::Size(12, 8));
    CHECK(std::abs(at(rgb, 4, 4) - 200) < 8);
  }
  cv::Mat grey(4, 4, CV_8U, cv::Scalar(77)),
      alpha(4, 4, CV_8UC4, cv::Scalar(1, 2, 3, 0));
  CHECK(
      at(read_picture(write_text(folder.path / "g.png", encoded(".png", grey))),
         0,
         0) == 77);
  CHECK(
      at(read_picture(
             write_text(folder.path / "t.png", encoded(".png", alpha))),
         0,
         0) == 3);
}

TEST_CASE("picture: a JPEG ends at the end of its own scans") {
  const care_test::Folder folder;
  const auto file = folder.path / "a.jpg";
  const auto whole = jpeg();
  // The film of a motion photo: start-of-scan markers, no end marker.
  const std::string film = std::string("ftypmp42\xff\xda\x00\x08", 12) + "abc";
  for (const auto& behind :
       {std::string(), film, film + film, std::string(5000, 'x')}) {
    write_text(file, whole + behind);
    CHECK(read_picture(file).cols == 64);
  }
  // A thumbnail in a segment has an end marker of its own, which is not ours.
  const std::string thumbnail(
      "\xff\xe1\x00\x0a"
      "Exif\xff\xda\xff\xd9",
      12);
  auto cut = whole;
  cut.insert(2, thumbnail).resize(cut.size() - 40);
  write_text(file, cut);
  CHECK(contains(error_of([&] { read_picture(file); }), "ends too early"));
  for (const size_t length :
       {size_t{3}, size_t{100}, whole.size() / 2, whole.size() - 3}) {
    write_text(file, whole.substr(0, length));
    const auto error = error_of([&] { read_picture(file); });
    CHECK(contains(error, "ends too early"));
    CHECK(contains(error, file.string()));
  }
}

TEST_CASE("picture: 16 bits keep what they show") {
  const care_test::Folder folder;
  const auto file = folder.path / "a.png";
  const auto read = [&](const std::string& bytes) {
    return read_picture(write_text(file, bytes));
  };
  // Without a word in the file: from the least sample to the largest.
  for (const auto& [ground, lesion] :
       std::vector<std::pair<uint16_t, uint16_t>>{
           {1540, 1700}, {30000, 30010}, {10, 200}, {0, 65535}}) {
    const auto rgb = read(encoded(".png", deep(ground, lesion)));
    CHECK(at(rgb, 0, 0) == 0);
    CHECK(at(rgb, 12, 12) == 255);
  }
  CHECK(at(read(encoded(".png", deep(9, 9))), 0, 0) == 0); // flat, not NaN
  // 12 significant bits as they came from the device.
  auto rgb =
      read(with_significant_bits(encoded(".png", deep(1540, 1701)), "\x0c"));
  CHECK(at(rgb, 0, 0) == 96); // 1540 / 4095 * 255
  CHECK(at(rgb, 12, 12) == 106);
  // The same scaled up to 16 bits, as PNG wants them.
  rgb = read(with_significant_bits(
      encoded(".png", deep(1540 << 4, 1701 << 4)), "\x0c"));
  CHECK(at(rgb, 0, 0) == 96);
  CHECK(at(rgb, 12, 12) == 106);
  // Alpha, of all 16 bits, is not among the samples.
  cv::Mat clear;
  const auto colour = deep(1540, 1701);
  const cv::Mat opaque(colour.size(), CV_16U, cv::Scalar(65535));
  cv::merge(std::vector<cv::Mat>{colour, colour, colour, opaque}, clear);
  rgb = read(encoded(".png", clear));
  CHECK(at(rgb, 0, 0) == 0);
  CHECK(at(rgb, 12, 12) == 255);
  rgb = read(with_significant_bits(encoded(".png", clear), "\x0c\x0c\x0c\x10"));
  CHECK(at(rgb, 0, 0) == 96);
  CHECK(at(rgb, 12, 12) == 106);
}

TEST_CASE("picture: a mask is a JPEG by its bytes, not by its name") {
  const care_test::Folder folder;
  cv::Mat dot(32, 32, CV_8U, cv::Scalar(0));
  dot(cv::Rect(8, 8, 8, 8)) = 60;
  for (const char* name : {"m.jpg", "m.jp2", "m.png"}) {
    CAPTURE(name);
    const auto file = write_text(folder.path / name, encoded(".png", dot));
    CHECK(cv::countNonZero(trainer::read_mask(file, {32, 32})) == 64);
  }
  cv::Mat half(32, 32, CV_8U, cv::Scalar(0));
  half.colRange(0, 13).setTo(255);
  std::vector<uchar> bytes;
  cv::imencode(".jpg", half, bytes, {cv::IMWRITE_JPEG_QUALITY, 50});
  const auto file =
      write_text(folder.path / "m.png", {bytes.begin(), bytes.end()});
  CHECK(cv::countNonZero(trainer::read_mask(file, {32, 32})) == 13 * 32);
}

TEST_CASE("picture: a mask of any lossy kind is lesion from half of white on") {
  const care_test::Folder folder;
  const auto count =
      [&](const char* kind, const cv::Mat& mask, const std::vector<int>& how) {
        std::vector<uchar> bytes;
        cv::imencode(kind, mask, bytes, how);
        const auto file =
            write_text(folder.path / "m.png", {bytes.begin(), bytes.end()});
        return cv::countNonZero(trainer::read_mask(file, mask.size()));
      };
  cv::Mat faint(64, 64, CV_8UC3, cv::Scalar(0, 0, 0));
  cv::Mat light = faint.clone();
  faint.colRange(0, 32) = cv::Scalar(9, 9, 9); // as a lossy black may be
  light.colRange(0, 32) = cv::Scalar(250, 250, 250);
  const std::vector<int> lossy{cv::IMWRITE_WEBP_QUALITY, 90};
  CHECK(count(".webp", faint, lossy) == 0);
  CHECK(count(".webp", light, lossy) == 32 * 64);
  CHECK(count(".webp", faint, {cv::IMWRITE_WEBP_QUALITY, 101}) == 32 * 64);
  if (cv::haveImageWriter("m.jp2")) {
    CHECK(count(".jp2", faint, {}) == 0);
    CHECK(count(".jp2", light, {}) == 32 * 64);
  }
}

TEST_CASE("picture: takes samples of floats, refuses infinite ones") {
  const care_test::Folder folder;
  const auto file = folder.path / "a.tiff";
  cv::Mat picture(8, 8, CV_32F, cv::Scalar(-0.5f));
  picture.at<float>(3, 3) = 1.5f;
  write_text(file, encoded(".tiff", picture));
  const auto rgb = read_picture(file);
  CHECK(at(rgb, 0, 0) == 0);
  CHECK(at(rgb, 3, 3) == 255);
  picture.at<float>(0, 0) = std::numeric_limits<float>::infinity();
  write_text(file, encoded(".tiff", picture));
  CHECK(contains(error_of([&] { read_picture(file); }), "finite samples"));
}

TEST_CASE("picture: says what is wrong with a file") {
  const care_test::Folder folder;
  const auto file = folder.path / "a.dcm";
  CHECK(contains(error_of([&] { read_picture(file); }), "cannot be opened"));
  CHECK(contains(
      error_of([&] { read_picture(folder.path); }), "cannot be opened"));
  for (const auto& text : {std::string(), std::string("no picture")}) {
    write_text(file, text);
    CHECK(contains(error_of([&] { read_picture(file); }), "is damaged"));
  }
  write_text(file, std::string(128, '\0') + "DICM" + std::string(200, '\0'));
  CHECK(contains(error_of([&] { read_picture(file); }), "DICOM"));

  const std::filesystem::path large =
      CARE_SHARED "/cases/07-over-a-thousand-megapixels/1.png";
  if (std::filesystem::exists(large)) { // OpenCV's own reason is kept
    CHECK(contains(
        error_of([&] { read_picture(large); }), "CV_IO_MAX_IMAGE_PIXELS"));
  } else {
    WARN("no " << large << ": not tried");
  }
}

namespace {

/// An uncompressed TIFF of 2 x 3 pixels, brighter from left to right and from
/// top to bottom.
std::string tiff(
    uint16_t orientation,
    uint16_t bits = 8,
    uint16_t photometric = 1,
    uint16_t planar = 1,
    uint16_t samples = 1,
    bool big = false) {
  std::string pixels;
  for (uint16_t value = 1; value <= 6 * samples; ++value) {
    pixels += static_cast<char>(value * 40);
    pixels += bits == 16 ? std::string(1, static_cast<char>(value)) : "";
  }
  std::string text =
      big ? std::string("II+\0\x8\0\0\0", 8) : std::string("II*\0", 4);
  const auto add = [&](size_t number, int bytes) {
    for (int i = 0; i < bytes; ++i) {
      text += static_cast<char>(number >> static_cast<unsigned>(8 * i));
    }
  };
  const int wide = big ? 8 : 4; // bytes of an offset
  add(big ? 16 : 8, wide);
  const std::vector<std::pair<size_t, size_t>> tags{
      {256, 2},
      {257, 3},
      {258, bits},
      {259, 1},
      {262, photometric},
      {273, big ? 16 + 8 + 11 * 20 + 8 : 8 + 2 + 11 * 12 + 4},
      {274, orientation},
      {277, samples},
      {278, 3},
      {279, pixels.size()},
      {284, planar}};
  add(tags.size(), big ? 8 : 2);
  for (const auto& [tag, value] : tags) {
    add(tag, 2);
    add(3, 2); // 16 bits
    add(1, wide);
    add(value, wide);
  }
  add(0, wide);
  return text + pixels;
}

} // namespace

TEST_CASE("picture: a TIFF is as it is stored, or refused") {
  const care_test::Folder folder;
  const auto file = folder.path / "a.tif";
  for (uint16_t i = 0; i < 16; ++i) {
    const bool big = i >= 8;
    const auto orientation = static_cast<uint16_t>(i % 8 + 1);
    CAPTURE(orientation, big);
    write_text(file, tiff(orientation, 8, 1, 1, 1, big));
    const auto picture = read_picture(file);
    REQUIRE(picture.size() == cv::Size(2, 3));
    for (int y = 0; y < 3; ++y) {
      for (int x = 0; x < 2; ++x) {
        CHECK(picture.at<cv::Vec3b>(y, x)[0] == 40 * (2 * y + x + 1));
      }
    }
    auto mask = tiff(orientation, 8, 1, 1, 1, big);
    mask[mask.size() - 4] = 0; // the first pixel of the second row
    write_text(file, mask);
    CHECK(cv::countNonZero(trainer::read_mask(file, {2, 3})) == 5);
    CHECK(trainer::read_mask(file, {2, 3}).at<uchar>(1, 0) == 0);
  }
  // Offsets beyond the end, and round it, are read as nothing.
  auto broken = tiff(1, 8, 1, 1, 1, true);
  const auto entry = broken.find(std::string("\x12\x01\x03\0", 4));
  REQUIRE(entry != std::string::npos);
  broken.replace(entry + 4, 16, 16, '\xff');
  broken[entry + 12] = '\xfe';
  write_text(file, broken);
  static_cast<void>(error_of([&] { read_picture(file); }));
  broken = tiff(1, 8, 1, 1, 1, true);
  broken.replace(8, 8, 8, '\xff');
  write_text(file, broken);
  CHECK(contains(error_of([&] { read_picture(file); }), "a.tif: expected a p"));
  // One plane is no matter; several, and white as 0, are read wrongly.
  write_text(file, tiff(1, 16, 1, 2));
  CHECK(read_picture(file).size() == cv::Size(2, 3));
  for (const auto& bad : {tiff(1, 16, 2, 2, 3), tiff(1, 16, 0)}) {
    write_text(file, bad);
    CHECK(contains(
        error_of([&] { read_picture(file); }),
        "a.tif: expected a picture, but it is a TIFF of more than 8 bits"));
  }
}

TEST_CASE("picture: a link stays a link, and an error has its reason") {
  const care_test::Folder folder;
  const auto real = folder.path / "real.csv", link = folder.path / "link.csv";
  write_text(real, "old");
  std::filesystem::create_symlink("real.csv", link);
  trainer::write_atomically(link, "new");
  CHECK(std::filesystem::is_symlink(link));
  CHECK(read_text(real) == "new");
  CHECK(contains(
      error_of([&] { trainer::write_atomically(real / "a.csv", "x"); }),
      "a.csv: cannot be written: Not a directory"));
  std::filesystem::create_symlink("later.csv", folder.path / "early.csv");
  trainer::write_atomically(folder.path / "early.csv", "there");
  CHECK(std::filesystem::is_symlink(folder.path / "early.csv"));
  CHECK(read_text(folder.path / "later.csv") == "there");
  trainer::write_atomically("/dev/null", "x");
  CHECK(std::filesystem::is_character_file("/dev/null"));

  // Memory is a file system like another.
  const std::filesystem::path memory = "/dev/shm/care-test-atomically";
  if (std::filesystem::is_directory("/dev/shm")) {
    trainer::write_atomically(memory, "a longer text");
    trainer::write_atomically(memory, "short");
    CHECK(read_text(memory) == "short");
    std::filesystem::remove(memory);
  }

  // What the shell opened is added to, be it a file or a pipe.
  const int file = ::open(real.c_str(), O_WRONLY | O_APPEND);
  trainer::write_atomically("/dev/fd/" + std::to_string(file), "er");
  ::close(file);
  CHECK(read_text(real) == "newer");
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  trainer::write_atomically("/dev/fd/" + std::to_string(ends[1]), "said");
  char said[5] = {};
  CHECK(::read(ends[0], said, 4) == 4);
  CHECK(std::string(said) == "said");
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("picture: a side that shrinks is a mean, whatever the other does") {
  // A lesion of 4 columns between two of the 64 that 2000 become.
  cv::Mat lesion(60, 2000, CV_32F, cv::Scalar(0));
  lesion.colRange(1010, 1014).setTo(1);
  cv::Mat turned;
  cv::transpose(lesion, turned);
  for (const auto& mask : {lesion, turned}) {
    for (const int side : {64, 60, 30}) {
      CAPTURE(mask.cols, side);
      const auto small = trainer::resized(mask, {side, side});
      CHECK(small.size() == cv::Size(side, side));
      CHECK(cv::mean(small)[0] == Approx(4. / 2000).epsilon(1e-3));
    }
  }
  auto copy = trainer::resized(lesion, lesion.size());
  copy = 1;
  CHECK(cv::countNonZero(lesion) == 4 * 60);
}

TEST_CASE("picture: whether a file can be written is told before") {
  const care_test::Folder folder;
  const auto file = folder.path / "new" / "a.csv";
  trainer::check_writable(file);
  CHECK(std::filesystem::is_empty(folder.path / "new"));
  write_text(file, "old");
  trainer::check_writable(file);
  trainer::check_writable("/dev/stdout");
  CHECK(read_text(file) == "old");
  CHECK(contains(
      error_of([&] { trainer::check_writable(file / "b.csv"); }),
      "b.csv: cannot be written: Not a directory"));
}

TEST_CASE("picture: is resized and written whole or not at all") {
  const care_test::Folder folder;
  cv::Mat rgb(40, 60, CV_8UC3, cv::Scalar(200, 100, 10));
  const auto file = folder.path / "a.png";
  write_text(folder.path / "a.png.part", "left by a killed run");
  trainer::write_picture(file, trainer::resized(rgb, {30, 20}));
  CHECK(at(read_picture(file), 10, 10) == 200);
  CHECK(read_picture(file).size() == cv::Size(30, 20));
  CHECK_FALSE(std::filesystem::exists(folder.path / "a.png.part"));
  CHECK(contains(
      error_of([&] { trainer::write_atomically(file / "a", "x"); }),
      "cannot be written: Not a directory"));
  trainer::write_atomically(folder.path / "new" / "folder" / "a", "x");
  CHECK(read_text(folder.path / "new" / "folder" / "a") == "x");
}
