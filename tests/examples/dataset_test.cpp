// Tests of the trainer's data set: pictures and boxes to batches.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/support.hpp"

#include "resnet_trainer/dataset.hpp"
#include "resnet_trainer/picture.hpp"

#include <care/imbalance/shuffle_sampler.hpp>
#include <care/rasterize.hpp>

#include <opencv2/imgcodecs.hpp>

#include <string>
#include <vector>

namespace {

using care_test::contains;
using care_test::error_of;
using trainer::Pictures;
using trainer::Row;

/// A row with a picture of `shade`, 20 wide and 10 high, and a box.
Row picture_row(
    const care_test::Folder& folder,
    const std::string& name,
    uchar shade,
    const std::array<double, 4>& box = {2, 1, 12, 6}) {
  Row row;
  row.path = name;
  row.file = folder.path / name;
  row.label = shade < 100 ? "dark" : "light";
  row.where = "m.csv:" + name;
  row.boxes = {{box, "m.csv:9", "", 0.5}};
  trainer::write_picture(
      row.file, cv::Mat(10, 20, CV_8UC3, cv::Scalar(shade, 1, 2)));
  return row;
}

trainer::PicturesOptions small() {
  trainer::PicturesOptions options;
  options.size = {20, 40};
  return options;
}

} // namespace

TEST_CASE("dataset: a batch holds pictures, targets, boxes, places") {
  const care_test::Folder folder;
  for (const bool cache : {false, true}) {
    auto options = small();
    options.cache = cache;
    Pictures pictures(
        {picture_row(folder, "a.png", 50), picture_row(folder, "b.png", 200)},
        {"dark", "light"},
        options);
    CHECK(pictures.size().value() == 2);
    for (int again = 0; again < 2; ++again) {
      const auto batch = pictures.get_batch(std::vector<size_t>{1, 0, 1});
      CHECK(batch.images.sizes() == torch::IntArrayRef({3, 3, 20, 40}));
      CHECK(batch.images.scalar_type() == torch::kByte);
      CHECK(batch.images[0][0].eq(200).all().item<bool>());
      CHECK(batch.images[1][0].eq(50).all().item<bool>());
      CHECK(batch.images[1][2].eq(2).all().item<bool>());
      CHECK(
          torch::equal(batch.targets, torch::tensor({1, 0, 1}, torch::kLong)));
      CHECK(torch::equal(batch.index, torch::tensor({1, 0, 1}, torch::kLong)));
      CHECK(batch.boxes.num_images() == 3);
      CHECK(torch::equal(
          batch.boxes.xyxy()[0], torch::tensor({4.f, 2.f, 24.f, 12.f})));
      CHECK_FALSE(batch.boxes.has_weights());
    }
  }
}

TEST_CASE("dataset: masks go with their pictures", "[masks]") {
  const care_test::Folder folder;
  auto a = picture_row(folder, "a.png", 50, {3, 1, 12, 6});
  auto b = picture_row(folder, "b.png", 200); // it has a box, and no mask
  a.mask = folder.path / "mask.png";
  cv::Mat mask(10, 20, CV_8U, cv::Scalar(0));
  mask(cv::Rect(3, 1, 9, 5)) = 255;
  const auto write = [&] { cv::imwrite(a.mask.string(), mask); };
  write();
  for (const bool cache : {false, true}) {
    trainer::PicturesOptions options;
    options.size = {7, 9}; // to whole pixels and shares of them
    options.cache = cache;
    const auto get = [&](bool masks) {
      options.masks = masks;
      Pictures pictures({a, b}, {"dark", "light"}, options);
      pictures.get_batch(std::vector<size_t>{0});
      return pictures.get_batch(std::vector<size_t>{1, 0, 0});
    };
    const auto batch = get(true), boxed = get(false);
    CHECK_FALSE(boxed.masks.defined());
    const auto box = care::pixel_mask(boxed.boxes);
    CHECK(batch.masks[0].sum().item<float>() == 0);
    CHECK(care_test::allclose(batch.masks[1], box[1], 1e-5, 0));
    CHECK(torch::equal(batch.masks[1], batch.masks[2]));
    CHECK(batch.masks.max().item<float>() <= 1);
    CHECK(batch.images.equal(boxed.images));
    // The boxes are those of the pixels that the masks touch.
    CHECK(torch::equal(
        batch.boxes.boxes_per_image(), torch::tensor({0, 1, 1}, torch::kLong)));
    CHECK(torch::equal(
        batch.boxes.xyxy()[0], torch::tensor({1.f, 0.f, 6.f, 5.f})));
  }

  const auto fault = [&] {
    auto options = small();
    options.masks = true;
    return error_of([&] {
      Pictures({a}, {"dark"}, options).get_batch(std::vector<size_t>{0});
    });
  };
  mask = 0;
  write();
  CHECK(contains(fault(), "m.csv:a.png: " + a.mask.string()));
  CHECK(contains(fault(), "expected a lesion, but got an empty mask"));
  mask = cv::Mat(10, 21, CV_8U, cv::Scalar(255));
  write();
  CHECK(contains(fault(), "m.csv:a.png: " + a.mask.string()));
  CHECK(contains(fault(), "expected a mask of 20 x 10 pixels, but got 21 x"));
  a.mask = folder.path / "none.png";
  CHECK(contains(fault(), "none.png: expected a mask of 20 x 10 pixels"));
}

TEST_CASE("dataset: boxes are cut at the border, in double") {
  const care_test::Folder folder;
  const auto cut = [&](const std::array<double, 4>& box) {
    const auto row = picture_row(folder, "a.png", 50, box);
    return trainer::boxes_on(row, {10, 20}, false).xyxy()[0];
  };
  const auto whole = torch::tensor({0.f, 0.f, 20.f, 10.f});
  for (const double far : {30.0, 2147483648.0, 1e20, 1e39, 1e300}) {
    CHECK(torch::equal(cut({-far, -far, far, far}), whole));
  }
  CHECK(
      torch::equal(cut({5, -1, 90, 4}), torch::tensor({5.f, 0.f, 20.f, 4.f})));
  for (const auto& box : std::vector<std::array<double, 4>>{
           {20, 0, 30, 5},
           {-9, 0, 0, 5},
           {0, 10, 5, 11},
           {10.0000001, 1, 10.0000002, 2}}) {
    CHECK(contains(error_of([&] { cut(box); }), "m.csv:9: expected a box on"));
  }
}

TEST_CASE("dataset: confidence weighs where it is asked to") {
  const care_test::Folder folder;
  auto row = picture_row(folder, "a.png", 50);
  row.has_confidence = true;
  CHECK_FALSE(trainer::boxes_on(row, {10, 20}, false).has_weights());
  CHECK(
      trainer::boxes_on(row, {10, 20}, true).weights()[0].item<double>() ==
      0.5);
}

TEST_CASE("dataset: a fault names the line, also from a worker") {
  const care_test::Folder folder;
  auto row = picture_row(folder, "a.png", 50);
  row.file = folder.path / "none.png";
  Pictures broken({row}, {"dark"}, small());
  const auto error =
      error_of([&] { broken.get_batch(std::vector<size_t>{0}); });
  CHECK(contains(error, "m.csv:a.png: "));
  CHECK(
      contains(error, "none.png: expected a picture, but it cannot be opened"));
  auto loader = torch::data::make_data_loader(
      broken,
      care::ShuffleSampler(1),
      torch::data::DataLoaderOptions(1).workers(2));
  CHECK(contains(
      error_of([&] {
        for (const auto& batch : *loader) {
          static_cast<void>(batch);
        }
      }),
      "m.csv:a.png: "));
  CHECK(contains(
      error_of([&] { Pictures({row}, {"other"}, small()); }), "known labels"));
}

TEST_CASE("dataset: several labels a picture, and boxes with their own") {
  const care_test::Folder folder;
  auto both = picture_row(folder, "a.png", 50);
  both.label = "dark|light";
  both.boxes[0].label = "light";
  both.boxes.push_back({{4, 1, 8, 5}, "m.csv:10", ""});
  auto one = picture_row(folder, "b.png", 50);
  one.boxes.clear();
  auto options = small();
  options.multi_label = true;
  Pictures pictures({both, one}, {"dark", "grey", "light"}, options);
  const auto batch = pictures.get_batch(std::vector<size_t>{1, 0});
  CHECK(torch::equal(
      batch.targets, torch::tensor({{1.f, 0.f, 0.f}, {1.f, 0.f, 1.f}})));
  CHECK(
      torch::equal(batch.boxes.labels(), torch::tensor({2, -1}, torch::kLong)));
}

TEST_CASE("dataset: where asked to, faults are part of the batch") {
  const care_test::Folder folder;
  auto broken = picture_row(folder, "a.png", 50);
  broken.file = folder.path / "none.png";
  auto options = small();
  options.keep_faults = true;
  Pictures pictures({picture_row(folder, "b.png", 200), broken}, {}, options);
  const auto batch = pictures.get_batch(std::vector<size_t>{1, 0});
  CHECK_FALSE(batch.targets.defined()); // without classes
  CHECK(batch.images[0].eq(0).all().item<bool>());
  CHECK(batch.images[1][0].eq(200).all().item<bool>());
  REQUIRE(batch.faults.size() == 1);
  CHECK(contains(batch.faults.at(1), "none.png: expected a picture"));
  CHECK(torch::equal(
      batch.boxes.boxes_per_image(), torch::tensor({0, 1}, torch::kLong)));
}

TEST_CASE("dataset: workers give what one thread gives, in its order") {
  const care_test::Folder folder;
  std::vector<Row> rows;
  for (int i = 0; i < 23; ++i) {
    rows.push_back(picture_row(
        folder, std::to_string(i) + ".png", static_cast<uchar>(10 * i)));
  }
  const auto all = [&](size_t workers) {
    auto loader = torch::data::make_data_loader(
        Pictures(rows, {"dark", "light"}, small()),
        care::ShuffleSampler(
            rows.size(), care::ShuffleSamplerOptions().seed(4)),
        torch::data::DataLoaderOptions(4).workers(workers));
    std::vector<torch::Tensor> seen;
    for (int epoch = 0; epoch < 2; ++epoch) {
      for (const auto& batch : *loader) {
        seen.push_back(batch.index);
        for (int64_t i = 0; i < batch.index.size(0); ++i) {
          const auto shade = 10 * batch.index[i].item<int64_t>();
          CHECK(batch.images[i][0][0][0].item<int64_t>() == shade);
        }
      }
    }
    return torch::cat(seen);
  };
  CHECK(torch::equal(all(0), all(3)));
}
