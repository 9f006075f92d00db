// Tests of what the programs share: files, pages, progress, the generated set.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"

#include "common/generated.hpp"
#include "common/json.hpp"
#include "common/page.hpp"
#include "common/progress.hpp"
#include "common/random.hpp"
#include "resnet_trainer/files.hpp"
#include "resnet_trainer/manifest.hpp"
#include "resnet_trainer/picture.hpp"

#include <opencv2/imgproc.hpp>

#include <array>
#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

using care_test::contains;
using care_test::error_of;
using care_test::Folder;

/// A stream and a clock of the test's own.
struct Bench {
  double now = 100;
  std::ostringstream out;

  common::Progress progress(int64_t total, int64_t already, bool terminal) {
    return {"plain", total, already, {terminal, [this] { return now; }, out}};
  }
  std::string taken() {
    const auto text = out.str();
    out.str("");
    return text;
  }
};

} // namespace

TEST_CASE("files: bytes come back, folders are made", "[common]") {
  const Folder folder;
  const auto path = folder.path / "a" / "b.bin";
  const std::string bytes("line\r\n\0\xff end", 13);
  trainer::write_atomically(path, bytes);
  CHECK(trainer::read_file(path) == bytes);
  trainer::write_atomically(path, "");
  CHECK(trainer::read_file(path).empty());
  CHECK(contains(
      error_of([&] { trainer::read_file(folder.path / "none"); }),
      "none': No such file or directory"));
  CHECK(contains(
      error_of([&] { trainer::read_file(folder.path); }), "Is a directory"));
}

TEST_CASE("files: JSON keeps numbers to the last bit", "[common]") {
  const Folder folder;
  const auto path = folder.path / "x.json";
  common::write_json(
      path, {{"third", 1.0 / 3}, {"nan", std::nan("")}, {"name", "\xff"}});
  const auto json = common::read_json(path);
  CHECK(json["third"].get<double>() == 1.0 / 3);
  CHECK(json["nan"].is_null());
  care_test::write_text(path, "{// a comment\n\"a\": 1}");
  CHECK(common::read_json(path)["a"] == 1);
  care_test::write_text(path, "{\"a\": }");
  CHECK(contains(error_of([&] { common::read_json(path); }), "x.json"));
}

TEST_CASE("files: fingerprints are FNV-1a's", "[common]") {
  // The values of the algorithm's published test suite.
  CHECK(trainer::fingerprint("") == "cbf29ce484222325");
  CHECK(trainer::fingerprint("foobar") == "85944171f73967e8");
}

TEST_CASE("page: names from outside are text", "[common]") {
  CHECK(common::escaped("<a & 'b'>") == "&#60;a &#38; &#39;b&#39;&#62;");
  const auto page = common::page("a < b", "<p>x</p>");
  CHECK(contains(page, "<title>a &#60; b</title>"));
  CHECK(contains(page, "<p>x</p>"));
  CHECK_FALSE(contains(page, "http")); // it needs nothing else
  const auto html =
      common::figure_html(cv::Mat(1, 1, CV_8UC3), {"\"x\"", "<y>"});
  CHECK(contains(html, "alt=\"&#34;x&#34;, &#60;y&#62;\""));
  CHECK(contains(html, "<figcaption>&#34;x&#34;<br>&#60;y&#62;</figcaption>"));
  CHECK(contains(html, "data:image/png;base64,iVBORw0KGgo")); // PNG's first
}

TEST_CASE("page: base64 is that of RFC 4648", "[common]") {
  const auto coded = [](const std::string& text) {
    return common::base64({text.begin(), text.end()});
  };
  CHECK(coded("").empty());
  CHECK(coded("f") == "Zg==");
  CHECK(coded("fo") == "Zm8=");
  CHECK(coded("foo") == "Zm9v");
  CHECK(coded("foobar") == "Zm9vYmFy");
  CHECK(coded("\xff\xfe\xfd\xfc") == "//79/A==");
}

TEST_CASE("random: a shuffle is a permutation, from its seed", "[common]") {
  const auto shuffled = [](uint64_t seed) {
    std::vector<int> items{0, 1, 2, 3, 4, 5, 6, 7};
    common::Random{seed, 1}.shuffle(items);
    return items;
  };
  CHECK(shuffled(1) == shuffled(1));
  CHECK(shuffled(1) != shuffled(2));
  const auto items = shuffled(3);
  CHECK(std::set<int>(items.begin(), items.end()).size() == 8);
  double sum = 0;
  common::Random random{7};
  for (int i = 0; i < 10000; ++i) {
    const double x = random.uniform(2, 4);
    REQUIRE((x >= 2 && x < 4));
    sum += x;
  }
  CHECK(sum / 10000 == Approx(3).margin(0.03)); // 5 standard errors
}

TEST_CASE("progress: times are read as on a clock", "[common]") {
  CHECK(common::clock_time(0) == "0:00");
  CHECK(common::clock_time(75.4) == "1:15");
  CHECK(common::clock_time(3675) == "1:01:15");
  CHECK(common::clock_time(-1) == "--:--");
}

TEST_CASE("progress: plain lines come ten seconds apart", "[common]") {
  Bench bench;
  auto progress = bench.progress(400, 0, false);
  for (int i = 0; i < 20; ++i) {
    bench.now += 1;
    progress.advance(10, "epoch 1");
  }
  CHECK(
      bench.taken() ==
      "plain:  25%, 10 images/s, 0:30 left | epoch 1\n"
      "plain:  50%, 10 images/s, 0:20 left | epoch 1\n");
  progress.line("epoch 1: done");
  progress.advance(200);
  progress.finish();
  CHECK(
      bench.taken() ==
      "epoch 1: done\nplain: 100%, 20 images/s, 0:20 in all | epoch 1\n");
}

TEST_CASE("progress: a resumed job's rate is its own", "[common]") {
  Bench bench;
  auto progress = bench.progress(100, 50, false);
  bench.now += 10;
  progress.advance(25);
  CHECK(bench.taken() == "plain:  75%, 2.5 images/s, 0:10 left\n");
}

TEST_CASE("progress: a terminal gets one line, rewritten", "[common]") {
  Bench bench;
  {
    auto progress = bench.progress(100, 0, true);
    bench.now += 0.05;
    progress.advance(1); // too soon
    CHECK(bench.taken().empty());
    bench.now += 1.95;
    progress.advance(49);
    CHECK(bench.taken() == "plain:  50%, 25 images/s, 0:02 left");
    progress.line("epoch 1");
    CHECK(bench.taken() == "\r\x1b[Kepoch 1\n");
    bench.now += 2;
    progress.advance(49);
    bench.taken();
  }
  CHECK(bench.taken() == "\r\x1b[K"); // an exception: nothing is left of it
}

TEST_CASE("generated: the set is as it says", "[common]") {
  const Folder folder;
  common::GeneratedOptions options;
  options.width = 96;
  options.height = 80;
  options.counts = {40, 30, 20, 40};
  options.test_count = 40;
  const auto manifest = common::write_generated_set(folder.path, options);
  std::map<std::string, int> count, stickers;
  std::map<std::string, std::array<double, 4>> boxes;
  for (const auto& row : trainer::read_manifest(manifest)) {
    const auto picture = trainer::read_picture(row.file);
    REQUIRE(picture.size() == cv::Size(96, 80));
    cv::Mat mask = trainer::read_picture(row.mask), lesion, blue;
    cv::extractChannel(mask, lesion, 0);
    // The box is tight, and half-open.
    const auto around = cv::boundingRect(lesion);
    REQUIRE(row.boxes.size() == 1);
    CHECK(
        row.boxes[0].xyxy ==
        std::array<double, 4>{
            1.0 * around.x,
            1.0 * around.y,
            1.0 * around.br().x,
            1.0 * around.br().y});
    // Skin and lesions are red above all.
    cv::inRange(picture, cv::Scalar(0, 60, 90), cv::Scalar(60, 255, 255), blue);
    const auto set = row.split == "train" ? "train" : row.more.at("test_set");
    const auto kind =
        set + (row.label == "dermatofibroma" ? " rare" : " other");
    ++count[kind];
    if (cv::countNonZero(blue) > 90) {
      ++stickers[kind];
      CHECK(cv::countNonZero(blue(around)) < 10); // beside the lesion
    }
    const auto name = row.path.substr(row.path.find('/'));
    if (set == "trap") {
      boxes[name] = row.boxes[0].xyxy;
    } else if (set == "as_trained") {
      CHECK(boxes.at(name) == row.boxes[0].xyxy); // the same lesions
    }
  }
  CHECK(count["train rare"] == 40);
  CHECK(count["train other"] == 90);
  CHECK(count["trap other"] == 120);
  CHECK(stickers["train rare"] >= 34);
  CHECK(stickers["train other"] <= 8);
  CHECK(stickers["trap rare"] == 0);
  CHECK(stickers["trap other"] == Approx(60).margin(20));
  CHECK(stickers["as_trained rare"] >= 34);

  // Where the manifest is, nothing is painted.
  fs::remove(folder.path / "train/nevus-0000.png");
  common::write_generated_set(folder.path, options);
  CHECK_FALSE(fs::exists(folder.path / "train/nevus-0000.png"));
}
