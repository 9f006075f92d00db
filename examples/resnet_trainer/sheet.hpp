// The contact sheet: pictures, their lesions, and where networks look.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_SHEET_HPP
#define RESNET_TRAINER_SHEET_HPP

#include "manifest.hpp"

#include <opencv2/core.hpp>

#include <array>
#include <string>
#include <vector>

namespace trainer {

/// One tile: the picture, or an attention map over its grey.
struct Tile {
  cv::Mat map; ///< CV_32F, any size, raw; empty: the picture itself
  std::array<std::string, 2> caption; ///< two lines below it
  bool wrong = false; ///< the first line in red
};

/// A row of tiles of one picture.
struct SheetRow {
  cv::Mat picture; ///< 8-bit RGB
  std::vector<std::array<double, 4>> boxes; ///< in its pixels
  std::vector<Tile> tiles;
  cv::Mat mask = {}; ///< CV_8U of its size, 0 beside the lesion; empty: none
};

/// The row's picture, at most 480 pixels wide, with its boxes, or with its
/// mask, where it has one; yet without tiles.
SheetRow with_region(const Row& row, bool masks);

/// `map` in colour over the grey picture: negative cells cut, divided by its
/// maximum, brought up bilinearly. A map without a positive cell leaves the
/// picture grey.
cv::Mat overlay(const cv::Mat& picture, const cv::Mat& map);

/// The picture `width` pixels wide (squeezed where it would be over four times
/// as high) with its boxes and its mask's outline, and with the tile's map.
cv::Mat draw_tile(const SheetRow& row, const Tile& tile, int width = 240);

/// All rows under the columns' titles. Throws std::invalid_argument without a
/// row.
cv::Mat contact_sheet(
    const std::vector<std::string>& titles,
    const std::vector<SheetRow>& rows);

} // namespace trainer

#endif // RESNET_TRAINER_SHEET_HPP
