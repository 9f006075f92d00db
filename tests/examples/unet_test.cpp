// Tests of the U-Net: shapes, files, masks, training, and the boxes it gives.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/program.hpp"
#include "support/support.hpp"

#include "auto_boxes/finder.hpp"
#include "auto_boxes/unet.hpp"
#include "common/generated.hpp"
#include "common/masks.hpp"
#include "resnet_trainer/dataset.hpp"
#include "resnet_trainer/lock.hpp"
#include "resnet_trainer/manifest.hpp"
#include "resnet_trainer/picture.hpp"

#include <torch/data/dataloader.h>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using auto_boxes::UNet;
using care_test::contains;
using care_test::error_of;
using care_test::Folder;
using care_test::write_text;
using trainer::read_mask;
using trainer::Row;

auto_boxes::UNetOptions small_net() {
  return {/*width=*/4, /*depth=*/3, /*size=*/{48, 48}};
}

void save(const UNet& net, const fs::path& file) {
  torch::save(net, file.string());
}

/// A small generated set.
fs::path small_set(const fs::path& folder) {
  common::GeneratedOptions options;
  options.width = options.height = 48;
  options.counts = {20, 12, 12, 10};
  options.test_count = 2;
  return common::write_generated_set(folder, options);
}

care_test::ProgramOutcome train(const std::string& arguments) {
  return care_test::run_program(
      CARE_TRAIN_UNET, arguments + " --width 4 --depth 3 --threads 1");
}

/// The mean fit of the network's boxes on the class it never saw.
double fit_of_rare(const fs::path& manifest, const fs::path& network) {
  auto_boxes::FinderOptions options;
  options.methods = {"segmentation"};
  options.network = network;
  const auto finder = auto_boxes::make_finder(options);
  double sum = 0, count = 0;
  for (const auto& row : trainer::read_manifest(manifest)) {
    if (row.label == "dermatofibroma") {
      sum += finder(trainer::read_picture(row.file), row).iou;
      ++count;
    }
  }
  return sum / count;
}

/// The manifest without its column of masks.
fs::path without_masks(const fs::path& manifest) {
  std::string text = "path,label,xmin,ymin,xmax,ymax\n";
  for (const auto& row : trainer::read_manifest(manifest)) {
    const auto& box = row.boxes.at(0).xyxy;
    text += row.path + "," + row.label;
    for (const auto side : box) {
      text += "," + std::to_string(side);
    }
    text += "\n";
  }
  return write_text(manifest.parent_path() / "boxes.csv", text);
}

/// A mask of 6 x 4 with a lesion of the given value at (2, 1).
cv::Mat dot(int type, const cv::Scalar& lesion) {
  cv::Mat mask(4, 6, type, cv::Scalar::all(0));
  mask(cv::Rect(2, 1, 1, 1)).setTo(lesion);
  return mask;
}

/// Four pictures in images/ and a manifest without boxes.
fs::path four(const fs::path& folder) {
  fs::create_directories(folder / "images");
  fs::create_directories(folder / "masks");
  std::string text = "path,label,xmin,ymin,xmax,ymax\n";
  for (int i = 0; i < 4; ++i) {
    const auto name = "0" + std::to_string(i) + ".png";
    const cv::Mat picture(32, 32, CV_8UC3, cv::Scalar(200, 150, 120));
    trainer::write_picture(folder / "images" / name, picture);
    text += "images/" + name + ",lesion,,,,\n";
  }
  return write_text(folder / "m.csv", text);
}

} // namespace

TEST_CASE("unet: gives logits of the image's own size, whatever it is") {
  UNet net(small_net());
  net->eval();
  for (const auto& size :
       std::vector<std::vector<int64_t>>{{16, 16}, {17, 31}, {8, 40}}) {
    const auto x = torch::rand({2, 3, size[0], size[1]});
    CHECK(net(x).sizes() == torch::IntArrayRef({2, 1, size[0], size[1]}));
  }
  CARE_REQUIRE_THROWS(net(torch::rand({1, 3, 7, 16})), "at least 8 pixels");
  CARE_REQUIRE_THROWS(net(torch::rand({1, 1, 16, 16})), "[N, 3, H, W]");
}

TEST_CASE("unet: a file gives back the network") {
  const Folder folder;
  const auto file = folder.path / "net.pt";
  auto options = small_net();
  options.size = {24, 32};
  UNet net(options);
  net->eval();
  save(net, file);
  auto back = auto_boxes::load_unet(file);
  const auto x = torch::rand({1, 3, 24, 32});
  CHECK(torch::equal(back(x), net(x)));
  CHECK(back->options.size == care::Size{24, 32});
  CHECK_FALSE(back->is_training());

  torch::save(torch::nn::Linear(2, 2), file.string());
  const auto load = [&] { auto_boxes::load_unet(file); };
  CHECK(contains(error_of(load), "net.pt: expected a network"));
  std::ofstream(file) << "not a network";
  CHECK(contains(error_of(load), "net.pt: expected a network"));
}

TEST_CASE("unet: the next method is asked where it finds nothing") {
  const Folder folder;
  UNet net(small_net());
  {
    torch::NoGradGuard no_grad;
    net->head->weight.zero_();
    net->head->bias.fill_(-5); // never a lesion
  }
  save(net, folder.path / "net.pt");
  cv::Mat picture(64, 64, CV_8UC3, cv::Scalar(128, 128, 128));
  picture(cv::Rect(20, 20, 24, 24)).setTo(cv::Scalar(220, 30, 30));
  auto_boxes::FinderOptions options;
  options.network = folder.path / "net.pt";
  options.methods = {"segmentation"};
  CHECK(auto_boxes::make_finder(options)(picture, {}).boxes.empty());
  options.methods = {"segmentation", "background"};
  const auto found = auto_boxes::make_finder(options)(picture, {});
  REQUIRE(found.boxes.size() == 1);
  CHECK(found.boxes[0].method == "background");
  // Another network is another identity, another place is not.
  const auto identity = auto_boxes::identity(options);
  fs::rename(folder.path / "net.pt", folder.path / "moved.pt");
  options.network = folder.path / "moved.pt";
  CHECK(auto_boxes::identity(options) == identity);
  save(UNet(small_net()), options.network);
  CHECK(auto_boxes::identity(options) != identity);
}

TEST_CASE("masks: what is not black is lesion, whatever the format") {
  const Folder folder;
  const auto file = folder.path / "mask.png";
  const auto read = [&] { return read_mask(file, {6, 4}); };
  const auto is_the_dot = [&] {
    const cv::Mat mask = read();
    return mask.type() == CV_8U && cv::countNonZero(mask) == 1 &&
        mask.at<uchar>(1, 2) == 255;
  };
  const auto write = [&](const cv::Mat& mask) {
    cv::imwrite(file.string(), mask);
  };
  write(dot(CV_8U, 255));
  CHECK(is_the_dot());
  write(dot(CV_8U, 1)); // a label
  CHECK(is_the_dot());
  write(dot(CV_16U, 1)); // less than a 256th of the range
  CHECK(is_the_dot());
  write(dot(CV_8UC3, {1, 0, 0})); // of which grey is 0
  CHECK(is_the_dot());
  cv::Mat opaque;
  cv::merge(
      std::vector<cv::Mat>{
          dot(CV_8U, 9),
          dot(CV_8U, 9),
          dot(CV_8U, 9),
          cv::Mat(4, 6, CV_8U, cv::Scalar(255))},
      opaque);
  write(opaque);
  CHECK(is_the_dot());
  // A palette of black and red, as a file.
  const std::string palette(
      "\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00"
      "\x00\x06\x00\x00\x00\x04\x08\x03\x00\x00\x00\x9a\xda\xbe\x71\x00\x00\x00"
      "\x06\x50\x4c\x54\x45\x00\x00\x00\xc8\x00\x00\x3a\xdb\x7e\x37\x00\x00\x00"
      "\x0f\x49\x44\x41\x54\x78\xda\x63\x60\x80\x01\x46\x06\x74\x00\x00\x00\x2e"
      "\x00\x02\x2d\x21\xd4\xaa\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60"
      "\x82",
      90);
  write_text(file, palette);
  CHECK(is_the_dot());

  // A JPEG's black is never quite black.
  const auto jpeg = folder.path / "mask.JPG";
  cv::Mat half(32, 32, CV_8U, cv::Scalar(0));
  half.colRange(0, 13).setTo(255);
  cv::imwrite(jpeg.string(), half, {cv::IMWRITE_JPEG_QUALITY, 50});
  REQUIRE(cv::countNonZero(cv::imread(jpeg.string(), 0)) > 13 * 32);
  CHECK(cv::countNonZero(read_mask(jpeg, {32, 32})) == 13 * 32);

  // The shape in the transparency alone: black, or white, all over.
  for (const int colour : {0, 255}) {
    const cv::Mat flat(4, 6, CV_8U, cv::Scalar(colour));
    cv::Mat mask;
    cv::merge(std::vector<cv::Mat>{flat, flat, flat, dot(CV_8U, 255)}, mask);
    write(mask);
    CHECK(contains(error_of(read), "mask.png: expected a lesion in another"));
  }
  CHECK(contains(
      error_of([&] {
        read_mask(file, {4, 6});
      }),
      "expected a mask of 4 x 6 pixels, but got 6 x 4"));
  write_text(file, "not a picture");
  CHECK(contains(error_of(read), "none that can be read"));
}

TEST_CASE("masks: are found by their names, in folders like the pictures'") {
  const Folder folder;
  const auto masks = folder.path / "masks";
  const auto mask = [&](const std::string& name) {
    fs::create_directories((masks / name).parent_path());
    write_text(masks / name, "x");
  };
  const auto row = [&](const std::string& path) {
    Row result;
    result.path = path;
    result.file = folder.path / path;
    result.mask = "of old";
    return result;
  };
  std::vector<Row> rows{
      row("a/7.jpg"), row("b/7.jpg"), row("c/8.jpg"), row("../x/9.jpg")};
  mask("a/7.png");
  mask("b/7.png");
  mask("8.png");
  common::find_masks(rows, masks, "{}.png");
  CHECK(rows[0].mask == masks / "a" / "7.png");
  CHECK(rows[1].mask == masks / "b" / "7.png");
  CHECK(rows[2].mask == masks / "8.png");
  CHECK(rows[3].mask.empty());

  mask("8/8_lesion.bmp");
  common::find_masks(rows, masks, "{}/{}_lesion.bmp");
  CHECK(rows[0].mask.empty());
  CHECK(rows[2].mask == masks / "8" / "8_lesion.bmp");

  fs::remove(masks / "b/7.png");
  mask("7.png");
  common::find_masks(rows, masks, "{}.png"); // a's own is nearer
  CHECK(rows[1].mask == masks / "7.png");
  fs::remove(masks / "a/7.png");
  const auto error =
      error_of([&] { common::find_masks(rows, masks, "{}.png"); });
  CHECK(contains(error, "expected a mask of its own for b/7.jpg"));

  // A picture is not its own mask.
  std::vector<Row> one{row("9.png")};
  write_text(folder.path / "9.png", "x");
  common::find_masks(one, folder.path, "{}.png");
  CHECK(one[0].mask.empty());
}

TEST_CASE("lesions: those of masks and of boxes, at the picture's size") {
  const Folder folder;
  Row row;
  row.where = "m.csv:2";
  row.file = folder.path / "a.png";
  row.mask = folder.path / "mask.png";
  row.boxes = {{{0, 0, 3, 8}, "m.csv:2", ""}};
  trainer::write_picture(row.file, cv::Mat(8, 8, CV_8UC3, cv::Scalar::all(9)));
  cv::Mat mask(8, 8, CV_8U, cv::Scalar(0));
  mask.rowRange(0, 3).setTo(1);
  cv::imwrite(row.mask.string(), mask);
  Row without = row, empty = row;
  without.mask.clear();
  empty.mask = folder.path / "empty.png";
  cv::imwrite(empty.mask.string(), cv::Mat::zeros(8, 8, CV_8U));

  trainer::PicturesOptions options;
  options.size = {4, 4};
  trainer::Pictures by_boxes({row}, {}, options);
  options.masks = options.empty_masks = true;
  trainer::Pictures by_masks({row, without, empty}, {}, options);
  const auto rows = torch::tensor({1.0, 0.5, 0.0, 0.0});
  const auto lesions =
      by_masks.get_batch({0, 1, 2}).lesions().to(torch::kDouble);
  CHECK(care_test::allclose(lesions[0], rows.unsqueeze(1).expand({4, 4})));
  CHECK(lesions.slice(0, 1).sum().item<double>() == 0);
  CHECK(care_test::allclose(
      by_boxes.get_batch({0}).lesions()[0], rows.unsqueeze(0).expand({4, 4})));

  options.empty_masks = false;
  trainer::Pictures strict({empty}, {}, options);
  CHECK(contains(error_of([&] { strict.get_batch({0}); }), "an empty mask"));

  mask.resize(7);
  cv::imwrite(row.mask.string(), mask);
  CHECK(contains(
      error_of([&] { by_masks.get_batch({0}); }),
      "m.csv:2: " + row.mask.string() + ": expected a mask of 8 x 8"));
}

TEST_CASE("unet: learns masks, and finds the class it never saw", "[slow]") {
  const Folder folder;
  const auto set = small_set(folder.path / "set");
  const auto net = folder.path / "new" / "unet.pt";
  const auto arguments =
      " --exclude dermatofibroma --size 48 --epochs 25 "
      "--batch 4 --lr 1e-2 --out " +
      net.string();
  auto outcome = train("--data " + set.string() + arguments);
  INFO(outcome.text);
  REQUIRE(outcome.status == 0);
  // Of the test part, two of each class in two sets, nothing is learnt.
  CHECK(contains(outcome.text, "44 pictures to learn from, 44 with a mask"));
  CHECK(contains(outcome.text, "\nseen: Dice 0."));
  CHECK(contains(outcome.text, " on 20 of nevus"));
  CHECK(contains(outcome.text, " on 14 of dermatofibroma"));
  CHECK(contains(outcome.text, " on 4 of nevus"));
  CHECK(fit_of_rare(set, net) > 0.5);

  outcome = train("--fresh --data " + without_masks(set).string() + arguments);
  REQUIRE(outcome.status == 0);
  CHECK(contains(outcome.text, "56 pictures to learn from, by their boxes"));
  CHECK(fit_of_rare(set, net) > 0.5);
}

TEST_CASE("unet: masks that are not found or empty do not teach") {
  const Folder folder;
  const auto data = four(folder.path).string();
  const auto masks = folder.path / "masks";
  const auto net = folder.path / "new" / "unet.pt";
  const auto arguments = "--data " + data + " --masks " + masks.string() +
      " --size 32 --epochs 1 --out " + net.string() + " ";
  const auto refused = [&](const std::string& more, const std::string& text) {
    const auto outcome = train(arguments + more);
    INFO(outcome.text);
    CHECK(outcome.status == 1);
    CHECK(contains(outcome.text, text));
    CHECK_FALSE(fs::exists(net.parent_path()));
  };
  const auto write = [&](const std::string& ending, const cv::Mat& mask) {
    for (int i = 0; i < 4; ++i) {
      const auto name = "0" + std::to_string(i) + ending;
      cv::imwrite((masks / name).string(), mask);
    }
  };
  cv::Mat lesion(32, 32, CV_8U, cv::Scalar(0));
  write(".png", lesion);
  refused("", "4 with a mask, 4 without a lesion");
  lesion.setTo(255);
  write(".png", lesion);
  refused("", "0 without a lesion, 4 all lesion");
  fs::remove_all(masks);
  fs::create_directories(masks);
  lesion.colRange(0, 20).setTo(0);
  write("_segmentation.bmp", lesion);
  refused("", "called {}.png (--mask-pattern), but found 0 of 4 pictures");
  refused("--mask-pattern '{}.bmp'", "called {}.bmp");

  const auto found = train(arguments + "--mask-pattern '{}_segmentation.bmp'");
  INFO(found.text);
  CHECK(found.status == 0);
  CHECK(contains(found.text, "4 pictures to learn from, 4 with a mask"));
  CHECK(contains(found.text, " on 4 of lesion"));
}

TEST_CASE("unet: one picture left for the last batch waits for another epoch") {
  const Folder folder;
  const auto data = four(folder.path).string();
  cv::Mat lesion(32, 32, CV_8U, cv::Scalar(0));
  lesion.colRange(0, 20).setTo(255);
  for (const char* name : {"00.png", "01.png", "02.png", "03.png"}) {
    cv::imwrite((folder.path / "masks" / name).string(), lesion);
  }
  // At the lowest level it is a single pixel.
  const auto outcome = care_test::run_program(
      CARE_TRAIN_UNET,
      "--data " + data + " --masks " + (folder.path / "masks").string() +
          " --size 32 --width 4 --depth 5 --batch 3 --epochs 2 --threads 1 "
          "--out " +
          (folder.path / "unet.pt").string());
  INFO(outcome.text);
  CHECK(outcome.status == 0);
  CHECK(contains(outcome.text, " on 4 of lesion"));
}

TEST_CASE("unet: two trainings do not write one network") {
  const Folder folder;
  const auto set = small_set(folder.path / "set");
  const auto net = folder.path / "unet.pt";
  trainer::Lock lock(net.string() + ".lock");
  REQUIRE(lock.take(LOCK_EX | LOCK_NB));
  const auto second = train(
      "--data " + set.string() + " --size 48 --epochs 1 --out " + net.string());
  INFO(second.text);
  CHECK(second.status == 1);
  CHECK(contains(second.text, "--out: expected a file that no other training"));
  CHECK_FALSE(fs::exists(net));
}

TEST_CASE("unet: a picture with a box needs a mask of its own") {
  const Folder folder;
  const auto set = small_set(folder.path / "set");
  const auto masks = folder.path / "set" / "masks";
  const auto said = [&](const std::string& arguments) {
    return train(
               "--data " + set.string() + " --size 48 --epochs 1 --out " +
               (folder.path / "unet.pt").string() + " " + arguments)
        .text;
  };
  CHECK(contains(
      said("--exclude melanom"),
      "--exclude: expected one of 'dermatofibroma', 'keratosis', 'melanoma', "
      "'nevus', but got 'melanom'"));
  CHECK(contains(said("--leave-fold 7"), "--leave-fold: expected"));
  CHECK(contains(said("--mask-pattern '{}.bmp'"), "--masks"));
  CHECK(contains(
      said("--exclude nevus --exclude melanoma --exclude keratosis --exclude "
           "dermatofibroma"),
      "all 70 are left out"));
  CHECK(contains(said("--lr 1e30"), "the loss of batch 2 of epoch 1"));
  // What another program wrote is not written over.
  std::ofstream(folder.path / "unet.pt") << "my own";
  CHECK(contains(said(""), "unet.pt: expected a network that train_unet"));
  fs::remove(folder.path / "unet.pt");
  std::ofstream(folder.path / "unet.pt.checkpoint") << "my own";
  CHECK(contains(said("--fresh"), "unet.pt.checkpoint"));
  fs::remove(folder.path / "unet.pt.checkpoint");
  fs::remove(masks / "train" / "nevus-0003.png");
  CHECK(contains(
      said("--masks " + masks.string()), "none of train/nevus-0003.png"));
  CHECK(contains(said(""), "nevus-0003.png"));
  CHECK_FALSE(fs::exists(folder.path / "unet.pt"));
}

TEST_CASE("unet: a killed training goes on and gives the same", "[slow]") {
  const Folder folder;
  const auto set = small_set(folder.path / "set");
  const auto arguments = [&](const std::string& name) {
    return "--data " + set.string() +
        " --size 48 --width 4 --depth 2 --epochs 12 --threads 1 --out " +
        (folder.path / name).string();
  };
  const auto whole = care_test::run_program(CARE_TRAIN_UNET, arguments("a.pt"));
  INFO(whole.text);
  REQUIRE(whole.status == 0);
  const auto checkpoint = folder.path / "b.pt.checkpoint";
  REQUIRE(care_test::kill_when_there(
      CARE_TRAIN_UNET, arguments("b.pt"), checkpoint));
  REQUIRE_FALSE(fs::exists(folder.path / "b.pt")); // killed in the middle
  const auto other =
      care_test::run_program(CARE_TRAIN_UNET, arguments("b.pt") + " --lr 1");
  CHECK(other.status == 1);
  CHECK(contains(other.text, "--fresh"));
  // Nor do other masks of the same names go on.
  const auto masks = folder.path / "masks";
  fs::copy(folder.path / "set/masks", masks, fs::copy_options::recursive);
  const auto mask = masks / "train" / "nevus-0003.png";
  REQUIRE(fs::exists(mask));
  cv::Mat lesion(48, 48, CV_8U, cv::Scalar(0));
  lesion.colRange(0, 20).setTo(255);
  cv::imwrite(mask.string(), lesion);
  const auto masked = care_test::run_program(
      CARE_TRAIN_UNET, arguments("b.pt") + " --masks " + masks.string());
  INFO(masked.text);
  CHECK(masked.status == 1);
  CHECK(contains(masked.text, "--fresh"));
  // Another spelling is the same data.
  fs::create_directory_symlink(folder.path / "set", folder.path / "link");
  auto again = arguments("b.pt");
  again.replace(again.find("/set/"), 5, "/link/");
  REQUIRE(care_test::run_program(CARE_TRAIN_UNET, again).status == 0);
  // What is finished is not lost to another training either.
  CHECK(fs::exists(checkpoint));
  const auto after =
      care_test::run_program(CARE_TRAIN_UNET, arguments("b.pt") + " --lr 1");
  CHECK(after.status == 1);
  CHECK(contains(after.text, "--fresh"));
  auto a = auto_boxes::load_unet(folder.path / "a.pt");
  auto b = auto_boxes::load_unet(folder.path / "b.pt");
  const auto x = torch::rand({1, 3, 48, 48});
  CHECK(torch::equal(a(x), b(x)));
}
