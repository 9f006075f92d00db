// What augmentation makes of your own pictures: one sheet, before any training.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/dataset.hpp"
#include "resnet_trainer/picture.hpp"
#include "resnet_trainer/process.hpp"
#include "resnet_trainer/sheet.hpp"

#include <care/augment.hpp>

#include <CLI/CLI.hpp>
#include <opencv2/core.hpp>

#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using care::AugmentOptions;
using care::Outside;

/// An image [3, H, W] in [0, 1] with its boxes, as a tile.
cv::Mat tile(const torch::Tensor& image, const care::Boxes& boxes) {
  const auto bytes =
      image.mul(255).round().to(torch::kByte).permute({1, 2, 0}).contiguous();
  cv::Mat picture(
      static_cast<int>(bytes.size(0)),
      static_cast<int>(bytes.size(1)),
      CV_8UC3);
  std::memcpy(picture.data, bytes.data_ptr(), bytes.nbytes());
  trainer::SheetRow row{std::move(picture), {}, {}};
  const auto corners = boxes.xyxy().to(torch::kDouble);
  for (int64_t m = 0; m < boxes.num_boxes(); ++m) {
    const auto at = [&](int64_t i) { return corners[m][i].item<double>(); };
    row.boxes.push_back({at(0), at(1), at(2), at(3)});
  }
  return trainer::draw_tile(row, {}, /*width=*/160);
}

AugmentOptions only(Outside source) {
  return AugmentOptions().outside(
      care::OutsideOptions().source(source).share(1));
}

/// A line for each picture: as stored, strongly augmented, and with the outside
/// of another class, of one colour, of a blur.
cv::Mat sheet(const std::string& data, size_t each, care::Size size) {
  const auto rows = trainer::read_manifest(data);
  const auto classes = trainer::labels_of(rows);
  trainer::targets_of(rows, classes); // throws for several labels a picture
  std::vector<trainer::Row> shown; // the first with a box of each class
  for (const auto& label : classes) {
    const auto before = shown.size();
    for (const auto& row : rows) {
      if (row.label == label && !row.boxes.empty() &&
          shown.size() < before + each) {
        shown.push_back(row);
      }
    }
  }
  if (shown.empty()) {
    throw std::runtime_error(
        data + ": expected pictures with boxes, but got none");
  }
  trainer::PicturesOptions options;
  options.size = size;
  trainer::Pictures pictures(shown, classes, options);
  std::vector<size_t> all(shown.size());
  std::iota(all.begin(), all.end(), size_t{0});
  const auto batch = pictures.get_batch(all);
  const auto images = batch.images.to(torch::kFloat).div(255);

  const AugmentOptions columns[] = {
      AugmentOptions(),
      AugmentOptions::preset("strong"),
      only(Outside::kOtherClass),
      only(Outside::kColour),
      only(Outside::kBlur)};
  std::vector<std::vector<cv::Mat>> tiles(shown.size());
  for (const auto& how : columns) {
    const auto made = care::augment(
        images, batch.boxes, batch.targets, batch.index, /*epoch=*/0, how);
    for (size_t n = 0; n < shown.size(); ++n) {
      const auto i = static_cast<int64_t>(n);
      tiles[n].push_back(
          tile(made.images[i], made.boxes.select(torch::tensor({i}))));
    }
  }
  std::vector<cv::Mat> lines(shown.size());
  for (size_t n = 0; n < shown.size(); ++n) {
    cv::hconcat(tiles[n], lines[n]);
  }
  cv::Mat whole;
  cv::vconcat(lines, whole);
  return whole;
}

} // namespace

int main(int argc, char** argv) {
  std::string data, out = "augmented.png";
  std::vector<int64_t> size{224};
  size_t each = 1;
  CLI::App app("What augmentation makes of the pictures of a manifest.");
  app.option_defaults()->always_capture_default();
  app.add_option("data", data, "a manifest")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--size", size, "of the input: pixels, or WIDTHxHEIGHT")
      ->delimiter('x')
      ->expected(1, 2)
      ->allow_extra_args(false)
      ->check(CLI::Range(32, 4096));
  app.add_option("--each", each, "pictures of each class")
      ->check(CLI::Range(1, 16));
  app.add_option("--out", out, "the sheet, a PNG");
  CLI11_PARSE(app, argc, argv);
  size.resize(2, size.front());
  return trainer::run_main("augment_sheet", [&] {
    trainer::write_picture(out, sheet(data, each, {size[1], size[0]}));
  });
}
