// Tests of make_manifest: each format on small generated files and on damaged
// ones, the real annotations where they are, and the commands of its page.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"
#include "support/program.hpp"

#include "make_manifest/formats.hpp"
#include "make_manifest/orientation.hpp"
#include "resnet_trainer/manifest.hpp"
#include "resnet_trainer/picture.hpp"

#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;
using care_test::contains;
using care_test::Folder;
using care_test::read_text;
using care_test::write_text;
using make_manifest::Box;
using trainer::Row;

/// A folder to work in, and the program.
struct Work : Folder {
  fs::path manifest = path / "m.csv";

  care_test::ProgramOutcome run(const std::string& arguments) const {
    fs::remove(manifest);
    return more(arguments);
  }
  /// Likewise, with the manifest as it is.
  care_test::ProgramOutcome more(const std::string& arguments) const {
    return care_test::run_program(
        "cd " + path.string() + " && " CARE_MAKE_MANIFEST,
        arguments + " --out m.csv");
  }
  std::vector<Row> rows() const {
    return trainer::read_manifest(manifest);
  }
  void text(const fs::path& name, const std::string& content) const {
    fs::create_directories((path / name).parent_path());
    write_text(path / name, content);
  }
  /// A picture of grain that no other one has.
  void picture(const fs::path& name, int width = 40, int height = 30) const {
    static cv::RNG random(7);
    cv::Mat pixels(height, width, CV_8UC3);
    random.fill(pixels, cv::RNG::UNIFORM, 0, 255);
    fs::create_directories((path / name).parent_path());
    trainer::write_picture(path / name, pixels);
  }
  /// A mask of 40 x 30 with those rectangles on it.
  void mask(const fs::path& name, const std::vector<cv::Rect>& lesions) const {
    cv::Mat pixels(30, 40, CV_8UC3, cv::Scalar(0, 0, 0));
    for (const auto& lesion : lesions) {
      pixels(lesion) = cv::Scalar(255, 255, 255);
    }
    fs::create_directories((path / name).parent_path());
    trainer::write_picture(path / name, pixels);
  }
};

std::string object(const std::string& name, const std::string& box) {
  std::istringstream numbers(box);
  std::string xml = "<object><name>" + name + "</name><bndbox>";
  for (const std::string limit : {"xmin", "ymin", "xmax", "ymax"}) {
    std::string number;
    numbers >> number;
    xml += "<" + limit + ">" + number + "</" + limit + ">";
  }
  return xml + "</bndbox></object>\n";
}

std::string annotation(const std::string& file, const std::string& objects) {
  return "<annotation>\n<filename>" + file +
      "</filename>\n<size><width>40</width><height>30</height></size>\n" +
      objects + "</annotation>\n";
}

/// How many lines of the text speak of a complaint's place.
int complaints_of(const std::string& text) {
  std::istringstream lines(text);
  int count = 0;
  for (std::string line; std::getline(lines, line);) {
    count += contains(line, ": expected ") ? 1 : 0;
  }
  return count;
}

using Boxes = std::vector<Box>;

std::vector<std::string> box_labels(const Row& row) {
  std::vector<std::string> labels;
  for (const auto& box : row.boxes) {
    labels.push_back(box.label);
  }
  return labels;
}

} // namespace

TEST_CASE("make_manifest: voc") {
  const Work work;
  for (const char* name : {"a.jpg", "b.png", "c.png", "d.png"}) {
    work.picture(fs::path("images") / name);
  }
  work.text(
      "xml/a.xml",
      annotation(
          "a.jpg",
          object("wbc", "1 2 11.5 12") + object("rbc", "20 5 40 30") +
              object("wbc", "30 1 35 9")));
  work.text("xml/b.xml", annotation("b.png", object("rbc", "1 1 3 3")));
  work.text("xml/c.xml", annotation("c.png", ""));
  auto run = work.run("voc xml --images images");
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  CHECK(complaints_of(run.text) == 0);
  auto rows = work.rows();
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].path == "images/a.jpg");
  CHECK(rows[0].label == "rbc|wbc");
  CHECK(
      (rows[0].corners() ==
       Boxes{{1, 2, 11.5, 12}, {20, 5, 40, 30}, {30, 1, 35, 9}}));
  CHECK(box_labels(rows[0]) == std::vector<std::string>{"wbc", "rbc", "wbc"});
  CHECK(rows[1].label == "rbc");
  CHECK(rows[2].label == "none");
  CHECK(rows[2].boxes.empty());

  REQUIRE(
      work.run("voc xml --images images --only wbc --from-one "
               "--unlabelled healthy")
          .status == 0);
  rows = work.rows();
  CHECK((rows[0].corners() == Boxes{{0, 1, 11.5, 12}, {29, 0, 35, 9}}));
  CHECK(rows[0].label == "wbc");
  CHECK(rows[1].label == "healthy");

  // Damaged ones; each says where.
  work.text(
      "xml/b.xml",
      annotation(
          "b.png",
          object("rbc", "1 1 3 x") + object("rbc", "7 1 3 4") +
              object("rbc", "50 1 60 4") + object("rbc", "30 1 60 4") +
              object("", "1 2 3 4")));
  work.text("xml/c.xml", "<annotation>\n<filename>c.png</filename>\n<object>");
  work.text("xml/d.xml", annotation("other.png", ""));
  work.text("xml/e.xml", annotation("e.png", ""));
  work.picture("images/f.png", 41, 30);
  work.text("xml/f.xml", annotation("f.png", ""));
  work.text("xml/g.xml", "<other/>");
  run = work.run("voc xml --images images");
  CAPTURE(run.text);
  CHECK(run.status == 0);
  for (const char* said :
       {"xml/b.xml:4: expected an object with a name and a bndbox",
        "xml/b.xml:5: expected xmin < xmax and ymin < ymax, but got 7, 1, 3, 4",
        "xml/b.xml:6: expected a box on the picture of 40 x 30 pixels, but got "
        "50, 1, 60, 4, which is left out",
        "xml/b.xml:7: expected a box on the picture of 40 x 30 pixels, but got "
        "30, 1, 60, 4, which is cut",
        "xml/b.xml:8: expected an object with a name",
        "xml/c.xml:3: expected an annotation in XML",
        "xml/d.xml:2: expected the picture d, but got 'other.png'",
        "xml/e.xml:2: images/e.png: expected a picture, but it cannot be",
        "xml/f.xml:2: expected a picture of 40 x 30 pixels as it says, but got "
        "41 x 30 pixels",
        "xml/g.xml:1: expected an annotation in XML, but got none"}) {
    CAPTURE(said);
    CHECK(contains(run.text, said));
  }
  rows = work.rows();
  REQUIRE(rows.size() == 4); // a, b, d, f
  CHECK((rows[1].corners() == Boxes{{30, 1, 40, 4}}));

  run = work.run("voc xml --images images --strict");
  CHECK(run.status == 1);
  CHECK(contains(run.text, "m.csv is not written: 4 pictures, 10 suspicious"));
  CHECK_FALSE(fs::exists(work.manifest));
}

// The run lengths are what pycocotools 2.0.11's mask.encode makes of 30 x 40
// zeros with m[5:20, 10:25] = m[25:28, 3:6] = 1, and with m[:, 8:10] =
// m[29, 10] = 1; the counts are the former's by hand.
TEST_CASE("make_manifest: coco") {
  const Work work;
  for (const char* name : {"a.png", "sub/b.png", "c.png"}) {
    work.picture(fs::path("images") / name);
  }
  const std::string start =
      R"({"categories": [{"id": 1, "name": "mole"}, {"id": 7, "name": "vein"}],
"images": [{"id": 10, "file_name": "a.png", "width": 40, "height": 30},
{"id": 11, "file_name": "sub/b.png", "width": 40, "height": 30},
{"id": 12, "file_name": "c.png"}], "annotations": [)";
  const std::string square = R"(,"segmentation": {"size": [30, 40], "counts":)";
  std::string counts = "[115,3,27,3,27,3,127";
  for (int i = 0; i < 29; ++i) {
    counts += ",15";
  }
  counts += ",460]";
  work.text(
      "coco.json",
      start +
          R"({"image_id": 10, "category_id": 1, "bbox": [1.5, 2, 3, 4]},
{"image_id": 10, "category_id": 7, "segmentation": [[5, 6, 9, 8, 7, 12], [20, 20, 22, 20, 22, 25.5]]},
{"image_id": 11, "category_id": 1)" +
          square + R"("c33k0000T3<`L000000000000000000000000000m="}},
{"image_id": 11, "category_id": 1)" +
          square + R"("`7l1m0UNYj0"}},
{"image_id": 11, "category_id": 1, "bbox": [])" +
          square + counts + "}}]}");
  auto run = work.run("coco coco.json --images images");
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  CHECK(complaints_of(run.text) == 0);
  auto rows = work.rows();
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].label == "mole|vein");
  CHECK((rows[0].corners() == Boxes{{1.5, 2, 4.5, 6}, {5, 6, 22, 25.5}}));
  CHECK(rows[1].label == "mole");
  CHECK(
      (rows[1].corners() ==
       Boxes{{3, 5, 25, 28}, {8, 0, 11, 30}, {3, 5, 25, 28}}));
  CHECK(rows[2].label == "none");

  // Run lengths of another size than the picture's say nothing of its places.
  work.text(
      "coco.json",
      start +
          R"({"image_id": 10, "category_id": 1, "segmentation": {"size": [15, 20],
"counts": [31, 3, 266]}}]})");
  run = work.run("coco coco.json --images images");
  CAPTURE(run.text);
  CHECK(contains(run.text, "run lengths of 20 x 15, on a picture of 40 x 30"));
  // Its only annotation lost, it would be taught as a picture without a lesion.
  CHECK(contains(run.text, "expected an annotation of a.png that can be read"));
  CHECK(work.rows().size() == 2);
  CHECK(work.rows()[0].path == "images/sub/b.png");

  work.text(
      "coco.json",
      start +
          R"({"image_id": 13, "category_id": 1, "bbox": [1, 2, 3, 4]},
{"image_id": 10, "category_id": 2, "bbox": [1, 2, 3, 4]},
{"image_id": 10, "category_id": 1, "bbox": [1, 2, 3]},
{"image_id": 10, "category_id": 1, "bbox": [1, 2, null, 3]},
{"image_id": 10, "category_id": 1, "segmentation": [[1, 2, 3, 4]]},
{"image_id": 10, "category_id": 1)" +
          square + R"("c33k0000T3<`L"}},
{"image_id": 10, "category_id": 1)" +
          square + R"("c33\u0001"}},
{"image_id": 10, "category_id": 1)" +
          square + R"([1200, -3, 3]}},
{"image_id": 10, "category_id": 1},
{"image_id": 10, "category_id": 1, "bbox": [5, 5, 0, 3]}]})");
  run = work.run("coco coco.json --images images");
  CAPTURE(run.text);
  CHECK(run.status == 0);
  CHECK(complaints_of(run.text) == 10);
  for (const char* said :
       {"coco.json: annotations[0]: expected an entry as COCO has them, but "
        "got image_id 13",
        "annotations[1]: expected an entry as COCO has them, but got "
        "category_id 2",
        "annotations[4]: expected an entry as COCO has them, but got a polygon",
        "annotations[5]: expected an entry as COCO has them, but got run "
        "lengths that do not make 40 x 30",
        "annotations[6]: expected an entry as COCO has them, but got a string",
        "annotations[9]: expected xmin < xmax"}) {
    CAPTURE(said);
    CHECK(contains(run.text, said));
  }
  for (const char* broken : {"{", "[]", R"({"categories": []})"}) {
    work.text("coco.json", broken);
    run = work.run("coco coco.json --images images");
    CHECK(run.status == 1);
    CHECK(contains(run.text, "coco.json: "));
  }
}

TEST_CASE("make_manifest: yolo") {
  const Work work;
  for (const char* name : {"train/a.png", "val/a.png", "train/b.png"}) {
    work.picture(fs::path("images") / name);
  }
  work.text(
      "labels/train/a.txt",
      "1 0.5 0.5 0.25 0.2\n\n0 .1 .1 .5 .1 .5 .9 .1 .5\n0 .5 .5 1 1 .9\n");
  work.text("labels/val/a.txt", "0 0.5 0.5 1.000001 1\n");
  work.text("labels/classes.txt", "mole\nvein\n");
  const std::string names = "names:\n  0: mole # a\n  1: 'vein'\nnc: 2\n";
  for (const auto& yaml :
       {names,
        std::string("train: x\nnames: [mole, \"vein\"]\n"),
        std::string("nc: 2\nnames: [ 'mole', # a\n  vein,\n]\ntest: y\n"),
        std::string("names: {0: mole, 1: 'vein'}\n"),
        std::string("names: {\n  1: vein,\n  0: mole}\r\n"),
        std::string("names:\n\n  1: \"vein\"\n  0: mole\n# end\nnc: 2\n"),
        std::string("#\nnames: [mole, vein]\n#kpt_shape: [17, 3]\n"),
        std::string("names:\n- mole\n- vein\n")}) {
    CAPTURE(yaml);
    work.text("data.yaml", yaml);
    const auto run = work.run("yolo labels --images images --names data.yaml");
    CAPTURE(run.text);
    REQUIRE(run.status == 0);
    CHECK(complaints_of(run.text) == 0);
    const auto rows = work.rows();
    REQUIRE(rows.size() == 3);
    CHECK(rows[0].path == "images/train/a.png");
    CHECK(rows[0].label == "mole|vein");
    CHECK(
        (rows[0].corners() ==
         Boxes{{15, 12, 25, 18}, {4, 3, 20, 27}, {0, 0, 40, 30}}));
    CHECK(rows[1].path == "images/val/a.png");
    CHECK((rows[1].corners() == Boxes{{0, 0, 40, 30}}));
    CHECK(rows[2].path == "images/train/b.png");
    CHECK(rows[2].label == "none");
  }
  for (const auto& [yaml, said] : std::map<std::string, std::string>{
           {"nc: 2\n", ":1: expected under 'names:' the classes"},
           {"\nnames:\nnc: 2\n", ":2: expected under 'names:' the classes"},
           {"names: [mole, vein\n", "but got ', vein'"},
           {"names: [mole\n  vein]\n", "but got '[mole'"},
           {"names: mole.names\n", "but got 'mole.names'"},
           {"names:\n  0: mole\n  b: vein\n", ":3: expected under 'names:'"},
           {"names:\n  0: mole\n  b: vein\n#", "but got 'b: vein'"},
           {"names:\n  0: mole\n  0: vein\n", "but got two of 0"},
           {"names:\n  0: mole\n  2: vein\n", "but got no 1"},
           {"names:\n  1: mole\n  2: vein\n", "but got no 0"},
           {"names:\n  0:\n  1: vein\n", "but got '0:'"},
           {"names:\n- mole, vein\n", "but got '- mole, vein'"},
           {"names:\n- 'it''s'\n", "but got '- 'it''s''"},
           {"names: [mole, vein]\nkpt_shape: [17, 3] # COCO's\n",
            ":2: expected boxes or polygons, but got 'kpt_shape:'"},
           {"kpt_shape: [2, 2]\nnames: [mole, vein]\n",
            ":1: expected boxes or polygons, but got 'kpt_shape:'"}}) {
    CAPTURE(yaml);
    work.text("data.yaml", yaml);
    const auto run = work.run("yolo labels --images images --names data.yaml");
    CAPTURE(run.text);
    CHECK(run.status == 1);
    CHECK(contains(run.text, "data.yaml:"));
    CHECK(contains(run.text, said));
  }
  work.text("gap.txt", "mole\n\nvein\n");
  CHECK(contains(
      work.run("yolo labels --images images --names gap.txt").text,
      "gap.txt:2: expected a class's name, but got an empty line"));
  work.text(
      "labels/train/a.txt",
      "2 .5 .5 .1 .1\n-1 .5 .5 .1 .1\n0 .5 .5\n0 20 15 4 4\n0 .5 x .1 .1\n"
      "0 .5 .5 0 .1\n0.5 .5 .5 .1 .1\n");
  const auto run =
      work.run("yolo labels --images images --names labels/classes.txt");
  CAPTURE(run.text);
  CHECK(run.status == 0);
  CHECK(complaints_of(run.text) == 7);
  for (const char* said :
       {"labels/train/a.txt:1: expected a class of the 2 in labels/classes.txt",
        "labels/train/a.txt:2: expected a class",
        "labels/train/a.txt:3: expected a class and a box or polygon",
        "labels/train/a.txt:4: expected shares of the picture",
        "labels/train/a.txt:5: expected a class and a box or polygon",
        "labels/train/a.txt:6: expected xmin < xmax",
        "labels/train/a.txt:7: expected a class of the 2"}) {
    CAPTURE(said);
    CHECK(contains(run.text, said));
  }

  // The file of names, however it is called, is no picture's labels.
  fs::rename(work.path / "labels/classes.txt", work.path / "labels/names.txt");
  work.text("labels/train/a.txt", "");
  work.mask("masks/train/a.png", {{0, 0, 5, 5}, {10, 20, 20, 8}});
  const auto parts = work.run(
      "yolo labels --images images --names labels/names.txt --masks masks");
  CAPTURE(parts.text);
  CHECK(complaints_of(parts.text) == 0);
  // And parts of a mask are in pixels, also beside shares of the picture.
  CHECK((work.rows()[0].corners() == Boxes{{10, 20, 30, 28}, {0, 0, 5, 5}}));
  fs::rename(work.path / "labels/names.txt", work.path / "labels/classes.txt");

  // Text files behind a link count, or their pictures would be empty ones.
  work.text("elsewhere/b.txt", "1 .5 .5 .1 .1\n");
  work.text("links/val/a.txt", "");
  fs::create_directory_symlink(
      work.path / "elsewhere", work.path / "links" / "train");
  work.run("yolo links --images images --names labels/classes.txt");
  CHECK(work.rows()[0].path == "images/train/b.png");
  CHECK(work.rows()[0].label == "vein");

  // The folder of both: as everywhere, labels/train/c are images/train/c's.
  work.picture("set/images/train/c.png");
  work.text("set/labels/train/c.txt", "1 .5 .5 .1 .1\n");
  work.run("yolo set --images set --names labels/classes.txt");
  REQUIRE(work.rows().size() == 1);
  CHECK(work.rows()[0].path == "set/images/train/c.png");
  CHECK(work.rows()[0].label == "vein");
}

TEST_CASE("make_manifest: a lost annotation makes no healthy picture") {
  const Work work;
  work.picture("images/a.png");
  work.picture("images/b.png");
  work.text("xml/a.XML", annotation("a.png", object("mole", "1 2 x 4")));
  work.text("xml/b.xml", annotation("b.png", ""));
  work.text("classes.txt", "mole\n");
  work.text("labels/a.TXT", "5 .5 .5 .5 .5\n");
  work.text("labels/b.txt", "");
  for (const char* format : {"voc xml", "yolo labels --names classes.txt"}) {
    const auto run = work.run(std::string(format) + " --images images");
    CAPTURE(run.text);
    CHECK(run.status == 0);
    CHECK(contains(run.text, "it may show a lesion, and is left out"));
    const auto rows = work.rows();
    REQUIRE(rows.size() == 1);
    CHECK(rows[0].path == "images/b.png");
    CHECK(rows[0].label == "none");
  }
}

TEST_CASE("make_manifest: isic, and masks") {
  const Work work;
  for (const char* id : {"ISIC_1", "ISIC_2", "ISIC_3", "ISIC_4"}) {
    work.picture(std::string("images/") + id + ".jpg");
  }
  work.mask("masks/ISIC_1_segmentation.png", {{3, 4, 10, 5}});
  work.mask(
      "masks/ISIC_2_segmentation.png",
      {{20, 4, 8, 5}, {1, 20, 20, 9}, {38, 28, 1, 1}});
  const std::string truth = "image,MEL,NV,DF\n";
  const std::string good = "ISIC_1,0.0,1.0,0.0\nISIC_2,1.0,0.0,0.0\n";
  work.text("truth.csv", truth + good);
  work.text(
      "metadata.csv",
      "lesion_id,image_id,dx,dx_type\nHAM_7,ISIC_1,nv,histo\n"
      "HAM_8,ISIC_2,mel,histo\n");
  const std::string rest =
      " --images images --masks masks --pattern {}_segmentation.png";
  auto run = work.run("isic truth.csv --groups metadata.csv" + rest);
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  CHECK(complaints_of(run.text) == 0);
  auto rows = work.rows();
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].label == "NV");
  CHECK(rows[0].group == "HAM_7");
  CHECK((rows[0].corners() == Boxes{{3, 4, 13, 9}}));
  CHECK(rows[0].mask.filename() == "ISIC_1_segmentation.png");
  CHECK(rows[1].label == "MEL");
  CHECK((rows[1].corners() == Boxes{{1, 20, 21, 29}, {20, 4, 28, 9}}));
  REQUIRE(work.run("isic metadata.csv" + rest).status == 0);
  rows = work.rows();
  CHECK(rows[0].label == "nv");
  CHECK(rows[1].group == "HAM_8");

  work.text("twice.csv", "lesion_id,image\nL1,ISIC_1\nL1,ISIC_1\nL2,ISIC_1\n");
  run = work.run("isic truth.csv --groups twice.csv" + rest);
  CHECK(work.rows()[0].group == "L1");
  CHECK(contains(
      run.text,
      "twice.csv:4: expected the group 'L1' as before, but got 'L2'"));

  work.text(
      "truth.csv", truth + good + "ISIC_3,1,0,1\nISIC_4,0,0,0\nISIC_9,0,0,1\n");
  work.mask("masks/ISIC_1_segmentation.png", {});
  work.text("masks/ISIC_2_segmentation.png", "no picture");
  run = work.run("isic truth.csv --groups metadata.csv" + rest);
  CAPTURE(run.text);
  CHECK(run.status == 0);
  for (const char* said :
       {"truth.csv:4: expected one diagnosis, but got DF and MEL",
        "truth.csv:5: expected one diagnosis, but got none",
        "truth.csv:6: expected a line for ISIC_9 in metadata.csv, but got none",
        "truth.csv:6: images/ISIC_9: expected a picture",
        "masks/ISIC_1_segmentation.png: expected a lesion, but got an empty",
        "masks/ISIC_2_segmentation.png: expected a mask of 40 x 30 pixels, but "
        "got none that can be read"}) {
    CAPTURE(said);
    CHECK(contains(run.text, said));
  }
  work.text("truth.csv", "image,MEL,NV\nISIC_1,yes,no\n");
  run = work.run("isic truth.csv" + rest);
  CHECK(run.status == 1);
  CHECK(contains(run.text, "truth.csv:2: expected a number for MEL"));
}

TEST_CASE("make_manifest: rsna") {
  const Work work;
  const auto dicom = fs::path(CARE_TEST_DATA_DIR) / "dicom";
  fs::create_directories(work.path / "images");
  const std::vector<std::string> names{"no_window_8", "rle", "jpeg_8", "rgb"};
  for (const auto& name : names) {
    fs::copy(dicom / (name + ".dcm"), work.path / "images" / (name + ".dcm"));
  }
  const std::string header = "patientId,x,y,width,height,Target\n";
  work.text(
      "labels.csv",
      header + "no_window_8,,,,,0\nrle,1.0,2.0,10,5,1\nrle,20,3,5,6,1\n");
  work.text(
      "info.csv",
      "patientId,class\nno_window_8,Normal\nrle,Lung Opacity\n"
      "rle,Lung Opacity\n");
  const std::string rest = "rsna labels.csv --images images";
  auto run = work.run(rest + " --details info.csv");
  CAPTURE(run.text);
#ifdef RESNET_TRAINER_GDCM
  REQUIRE(run.status == 0);
  CHECK(complaints_of(run.text) == 0);
  const auto rows = work.rows();
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].label == "Normal");
  CHECK(rows[1].label == "Lung Opacity");
  CHECK((rows[1].corners() == Boxes{{1, 2, 11, 7}, {20, 3, 25, 9}}));
  REQUIRE(work.run(rest).status == 0);
  CHECK(work.rows()[0].label == "No Lung Opacity");
#else
  CHECK(run.status == 1);
  CHECK(contains(run.text, "install libgdcm-dev"));
#endif
  work.text(
      "labels.csv",
      header + "no_window_8,1,2,3,4,0\nrle,,,,,1\njpeg_8,1,2,3,4,1\n" +
          "rgb,1,2,x,4,1\n");
  work.text(
      "info.csv",
      "patientId,class\nno_window_8,Normal\nrle,Lung Opacity\n"
      "rle,Normal\njpeg_8,Normal\n");
  run = work.run(rest + " --details info.csv");
  CAPTURE(run.text);
  for (const char* said :
       {"labels.csv:2: expected a Target of 1 with a box or of 0 without",
        "labels.csv:3: expected a Target of 1 with a box",
        "labels.csv:4: expected a class that agrees with the Target 1, but got "
        "'Normal'",
        "labels.csv:5: expected a class that agrees with the Target 1, but got "
        "none",
        "labels.csv:5: expected a number in width, but got 'x'",
        "info.csv:4: expected the class 'Lung Opacity' as before"}) {
    CAPTURE(said);
    CHECK(contains(run.text, said));
  }
}

TEST_CASE("make_manifest: --only drops a label with its unlabelled boxes") {
  const Work work;
  work.picture("images/a.png");
  work.picture("images/b.png");
  work.text(
      "labels.csv",
      "patientId,x,y,width,height,Target\na,,,,,0\nb,1,2,10,5,1\n");
  const std::string rsna = "rsna labels.csv --images images --only ";
  REQUIRE(work.run(rsna + "'No Lung Opacity'").status == 0);
  auto rows = work.rows();
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].label == "No Lung Opacity");
  REQUIRE(work.run(rsna + "'Lung Opacity'").status == 0);
  rows = work.rows();
  REQUIRE(rows.size() == 1);
  CHECK((rows[0].corners() == Boxes{{1, 2, 11, 7}}));
}

TEST_CASE("make_manifest: --only takes a label with a comma") {
  const Work work;
  work.picture("set/Melanoma, NOS/a.png");
  work.picture("set/nevus/b.png");
  work.picture("set/other/c.png");
  const auto run = work.run("folder set --only 'Melanoma, NOS' --only nevus");
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  CHECK(
      trainer::labels_of(work.rows()) ==
      std::vector<std::string>{"Melanoma, NOS", "nevus"});
}

TEST_CASE("make_manifest: isic groups by patient, else by lesion") {
  const Work work;
  for (const char* id : {"ISIC_1", "ISIC_2", "ISIC_3"}) {
    work.picture(std::string("images/") + id + ".png");
  }
  const std::string groups = "ISIC_1,L1,P1\nISIC_2,L2,\nISIC_3,L3,P1\n";
  work.text("groups.csv", "image,lesion_id,patient_id\n" + groups);
  work.text("truth.csv", "image,MEL,NV\nISIC_1,0,1\nISIC_2,1,0\nISIC_3,1,0\n");
  // With lesions that are numbers, and lines that are numbered.
  work.text(
      "both.csv",
      ",image,lesion_id,patient_id,MEL,NV\n0,ISIC_1,1,P1,0,1\n"
      "1,ISIC_2,2,,1,0\n2,ISIC_3,3,P1,1,0\n");
  work.text("dx.csv", "image,lesion_id,patient_id,dx\nISIC_1,L1,P1,nv\n");
  const auto found = [&](const std::string& input) {
    const auto run = work.run("isic " + input + " --images images");
    INFO(run.text);
    REQUIRE(run.status == 0);
    CHECK(complaints_of(run.text) == 0);
    std::vector<std::string> all;
    for (const auto& row : work.rows()) {
      all.push_back(row.label + " " + row.group);
    }
    return all;
  };
  using All = std::vector<std::string>;
  CHECK(
      found("truth.csv --groups groups.csv") ==
      All{"NV P1", "MEL L2", "MEL P1"});
  CHECK(found("both.csv") == All{"NV P1", "MEL 2", "MEL P1"});
  CHECK(found("dx.csv") == All{"nv P1"});
  // A lesion whose patient one line names, another does not.
  work.text(
      "parted.csv",
      "image,lesion_id,patient_id,dx\nISIC_1,L1,,nv\nISIC_2,L1,P1,nv\n"
      "ISIC_3,,P2,mel\n");
  CHECK(found("parted.csv") == All{"nv P1", "nv P1", "mel P2"});
}

TEST_CASE("make_manifest: names are in UTF-8, with or without its mark") {
  const Work work;
  work.picture("images/a.png");
  const std::string mark = "\xEF\xBB\xBF", box = "0 .5 .5 .5 .5\n";
  const auto yolo = [&](const char* names) {
    return work.run(
        std::string("yolo labels --images images --names ") + names);
  };
  work.text("labels/a.txt", mark + box);
  work.text("classes.txt", mark + "mole\nvein\n");
  work.text("data.yaml", mark + "names: [mole, vein]\n");
  for (const char* names : {"classes.txt", "data.yaml"}) {
    const auto run = yolo(names);
    CAPTURE(run.text);
    REQUIRE(run.status == 0);
    CHECK(complaints_of(run.text) == 0);
    CHECK(work.rows().at(0).label == "mole");
  }
  work.text("classes.txt", "mole\nn\xE6vus\n");
  work.text("data.yaml", "names:\n- mole\n- n\xE6vus\n");
  auto run = yolo("classes.txt");
  CHECK(run.status == 1);
  CHECK(contains(run.text, "classes.txt:2: expected UTF-8"));
  run = yolo("data.yaml");
  CHECK(run.status == 1);
  CHECK(contains(run.text, "data.yaml:3: expected UTF-8"));

  work.text(
      "xml/a.xml",
      mark +
          annotation(
              "a.png",
              object("n\xE6vus", "1 2 3 4") +
                  object("\n\t mole\n", "5 6 7 8")));
  run = work.run("voc xml --images images");
  CAPTURE(run.text);
  CHECK(run.status == 0);
  CHECK(complaints_of(run.text) == 1);
  CHECK(contains(run.text, "xml/a.xml:4: expected a name in UTF-8"));
  CHECK(work.rows().at(0).label == "mole"); // trimmed
  CHECK((work.rows()[0].corners() == Boxes{{5, 6, 7, 8}}));

  CHECK(contains(
      work.run("folder images --unlabelled n\xE6vus").text,
      "images/a.png: expected a label in UTF-8"));
}

TEST_CASE("make_manifest: a label file that cannot be read ends it") {
  const Work work;
  work.picture("images/a.png");
  work.picture("images/b.png");
  work.text("classes.txt", "mole\n");
  work.text("labels/a.txt", "0 .5 .5 .5 .5\n");
  fs::create_symlink("nowhere.txt", work.path / "labels/b.txt");
  const auto run = work.run("yolo labels --images images --names classes.txt");
  CHECK(run.status == 1);
  CHECK(contains(run.text, "cannot read 'labels/b.txt'"));
  CHECK_FALSE(fs::exists(work.manifest));
}

TEST_CASE("make_manifest: a box that its digits leave empty is left out") {
  const Work work;
  work.picture("images/a.png");
  work.text(
      "xml/a.xml",
      annotation(
          "a.png",
          object("mole", "20 5 20.000001 9") + object("mole", "1 2 3 4")));
  const auto run = work.run("voc xml --images images");
  CAPTURE(run.text);
  CHECK(run.status == 0);
  CHECK(contains(
      run.text, "xml/a.xml:4: expected xmin < xmax and ymin < ymax, but got"));
  CHECK((work.rows().at(0).corners() == Boxes{{1, 2, 3, 4}}));
}

TEST_CASE("make_manifest: nih and vindr, several labels a picture") {
  const Work work;
  for (const char* name : {"a.png", "b.png", "c.png"}) {
    work.picture(fs::path("images") / name);
  }
  work.text(
      "entry.csv",
      "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age\n"
      "a.png,Mass|Infiltration,0,1,58\nb.png,No Finding,0,2,81\n");
  const std::string header = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n";
  work.text(
      "boxes.csv",
      header + "a.png,Infiltrate,1.5,2,10,5,,,\na.png,Mass,20,3,5,6,,,\n");
  const std::string nih = "nih entry.csv --images images --boxes boxes.csv";
  auto run = work.run(nih);
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  CHECK(complaints_of(run.text) == 0);
  auto rows = work.rows();
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].label == "Mass|Infiltration");
  CHECK((rows[0].corners() == Boxes{{1.5, 2, 11.5, 7}, {20, 3, 25, 9}}));
  CHECK(
      box_labels(rows[0]) == std::vector<std::string>{"Infiltration", "Mass"});
  CHECK(rows[0].group == "1");
  CHECK(rows[1].label == "No Finding");
  REQUIRE(work.run(nih + " --only Mass").status == 0);
  rows = work.rows();
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].label == "Mass");
  CHECK((rows[0].corners() == Boxes{{20, 3, 25, 9}}));
  work.text(
      "boxes.csv",
      header + "a.png,Nodule,1,2,10,5,,,\nd.png,Mass,20,3,5,6,,,\n");
  run = work.run(nih);
  CHECK(contains(
      run.text,
      "boxes.csv:2: expected a label of a.png, Mass|Infiltration, but got "
      "'Nodule'"));
  CHECK(contains(run.text, "boxes.csv:3: expected a picture of entry.csv"));

  work.text(
      "train.csv",
      "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n"
      "a,No finding,14,R1,,,,\na,Mass,3,R2,1,2,11,7\na,Nodule,4,R3,5,6,9,9\n"
      "b,No finding,14,R1,,,,\nc,Mass,3,R1,1,2,x,4\n");
  run = work.run("vindr train.csv --images images");
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  CHECK(contains(run.text, "train.csv:6: expected a number in x_max"));
  rows = work.rows();
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].label == "Mass|Nodule");
  CHECK(box_labels(rows[0]) == std::vector<std::string>{"Mass", "Nodule"});
  CHECK(rows[1].label == "No finding");
  CHECK(rows[2].label == "Mass"); // said, if not where
}

TEST_CASE("make_manifest: folder, masks and a table of one's own") {
  const Work work;
  work.picture("set/mel/a.png");
  work.picture("set/nv/b.png");
  work.picture("set/unlabelled/c.png"); // a class as any other
  auto run = work.run("folder set");
  REQUIRE(run.status == 0);
  CHECK(work.rows()[1].label == "nv");
  CHECK(work.rows()[2].label == "unlabelled");
  const auto before = work.rows().size();
  work.picture("set/nv/d.png");
  run = work.more("folder set"); // a manifest may be a day's work
  CHECK(run.status == 1);
  CHECK(contains(run.text, "--append to add to it, or --fresh to replace it"));
  CHECK(work.rows().size() == before);
  CHECK(work.more("folder set --fresh").status == 0);
  CHECK(work.rows().size() == before + 1);
  CHECK(contains(
      care_test::run_program(
          CARE_MAKE_MANIFEST,
          "folder " + (work.path / "set").string() + " --out /dev/stdout")
          .text,
      "--out: expected a file"));

  work.picture("flat/a.png");
  work.picture("flat/b.png");
  work.picture("flat/c.png");
  work.mask("masks/m-a.png", {{2, 2, 5, 5}});
  work.text("own.csv", "path,label,group,fold\na,mel,p1,0\nb.png,nv,p1,1\n");
  run =
      work.run("folder flat --masks masks --pattern m-{}.png --table own.csv");
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  auto rows = work.rows();
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].label == "mel");
  CHECK(rows[0].group == "p1");
  CHECK((rows[0].corners() == Boxes{{2, 2, 7, 7}}));
  CHECK(rows[1].fold == "1");
  CHECK(contains(run.text, "expected c.png in own.csv, but got no line"));

  CHECK(contains(
      run.text, "expected a group in one part, but got that of flat/a.png"));
  CHECK(contains(run.text, "in two parts: '0' and '1'"));

  work.text(
      "own.csv", "path,label\na,mel\nb.png,nv\nb,mel\nc,nv\nd,nv\nc,mel\n");
  run = work.run("folder flat --table own.csv");
  CAPTURE(run.text);
  CHECK(complaints_of(run.text) == 3);
  CHECK(work.rows()[1].label == "nv");
  CHECK(work.rows()[2].label == "nv");
  for (const char* said :
       {"own.csv:4: expected a picture that has no other line, but got 'b'",
        "own.csv:6: expected a picture that has no other line, but got 'd'",
        "own.csv:7: expected one line for c, but got own.csv:5, too, which "
        "counts"}) {
    CAPTURE(said);
    CHECK(contains(run.text, said));
  }

  // An empty cell says nothing.
  work.text("own.csv", "path,label,split\na,mel,test\nb,,\nc,nv,\nd,nv,\n");
  run = work.run("folder flat --table own.csv --split train");
  CAPTURE(run.text);
  CHECK(work.rows()[0].split == "test");
  CHECK(work.rows()[1].split == "train");
  CHECK(work.rows()[2].split == "train");

  for (const char* alone : {"--pattern {}_m.png", "--least-part .1"}) {
    run = work.run(std::string("folder flat ") + alone);
    CHECK(run.is_refusal());
    CHECK(contains(run.text, "requires --masks"));
  }
}

TEST_CASE("make_manifest: masks among the pictures are none") {
  const Work work;
  work.picture("in/mel/a.png");
  work.picture("in/nv/b.png");
  work.mask("in/masks/mel/a.png", {{2, 2, 5, 5}});
  work.mask("in/masks/mel/other.png", {{2, 2, 5, 5}});
  auto run = work.run("folder in --masks in/masks");
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  auto rows = work.rows();
  REQUIRE(rows.size() == 2);
  CHECK(trainer::labels_of(rows) == std::vector<std::string>{"mel", "nv"});
  CHECK(rows[0].mask == work.path / "in/masks/mel/a.png");

  // Nor do they make a picture's name that of several.
  work.mask("in/masks/a.png", {{2, 2, 5, 5}});
  work.text("xml/a.xml", annotation("a.png", object("wbc", "1 2 11 12")));
  run = work.run("voc xml --images in --masks in/masks");
  CHECK(run.status == 0);
  CHECK(complaints_of(run.text) == 0);

  // Beside their pictures.
  work.picture("flat/a.png");
  work.mask("flat/a_mask.png", {{2, 2, 5, 5}});
  run = work.run("folder flat --masks flat --pattern {}_mask.png");
  REQUIRE(run.status == 0);
  rows = work.rows();
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].mask == work.path / "flat/a_mask.png");
}

TEST_CASE("make_manifest: a bare name that two pictures have") {
  const Work work;
  work.picture("images/1/a.png");
  work.picture("images/2/a.png");
  work.text("xml/a.xml", annotation("a.png", ""));
  const auto run = work.run("voc xml --images images");
  CHECK(run.status == 1);
  CHECK(contains(
      run.text, "xml/a.xml:2: expected one picture a.png, but got several"));
  CHECK(contains(run.text, "m.csv is not written: 0 pictures, 2 suspicious"));
}

TEST_CASE("make_manifest: a picture of that name in another folder is none") {
  const Work work;
  work.picture("images/vid2/0001.jpg");
  work.text(
      "coco.json",
      R"({"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
"images": [{"id": 1, "file_name": "vid1/0001.jpg"},
{"id": 2, "file_name": "vid2/0001.jpg"}], "annotations": [
{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]},
{"image_id": 2, "category_id": 2, "bbox": [5, 6, 7, 8]}]})");
  const auto run = work.run("coco coco.json --images images");
  CAPTURE(run.text);
  CHECK(run.status == 0);
  CHECK(complaints_of(run.text) == 1);
  CHECK(contains(
      run.text, "images[0]: images/vid1/0001.jpg: expected a picture, but"));
  const auto rows = work.rows();
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].label == "dog");
  CHECK((rows[0].corners() == Boxes{{5, 6, 12, 14}}));

  work.picture("images/a/b/c.png");
  work.picture("images/a/d.png");
  work.picture("images/b/d.png");
  const make_manifest::Pictures pictures(work.path / "images", "");
  for (const char* name :
       {"a/b/c.png", "a/b/c", "b/c.jpg", "c", "/data/a/b/c.png"}) {
    CAPTURE(name);
    const std::vector<fs::path> only{work.path / "images/a/b/c.png"};
    CHECK(pictures.find(name) == only);
  }
  CHECK(pictures.find("bb/c.png").empty()); // whole folders count
  CHECK(pictures.find("d").size() == 2);
  CHECK(pictures.find("x/b/d").size() == 1);
}

TEST_CASE("make_manifest: a DICOM's UID is a name without an ending") {
  const Work work;
  const std::string dicom = std::string(128, '\0') + "DICM";
  work.text("in/1.2.840.5", dicom);
  work.text("in/1.2.840.6.dcm", dicom);
  const make_manifest::Pictures pictures(work.path / "in", "");
  CHECK(pictures.rows().size() == 2);
  const auto found = [&](const std::string& name) {
    return pictures.find(name).at(0).filename();
  };
  CHECK(found("1.2.840.5") == "1.2.840.5");
  CHECK(found("1.2.840.6") == "1.2.840.6.dcm");
  CHECK(pictures.find("1.2.840.9").empty());
}

TEST_CASE("make_manifest: writes over nothing that it reads") {
  const Work work;
  work.picture("set/a/1.png");
  work.picture("set/b/2.png");
  work.text("m.csv", "path,label\nset/a/1.png,mel\n");
  const auto own = work.more("folder set --table m.csv");
  CHECK(own.status == 1);
  CHECK(
      contains(own.text, "--out: expected another file than the input m.csv"));
  CHECK(read_text(work.manifest) == "path,label\nset/a/1.png,mel\n");

  // A picture that is not there just now stays in the manifest.
  const auto first = work.run("folder set");
  REQUIRE(first.status == 0);
  const auto before = read_text(work.manifest);
  fs::rename(work.path / "set", work.path / "unplugged");
  work.picture("more/c/3.png");
  const auto lost = work.more("folder more --append");
  CHECK(lost.status == 1);
  CHECK(contains(lost.text, "m.csv is not written: it would lose set/a/1.png"));
  CHECK(read_text(work.manifest) == before);
  fs::rename(work.path / "unplugged", work.path / "set");

  // So does a mask, a label that this part lacks, and what lines say each.
  work.mask("masks/1.png", {{2, 3, 10, 8}});
  REQUIRE(work.run("folder set --masks masks --only a").status == 0);
  REQUIRE(work.rows()[0].mask.filename() == "1.png");
  work.picture("more/b/4.png");
  REQUIRE(work.more("folder more --append --only a --only b").status == 0);
  CHECK(work.rows().size() == 2);
  fs::rename(work.path / "masks", work.path / "unplugged");
  work.picture("third/a/5.png");
  CHECK(contains(
      work.more("folder third --append").text,
      "m.csv is not written: it would lose a box or the mask of set/a/1.png"));
  work.text(
      "m.csv",
      "path,label,xmin,ymin,xmax,ymax,reader\nset/a/1.png,a,1,2,3,4,one\n"
      "set/a/1.png,a,2,3,4,5,two\n");
  CHECK(contains(
      work.more("folder third --append").text,
      "m.csv:3: expected other columns as in the picture's first line"));

  // A mask without a box stays one: a new picture's alone gets boxes.
  fs::rename(work.path / "unplugged", work.path / "masks");
  work.mask("masks/5.png", {{4, 5, 6, 7}});
  work.text(
      "m.csv",
      "path,label,xmin,ymin,xmax,ymax,mask\nset/a/1.png,a,,,,,masks/1.png\n");
  REQUIRE(work.more("folder third --masks masks --append").status == 0);
  const auto rows = work.rows();
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].boxes.empty());
  CHECK(rows[0].mask.filename() == "1.png");
  CHECK((rows[1].corners() == Boxes{{4, 5, 10, 12}}));
}

TEST_CASE("make_manifest: says what of its options found nothing") {
  const Work work;
  work.picture("set/a/1.png");
  work.picture("set/b/1.png");
  const auto only = work.run("folder set --only a --only Nope");
  CHECK(only.status == 1);
  CHECK(
      contains(only.text, "--only: expected one of 'a', 'b', but got 'Nope'"));
  fs::create_directories(work.path / "masks");
  const auto masks = work.run("folder set --masks masks --pattern {}_m.png");
  CHECK(masks.status == 1);
  CHECK(contains(masks.text, "--pattern: expected masks in masks called"));
  // One line for two pictures, and words that no manifest may hold.
  work.text("bare.csv", "path,label,split,fold\n1,mel|mel,training,zero\n");
  const auto table = work.run("folder set --table bare.csv");
  CHECK(contains(table.text, "expected a line of its own for b/1.png"));
  CHECK(contains(table.text, "bare.csv:2, which is that of"));
  CHECK(contains(
      table.text, "expected labels like a|b, each once, but got 'mel|mel'"));
  CHECK(contains(
      table.text,
      "expected a split of train, val or test, but got 'training'"));
  CHECK(
      contains(table.text, "expected a fold of 0, 1, 2, ..., but got 'zero'"));
}

TEST_CASE("make_manifest: doubles within and between parts") {
  const Work work;
  work.picture("train/a.png");
  work.picture("train/b.png");
  fs::create_symlink("a.png", work.path / "train" / "link.png");
  auto run = work.run("folder train --split train --unlabelled x");
  CAPTURE(run.text);
  CHECK(contains(
      run.text,
      "train/link.png: expected a picture of its own, but got 'link.png', "
      "which is 'a.png'"));
  REQUIRE(work.rows().size() == 2);

  work.picture("test/c.png");
  // The same pixels in another file format are the same content.
  cv::imwrite(
      (work.path / "test" / "d.bmp").string(),
      cv::imread((work.path / "train" / "b.png").string()));
  run = work.more("folder test --split test --unlabelled x --append");
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  CHECK(complaints_of(run.text) == 1);
  CHECK(contains(run.text, "test/d.bmp: expected a content of its own"));
  CHECK(contains(
      run.text, "m.csv:3, train/b.png, in two parts: 'train' and 'test'"));
  const auto rows = work.rows();
  REQUIRE(rows.size() == 4);
  CHECK(rows[0].split == "train");
  CHECK(rows[3].split == "test");
}

TEST_CASE("make_manifest: a manifest of auto_boxes keeps all of it") {
  const Work work;
  work.picture("train/a.png");
  work.picture("test/b.png");
  work.text(
      "m.csv",
      "path,label,xmin,ymin,xmax,ymax,method,confidence,place\n"
      "train/a.png,mole,1,2,3.25,4,background,0.123456,\"land, sea\"\n"
      "train/a.png,mole,5,6,7,8,background,,\n");
  const auto run = work.more("folder test --unlabelled x --append");
  CAPTURE(run.text);
  REQUIRE(run.status == 0);
  CHECK(
      read_text(work.manifest) ==
      "path,label,xmin,ymin,xmax,ymax,confidence,method,place\n"
      "train/a.png,mole,1,2,3.25,4,0.123456,background,\"land, sea\"\n"
      "train/a.png,mole,5,6,7,8,1,background,\"land, sea\"\n"
      "test/b.png,x,,,,,,,\n");
}

TEST_CASE("make_manifest: EXIF orientation, and which way boxes are meant") {
  const Work work;
  cv::Mat stored(30, 40, CV_8UC3, cv::Scalar(0, 0, 0));
  const cv::Rect lesion(4, 3, 10, 6);
  stored(lesion) = cv::Scalar(255, 255, 255);
  std::vector<uchar> bytes;
  cv::imencode(".jpg", stored, bytes);
  const std::string jpeg(bytes.begin(), bytes.end());
  for (int orientation = 1; orientation <= 8; ++orientation) {
    for (const bool little : {true, false}) {
      CAPTURE(orientation, little);
      const auto value = static_cast<char>(orientation);
      const std::string tags = little
          ? std::string("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", 18) +
              value + std::string(7, '\0')
          : std::string("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", 19) +
              value + std::string(6, '\0');
      const auto length = static_cast<char>(2 + 6 + tags.size());
      auto turned = jpeg;
      turned.insert(
          2,
          std::string("\xff\xe1\0", 3) + length + std::string("Exif\0\0", 6) +
              tags);
      CHECK(make_manifest::orientation_of(turned) == orientation);
      work.text("images/a.jpg", turned);

      // Where OpenCV, which turns the picture, sees the lesion.
      const auto seen = cv::imread((work.path / "images/a.jpg").string());
      cv::Mat grey;
      cv::extractChannel(seen, grey, 0);
      const auto box = cv::boundingRect(grey > 128);
      std::ostringstream limits;
      limits << box.x << ' ' << box.y << ' ' << box.br().x << ' ' << box.br().y;
      auto xml = annotation("a.jpg", object("mole", limits.str()));
      if (orientation >= 5) {
        xml.replace(
            xml.find("40</width><height>30"), 20, "30</width><height>40");
      }
      work.text("xml/a.xml", xml);
      auto run = work.run("voc xml --images images --exif apply");
      CAPTURE(run.text);
      REQUIRE(run.status == 0);
      CHECK(complaints_of(run.text) == 0);
      const Box expected{4, 3, 14, 9};
      CHECK(work.rows().at(0).boxes.at(0).xyxy == expected);

      // A mask on the turned picture gives its box, and is left out.
      fs::create_directories(work.path / "masks");
      cv::imwrite((work.path / "masks/a.png").string(), grey > 128);
      run = work.run("folder images --masks masks --exif apply");
      CAPTURE(run.text);
      CHECK(work.rows().at(0).boxes.at(0).xyxy == expected);
      CHECK(work.rows().at(0).mask.empty() == (orientation != 1));
      CHECK(complaints_of(run.text) == (orientation == 1 ? 0 : 1));
      CHECK(
          contains(
              run.text,
              "images/a.jpg: expected a mask of the picture as stored, but got "
              "masks/a.png of the turned one, which is left out") ==
          (orientation != 1));

      run = work.run("voc xml --images images");
      CHECK(contains(run.text, "EXIF orientation") == (orientation != 1));
      CHECK(
          contains(run.text, "as it says, but got 40 x 30") ==
          (orientation >= 5));
    }
  }
  CHECK(make_manifest::orientation_of(jpeg) == 1);
  for (size_t length = 0; length < 60; ++length) { // damaged: no way astray
    CHECK(make_manifest::orientation_of(jpeg.substr(0, length)) == 1);
  }
}

TEST_CASE("make_manifest: voc on BCCD's own annotations") {
  const fs::path bccd = CARE_SHARED "/data/bccd";
  if (!fs::exists(bccd)) {
    WARN("no " << bccd << ": not tried");
    return;
  }
  const Work work;
  const auto expected = trainer::read_manifest(bccd / "manifest.csv");
  std::string table = "path,label,fold\n";
  for (const auto& row : expected) {
    table += row.file.stem().string() + "," + row.label + "," + row.fold + "\n";
  }
  work.text("table.csv", table);
  const auto run = work.run(
      "voc " + care_test::quoted(bccd / "Annotations") + " --images " +
      care_test::quoted(bccd / "JPEGImages") + " --only WBC --table table.csv");
  UNSCOPED_INFO(run.text);
  REQUIRE(run.status == 0);
  auto rows = work.rows();
  REQUIRE(rows.size() == expected.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    CAPTURE(expected[i].path);
    CHECK(fs::equivalent(rows[i].file, expected[i].file));
    CHECK(rows[i].label == expected[i].label);
    CHECK(rows[i].fold == expected[i].fold);
    CHECK(rows[i].corners() == expected[i].corners());
  }
}

TEST_CASE("make_manifest: isic on HAM10000 as its archive has it") {
  const fs::path ham = CARE_SHARED "/data/ham10000";
  if (!fs::exists(ham)) {
    WARN("no " << ham << ": not tried");
    return;
  }
  const Work work;
  // The first 600 of the archive's lines.
  std::istringstream truth(
      read_text(ham / "ISIC2018_Task3_Training_GroundTruth.csv"));
  std::string line, some;
  for (int i = 0; i <= 600 && std::getline(truth, line); ++i) {
    some += line + "\n";
  }
  work.text("truth.csv", some);
  const auto run = work.run(
      "isic truth.csv --groups " +
      care_test::quoted(ham / "HAM10000_metadata.csv") + " --images " +
      care_test::quoted(ham / "images") + " --masks " +
      care_test::quoted(ham / "masks") + " --pattern {}_segmentation.png");
  UNSCOPED_INFO(run.text);
  REQUIRE(run.status == 0);
  std::map<std::string, Row> expected;
  for (const auto& row : trainer::read_manifest(ham / "manifest.csv")) {
    expected[row.file.stem().string()] = row;
  }
  const auto rows = work.rows();
  REQUIRE(rows.size() == 600);
  for (const auto& row : rows) {
    const auto& own = expected.at(row.file.stem().string());
    CAPTURE(own.path);
    auto label = row.label;
    std::transform(label.begin(), label.end(), label.begin(), ::tolower);
    CHECK(label == own.label);
    CHECK(row.group == own.group);
    // Its boxes were drawn round the masks at their full size, then scaled.
    REQUIRE(row.boxes.size() == own.boxes.size());
    const auto others = own.corners();
    for (const auto& box : row.corners()) {
      CHECK(std::any_of(others.begin(), others.end(), [&](const Box& other) {
        return std::equal(
            box.begin(), box.end(), other.begin(), [](double a, double b) {
              return std::abs(a - b) <= 1;
            });
      }));
    }
  }
}

TEST_CASE("make_manifest: the commands of its page", "[docs]") {
  const Work work;
  for (const char* name :
       {"skin/mel/m.png",
        "skin/nv/n.png",
        "JPEGImages/a.png",
        "photos/a.png",
        "photos/b.png",
        "photos_val/v.png"}) {
    work.picture(name);
  }
  work.mask("lesions/a_lesion.png", {{2, 2, 9, 9}});
  work.mask("masks/a_segmentation.png", {{2, 2, 9, 9}});
  work.text("labels.csv", "path,label\na,mel\nb,nv\n");
  work.text(
      "Annotations/a.xml", annotation("a.png", object("wbc", "1 2 11 12")));
  const auto coco = [&](const std::string& file, const std::string& picture) {
    work.text(
        file,
        R"({"categories": [{"id": 1, "name": "mole"}], "images": [{"id": 1,
"file_name": ")" +
            picture +
            R"("}], "annotations": [{"image_id": 1, "category_id": 1,
"bbox": [1, 2, 3, 4]}]})");
  };
  coco("train.json", "a.png");
  coco("val.json", "v.png");
  work.text("labels/a.txt", "0 .5 .5 .2 .2\n");
  work.text("data.yaml", "names: [mole]\n");
  work.text(
      "ISIC2018_Task3_Training_GroundTruth.csv",
      "image,MEL,NV\na,1.0,0.0\nb,0.0,1.0\n");
  work.text("HAM10000_metadata.csv", "lesion_id,image_id\nL1,a\nL2,b\n");
  work.text(
      "stage_2_train_labels.csv",
      "patientId,x,y,width,height,Target\nrle,1,2,10,5,1\n");
  work.text(
      "stage_2_detailed_class_info.csv", "patientId,class\nrle,Lung Opacity\n");
  fs::create_directories(work.path / "stage_2_train_images");
  fs::copy(
      fs::path(CARE_TEST_DATA_DIR) / "dicom" / "rle.dcm",
      work.path / "stage_2_train_images" / "rle.dcm");
  work.text(
      "Data_Entry_2017.csv",
      "Image Index,Finding Labels,Patient ID\na.png,Mass|Nodule,1\n");
  work.text(
      "BBox_List_2017.csv",
      "Image Index,Finding Label,Bbox [x,y,w,h],,,\na.png,Mass,1,2,9,5,,,\n");
  work.text(
      "train.csv",
      "image_id,class_name,rad_id,x_min,y_min,x_max,y_max\n"
      "a,Mass,R1,1,2,9,5\n");

  std::istringstream page(read_text(fs::path(CARE_DOCS) / "make_manifest.md"));
  std::string line, mark;
  int count = 0;
  while (std::getline(page, line)) {
    if (line.rfind("<!-- run", 0) == 0) {
      mark = line;
      std::getline(page, line);
      REQUIRE(line == "```sh");
    } else if (line.rfind("```", 0) == 0) {
      mark.clear();
    } else if (!mark.empty()) {
#ifndef RESNET_TRAINER_GDCM
      if (contains(mark, "DICOM")) {
        WARN("no GDCM, not tried: " << line);
        continue;
      }
#endif
      CAPTURE(line);
      REQUIRE(line.rfind("make_manifest ", 0) == 0);
      const auto run = care_test::run_program(
          "cd " + work.path.string() + " && " CARE_MAKE_MANIFEST,
          line.substr(std::string("make_manifest").size()));
      CAPTURE(run.text);
      CHECK(run.status == 0);
      CHECK(complaints_of(run.text) == 0);
      const auto out = line.substr(line.find("--out ") + 6);
      const auto rows =
          trainer::read_manifest(work.path / out.substr(0, out.find(' ')));
      CHECK(!rows.empty());
      ++count;
    }
  }
  CHECK(count >= 9);
}
