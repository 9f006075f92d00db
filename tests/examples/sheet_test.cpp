// Tests of the trainer's contact sheet.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"

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

TEST_CASE("sheet: boxes lie where the picture has them") {
  trainer::SheetRow row{grey_picture(100, 200), {{50, 20, 150, 80}}, {{}}};
  const auto tile = trainer::draw_tile(row, row.tiles[0], 400);
  const auto light = [&](int y, int x) { return tile.at<cv::Vec3b>(y, x)[0]; };
  CHECK(light(40, 200) == 255); // the upper edge
  CHECK(light(100, 100) == 255); // the left one
  CHECK(light(100, 200) == 128); // inside
}
