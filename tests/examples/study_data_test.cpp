// Tests of a study's data: splits, test sets, faults in boxes, duplicates.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"

#include "resnet_trainer/picture.hpp"
#include "study/data.hpp"
#include "study/duplicates.hpp"
#include "study/faults.hpp"
#include "study/train_job.hpp"

#include <nlohmann/json.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <set>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

using care_test::contains;
using care_test::error_of;
using care_test::Folder;
using Json = nlohmann::json;
using trainer::Row;

/// A plan on a manifest with this text (no picture is there).
study::Plan plan_on(
    const Folder& folder,
    const std::string& csv,
    const Json& more) {
  const auto file = care_test::write_text(folder.path / "manifest.csv", csv);
  Json json = {{"data", file.string()}, {"arms", {{{"name", "CE"}}}}};
  json.update(more);
  return study::parse_plan(json);
}

std::vector<std::string> paths_of(const std::vector<Row>& rows) {
  std::vector<std::string> paths;
  for (const auto& row : rows) {
    paths.push_back(row.path);
  }
  return paths;
}

const std::string kHeader = "path,label,xmin,ymin,xmax,ymax";

/// Rows of 100 x 50 pictures that exist, with one box each.
std::vector<Row> rows_on_disk(const Folder& folder, size_t count) {
  std::vector<Row> rows(count);
  for (size_t i = 0; i < count; ++i) {
    auto& row = rows[i];
    row.path = std::to_string(i) + ".png";
    row.file = folder.path / row.path;
    const auto x = static_cast<double>(10 * i);
    row.boxes = {{{x, 10, x + 20, 20}, "here", ""}};
    trainer::write_picture(row.file, cv::Mat(50, 100, CV_8UC3));
  }
  return rows;
}

} // namespace

TEST_CASE("study: the manifest's own split, test sets, subgroups", "[study]") {
  const Folder folder;
  const auto plan = plan_on(
      folder,
      kHeader +
          ",split,hospital,place\n"
          "a,cat,,,,,train,,land\nb,dog,,,,,train,,sea\n"
          "c,dog,1,1,2,2,test,far,sea\nd,cat,,,,,test,near,sea\n"
          "e,cat,1,1,2,2,val,,land\n",
      {{"test_sets", "hospital"}, {"subgroup", "place"}, {"rare", {"dog"}}});
  const study::Data data(plan, folder.path);
  const auto parts = data.parts({});
  CHECK(paths_of(parts.train) == std::vector<std::string>{"a", "b"});
  CHECK(paths_of(parts.test) == std::vector<std::string>{"c", "d"});
  CHECK(data.test_sets == std::vector<std::string>{"far", "near"});
  CHECK(data.test_set_of(parts.test[1]) == 1);
  CHECK(
      data.subgroups ==
      std::vector<std::string>{"cat, land", "cat, sea", "dog, sea"});
  CHECK(data.subgroup_of(parts.test[0]) == 2);
  CHECK(data.splits.at({0, 0}).rare == 1);
  CHECK(paths_of(data.shown(parts.test, 9)) == std::vector<std::string>{"c"});

  // Without a column split any picture may be tested.
  const auto whole = plan_on(
      folder,
      kHeader +
          ",hospital\na,cat,,,,,far\nb,cat,,,,,near\nc,dog,,,,,near\n"
          "d,dog,,,,,far\n",
      {{"test_sets", "hospital"},
       {"splits", {{{"train_share", 0.5}, {"numbers", {1}}}}}});
  CHECK(
      study::Data(whole, folder.path).test_sets ==
      std::vector<std::string>{"far", "near"});

  // A share is of what the manifest leaves for training.
  Json more = {{"splits", {{{"train_share", 0.5}, {"numbers", {1}}}}}};
  const auto shared = plan_on(
      folder,
      kHeader +
          ",split\na,cat,,,,,train\nb,cat,,,,,train\nc,dog,,,,,train\n"
          "d,dog,,,,,train\ne,dog,,,,,test\n",
      more);
  const study::Data other(shared, folder.path);
  const auto halves = other.parts(shared.jobs()[0]);
  CHECK(halves.train.size() == 2);
  CHECK(paths_of(halves.test) == std::vector<std::string>{"e"});
}

TEST_CASE("study: a share of a manifest's split is checked as it", "[study]") {
  const Folder folder;
  const auto plan = [&](const std::string& lines) {
    return plan_on(
        folder,
        kHeader + ",split,group\na,cat,,,,,train,\nb,cat,,,,,train,one\n" +
            lines,
        {{"splits", {{{"train_share", 0.5}, {"numbers", {0}}}}}});
  };
  const auto said = [&](const std::string& lines) {
    return error_of([&] { study::Data(plan(lines), folder.path); });
  };
  const std::string tests = "c,cat,,,,,test,\nd,dog,,,,,test,\n";
  CHECK(contains(
      said(tests + "e,dog,,,,,,\n"), "manifest.csv:6: expected a split, as"));
  CHECK(contains(
      said(tests + "e,dog,,,,,test,one\n"),
      "manifest.csv:3: expected the group 'one' in one part"));
  // The dogs have one picture in each part, the cow none to learn from.
  const auto good = plan(tests + "e,dog,,,,,train,\nf,cow,,,,,test,\n");
  const study::Data data(good, folder.path);
  CHECK(data.split(good.jobs()[0]).lacking == std::vector<std::string>{"cow"});
}

TEST_CASE("study: random splits and folds", "[study]") {
  const Folder folder;
  std::string csv = kHeader + ",fold,group\n";
  for (int i = 0; i < 40; ++i) {
    csv += std::to_string(i) + (i % 4 == 0 ? ",rare" : ",common") + ",,,,," +
        std::to_string(i % 5) + ",\n";
  }
  const auto plan = plan_on(
      folder,
      csv,
      {{"splits", {{{"train_share", 0.25}, {"numbers", {0, 1}}}}}});
  const study::Data data(plan, folder.path);
  const auto jobs = plan.jobs();
  const auto first = data.parts(jobs[0]), next = data.parts(jobs[1]);
  CHECK(first.train.size() + first.test.size() == 40);
  CHECK(data.splits.at({0.25, 0}).train == first.train.size());
  CHECK(data.splits.at({0.25, 0}).test == first.test.size());
  CHECK(
      std::count_if(first.train.begin(), first.train.end(), [](const Row& row) {
        return row.label == "rare";
      }) == std::lround(0.25 * 10));
  CHECK(paths_of(first.train) != paths_of(next.train));
  CHECK(paths_of(first.train) == paths_of(data.parts(jobs[0]).train));

  const auto folded = plan_on(folder, csv, {{"splits", {{{"folds", {3}}}}}});
  const study::Data folds(folded, folder.path);
  CHECK(folds.parts(folded.jobs()[0]).test.size() == 8);
  CHECK(folds.parts(folded.jobs()[0]).test[0].path == "3");
}

TEST_CASE("study: what the data does not hold is refused", "[study]") {
  const Folder folder;
  const auto csv = kHeader + ",fold\na,cat,,,,,0\nb,dog,,,,,1\n";
  const auto said = [&](Json more) {
    if (!more.contains("splits")) {
      more["splits"] = {{{"folds", {0}}}};
    }
    const auto plan = plan_on(folder, csv, more);
    return error_of([&] { study::Data(plan, folder.path); });
  };
  CHECK(said(Json::object()).empty());
  CHECK(contains(
      said({{"rare", {"cow"}}}), "rare: expected one of 'cat', 'dog'"));
  CHECK(contains(said({{"exclude", {"cow"}}}), "exclude"));
  CHECK(contains(said({{"exclude", {"cat"}}}), "at least 2 classes"));
  CHECK(contains(said({{"subgroup", "place"}}), "but got 'place'"));
  CHECK(contains(said({{"test_sets", "place"}}), "but got 'place'"));
  const Json third = {{"splits", {{{"folds", {2}}}}}};
  CHECK(contains(
      said(third), "splits.folds: expected one of '0', '1', but got '2'"));
  const auto without =
      plan_on(folder, kHeader + "\na,cat,,,,\nb,dog,,,,\n", third);
  CHECK(contains(
      error_of([&] { study::Data(without, folder.path); }),
      "splits: expected no folds, as the manifest has no column fold"));
  const auto none = plan_on(folder, csv, Json::object());
  CHECK(contains(
      error_of([&] { study::Data(none, folder.path); }), "no column split"));
  const auto several = plan_on(
      folder,
      kHeader + ",fold\na,cat|dog,,,,,0\nb,dog,,,,,1\n",
      {{"splits", {{{"folds", {0}}}}}});
  CHECK(contains(
      error_of([&] { study::Data(several, folder.path); }),
      "manifest.csv:2: expected one label a picture, but got 'cat|dog'"));
}

TEST_CASE("study: a fingerprint is of the rows, not of spellings", "[study]") {
  const Folder folder;
  const auto print = [&](const std::string& csv) {
    return study::fingerprint(trainer::read_manifest(
        care_test::write_text(folder.path / "m.csv", kHeader + csv)));
  };
  const auto one = print("\na.png,cat,1,2,3,4\n");
  CHECK(print("\n./a.png,cat,1.0,2,3,4\n") == one);
  CHECK(print("\na.png,cat,1,2,3,5\n") != one);
  CHECK(print("\na.png,dog,1,2,3,4\n") != one);
  CHECK(print(",group\na.png,cat,1,2,3,4,x\n") != one);
  const auto plan = plan_on(
      folder,
      kHeader + ",split\n./a/.//b,cat,,,,,train\nc,dog,,,,,test\n",
      Json::object());
  const study::Data data(plan, folder.path);
  CHECK(paths_of(data.rows) == std::vector<std::string>{"a/b", "c"});
}

TEST_CASE("study: a fingerprint is of the masks' folders, too", "[study]") {
  const Folder folder;
  const auto print = [&](const fs::path& manifest, const std::string& mask) {
    const auto file = folder.path / manifest;
    fs::create_directories(file.parent_path());
    care_test::write_text(
        file, kHeader + ",mask\na.png,cat,,,,," + mask + "\n");
    return study::fingerprint(trainer::read_manifest(file), /*masks=*/true);
  };
  const auto one = print("m.csv", "m1/a.png");
  CHECK(print("m.csv", "m2/a.png") != one);
  CHECK(print("m.csv", "./m1/../m1/a.png") == one);
  CHECK(print("moved/m.csv", "m1/a.png") == one);
}

TEST_CASE("study: a name with a comma is a name", "[study]") {
  // shared/cases/13-comma-in-a-class-name
  const Folder folder;
  const auto plan = plan_on(
      folder,
      kHeader + ",fold\na,\"Melanoma, NOS\",,,,,0\nb,dog,,,,,1\n",
      {{"splits", {{{"folds", {0}}}}},
       {"rare", {"Melanoma, NOS"}},
       {"arms",
        {{{"name", "CE"}},
         {{"name", "CARE"},
          {"guidance", "care"},
          {"guide", "Melanoma, NOS"}}}}});
  const study::Data data(plan, folder.path);
  CHECK(data.rare == data.classes_of("guide", plan.arms[1].guide));
  CHECK(contains(
      error_of([&] { data.classes_of("guide", {"Melanoma"}); }),
      "guide: expected one of 'Melanoma, NOS', 'dog', but got 'Melanoma'"));
}

TEST_CASE("study: faults in boxes", "[study]") {
  const Folder folder;
  const auto rows = rows_on_disk(folder, 5);
  study::Arm arm;
  arm.guidance = study::Guidance::kCare;
  CHECK(study::with_faults(rows, arm, 1)[3].corners() == rows[3].corners());

  arm.dilate = 1.5; // 20 x 10 at 10, 10 becomes 30 x 15
  CHECK(
      study::with_faults(rows, arm, 1)[1].boxes[0].xyxy ==
      std::array<double, 4>{5, 7.5, 35, 22.5});
  arm.dilate = 1;

  arm.box_missing = 0.4;
  size_t left = 0;
  for (const auto& row : study::with_faults(rows, arm, 1)) {
    left += row.boxes.size();
  }
  CHECK(left == 3);
  arm.box_missing = 0;

  arm.box_shift = 0.5;
  const auto shifted = study::with_faults(rows, arm, 1);
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto &a = rows[i].boxes[0].xyxy, &b = shifted[i].boxes[0].xyxy;
    CHECK(b[2] - b[0] == Approx(20));
    CHECK(b[0] >= 0);
    // Half of a side, in units of the sides; less at the left border alone.
    const double along = (b[0] - a[0]) / 20, down = (b[1] - a[1]) / 10;
    CHECK(std::hypot(along, down) <= 0.5 + 1e-9);
    CHECK((std::hypot(along, down) > 0.499 || b[0] == 0));
  }
  CHECK(study::with_faults(rows, arm, 1)[4].corners() == shifted[4].corners());
  CHECK(study::with_faults(rows, arm, 2)[4].corners() != shifted[4].corners());
  arm.box_shift = 0;

  arm.boxes = "shuffled";
  const auto shuffled = study::with_faults(rows, arm, 1);
  std::set<double> lefts;
  for (size_t i = 0; i < rows.size(); ++i) {
    CHECK(shuffled[i].corners() != rows[i].corners());
    lefts.insert(shuffled[i].boxes[0].xyxy[0]);
  }
  CHECK(lefts == std::set<double>{0, 10, 20, 30, 40});
  CHECK(contains(
      error_of([&] { study::with_faults({rows[0]}, arm, 1); }),
      "at least 2 pictures"));
}

TEST_CASE("study: shuffled boxes lie as on their own picture", "[study]") {
  const Folder folder;
  auto rows = rows_on_disk(folder, 2);
  trainer::write_picture(rows[1].file, cv::Mat(100, 400, CV_8UC3));
  study::Arm arm;
  arm.boxes = "shuffled";
  const auto shuffled = study::with_faults(rows, arm, 1);
  CHECK(shuffled[1].boxes[0].xyxy == std::array<double, 4>{0, 20, 80, 40});
  CHECK(shuffled[0].boxes[0].xyxy == std::array<double, 4>{2.5, 5, 7.5, 10});
}

TEST_CASE("study: masks are shuffled as boxes are", "[study]") {
  const Folder folder;
  auto rows = rows_on_disk(folder, 4);
  for (size_t i = 0; i < 3; ++i) {
    rows[i].mask = folder.path / (std::to_string(i) + "-mask.png");
    rows[i].boxes.clear();
  }
  study::Arm arm;
  arm.boxes = "shuffled";
  const auto shuffled = study::with_faults(rows, arm, 1, /*masks=*/true);
  std::set<fs::path> masks;
  for (size_t i = 0; i < 3; ++i) {
    CHECK(shuffled[i].mask != rows[i].mask);
    masks.insert(shuffled[i].mask);
  }
  CHECK(masks == std::set<fs::path>{rows[0].mask, rows[1].mask, rows[2].mask});
  CHECK(shuffled[3].mask.empty()); // it has a box, and no mask
  CHECK(contains(
      error_of([&] {
        study::with_faults({rows[0], rows[3]}, arm, 1, true);
      }),
      "at least 2 pictures with masks"));
  CHECK(study::fingerprint(rows) == study::fingerprint(rows, false));
  CHECK(study::fingerprint(rows, true) != study::fingerprint(shuffled, true));
}

TEST_CASE("study: boxes of another manifest, by picture", "[study]") {
  const Folder folder;
  const auto rows = rows_on_disk(folder, 2);
  fs::create_directories(folder.path / "boxes");
  const auto file = care_test::write_text(
      folder.path / "boxes/m.csv",
      kHeader +
          ",confidence\n../1.png,x,1,2,3,4,0.5\n../1.png,x,5,6,7,8,0\n"
          "../0.png,x,,,,,\n");
  const auto other = study::with_boxes_of(file, rows);
  CHECK(other[0].boxes.empty());
  REQUIRE(other[1].boxes.size() == 2);
  study::Arm arm;
  CHECK(study::with_faults(other, arm, 0)[1].boxes.size() == 1);
  arm.weigh_boxes = true; // of weight 0: neither inside nor outside
  CHECK(study::with_faults(other, arm, 0)[1].boxes.size() == 2);
  const auto more = rows_on_disk(folder, 3);
  CHECK(contains(error_of([&] { study::with_boxes_of(file, more); }), "2.png"));
}

TEST_CASE("study: pictures of the part val take no part", "[study]") {
  // Not in what is rare, nor in which classes there are.
  const Folder folder;
  const auto plan = plan_on(
      folder,
      kHeader +
          ",split\na,cat,,,,,train\nb,cat,,,,,train\nc,dog,,,,,train\n"
          "d,cat,,,,,test\ne,dog,,,,,test\nf,dog,,,,,val\ng,dog,,,,,val\n"
          "h,dog,,,,,val\ni,emu,,,,,val\n",
      Json::object());
  const study::Data data(plan, folder.path);
  CHECK(data.rows.size() == 5);
  CHECK(data.classes == std::vector<std::string>{"cat", "dog"});
  CHECK(data.rare == std::vector<int64_t>{1});
}

TEST_CASE("study: pictures that are all alike are not all listed", "[study]") {
  const std::vector<study::Hash> flat(200); // 19,900 pairs
  CHECK(study::near_duplicates(flat).size() == study::kMostPairs);
}

TEST_CASE("study: nearly equal pictures are found", "[study]") {
  cv::Mat noise(64, 64, CV_8UC3), other(64, 64, CV_8UC3);
  cv::theRNG().state = 7;
  cv::randu(noise, 0, 255);
  cv::randu(other, 0, 255);
  cv::GaussianBlur(noise, noise, {}, 4);
  cv::GaussianBlur(other, other, {}, 4);
  cv::Mat brighter, smaller;
  noise.convertTo(brighter, -1, 1.1, 5);
  cv::resize(noise, smaller, {48, 48}, 0, 0, cv::INTER_AREA);
  std::vector<study::Hash> hashes;
  for (const auto& picture : {noise, other, brighter, smaller}) {
    hashes.push_back(study::difference_hash(picture));
  }
  CHECK(
      study::near_duplicates(hashes, 16) ==
      std::vector<std::pair<size_t, size_t>>{{0, 2}, {0, 3}, {2, 3}});

  const Folder folder;
  trainer::write_picture(folder.path / "a.png", noise);
  trainer::write_picture(folder.path / "b.png", noise);
  trainer::write_picture(folder.path / "c.png", other);
  const auto warned = [&](const std::string& split_of_b) {
    const auto plan = plan_on(
        folder,
        kHeader + ",split\na.png,cat,,,,,train\nb.png,cat,,,,," + split_of_b +
            "\nc.png,dog,,,,,test\n",
        Json::object());
    const study::Data data(plan, folder.path);
    return study::straddling(data, study::read_pictures(data));
  };
  CHECK(warned("train").empty());
  REQUIRE(warned("test").size() == 1);
  CHECK(contains(warned("test")[0], "a.png and b.png"));
  CHECK(contains(warned("test")[0], "(the manifest's own split)"));
}

TEST_CASE("study: pictures that cannot be used are named", "[study]") {
  const Folder folder;
  trainer::write_picture(folder.path / "a.png", cv::Mat(9, 20, CV_8UC3));
  care_test::write_text(folder.path / "b.png", "not a picture");
  const auto text = [&](const std::string& box,
                        const Json& more = Json::object()) {
    const auto plan = plan_on(
        folder,
        kHeader + ",split,mask\na.png,cat," + box +
            ",train,m.png\nb.png,dog,,,,,test,\n",
        more);
    return error_of(
        [&] { study::read_pictures(study::Data(plan, folder.path)); });
  };
  const auto name = (folder.path / "manifest.csv").string();
  auto said = text("1,2,20,9");
  CHECK(contains(said, "but 1 of 2 are none:\n" + name + ":3: "));
  CHECK(contains(said, "b.png: expected a picture"));
  said = text("20,2,25,9");
  CHECK(contains(said, "2 of 2 are none:\n" + name + ":2: expected a box on"));
  trainer::write_picture(folder.path / "b.png", cv::Mat(9, 9, CV_8UC3));
  CHECK(text("1,2,20,9").empty());
  trainer::write_picture(folder.path / "m.png", cv::Mat::zeros(9, 20, CV_8UC3));
  const Json masks = {{"recipe", {{"regions", "masks"}}}};
  CHECK(contains(text("1,2,20,9", masks), "m.png: expected a lesion, but got"));
}
