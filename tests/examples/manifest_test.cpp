// Tests of the trainer's manifest reader.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"

#include "common/manifest.hpp"

#include <array>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <unistd.h>

namespace {

namespace fs = std::filesystem;
using common::read_manifest;
using Box = std::array<double, 4>;

/// A manifest file of the given text.
class Manifest {
 public:
  explicit Manifest(const std::string& text)
      : path_(
            fs::temp_directory_path() /
            ("care-manifest-" + std::to_string(::getpid()) + ".csv")) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  ~Manifest() {
    fs::remove(path_);
  }
  Manifest(const Manifest&) = delete;
  Manifest& operator=(const Manifest&) = delete;

  const fs::path& path() const {
    return path_;
  }

 private:
  fs::path path_;
};

const std::string kHeader = "path,label,xmin,ymin,xmax,ymax,fold\n";

} // namespace

TEST_CASE("manifest: joins the rows of a path, in order of appearance") {
  const Manifest manifest(
      kHeader + "b.png,rust,1,2,3,4.5,0\n" + "a.png,miner,,,,,1\n" +
      "b.png,rust,10,20,30,40,0\n");
  const auto records = read_manifest(manifest.path());
  REQUIRE(records.size() == 2);
  CHECK(records[0].path == "b.png");
  CHECK(records[0].file == manifest.path().parent_path() / "b.png");
  CHECK(records[0].label == "rust");
  CHECK(records[0].fold == 0);
  CHECK(
      (records[0].boxes == std::vector<Box>{{1, 2, 3, 4.5}, {10, 20, 30, 40}}));
  CHECK(records[0].where == manifest.path().string() + ":2");
  CHECK(records[0].box_where[1] == manifest.path().string() + ":4");
  CHECK(records[1].path == "a.png");
  CHECK(records[1].boxes.empty());
  CHECK(records[1].fold == 1);
}

TEST_CASE("manifest: finds columns by name and does without a fold") {
  const Manifest manifest(
      "ymax,note,label,path,xmin,ymin,xmax\n4,x,rust,a.png,1,2,3\n");
  const auto records = read_manifest(manifest.path());
  REQUIRE(records.size() == 1);
  CHECK((records[0].boxes == std::vector<Box>{{1, 2, 3, 4}}));
  CHECK(records[0].fold == -1);
}

TEST_CASE("manifest: takes quotes, CRLF, a byte order mark and blank lines") {
  const Manifest manifest(
      "\xEF\xBB\xBFpath,label,xmin,ymin,xmax,ymax\r\n"
      "\"a, \"\"b\"\".png\",\"two\nlines\", 1 ,2,3,4\r\n"
      "\r\n"
      "c.png,d,,,,");
  const auto records = read_manifest(manifest.path());
  REQUIRE(records.size() == 2);
  CHECK(records[0].path == "a, \"b\".png");
  CHECK(records[0].label == "two\nlines");
  CHECK(records[0].boxes.size() == 1);
  CHECK(records[1].where == manifest.path().string() + ":5");
}

TEST_CASE("manifest: names the line and the fault") {
  const auto row = [](const std::string& text) { return kHeader + text; };
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", ":1: expected a header line, but got an empty file"},
      {kHeader, ":1: expected at least one picture, but got only a header"},
      {"path,label,xmin,ymin,xmax\n", "but got none called 'ymax'"},
      {"path,path,label\n", "expected each column once, but got 'path' twice"},
      {row("a,b,1,2,3,4\n"),
       ":2: expected 7 fields as in the header, but got 6"},
      {row("a,b,1,2,3,4,0,9\n"), ":2: expected 7 fields"},
      {row("a,b,,,,,0\nc,d,1,x,3,4,0\n"),
       ":3: expected a number in ymin, but got 'x'"},
      {row("a,b,1,2,3px,4,0\n"), "expected a number in xmax, but got '3px'"},
      {row("a,b,nan,2,3,4,0\n"), "expected a number in xmin, but got 'nan'"},
      {row("a,b,1e999,2,3,4,0\n"), "expected a number in xmin"},
      {row("a,b,1,2,,4,0\n"),
       "expected all four box fields or none, but got 3"},
      {row("a,b,3,2,1,4,0\n"), "expected xmin < xmax, but got 3 and 1"},
      {row("a,b,1,4,3,4,0\n"), "expected ymin < ymax, but got 4 and 4"},
      {row("a,b,1,2,3,4,-1\n"),
       "expected a fold of 0, 1, 2, ..., but got '-1'"},
      {row("a,b,1,2,3,4,1.5\n"), "expected a fold"},
      {row(",b,1,2,3,4,0\n"), "expected a path and a label, but got no path"},
      {row("a,,1,2,3,4,0\n"), "expected a path and a label, but got no label"},
      {row("a,b,,,,,0\na,c,,,,,0\n"), ":3: expected the label 'b' as in "},
      {row("a,b,,,,,0\na,b,,,,,1\n"), ":3: expected the fold 0 as in "},
      {"path,label,xmin,ymin,xmax,ymax,group\na,b,,,,,p1\na,b,,,,,p2\n",
       ":3: expected the group 'p1' as in "},
      {row("a\xE9,b,1,2,3,4,0\n"), ":2: expected names in UTF-8"},
      {row("\"a,b,1,2,3,4,0\n"), ":2: expected a closing quote"},
      {row("\"a\"x,b,1,2,3,4,0\n"),
       ":2: expected a comma after the closing quote"},
      {row("a\"x,b,1,2,3,4,0\n"),
       "expected a quote only at the start of a field"},
  };
  for (const auto& entry : cases) {
    const auto& [text, fault] = entry;
    CAPTURE(text);
    const Manifest manifest(text);
    CHECK(care_test::throws<std::runtime_error>(
        [&] { read_manifest(manifest.path()); }, fault));
    CHECK(care_test::throws<std::runtime_error>(
        [&] { read_manifest(manifest.path()); }, manifest.path().string()));
  }
  CARE_REQUIRE_THROWS_AS(
      read_manifest("/no/such.csv"), std::runtime_error, "/no/such.csv");
}

TEST_CASE("manifest: lists labels and leaves some out") {
  const Manifest manifest(
      kHeader + "1,b,,,,,0\n" + "2,a,,,,,0\n" + "3,b,,,,,0\n");
  const auto records = read_manifest(manifest.path());
  CHECK(common::labels_of(records) == std::vector<std::string>{"a", "b"});
  const auto kept = common::without_labels(records, {"b"});
  REQUIRE(kept.size() == 1);
  CHECK(kept[0].path == "2");
  CARE_REQUIRE_THROWS_AS(
      common::without_labels(records, {"c"}), std::invalid_argument, "'c'");
}
