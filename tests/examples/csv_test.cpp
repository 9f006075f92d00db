// Tests of the trainer's CSV reader.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/plain_catch.hpp"

#include "resnet_trainer/csv.hpp"

#include <string>
#include <utility>
#include <vector>

using care_test::contains;
using trainer::Csv;

TEST_CASE("csv: takes quotes, CRLF, a byte order mark and blank lines") {
  const care_test::Folder folder;
  const auto file = care_test::write_text(
      folder.path / "a.csv",
      "\xEF\xBB\xBFpath, label ,note\r\n"
      "\"a, \"\"b\"\".png\",\"two\nlines\", x \r\n"
      "\r\n"
      ",,\r\n"
      "c.png,\"\",,,");
  const Csv csv(file);
  REQUIRE(csv.lines().size() == 2);
  CHECK(csv.field(csv.lines()[0], "path") == "a, \"b\".png");
  CHECK(csv.field(csv.lines()[0], "label") == "two\nlines");
  CHECK(csv.field(csv.lines()[0], "note") == "x");
  CHECK(csv.field(csv.lines()[0], "none") == "");
  CHECK(csv.where(csv.lines()[1]) == file.string() + ":6");
}

TEST_CASE("csv: empty and doubled columns matter only where they are read") {
  const care_test::Folder folder;
  const Csv csv(care_test::write_text(
      folder.path / "a.csv", "path,note,note,,\na.png,1,2,3,4\n,,,,\n,,,,\n"));
  csv.expect({"path"}, {"label"});
  REQUIRE(csv.lines().size() == 1);
  CHECK(csv.field(csv.lines()[0], "note") == "1");
  CHECK(csv.field(csv.lines()[0], "") == "");
  CHECK(csv.columns().size() == 2); // those with a name
  CHECK(contains(
      care_test::error_of([&] { csv.expect({"path"}, {"note"}); }),
      ":1: expected each column once, but got 'note' twice"));
}

TEST_CASE("csv: a column without a name has no fields to find") {
  const care_test::Folder folder;
  const Csv csv(care_test::write_text(
      folder.path / "a.csv", ",path\n7,a.png\n")); // as pandas numbers lines
  CHECK(csv.field(csv.lines()[0], "") == "");
  CHECK(csv.field(csv.lines()[0], "path") == "a.png");
}

TEST_CASE("csv: UTF-8 has no surrogates, overlong forms or further planes") {
  for (const std::string bad :
       {"\xC1\xBF",
        "\xE0\x9F\xBF",
        "\xED\xA0\x80",
        "\xED\xBF\xBF",
        "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80"}) {
    CAPTURE(bad);
    CHECK(trainer::utf8_end("a" + bad) == 1);
  }
  for (const std::string good :
       {"\xC2\x80",
        "\xE0\xA0\x80",
        "\xED\x9F\xBF",
        "\xEE\x80\x80",
        "\xF0\x90\x80\x80",
        "\xF4\x8F\xBF\xBF"}) {
    CAPTURE(good);
    CHECK(trainer::utf8_end(good) == good.size());
  }
}

TEST_CASE("csv: names the line and the fault") {
  const care_test::Folder folder;
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", ":1: expected a header line, but got an empty file"},
      {"\n\n", ":1: expected a header line, but got an empty file"},
      {"path,label\na,b\nc\n",
       ":3: expected 2 fields as in the header, but got 1"},
      {"path,label\na,b,c\n",
       ":2: expected 2 fields as in the header, but got 3"},
      {"path;label\na;b\n", ":1: expected fields separated by ','"},
      {"path\tlabel\na\tb\n", "but got tabs between them"},
      {"path;x0\na;1,5\n", ":1: expected fields separated by ','"},
      {"path,label\ra,b\r", "expected lines that end in LF or CR LF"},
      {"path,label\n\xE9,b\n", ":2: expected UTF-8"},
      {"path,label\na,b\nc,\x93q\x94\n", ":3: expected UTF-8"},
      {"\xFF\xFEp\0a\0", ":1: expected UTF-8"},
      {"path,label\n\"a,b\n", ":2: expected a closing quote"},
      {"path,label\n\"a\"x,b\n", ":2: expected quotes round a whole field"},
      {"path,label\na\"x,b\n", ":2: expected quotes round a whole field"},
      {"path\na\n", ":1: expected a column 'label', but got none"},
  };
  for (const auto& [text, fault] : cases) {
    CAPTURE(text);
    const auto file = care_test::write_text(folder.path / "a.csv", text);
    const auto error = care_test::error_of([&path = file] {
      Csv(path).expect({"path", "label"}, {});
    });
    CHECK(contains(error, fault));
    CHECK(contains(error, file.string()));
  }
  CHECK(contains(
      care_test::error_of([] { Csv("/no/such.csv"); }), "/no/such.csv"));
}
