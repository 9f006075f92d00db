// Tests of the trainer as a program: what it leaves, resumes and refuses.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"
#include "support/program.hpp"
#include "support/small_set.hpp"

#include "resnet_trainer/lock.hpp"
#include "resnet_trainer/manifest.hpp"
#include "resnet_trainer/picture.hpp"

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using care_test::contains;
using care_test::read_text;
using care_test::write_text;

/// A network that trains in a second.
const std::string kSmall =
    " --size 32 --width .125 --last-stride 1 --stage1 1 --stage2 2 "
    "--batch 4 --threads 1 --pictures 2";

care_test::ProgramOutcome train(const fs::path& data, const std::string& more) {
  return care_test::run_program(
      CARE_TRAINER, "--data " + care_test::quoted(data) + kSmall + " " + more);
}

/// A manifest beside that of the set, with each box as a mask too.
fs::path with_masks(const fs::path& data) {
  std::string text = "path,label,xmin,ymin,xmax,ymax,mask\n";
  for (const auto& row : trainer::read_manifest(data)) {
    text += row.path + "," + row.label + ",";
    if (row.boxes.empty()) {
      text += ",,,,\n";
      continue;
    }
    cv::Mat mask(32, 40, CV_8U, cv::Scalar(0));
    const auto& [x0, y0, x1, y1] = row.boxes[0].xyxy;
    mask(cv::Rect2d(cv::Point2d(x0, y0), cv::Point2d(x1, y1))) = 255;
    cv::imwrite((data.parent_path() / ("mask-" + row.path)).string(), mask);
    for (const auto side : row.boxes[0].xyxy) {
      text += std::to_string(static_cast<int>(side)) + ",";
    }
    text += "mask-" + row.path + "\n";
  }
  return write_text(data.parent_path() / "masks.csv", text);
}

/// metrics.csv without the column of speeds, which is the last one.
std::string figures_of(const fs::path& run) {
  std::istringstream lines(read_text(run / "metrics.csv"));
  std::string line, text;
  while (std::getline(lines, line)) {
    text += line.substr(0, line.rfind(',')) + "\n";
  }
  return text;
}

} // namespace

TEST_CASE("trainer: trains, tests and leaves its files", "[trainer]") {
  const care_test::Folder folder;
  const auto data = care_test::write_small_set(folder.path / "set", 36);
  const auto out = folder.path / "run";
  const auto run = train(
      data,
      "--class-weights --best --clip 5 --lr-warmup 1 --augment strong "
      "--out " +
          out.string());
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  CHECK(contains(run.text, "epoch   3: loss "));
  CHECK(contains(run.text, "attention inside"));
  CHECK(contains(run.text, "MCA "));
  CHECK(contains(read_text(out / "test.txt"), "macro AUC"));
  const auto network = read_text(out / "network.safetensors");
  CHECK(contains(network, R"("network":"resnet18")"));
  CHECK(contains(network, R"("classes":"[\"common\",\"rare\"]")"));
  CHECK(contains(network, R"("size":"[32,32]")"));
  CHECK(contains(network, R"("mean":"[0.5,0.5,0.5]")"));
  const auto sheet = cv::imread((out / "attention.png").string());
  CHECK(sheet.cols == 14 + 2 * 254);
  CHECK(contains(
      figures_of(out), "epoch,stage,rate,loss,accuracy,inner,outer,inside"));
  CHECK(contains(figures_of(out), "\n3,2,"));
}

TEST_CASE("trainer: a test part of one class has no AUC", "[trainer]") {
  const care_test::Folder folder;
  const auto set = care_test::write_small_set(folder.path / "set", 12);
  std::string text = "path,label,xmin,ymin,xmax,ymax,split\n", part = "test";
  for (const auto& row : trainer::read_manifest(set)) {
    text += row.path + "," + row.label + ",,,,,";
    text += row.label == "common" ? part : "train";
    part = row.label == "common" ? "train" : part;
    text += "\n";
  }
  const auto out = folder.path / "run";
  const auto run = train(
      write_text(set.parent_path() / "one.csv", text),
      "--alpha 0 --out " + out.string());
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  CHECK(contains(read_text(out / "test.txt"), "macro AUC none\n"));
}

TEST_CASE("trainer: masks that are the boxes train as they do", "[trainer]") {
  const care_test::Folder folder;
  const auto data = care_test::write_small_set(folder.path / "set", 36);
  const auto masks = with_masks(data);
  const auto numbers = [&](const fs::path& manifest, const std::string& more) {
    const auto out = folder.path / "run";
    fs::remove_all(out);
    const auto run =
        train(manifest, "--augment none --out " + out.string() + more);
    CAPTURE(run.text);
    REQUIRE(run.status == 0);
    CHECK(fs::exists(out / "attention.png"));
    CHECK(contains(
        read_text(out / "test.txt"),
        more.empty() ? "images with a box" : "images with a mask"));
    auto text = figures_of(out);
    text = text.substr(text.find('\n'));
    std::replace(text.begin(), text.end(), ',', ' ');
    for (size_t at = 0; (at = text.find("nan")) != std::string::npos;) {
      text.replace(at, 3, "0"); // of an epoch without guidance
    }
    std::istringstream stream(text);
    return std::vector<double>(
        std::istream_iterator<double>(stream), std::istream_iterator<double>());
  };
  const auto by_boxes = numbers(data, "");
  const auto by_masks = numbers(masks, " --regions masks");
  REQUIRE(by_boxes.size() == 3 * 10);
  REQUIRE(by_masks.size() == by_boxes.size());
  for (size_t i = 0; i < by_boxes.size(); ++i) {
    CAPTURE(i);
    CHECK(by_masks[i] == Approx(by_boxes[i]).margin(2e-3));
  }

  // Boxes beside them are not asked for.
  const std::regex box(",[0-9.]+,[0-9.]+,[0-9.]+,[0-9.]+,");
  const auto alone = write_text(
      masks.parent_path() / "alone.csv",
      std::regex_replace(read_text(masks), box, ",,,,,"));
  CHECK(read_text(alone) != read_text(masks));
  CHECK(numbers(alone, " --regions masks") == by_masks);

  // What is wrong with masks.
  const auto refused = [&](const fs::path& manifest) {
    const auto run = train(
        manifest, "--regions masks --out " + (folder.path / "none").string());
    CHECK(run.is_refusal());
    return run.text;
  };
  CHECK(contains(
      refused(data),
      "--regions: expected a manifest with masks, but got none"));
  const auto mask = folder.path / "set" / "mask-0.png";
  cv::imwrite(mask.string(), cv::Mat(32, 40, CV_8U, cv::Scalar(0)));
  CHECK(contains(refused(masks), "mask-0.png: expected a lesion"));
  CHECK(contains(refused(masks), "masks.csv:2: "));
  cv::imwrite(mask.string(), cv::Mat(40, 32, CV_8U, cv::Scalar(9)));
  CHECK(contains(refused(masks), "expected a mask of 40 x 32 pixels"));
  write_text(
      data,
      "path,label,xmin,ymin,xmax,ymax,mask\n0.png,a,1,2,3,4,\n"
      "1.png,b,,,,,mask-3.png\n2.png,b,,,,,\n3.png,a,,,,,\n"
      "4.png,a,,,,,\n5.png,b,,,,,\n");
  const auto none =
      train(data, "--regions masks --guide a --val-share 0 --out x");
  CHECK(none.status == 1);
  CHECK(contains(none.text, "--alpha: expected masks of the guided classes"));
}

TEST_CASE("augment_sheet: a line of five tiles a class", "[trainer]") {
  const care_test::Folder folder;
  const auto data = care_test::write_small_set(folder.path / "set", 36);
  const auto out = folder.path / "sheet.png";
  const auto draw = [&](const fs::path& manifest) {
    return care_test::run_program(
        CARE_AUGMENT_SHEET,
        manifest.string() + " --size 48 --out " + out.string());
  };
  const auto run = draw(data);
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  const auto sheet = cv::imread(out.string());
  CHECK(sheet.cols == 5 * 160);
  CHECK(sheet.rows % 160 == 0);
  // The first two columns differ, and the fourth is grey in its corner.
  CHECK(cv::norm(sheet.colRange(0, 160), sheet.colRange(160, 320)) > 0);
  CHECK(sheet.at<cv::Vec3b>(2, 3 * 160 + 2) == cv::Vec3b(128, 128, 128));

  write_text(
      folder.path / "set" / "none.csv",
      "path,label,xmin,ymin,xmax,ymax\n0.png,a,,,,\n");
  const auto none = draw(folder.path / "set" / "none.csv");
  CHECK(none.status == 1);
  CHECK(contains(none.text, "expected pictures with boxes, but got none"));
}

TEST_CASE("trainer: starts from weights", "[trainer]") {
  const care_test::Folder folder;
  const auto data = care_test::write_small_set(folder.path / "set", 24);
  const auto first = folder.path / "first", second = folder.path / "second";
  REQUIRE(train(data, "--out " + first.string()).status == 0);
  const auto from = [&](const fs::path& file, const std::string& more) {
    return train(
        data,
        "--weights " + care_test::quoted(file) + " --out " + second.string() +
            more);
  };
  const auto again = from(first / "network.safetensors", "");
  CAPTURE(again.text);
  REQUIRE(again.status == 0);
  CHECK(contains(again.text, "122 tensors loaded"));
  CHECK(contains( // the file's own
      read_text(second / "network.safetensors"),
      R"("mean":"[0.5,0.5,0.5]")"));
  CHECK(figures_of(first) != figures_of(second));

  fs::remove_all(second);
  const auto deeper = from(first / "network.safetensors", " --depth 34");
  CHECK(deeper.status == 1);
  CHECK(contains(deeper.text, "not in the file: layer1.2.bn1.bias"));
  const auto none = from(CARE_WEIGHTS "/net.pth", "");
  CHECK(none.status == 1);
  CHECK(contains(none.text, "expected weights that fit the network"));
  CHECK(contains(from(data, "").text, "expected a file of torch.save"));
  const auto unreadable = from("/dev/null", "");
  CHECK(unreadable.status == 1);
  CHECK(
      unreadable.text ==
      "resnet_trainer: /dev/null: expected a file, but it cannot be opened\n");
  CHECK_FALSE(fs::exists(second)); // a failed start claims no folder
}

TEST_CASE("trainer: goes on exactly where it was killed", "[trainer]") {
  const care_test::Folder folder;
  const auto data = care_test::write_small_set(folder.path / "set", 36);
  for (const char* more :
       {"", "--balanced --optimizer sgd --workers 2 --cache"}) {
    CAPTURE(more);
    const auto whole = folder.path / "whole", parts = folder.path / "parts";
    fs::remove_all(whole);
    fs::remove_all(parts);
    const auto arguments = [&](const fs::path& out) { // time to be killed in
      return "--data " + data.string() +
          std::regex_replace(kSmall, std::regex("--stage2 2"), "--stage2 20") +
          " " + more + " --out " + out.string();
    };
    REQUIRE(care_test::run_program(CARE_TRAINER, arguments(whole)).status == 0);
    REQUIRE(care_test::kill_when_there(
        CARE_TRAINER, arguments(parts), parts / "metrics.csv"));
    REQUIRE_FALSE(fs::exists(parts / "network.safetensors")); // in the middle
    const auto rest = care_test::run_program(CARE_TRAINER, arguments(parts));
    CAPTURE(rest.text);
    REQUIRE(rest.status == 0);
    CHECK(contains(rest.text, "going on after epoch"));
    CHECK(figures_of(parts) == figures_of(whole));
    CHECK(read_text(parts / "test.txt") == read_text(whole / "test.txt"));
  }
}

TEST_CASE("trainer: where the data lies is not what it is", "[trainer]") {
  const care_test::Folder folder;
  const auto data = care_test::write_small_set(folder.path / "set", 24);
  const auto out = " --out " + (folder.path / "run").string();
  const auto first = train(data, out);
  REQUIRE(first.status == 0);
  CHECK(contains(first.text, " common, "));
  CHECK(contains(first.text, " rare (guided)\n"));
  const auto moved = folder.path / "moved" / "manifest.csv";
  fs::rename(folder.path / "set", folder.path / "moved");
  fs::remove(folder.path / "run" / "metrics.csv");
  CHECK(contains( // a default that is said is no other training
      train(moved, out + " --lr 1e-3 --alpha .5").text,
      "going on after epoch 3"));
  CHECK(contains(figures_of(folder.path / "run"), "\n3,2,"));

  // Both trainings' data stand in the refusal: another seed divides otherwise.
  const auto reseeded = train(moved, "--seed 2" + out).text;
  const std::regex data_line("data ([0-9a-f]{16})");
  std::sregex_iterator first_data(reseeded.begin(), reseeded.end(), data_line);
  const auto second_data = std::next(first_data);
  REQUIRE(second_data != std::sregex_iterator());
  CHECK((*first_data)[1] != (*second_data)[1]);

  const auto other = train(moved, "--lr .01" + out);
  CHECK(other.status == 1);
  CHECK(contains(other.text, "--lr 0.01\n"));
  CHECK(contains(other.text, "--fresh"));
  write_text(moved, read_text(moved) + "new.png,common,,,,\n");
  CHECK(contains(train(moved, out).text, "expected a training of"));
}

TEST_CASE("trainer: other masks are another training", "[trainer]") {
  const care_test::Folder folder;
  const auto set = folder.path / "set", moved = folder.path / "moved";
  const auto data = with_masks(care_test::write_small_set(set, 24));
  const auto on = [&](const fs::path& manifest) {
    return train(
        manifest, "--regions masks --out " + (folder.path / "run").string());
  };
  const auto named = [&](const std::string& spelling) {
    return write_text(
        moved / "m.csv",
        std::regex_replace(
            read_text(moved / "masks.csv"), std::regex(",mask-"), spelling));
  };
  REQUIRE(on(data).status == 0);
  fs::rename(set, moved);
  for (const char* spelling : {",mask-", ",./mask-", ",../moved/mask-"}) {
    CHECK(contains(on(named(spelling)).text, "going on after epoch 3"));
  }
  fs::create_directories(moved / "others");
  for (int i = 0; i < 24; i += 3) {
    const auto name = "mask-" + std::to_string(i) + ".png";
    fs::copy(moved / name, moved / "others" / name);
  }
  // The same masks elsewhere are the same; one that was drawn anew is not.
  CHECK(contains(on(named(",others/mask-")).text, "going on after epoch 3"));
  auto mask = trainer::read_picture(moved / "mask-0.png");
  mask.at<cv::Vec3b>(0, 0) =
      cv::Vec3b(255, 255, 255) - mask.at<cv::Vec3b>(0, 0);
  trainer::write_picture(moved / "mask-0.png", mask);
  const auto other = on(named(",mask-"));
  CHECK(other.status == 1);
  CHECK(contains(other.text, "expected a training of"));
}

TEST_CASE("trainer: a folder is one training's", "[trainer]") {
  const care_test::Folder folder;
  const auto data = care_test::write_small_set(folder.path / "set", 12);
  const auto out = folder.path / "run";
  const auto to = " --val-share 0 --out " + out.string() + " ";
  // Nothing that is another's goes.
  fs::create_directories(out);
  write_text(out / "test.txt", "my list");
  const auto foreign = train(data, to);
  CHECK(foreign.status == 1);
  CHECK(contains(foreign.text, "--out: expected a folder of an earlier"));
  CHECK(contains(foreign.text, "test.txt"));
  CHECK(read_text(out / "test.txt") == "my list");
  fs::remove_all(out);

  REQUIRE(train(data, to).status == 0);
  REQUIRE(fs::exists(out / "attention.png"));
  // A default may be said.
  const auto same = train(
      data, to + "--optimizer adamw --cosine --channels-last --augment flips");
  CAPTURE(same.text);
  CHECK(same.status == 0);
  CHECK(contains(same.text, "going on after epoch 3"));
  CHECK(train(data, to + "--optimizer sgd").status == 1);

  // What is trained anew leaves nothing of the old one.
  const auto before = read_text(out / "network.safetensors");
  std::string text = "path,label,xmin,ymin,xmax,ymax\n"; // no box, no sheet
  for (const auto& row : trainer::read_manifest(data)) {
    text += row.path + "," + row.label + ",,,,\n";
  }
  const auto plain = write_text(data.parent_path() / "plain.csv", text);
  CHECK(train(plain, to + "--fresh --seed 5 --alpha 0").status == 0);
  CHECK(read_text(out / "network.safetensors") != before);
  CHECK_FALSE(fs::exists(out / "attention.png"));
  const auto itself =
      train(plain, to + "--weights " + (out / "network.safetensors").string());
  CHECK(itself.status == 1);
  CHECK(contains(itself.text, "--weights: expected a file that this training"));

  // Another program's checkpoint of that name is no reason to remove anything;
  // one of ours that is damaged is.
  const auto others = folder.path / "others";
  fs::create_directories(others);
  write_text(others / "metrics.csv", "another's");
  write_text(others / "checkpoint.pt", "another's, too");
  const auto refused =
      train(data, "--fresh --val-share 0 --out " + others.string());
  CHECK(refused.status == 1);
  CHECK(contains(refused.text, "--out: expected a folder of an earlier train"));
  CHECK(read_text(others / "metrics.csv") == "another's");
  write_text(out / "checkpoint.pt", "damaged");
  const auto damaged = train(plain, to + "--alpha 0");
  CHECK(damaged.status == 1);
  CHECK(contains(damaged.text, "checkpoint.pt: "));
  // Nor does a network go that no checkpoint tells the training of.
  fs::remove(out / "checkpoint.pt");
  const auto trained = read_text(out / "network.safetensors");
  const auto unasked = train(plain, to + "--alpha 0");
  CHECK(unasked.status == 1);
  CHECK(contains(unasked.text, "--out: expected another folder, or --fresh"));
  CHECK(read_text(out / "network.safetensors") == trained);
  CHECK(train(plain, to + "--fresh --alpha 0").status == 0);

  trainer::Lock lock(out / ".lock");
  REQUIRE(lock.take(LOCK_EX | LOCK_NB));
  const auto second = train(plain, to + "--seed 5 --alpha 0");
  CHECK(second.status == 1);
  CHECK(contains(second.text, "that no other training works in"));
}

TEST_CASE("trainer: refuses what would do nothing", "[trainer]") {
  const care_test::Folder folder;
  const auto data = care_test::write_small_set(folder.path / "set", 24);
  const auto out = folder.path / "run";
  for (const auto& [options, fault] :
       std::vector<std::pair<std::string, std::string>>{
           {"--test-fold 1", "--test-fold: expected a manifest whose folds"},
           {"--alpha 0 --tau .5", "--tau: expected an --alpha above 0"},
           {"--alpha 0 --guide rare", "--guide: expected an --alpha above 0"},
           {"--best --val-share 0", "--best: expected a validation part"},
           {"--guide other",
            "--guide: expected one of 'common', 'rare', but got "
            "'other'"},
           {"--guide all",
            "--guide: expected one of 'common', 'rare', but got 'all'"},
           {"--guide common", "expected boxes of the guided classes"},
           {"--exclude other", "--exclude: expected one of"},
           {"--exclude common",
            "--exclude: expected at least two labels to learn, but got 1"},
           {"--depth 20", "depth of 18, 34, 50, 101 or 152"},
           {"--warmup 3", "--warmup: expected at most the 2 epochs there are"},
           {"--lr-warmup 4", "--lr-warmup: expected at most the 3 epochs"},
           {"--device gpu", "--device"},
           {"--lr 0", "--lr: Value 0 not in range"},
           {"--val-share nan", "--val-share: Value nan not in range"},
           {"--width nan", "--width: Value nan not in range"}}) {
    CAPTURE(options);
    const auto run = train(data, options + " --out " + out.string());
    CHECK(run.is_refusal());
    CHECK(contains(run.text, fault));
    CHECK_FALSE(fs::exists(out)); // a failed start claims no folder
  }
  const auto no_gpu = care_test::run_program( // also where there is one
      "CUDA_VISIBLE_DEVICES= " CARE_TRAINER,
      "--data " + data.string() + " --device cuda --out " + out.string());
  CHECK(no_gpu.status == 1);
  CHECK(contains(no_gpu.text, "--device: expected cpu, but got cuda"));
  CHECK_FALSE(fs::exists(out));
  const auto text = read_text(data);
  write_text(
      data,
      "path,label,xmin,ymin,xmax,ymax\nnone.png,a,1,2,3,4\n"
      "0.png,a,1,2,3,4\n1.png,b,,,,\n2.png,b,,,,\n");
  const auto run = train(data, "--guide a --val-share 0 --out " + out.string());
  CHECK(run.status == 1);
  CHECK(contains(run.text, "none.png"));
  CHECK(contains(run.text, "manifest.csv:2"));
}

TEST_CASE("trainer: a bad test picture ends it before it begins", "[trainer]") {
  const care_test::Folder folder;
  const auto data = care_test::write_small_set(folder.path / "set", 24);
  const auto out = folder.path / "run";
  std::string text = "path,label,xmin,ymin,xmax,ymax,split\n";
  for (int i = 0; i < 17; ++i) { // one more than four batches
    text +=
        std::to_string(i) + (i % 3 == 0 ? ".png,a,1,2,30,20," : ".png,b,,,,,");
    text += "train\n";
  }
  write_text(data, text + "18.png,a,50,2,60,20,test\n");
  const auto run = train(data, "--guide a --val-share 0 --out " + out.string());
  CHECK(run.status == 1);
  CHECK(contains(run.text, "manifest.csv:19"));
  CHECK_FALSE(contains(run.text, "epoch   1"));
  CHECK_FALSE(fs::exists(out));

  // A class that nothing is learnt of; a batch of one picture; no boxes to
  // test.
  write_text(data, text + "18.png,b,,,,,test\n19.png,c,,,,,test\n");
  const auto good = care_test::run_program(
      CARE_TRAINER,
      "--data " + data.string() + " --out " + out.string() +
          " --size 32 --width .125 --last-stride 2 --stage1 0 --stage2 1 "
          "--batch 4 --threads 1 --val-share 0"); // maps of 1 x 1
  CAPTURE(good.text);
  CHECK(good.status == 0);
  CHECK(contains(
      good.text,
      "17 pictures to learn from: 6 a (guided), 11 b, 0 c\n"
      "note: no picture of 'c' to learn from\n"));
  CHECK_FALSE(contains(good.text, "EPG"));
  const auto single = care_test::run_program(
      CARE_TRAINER,
      "--data " + data.string() + " --out " + (folder.path / "one").string() +
          " --size 32 --width .125 --last-stride 2 --batch 1 --threads 1 "
          "--val-share 0");
  CHECK(single.status == 1);
  CHECK(contains(single.text, "--batch, --size: expected several pictures"));
  CHECK(contains(
      train(data, "--val-share 0 --class-weights --out x").text,
      "--class-weights: expected pictures of every class to learn from, but "
      "got "
      "none of 'c'"));
  const auto taken = train(data, "--out " + data.string());
  CHECK(contains(taken.text, "--out: "));
  CHECK(taken.is_refusal());
}

TEST_CASE("trainer: learns several labels a picture", "[trainer]") {
  const care_test::Folder folder;
  const auto data = care_test::write_labelled_set(folder.path / "set", 48);
  const auto out = folder.path / "run";
  const std::string several = "--criterion bce --best --class-weights ";
  const auto run = train(data, several + "--guide rare --out " + out.string());
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  CHECK(contains(run.text, "attention inside"));
  CHECK(contains(run.text, ", validation AUC "));
  CHECK(contains(figures_of(out), ",guided,val_auc"));
  const auto test = read_text(out / "test.txt");
  CAPTURE(test);
  for (const char* label : {"common  ", "odd  ", "rare  "}) {
    CHECK(contains(test, label));
  }
  CHECK_FALSE(contains(test, "recall"));
  CHECK(contains(test, "macro AUC "));
  CHECK(
      contains(read_text(out / "network.safetensors"), R"("criterion":"bce")"));
  CHECK(fs::exists(out / "attention.png"));
  CHECK(contains(
      train(data, several + "--guide rare --out " + out.string()).text,
      "going on after epoch 3"));

  const auto other = folder.path / "other";
  const auto refused = train(data, "--guide rare --out " + other.string());
  CHECK(refused.status == 1);
  CHECK(contains(
      refused.text,
      "manifest.csv:3: expected one label a picture, but got 'common|odd'; "
      "--criterion bce learns several"));
  CHECK(contains( // a box of another label is no reason to guide
      train(data, several + "--guide odd --out " + other.string()).text,
      "expected boxes of the guided classes"));
  CHECK(contains(
      train(
          data,
          several + "--exclude odd --exclude common --out " + other.string())
          .text,
      "--exclude: expected at least two labels to learn, but got 1"));
  CHECK_FALSE(fs::exists(other));
}

TEST_CASE("trainer: class names may hold commas", "[trainer]") {
  const care_test::Folder folder;
  const auto data = care_test::write_small_set(folder.path / "set", 24);
  auto text = read_text(data);
  for (size_t at = 0; (at = text.find(",rare,", at)) != std::string::npos;) {
    text.replace(at, 6, ",\"Melanoma, NOS\",");
  }
  write_text(data, text);
  const auto run = train(
      data, "--guide 'Melanoma, NOS' --out " + (folder.path / "run").string());
  CHECK(run.status == 0);
  CHECK(contains(run.text, "Melanoma, NOS"));
  const auto other = train(data, "--guide 'Melanoma' --out x");
  CHECK(contains(other.text, "'Melanoma, NOS', 'common', but got 'Melanoma'"));
}

TEST_CASE("trainer: a folder for each class trains plainly", "[trainer]") {
  const care_test::Folder folder;
  const auto set = folder.path / "set";
  care_test::write_small_set(set, 24);
  for (int i = 0; i < 24; ++i) {
    const auto name = std::to_string(i) + ".png";
    const auto to = set / (i % 3 == 0 ? "rare" : "common");
    fs::create_directories(to);
    fs::rename(set / name, to / name);
  }
  const auto run =
      train(set, "--alpha 0 --out " + (folder.path / "run").string());
  CAPTURE(run.text);
  CHECK(run.status == 0);
  CHECK(contains(run.text, "MCA "));

  // The same as the part to test, beside the one to learn from.
  for (const char* part : {"train", "test"}) {
    fs::create_directories(folder.path / "parts" / part);
    fs::copy(set, folder.path / "parts" / part, fs::copy_options::recursive);
  }
  const auto parts = train(folder.path / "parts", "--alpha 0 --out x");
  CHECK(parts.status == 1);
  CHECK(contains(
      parts.text,
      "--data: expected a folder for each class, but got the parts test, "
      "train; make_manifest folder"));
}

TEST_CASE("trainer: takes the inputs that went wrong before", "[trainer]") {
  const fs::path cases = CARE_SHARED "/cases";
  if (!fs::exists(cases)) {
    WARN("no " << cases << ": not tried");
    return;
  }
  const care_test::Folder folder;
  const auto on = [&](const char* input, const std::string& more) {
    fs::remove_all(folder.path / "run");
    return train(
        cases / input, more + " --out " + (folder.path / "run").string());
  };
  const std::string even = "--test-share .5 --val-share 0 ";
  for (const char* input :
       {"01-motion-photo-jpeg/m.csv", "02-sixteen-bit-picture/m.csv"}) {
    CAPTURE(input);
    const auto run = on(input, "--val-share 0 --test-fold 0");
    CAPTURE(run.text);
    CHECK(run.status == 0);
  }
  CHECK(contains(
      on("07-over-a-thousand-megapixels/m.csv", "--val-share 0 --test-fold 0")
          .text,
      "CV_IO_MAX_IMAGE_PIXELS"));
  for (const char* input : {"leak.csv", "contradiction.csv"}) {
    const auto run =
        on((std::string("08-one-picture-two-spellings/") + input).c_str(),
           "--test-fold 0");
    CHECK(run.status == 1);
    CHECK(contains(run.text, "which is the same picture"));
  }
  for (const char* input :
       {"emptycol1.csv", "emptycol2.csv", "notetwice.csv", "emptyrows.csv"}) {
    CAPTURE(input);
    const auto run =
        on((std::string("10-excel-columns-and-rows/") + input).c_str(),
           "--test-fold 0 --val-share 0");
    CAPTURE(run.text);
    CHECK(run.status == 0);
  }
  CHECK(contains(
      on("10-excel-columns-and-rows/semicolon.csv", "").text,
      "separated by ','"));
  CHECK(contains(on("10-excel-columns-and-rows/cr.csv", "").text, "CR alone"));
}
