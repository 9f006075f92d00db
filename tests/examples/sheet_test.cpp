// Tests of the trainer's contact sheet.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"

#include "resnet_trainer/picture.hpp"
#include "resnet_trainer/sheet.hpp"

#include <limits>
#include <string>

namespace {

cv::Mat grey_picture(int height, int width) {
  return {height, width, CV_8UC3, cv::Scalar(128, 128, 128)};
}

} // namespace

TEST_CASE("sheet: a map is red where it is largest, grey where it is not") {
  const auto picture = grey_picture(64, 64);
  cv::Mat map(4, 4, CV_32F, cv::Scalar(-3));
  map.at<float>(0, 0) = 5;
  const auto image = trainer::overlay(picture, map);
  const auto hot = image.at<cv::Vec3b>(2, 2),
             cold = image.at<cv::Vec3b>(60, 60);
  CHECK(hot[0] > hot[2] + 50);
  CHECK(cold == cv::Vec3b(128, 128, 128));
  for (const float level :
       {0.0f,
        -1.0f,
        std::numeric_limits<float>::quiet_NaN(),
        std::numeric_limits<float>::infinity()}) {
    const cv::Mat flat(4, 4, CV_32F, cv::Scalar(level)); // nothing to show
    CHECK(cv::norm(trainer::overlay(picture, flat), picture) == 0);
  }
}

TEST_CASE("sheet: tiles of odd pictures keep to their size") {
  for (const auto& [height, width] : std::vector<std::pair<int, int>>{
           {1, 1}, {400, 1}, {1, 400}, {3, 2}, {40000, 3}, {96, 128}}) {
    CAPTURE(height, width);
    const trainer::SheetRow row{
        grey_picture(height, width),
        {{0, 0, 1e20, 1e20}},
        {{{}, {"label", "\xC3\xA4.png"}, false},
         {cv::Mat(2, 2, CV_32F, cv::Scalar(1)), {"says x", ""}, true}}};
    const auto tile = trainer::draw_tile(row, row.tiles[1], 100);
    CHECK(tile.cols == 100);
    CHECK(tile.rows <= 400);
    const auto sheet =
        trainer::contact_sheet({"Picture", "Attention"}, {row, row});
    CHECK(sheet.cols == 14 + 2 * 254);
    CHECK(sheet.rows < 2100);
  }
  // What is too tall is squeezed, its boxes alike.
  const trainer::SheetRow tall{
      grey_picture(1000, 10), {{2, 200, 8, 600}}, {{}}};
  const auto tile = trainer::draw_tile(tall, tall.tiles[0], 100);
  CHECK(tile.rows == 400);
  CHECK(tile.at<cv::Vec3b>(80, 50)[0] == 255); // the upper edge
  CHECK(tile.at<cv::Vec3b>(160, 20)[0] == 255); // the left one
  CHECK(care_test::contains(
      care_test::error_of([] { trainer::contact_sheet({"Picture"}, {}); }),
      "expected a row"));
}

TEST_CASE("sheet: a mask is outlined") {
  trainer::SheetRow row{grey_picture(100, 200), {}, {{}}};
  row.mask = cv::Mat(100, 200, CV_8U, cv::Scalar(0));
  row.mask(cv::Rect(50, 20, 100, 60)) = 255;
  const auto tile = trainer::draw_tile(row, row.tiles[0], 400);
  const auto light = [&](int y, int x) { return tile.at<cv::Vec3b>(y, x)[0]; };
  CHECK(light(40, 200) == 255); // the upper edge
  CHECK(light(100, 100) == 255); // the left one
  CHECK(light(100, 200) == 128); // inside
  CHECK(light(20, 200) == 128); // outside
}

TEST_CASE("sheet: a large picture is kept small, its lesion with it") {
  const care_test::Folder folder;
  trainer::Row row;
  row.file = folder.path / "large.png";
  row.mask = folder.path / "mask.png";
  row.boxes = {{{300, 100, 600, 400}, "", ""}};
  trainer::write_picture(row.file, grey_picture(601, 1200));
  auto lesion = cv::Mat(601, 1200, CV_8UC3, cv::Scalar(0, 0, 0));
  lesion(cv::Rect(300, 100, 300, 300)).setTo(cv::Scalar(255, 255, 255));
  trainer::write_picture(row.mask, lesion);
  const auto boxed = trainer::with_region(row, /*masks=*/false);
  CHECK(boxed.picture.size() == cv::Size(480, 240));
  REQUIRE(boxed.boxes.size() == 1);
  for (size_t i = 0; i < 4; ++i) { // 0.4 across, 240 / 601 down
    const auto scale = i % 2 == 0 ? 0.4 : 240.0 / 601;
    CHECK(boxed.boxes[0][i] == Approx(row.boxes[0].xyxy[i] * scale));
  }
  const auto masked = trainer::with_region(row, /*masks=*/true);
  CHECK(masked.mask.size() == cv::Size(480, 240));
  CHECK(cv::countNonZero(masked.mask) == Approx(120 * 120).epsilon(0.02));
}

TEST_CASE("sheet: boxes lie where the picture has them") {
  trainer::SheetRow row{grey_picture(100, 200), {{50, 20, 150, 80}}, {{}}};
  const auto tile = trainer::draw_tile(row, row.tiles[0], 400);
  const auto light = [&](int y, int x) { return tile.at<cv::Vec3b>(y, x)[0]; };
  CHECK(light(40, 200) == 255); // the upper edge
  CHECK(light(100, 100) == 255); // the left one
  CHECK(light(100, 200) == 128); // inside
}
