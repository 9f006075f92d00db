// Tests of the trainer's pictures, splits, batches and order.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"

#include "common/parallel.hpp"
#include "resnet_trainer/dataset.hpp"

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

namespace {

namespace fs = std::filesystem;
using common::Record;
using common::Sample;
using trainer::Draw;
using trainer::EpochSampler;
using trainer::LesionDataset;
using trainer::Order;

/// A folder that is gone after the test.
class Folder {
 public:
  Folder()
      : path_(
            fs::temp_directory_path() /
            ("care-dataset-" + std::to_string(::getpid()))) {
    fs::create_directories(path_);
  }
  ~Folder() {
    fs::remove_all(path_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  fs::path operator/(const std::string& name) const {
    return path_ / name;
  }

 private:
  fs::path path_;
};

/// 80x60, red on the left and blue on the right.
cv::Mat red_and_blue() {
  cv::Mat bgr(60, 80, CV_8UC3, cv::Scalar(255, 0, 0));
  bgr(cv::Rect(0, 0, 40, 60)).setTo(cv::Scalar(0, 0, 255));
  return bgr;
}

Record record_of(const fs::path& file, const std::string& label = "a") {
  Record record;
  record.path = file.filename().string();
  record.file = file;
  record.label = label;
  record.where = "manifest.csv:2";
  return record;
}

std::string bytes_of(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {
      std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

void write_bytes(const fs::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

/// Adds to a JPEG the EXIF note that it is to be turned by a quarter.
std::string turned_by_exif(const std::string& jpeg) {
  const char exif[] =
      "\xFF\xE1\x00\x22"
      "Exif\x00\x00"
      "MM\x00\x2A\x00\x00\x00\x08"
      "\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
      "\x00\x00\x00\x00";
  return jpeg.substr(0, 2) + std::string(exif, sizeof(exif) - 1) +
      jpeg.substr(2);
}

/// Plain pictures of the given classes.
std::vector<Sample> samples_of(const std::vector<int64_t>& targets) {
  std::vector<Sample> samples;
  for (size_t i = 0; i < targets.size(); ++i) {
    Sample sample;
    sample.id = std::to_string(i);
    sample.image =
        cv::Mat(8, 12, CV_8UC3, cv::Scalar::all(static_cast<double>(i)));
    sample.target = targets[i];
    sample.boxes = i % 2 == 0
        ? care::Boxes::from_lists({{{1, 2, 5, 6}}}, {8, 12})
        : care::Boxes::none(1, {8, 12});
    samples.push_back(sample);
  }
  return samples;
}

std::vector<int64_t> long_tailed() {
  std::vector<int64_t> targets(100, 0);
  targets.insert(targets.end(), 23, 1);
  targets.insert(targets.end(), 5, 2);
  targets.insert(targets.end(), 2, 3);
  return targets;
}

std::vector<std::vector<Draw>> epoch_of(EpochSampler& sampler, size_t batch) {
  sampler.reset();
  std::vector<std::vector<Draw>> batches;
  while (auto draws = sampler.next(batch)) {
    batches.push_back(*draws);
  }
  return batches;
}

std::vector<size_t> indices_of(const std::vector<std::vector<Draw>>& batches) {
  std::vector<size_t> indices;
  for (const auto& batch : batches) {
    for (const auto& draw : batch) {
      indices.push_back(draw.index);
    }
  }
  return indices;
}

} // namespace

TEST_CASE("dataset: loads every format as RGB of the wanted size") {
  const Folder folder;
  for (const std::string format : {"jpg", "png", "tiff", "bmp"}) {
    CAPTURE(format);
    const auto file = folder / ("picture." + format);
    cv::imwrite(file.string(), red_and_blue());
    auto record = record_of(file, "b");
    record.boxes = {{20, 30, 40, 60}};
    record.box_where = {"manifest.csv:2"};
    record.fold = 3;
    const auto samples =
        trainer::load_samples({record}, {"a", "b"}, {30, 40}, 2);
    REQUIRE(samples.size() == 1);
    const auto& sample = samples[0];
    CHECK(sample.id == "picture." + format);
    CHECK(sample.target == 1);
    CHECK(sample.fold == 3);
    REQUIRE(sample.image.size() == cv::Size(40, 30));
    const auto left = sample.image.at<cv::Vec3b>(15, 5);
    const auto right = sample.image.at<cv::Vec3b>(15, 35);
    CHECK((left[0] > 245 && left[2] < 10)); // red
    CHECK((right[0] < 10 && right[2] > 245)); // blue
    CHECK(care_test::allclose(
        sample.boxes.xyxy(), torch::tensor({{10.F, 15.F, 20.F, 30.F}})));
  }
}

TEST_CASE("dataset: ignores EXIF orientation, so that boxes stay true") {
  const Folder folder;
  const auto file = folder / "turned.jpg";
  cv::imwrite(file.string(), red_and_blue());
  write_bytes(file, turned_by_exif(bytes_of(file)));
  // OpenCV itself would turn it: the note is a valid one.
  REQUIRE(cv::imread(file.string()).size() == cv::Size(60, 80));
  const auto sample =
      trainer::load_samples({record_of(file)}, {"a"}, {60, 80}, 1)[0];
  CHECK(sample.image.at<cv::Vec3b>(5, 5)[0] > 245);
  CHECK(sample.image.at<cv::Vec3b>(55, 5)[0] > 245);
  CHECK(sample.image.at<cv::Vec3b>(5, 75)[2] > 245);
}

TEST_CASE("dataset: clips a box at the border, refuses one outside") {
  const Folder folder;
  const auto file = folder / "picture.png";
  cv::imwrite(file.string(), red_and_blue());
  auto record = record_of(file);
  record.box_where = {"manifest.csv:7"};
  record.boxes = {{-10, 50, 90, 70}};
  const auto load = [&] {
    return trainer::load_samples({record}, {"a"}, {60, 80}, 1);
  };
  CHECK(care_test::allclose(
      load()[0].boxes.xyxy(), torch::tensor({{0.F, 50.F, 80.F, 60.F}})));
  record.boxes = {{80, 10, 90, 20}};
  CARE_REQUIRE_THROWS_AS(
      load(),
      std::runtime_error,
      "manifest.csv:7: expected a box on the picture of 80 x 60 pixels");
}

TEST_CASE("dataset: names a missing or damaged picture and its line") {
  const Folder folder;
  const auto refuses = [&](const Record& record, const std::string& reason) {
    return care_test::throws<std::runtime_error>(
        [&] {
          trainer::load_samples({record}, {"a"}, {60, 80}, 1);
        },
        reason);
  };
  const auto missing = folder / "missing.png";
  CHECK(refuses(
      record_of(missing),
      "manifest.csv:2: expected a picture, but got " + missing.string() +
          ", which cannot be opened"));
  CHECK(refuses(record_of(folder / ""), "cannot be opened")); // a folder
  cv::Mat noise(60, 80, CV_8UC3);
  cv::randu(noise, 0, 255);
  for (const std::string format : {"jpg", "png", "tiff", "bmp"}) {
    CAPTURE(format);
    const auto file = folder / ("damaged." + format);
    cv::imwrite(file.string(), noise);
    const auto whole = bytes_of(file);
    for (const size_t kept : {size_t{0}, size_t{2}, whole.size() / 2}) {
      CAPTURE(kept);
      write_bytes(file, whole.substr(0, kept));
      CHECK(refuses(
          record_of(file), file.string() + ", which is damaged or in an"));
    }
  }
  const auto text = folder / "text.jpg";
  write_bytes(text, "no picture at all");
  CHECK(refuses(record_of(text), "text.jpg, which is damaged"));
  CHECK(refuses(
      record_of(text, "c"),
      "manifest.csv:2: expected one of the known labels, but got 'c'"));
}

TEST_CASE("dataset: no split parts a group") {
  auto samples = samples_of(long_tailed());
  for (size_t i = 0; i < samples.size(); ++i) { // threes of one class, mostly
    samples[i].group = i % 4 == 0 ? "" : "g" + std::to_string(i / 12);
  }
  const auto groups = trainer::groups_of(samples);
  CHECK(groups.size() > samples.size() / 4);
  const auto split = trainer::split_by_group(samples, 0.5, 3);
  CHECK(split.first.size() + split.second.size() == samples.size());
  std::set<std::string> first, second;
  for (const auto i : split.first) {
    first.insert(samples[i].group);
  }
  for (const auto i : split.second) {
    second.insert(samples[i].group);
  }
  first.erase("");
  second.erase("");
  for (const auto& name : first) {
    INFO(name);
    CHECK(second.count(name) == 0);
  }
  CHECK_FALSE(first.empty());
  CHECK_FALSE(second.empty());

  trainer::assign_folds(samples, 3, 0);
  std::map<std::string, std::set<int64_t>> folds;
  for (const auto& sample : samples) {
    if (!sample.group.empty()) {
      folds[sample.group].insert(sample.fold);
    }
  }
  for (const auto& group : folds) {
    CHECK(group.second.size() == 1);
  }
  samples[1].fold = (samples[2].fold + 1) % 3; // of one group
  CARE_REQUIRE_THROWS_AS(
      trainer::assign_folds(samples, 3, 0), std::invalid_argument, "g0");

  // Without groups it is the split of before.
  const auto plain = samples_of(long_tailed());
  CHECK(
      trainer::split_by_group(plain, 0.3, 5).first ==
      trainer::split_stratified(trainer::targets_of(plain), 0.3, 5).first);
}

TEST_CASE("dataset: folds hold the same share of each class") {
  auto samples = samples_of(long_tailed());
  samples[0].fold = 4;
  trainer::assign_folds(samples, 5, 1);
  std::map<int64_t, std::map<int64_t, int>> counts; // class, fold
  std::map<int64_t, int> sizes;
  for (const auto& sample : samples) {
    REQUIRE(sample.fold >= 0);
    REQUIRE(sample.fold < 5);
    ++counts[sample.target][sample.fold];
    ++sizes[sample.fold];
  }
  CHECK(samples[0].fold == 4);
  for (int64_t fold = 0; fold < 5; ++fold) {
    CHECK(std::abs(counts[0][fold] - 20) <= 1);
    CHECK((counts[1][fold] == 4 || counts[1][fold] == 5));
    CHECK(counts[2][fold] == 1);
    CHECK(counts[3][fold] <= 1);
    CHECK(std::abs(sizes[fold] - 26) <= 1);
  }
  auto again = samples_of(long_tailed()), other = samples_of(long_tailed());
  again[0].fold = 4;
  trainer::assign_folds(again, 5, 1);
  trainer::assign_folds(other, 5, 2);
  int changed = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    REQUIRE(samples[i].fold == again[i].fold);
    changed += samples[i].fold != other[i].fold ? 1 : 0;
  }
  CHECK(changed > 20);
  CARE_REQUIRE_THROWS_AS(
      trainer::assign_folds(samples, 1, 1), std::invalid_argument, "got 1");
}

TEST_CASE("dataset: a split keeps each class on both sides") {
  auto targets = long_tailed();
  targets.push_back(4); // a class of one
  for (uint64_t seed = 0; seed < 1000; ++seed) {
    for (const double share : {0.05, 0.5, 0.85, 0.99}) {
      const auto split = trainer::split_stratified(targets, share, seed);
      std::map<int64_t, int> first, second;
      std::set<size_t> all(split.first.begin(), split.first.end());
      all.insert(split.second.begin(), split.second.end());
      REQUIRE(all.size() == targets.size());
      REQUIRE(split.first.size() + split.second.size() == targets.size());
      for (const auto i : split.first) {
        ++first[targets[i]];
      }
      for (const auto i : split.second) {
        ++second[targets[i]];
      }
      REQUIRE(std::abs(first[0] - 100 * share) <= 1);
      for (int64_t target = 0; target < 4; ++target) {
        REQUIRE(first[target] >= 1);
        REQUIRE(second[target] >= 1);
      }
      REQUIRE(first[4] == 1);
    }
  }
  CHECK(
      trainer::split_stratified(targets, 0.5, 1).first ==
      trainer::split_stratified(targets, 0.5, 1).first);
  CHECK(
      trainer::split_stratified(targets, 0.5, 1).first !=
      trainer::split_stratified(targets, 0.5, 2).first);
  CARE_REQUIRE_THROWS_AS(
      trainer::split_stratified(targets, 1, 1), std::invalid_argument, "share");
}

TEST_CASE("dataset: examples are normalised, batches keep their order") {
  LesionDataset dataset(samples_of({5, 6, 7, 8}), {});
  const auto batch = dataset.get_batch({{2, 0, 0}, {1, 0, 0}, {0, 0, 0}});
  REQUIRE(batch.images.sizes() == torch::IntArrayRef({3, 3, 8, 12}));
  CHECK(
      batch.images[0][0][0][0].item<float>() == Approx((2 / 255. - .5) / .25));
  CHECK(care_test::identical(batch.targets, torch::tensor({7, 6, 5})));
  CHECK(care_test::identical(batch.index, torch::tensor({2, 1, 0})));
  CHECK(batch.boxes.num_images() == 3);
  CHECK(care_test::identical(batch.boxes.image_index(), torch::tensor({0, 2})));
}

TEST_CASE("dataset: refuses pictures of different sizes") {
  auto samples = samples_of({0, 0});
  samples[1].image = cv::Mat(8, 8, CV_8UC3, cv::Scalar::all(0));
  CARE_REQUIRE_THROWS_AS(
      LesionDataset(samples, {}), std::invalid_argument, "of one size, but 1");
}

TEST_CASE("dataset: augmentation follows from seed, epoch, index, repeat") {
  trainer::DatasetOptions options;
  options.augment.brightness = 0.5;
  options.seed = 3;
  const LesionDataset dataset(samples_of(std::vector<int64_t>(9, 0)), options);
  const auto again = dataset;
  const auto image = [&](const LesionDataset& set, Draw draw) {
    return set.get(draw).image;
  };
  const auto same = image(dataset, {8, 4, 1});
  CHECK(care_test::identical(same, image(again, {8, 4, 1})));
  CHECK_FALSE(torch::equal(same, image(dataset, {8, 5, 1})));
  CHECK_FALSE(torch::equal(same, image(dataset, {8, 4, 2})));
  options.seed = 4;
  const LesionDataset other(dataset.samples(), options);
  CHECK_FALSE(torch::equal(same, image(other, {8, 4, 1})));
}

TEST_CASE("dataset: an epoch visits each sample once") {
  const auto targets = long_tailed();
  EpochSampler plain(targets, Order::kInOrder, 1);
  auto indices = indices_of(epoch_of(plain, 32));
  CHECK(std::is_sorted(indices.begin(), indices.end()));
  CHECK(indices.size() == targets.size());

  EpochSampler shuffled(targets, Order::kShuffled, 1);
  const auto first = indices_of(epoch_of(shuffled, 32));
  const auto second = indices_of(epoch_of(shuffled, 32));
  CHECK(shuffled.epoch() == 1);
  CHECK(first != second);
  EpochSampler resumed(targets, Order::kShuffled, 1, 1);
  CHECK(indices_of(epoch_of(resumed, 7)) == second);
  EpochSampler other(targets, Order::kShuffled, 2);
  CHECK(indices_of(epoch_of(other, 32)) != first);
  indices = first;
  std::sort(indices.begin(), indices.end());
  for (size_t i = 0; i < indices.size(); ++i) {
    REQUIRE(indices[i] == i);
  }
}

TEST_CASE("dataset: balanced batches hold each class equally often") {
  auto targets = long_tailed();
  for (auto& target : targets) {
    target *= 2; // classes 1, 3, 5 have no pictures
  }
  for (const size_t batch_size : {size_t{16}, size_t{7}, size_t{1}}) {
    EpochSampler sampler(targets, Order::kBalanced, 1);
    for (int epoch = 0; epoch < 3; ++epoch) {
      size_t total = 0;
      std::set<std::pair<size_t, int64_t>> seen;
      std::map<size_t, int> times;
      for (const auto& batch : epoch_of(sampler, batch_size)) {
        std::map<int64_t, int> counts{{0, 0}, {2, 0}, {4, 0}, {6, 0}};
        for (const auto& draw : batch) {
          ++counts[targets[draw.index]];
          ++times[draw.index];
          REQUIRE(seen.insert({draw.index, draw.repeat}).second);
          REQUIRE(draw.epoch == epoch);
        }
        total += batch.size();
        const auto by_count = [](const auto& a, const auto& b) {
          return a.second < b.second;
        };
        const auto range =
            std::minmax_element(counts.begin(), counts.end(), by_count);
        REQUIRE(range.second->second - range.first->second <= 1);
      }
      REQUIRE(total == targets.size());
      // 130 draws, 4 classes: the class of 5 pictures is drawn 32 or 33 times.
      for (size_t i = 123; i < 128; ++i) {
        REQUIRE((times[i] == 6 || times[i] == 7));
      }
    }
  }
}

TEST_CASE("dataset: square-root sampling, and each copy its own number") {
  const std::vector<int64_t> targets = long_tailed();
  std::map<int64_t, double> sizes, drawn;
  double roots = 0, total = 0;
  for (const auto target : targets) {
    sizes[target] += 1;
  }
  for (const auto& size : sizes) {
    roots += std::sqrt(size.second);
  }
  EpochSampler sampler(targets, Order::kSquareRoot, 3);
  for (int epoch = 0; epoch < 40; ++epoch) {
    std::set<std::pair<size_t, int64_t>> seen;
    for (const auto& batch : epoch_of(sampler, 32)) {
      for (const auto& draw : batch) {
        REQUIRE(draw.epoch == epoch);
        REQUIRE(seen.insert({draw.index, draw.repeat}).second);
        drawn[targets[draw.index]] += 1;
        total += 1;
      }
    }
    REQUIRE(seen.size() == targets.size());
  }
  for (const auto& size : sizes) {
    INFO(size.first);
    const double share = std::sqrt(size.second) / roots;
    CHECK(drawn[size.first] / total == Approx(share).margin(0.03));
  }
}

TEST_CASE("dataset: the sampler is saved and loaded in mid-epoch") {
  EpochSampler sampler(long_tailed(), Order::kBalanced, 5);
  epoch_of(sampler, 32);
  sampler.reset();
  sampler.next(50);
  torch::serialize::OutputArchive out;
  sampler.save(out);
  std::stringstream stream;
  out.save_to(stream);
  torch::serialize::InputArchive in;
  in.load_from(stream);
  EpochSampler loaded(long_tailed(), Order::kBalanced, 5);
  loaded.load(in);
  CHECK(loaded.epoch() == 1);
  const auto a = *sampler.next(80), b = *loaded.next(80);
  REQUIRE(a.size() == 80);
  REQUIRE(b.size() == 80);
  for (size_t i = 0; i < a.size(); ++i) {
    REQUIRE(a[i].index == b[i].index);
    REQUIRE(a[i].repeat == b[i].repeat);
  }
  CHECK_FALSE(loaded.next(1));
  loaded.reset();
  CHECK(loaded.epoch() == 2);
  CARE_REQUIRE_THROWS_AS(
      loaded.reset(size_t{3}), std::invalid_argument, "130 samples");
}

TEST_CASE("dataset: LibTorch's data loader serves it, with workers too") {
  const auto targets = long_tailed();
  std::vector<std::vector<int64_t>> orders;
  for (const size_t workers : {size_t{0}, size_t{2}}) {
    trainer::DatasetOptions options;
    options.augment.hflip = true;
    auto loader = torch::data::make_data_loader(
        LesionDataset(samples_of(targets), options),
        EpochSampler(targets, Order::kShuffled, 9),
        torch::data::DataLoaderOptions(32).workers(workers));
    std::vector<int64_t> order;
    for (int epoch = 0; epoch < 2; ++epoch) {
      for (auto& batch : *loader) {
        REQUIRE(batch.boxes.num_images() == batch.images.size(0));
        for (int64_t i = 0; i < batch.index.size(0); ++i) {
          order.push_back(batch.index[i].item<int64_t>());
        }
      }
    }
    REQUIRE(order.size() == 2 * targets.size());
    orders.push_back(order);
  }
  CHECK(orders[0] == orders[1]);
}

TEST_CASE("parallel: does every item and passes the first error on") {
  std::vector<int> done(1000);
  common::parallel_for(done.size(), 4, [&](size_t i) { ++done[i]; });
  CHECK(std::all_of(done.begin(), done.end(), [](int n) { return n == 1; }));
  CARE_REQUIRE_THROWS_AS(
      common::parallel_for(
          100,
          4,
          [](size_t i) {
            if (i >= 3) {
              throw std::runtime_error("item " + std::to_string(i));
            }
          }),
      std::runtime_error,
      "item 3");
  common::parallel_for(0, 4, [](size_t) { FAIL("nothing to do"); });
}
