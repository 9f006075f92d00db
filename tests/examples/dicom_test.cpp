// Tests of DICOM: every file of tests/data/dicom, which pydicom has written,
// against the picture that pydicom has seen in it.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"

#include "resnet_trainer/picture.hpp"

#include <opencv2/core.hpp>

#include <filesystem>
#include <map>
#include <string>

namespace {

namespace fs = std::filesystem;
using care_test::contains;
using care_test::error_of;
using trainer::read_picture;

const fs::path kFolder = fs::path(CARE_TEST_DATA_DIR) / "dicom";

#ifdef RESNET_TRAINER_GDCM

TEST_CASE("dicom: shows what pydicom shows, for each way of storing") {
  int count = 0;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    if (entry.path().extension() != ".png") {
      continue;
    }
    auto file = entry.path();
    const auto expected = read_picture(file);
    file.replace_extension(".dcm");
    CAPTURE(file.filename());
    const auto ours = read_picture(file);
    REQUIRE(ours.type() == CV_8UC3);
    REQUIRE(ours.size() == cv::Size(36, 32));
    // What loses something is decoded with other roundings.
    const auto name = file.stem().string();
    const std::map<std::string, double> roundings{
        {"jpeg_8", 1},
        {"jpeg_12", 1},
        {"jpeg_ybr", 3},
        {"jpeg_2000_lossy", 1},
        {"ybr_full", 2}};
    const auto found = roundings.find(name);
    CHECK(
        cv::norm(ours, expected, cv::NORM_INF) <=
        (found == roundings.end() ? 0 : found->second));
    ++count;
  }
  CHECK(count == 32);
}

TEST_CASE("dicom: refuses samples in other bits than the lowest") {
  const care_test::Folder folder;
  auto bytes = care_test::read_text(kFolder / "no_window_12.dcm");
  const std::string high_bit("\x28\x00\x02\x01US\x02\x00", 8);
  const auto at = bytes.find(high_bit);
  REQUIRE(at != std::string::npos);
  REQUIRE(bytes[at + 8] == 11);
  bytes[at + 8] = 15;
  const auto file = care_test::write_text(folder.path / "a.dcm", bytes);
  CHECK(contains(
      error_of([&] { read_picture(file); }), "whose highest bit is 15 of 12"));
}

TEST_CASE("dicom: refuses a size that no file of pixels has") {
  const care_test::Folder folder;
  auto bytes = care_test::read_text(kFolder / "no_window_8.dcm");
  for (const char side : {'\x10', '\x11'}) { // rows, columns
    const std::string tag(
        {'\x28', '\x00', side, '\x00', 'U', 'S', '\x02', '\0'});
    const auto at = bytes.find(tag);
    REQUIRE(at != std::string::npos);
    bytes.replace(at + 8, 2, "\xff\xff");
  }
  const auto file = care_test::write_text(folder.path / "a.dcm", bytes);
  const auto error = error_of([&] { read_picture(file); });
  CHECK(contains(error, "is DICOM of 65535 x 65535 pixels"));
}

TEST_CASE("dicom: refuses colours that nobody turns into RGB") {
  const care_test::Folder folder;
  auto bytes = care_test::read_text(kFolder / "rgb.dcm");
  const auto at = bytes.find("RGB ");
  REQUIRE(at != std::string::npos);
  const auto file =
      care_test::write_text(folder.path / "a.dcm", bytes.replace(at, 3, "HSV"));
  CHECK(contains(error_of([&] { read_picture(file); }), "of the kind HSV"));
}

TEST_CASE("dicom: shows a file with more elements as without") {
  const auto bytes = care_test::read_text(kFolder / "signed_16.dcm");
  const auto expected = read_picture(kFolder / "signed_16.png");
  const auto pixels = bytes.find(std::string("\xe0\x7f\x10\x00OW", 6));
  REQUIRE(pixels != std::string::npos);
  const auto marker = [](char element, const char* length) {
    return std::string("\xfe\xff") + element + "\xe0" + std::string(length, 4);
  };
  const char *none = "\0\0\0\0", *open = "\xff\xff\xff\xff";
  const auto item = marker('\0', open), item_end = marker('\x0d', none),
             end = marker('\xdd', none);
  // Inside of UN they tell no type, and may hold sequences.
  const std::string text("\x08\0\0\x01\6\0\0\0ABCDEF", 14);
  const auto inner = std::string("\x08\0\x10\x11\xff\xff\xff\xff", 8) + item +
      text + item_end + end;
  const auto unknown = std::string("\x29\0\x10\x10UN\0\0\xff\xff\xff\xff", 12) +
      item + text + inner + item_end + end;
  const std::string empty_table("\x28\0\0\x30SQ\0\0\0\0\0\0", 12);
  const auto open_table =
      std::string("\x28\0\0\x30SQ\0\0\xff\xff\xff\xff", 12) + end;
  const std::string blank_slope(
      "\x28\0\x53\x10"
      "DS\2\0  ",
      10);
  const care_test::Folder folder;
  for (const auto& more : {unknown, empty_table, open_table, blank_slope}) {
    CAPTURE(more);
    auto changed = bytes;
    const auto file = care_test::write_text(
        folder.path / "a.dcm", changed.insert(pixels, more));
    cv::Mat ours;
    CHECK(error_of([&] { ours = read_picture(file); }).empty());
    REQUIRE(ours.size() == expected.size());
    CHECK(cv::norm(ours, expected, cv::NORM_INF) == 0);
  }
}

TEST_CASE("dicom: refuses by name what it does not show") {
  for (const auto& [name, reason] : std::map<std::string, std::string>{
           {"frames", "is DICOM of 2 frames"},
           {"palette", "of the kind PALETTE COLOR"},
           {"table", "with a lookup table"},
           {"modality_table", "with a lookup table"},
           {"bits_32", "32 bits"}}) {
    CAPTURE(name);
    const auto file = kFolder / ("refused_" + name + ".dcm");
    const auto error = error_of([&, &path = file] { read_picture(path); });
    CHECK(contains(error, reason));
    CHECK(contains(error, file.string()));
  }
}

TEST_CASE("dicom: says that a file is cut off, wherever it is") {
  const care_test::Folder folder;
  for (const char* name :
       {"signed_16",
        "implicit",
        "big_endian",
        "rle",
        "jpeg_8",
        "jpeg_lossless",
        "jpeg_ls",
        "jpeg_2000"}) {
    const auto whole =
        care_test::read_text(kFolder / (std::string(name) + ".dcm"));
    for (size_t length = 132; length + 8 < whole.size(); length += 11) {
      CAPTURE(name, length);
      const auto file =
          care_test::write_text(folder.path / "a.dcm", whole.substr(0, length));
      CHECK(contains(error_of([&] { read_picture(file); }), "damaged"));
    }
  }
}

TEST_CASE("dicom: a transfer syntax without a length is damage") {
  const care_test::Folder folder;
  const auto file = care_test::write_text(
      folder.path / "a.dcm",
      std::string(128, '\0') + "DICM" +
          std::string("\2\0\x10\0UN\0\0\xff\xff\xff\xff", 12));
  CHECK(contains(error_of([&] { read_picture(file); }), "damaged"));
}

#else

TEST_CASE("dicom: says what to install where there is no GDCM") {
  const auto file = kFolder / "signed_16.dcm";
  const auto error = error_of([&] { read_picture(file); });
  CHECK(contains(error, file.string()));
  CHECK(contains(error, "install libgdcm-dev"));
}

#endif

} // namespace
