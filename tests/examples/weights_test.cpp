// Tests of examples/weights: Python's files in, safetensors out, and nothing
// that a stranger puts into a file does harm.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/program.hpp"
#include "support/python.hpp"
#include "support/support.hpp"

#include "resnet_trainer/resnet.hpp"
#include "weights/weights.hpp"

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <limits>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace fs = std::filesystem;
namespace nn = torch::nn;
using care_test::identical;
using weights::LoadOptions;
using weights::Tensors;
using weights::Weights;

namespace {

fs::path data(const std::string& name) {
  return care_test::data_dir() / "weights" / name;
}

/// What make_weights.py's tensors() gives.
Tensors expected_tensors() {
  const auto base = torch::arange(10.0, torch::kFloat);
  return {
      {"conv.weight",
       ((torch::arange(24, torch::kFloat) - 8) / 4).view({2, 3, 2, 2})},
      {"double", torch::tensor({1e300, -0.1}, torch::kDouble)},
      {"half",
       torch::tensor({1.5, -65504.0, 5.9604645e-8}, torch::kDouble)
           .to(torch::kHalf)},
      {"bfloat16",
       torch::tensor({1.5, -2.9975e38, 2.0}, torch::kDouble)
           .to(torch::kBFloat16)},
      {"long",
       torch::tensor(
           {std::numeric_limits<int64_t>::min(),
            std::numeric_limits<int64_t>::max()},
           torch::kLong)},
      {"int",
       torch::tensor({std::numeric_limits<int32_t>::min(), 7}, torch::kInt)},
      {"short", torch::tensor({-300, 300}, torch::kShort)},
      {"char", torch::tensor({-128, 127}, torch::kChar)},
      {"byte", torch::tensor({0, 255}, torch::kByte)},
      {"bool", torch::tensor({1, 0, 1}, torch::kLong).to(torch::kBool)},
      {"scalar", torch::tensor(7, torch::kLong)},
      {"empty", torch::zeros({0, 3})},
      {"transposed",
       torch::tensor({0, 3, 1, 4, 2, 5}, torch::kFloat).view({3, 2})},
      {"shared.middle", torch::tensor({2, 3, 4}, torch::kFloat)},
      {"shared.even", torch::tensor({0, 2, 4, 6, 8}, torch::kFloat)},
      {"shared.row",
       torch::tensor({3, 4, 5, 7, 8, 9}, torch::kFloat).view({2, 3})},
      {"expanded", torch::full({4, 1}, 1.5)}};
}

void check_same(const Tensors& actual, const Tensors& expected) {
  CHECK(actual.size() == expected.size());
  for (const auto& [name, tensor] : expected) {
    INFO(name);
    REQUIRE(actual.count(name) == 1);
    CHECK(identical(actual.at(name), tensor));
  }
}

/// make_weights.py's Small.
struct SmallImpl : nn::Module {
  explicit SmallImpl(int64_t classes = 5)
      : fc(register_module("fc", nn::Linear(4, classes))) {
    eval();
  }
  torch::Tensor forward(const torch::Tensor& x) {
    return fc(bn1(conv1(x)).relu().mean({2, 3}));
  }
  nn::Conv2d conv1 = register_module(
      "conv1",
      nn::Conv2d(nn::Conv2dOptions(3, 4, 3).padding(1).bias(false)));
  nn::BatchNorm2d bn1 = register_module("bn1", nn::BatchNorm2d(4));
  nn::Linear fc;
};
TORCH_MODULE(Small);

std::string bytes_of(const Weights& file) {
  std::ostringstream out;
  weights::write_safetensors(out, file);
  return out.str();
}

/// A safetensors file of a header and numbers.
std::string safetensors(const std::string& header, size_t numbers) {
  const uint64_t size = header.size();
  std::string file(reinterpret_cast<const char*>(&size), sizeof(size));
  return file + header + std::string(numbers, '\0');
}

/// A file of the format before PyTorch 1.6 with the pickle of one object.
std::string old_file(const std::string& pickle) {
  const std::string number(weights::detail::kOldMagic);
  const std::string machine("}X\xd\0\0\0little_endian\x88s.", 22);
  return number + "K\1." + machine + pickle;
}

} // namespace

// ------------------------------------------------------------------- read ---

TEST_CASE("weights: all of Python's formats hold the same tensors") {
  const auto* name =
      GENERATE("zip.pth", "zip_2020.pth", "old.pth", "all.safetensors");
  INFO(name);
  const auto file = weights::read(data(name));
  check_same(file.tensors, expected_tensors());
}

TEST_CASE("weights: views of a storage are views again") {
  const auto* name = GENERATE("zip.pth", "old.pth");
  const auto tensors = weights::read(data(name)).tensors;
  CHECK(tensors.at("transposed").strides() == torch::IntArrayRef({1, 3}));
  tensors.at("shared.even")[2] = 40.0;
  CHECK(tensors.at("shared.middle")[2].item<double>() == 40.0);
  CHECK(tensors.at("shared.row")[0][1].item<double>() == 40.0);
  CHECK(tensors.at("transposed")[1][1].item<double>() == 4.0);
}

TEST_CASE("weights: the text of safetensors") {
  CHECK(
      weights::read(data("all.safetensors")).metadata ==
      std::map<std::string, std::string>{
          {"network", "none"}, {"text", "a \"quoted\" \xc3\xa9\n"}});
}

TEST_CASE("weights: a checkpoint gives its state_dict") {
  const auto plain = weights::read(data("net.pth")).tensors;
  const auto whole = weights::read(data("checkpoint.pth")).tensors;
  REQUIRE(whole.size() == plain.size());
  for (const auto& [name, tensor] : plain) {
    // The optimizer's step moved the parameters in place.
    CHECK(whole.at("module." + name).sizes() == tensor.sizes());
  }
  const auto parameters = weights::read(data("parameters.pth")).tensors;
  CHECK(parameters.size() == 5);
  CHECK(identical(parameters.at("fc.bias"), plain.at("fc.bias")));
  const auto body = weights::read(data("checkpoint_model.pth")).tensors;
  CHECK(body.size() == plain.size() - 2);
  CHECK(body.count("backbone.bn1.running_mean") == 1);
}

// ----------------------------------------------------------------- refuse ---

TEST_CASE("weights: files that do more than hold tensors are refused") {
  const std::map<std::string, std::string> refused{
      {"big_endian", "little-endian order, but got big"},
      {"bool", "expected bools of 0 and 1"},
      {"complex", "but got torch.ComplexFloatStorage"},
      {"compressed", "not compressed"},
      {"eval", "but got __builtin__.eval"},
      {"huge_empty", "within their storage"},
      {"huge_expanded", "within their storage"},
      {"huge_offset", "within their storage"},
      {"huge_wrapped", "within their storage"},
      {"list", "expected a state_dict"},
      {"lying_storage", "but got elements: 1099511627776"},
      {"many_dimensions", "within their storage"},
      {"negated", "expected the arguments of a plain tensor"},
      {"negative_offset", "within their storage"},
      {"negative_size", "within their storage"},
      {"negative_storage", "but got elements: -1"},
      {"negative_stride", "within their storage"},
      {"no_storage", "too few bytes for a"},
      {"no_tensors", "but got a dictionary of: epoch state_dict"},
      {"numpy", "but got numpy._core.multiarray.scalar"},
      {"offset", "within their storage"},
      {"one_tensor", "expected a state_dict"},
      {"protocol_4", "expected pickle protocol 2, but got the opcode 149"},
      {"quantised", "but got torch._utils._rebuild_qtensor"},
      {"ranks", "within their storage"},
      {"script", "as TorchScript's are"},
      {"short_storage", "too few bytes for a"},
      {"size", "within their storage"},
      {"sparse", "but got torch._utils._rebuild_sparse_tensor"},
      {"storage_view", "another persistent object"},
      {"stride", "within their storage"},
      {"system", "but got posix.system"},
      {"uint16", "but got torch._utils._rebuild_tensor_v3"},
      {"whole_network", "but got __main__.Small"}};
  std::error_code ignored;
  fs::remove("/tmp/pickle-was-run", ignored); // of an earlier, faulty reader
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(data(""))) {
    files += entry.path().filename().string().rfind("bad_", 0) == 0 ? 1 : 0;
  }
  CHECK(files == refused.size());
  for (const auto& [name, reason] : refused) {
    INFO(name);
    const auto path = data("bad_" + name + ".pth");
    CHECK(care_test::throws<c10::ValueError>(
        [&] { weights::read(path); }, reason));
    CHECK(care_test::throws<c10::ValueError>(
        [&] { weights::read(path); }, path.string())); // names the file
  }
  CHECK(!fs::exists("/tmp/pickle-was-run"));
}

TEST_CASE("weights: pickles without an end, and deep ones") {
  const size_t depth = 1000000;
  const auto lists = std::string(depth, ']') + std::string(depth - 1, 'a');
  const std::string key("X\5\0\0\0model", 10);
  std::string dictionaries;
  for (size_t i = 0; i < depth; ++i) {
    dictionaries += "}" + key;
  }
  dictionaries += "}" + std::string(depth, 's');
  const auto itself = std::string("}q\0", 3) + key + std::string("h\0s", 3);
  const std::string damaged = "but got a damaged one";
  const std::string other = "but got another pickle";
  const std::string short_file = "ends too early";
  const std::map<std::string, std::string> cases{
      {"}" + key + lists + "s.].", "but got a dictionary of: model"},
      {dictionaries + ".].", "but got a dictionary of: model"},
      {itself + ".].", "but got a dictionary of: model"},
      {"}.].", "but got a dictionary of:"},
      {lists + ".].", other},
      {std::string(depth, '('), short_file},
      {std::string("X\xff\xff\xff\xff."), short_file},
      {"ctorch\nFloatStorage", short_file},
      {"", short_file},
      {".", damaged},
      {"u.", damaged},
      {"t.", damaged},
      {"(.", damaged},
      {"}(s.", damaged},
      {"h\7.", damaged},
      {"Q.", damaged},
      {"R.", damaged},
      {"q\1.", damaged},
      {"\x87.", damaged},
      {"\x8a\x09"
       "123456789.",
       damaged},
      {"NQ.", other},
      {")Q.", "another persistent object"},
      {"N)R.", other},
      {"NNb.", other},
      {"NNNs.", other},
      {"NNa.", other},
      {"ctorch\nFloatStorage\n)R.", "arguments of a plain tensor"},
      {"ctorch._utils\n_rebuild_tensor\n(NNNNtR.", other},
      {"0.", "the opcode 48"}};
  for (const auto& [pickle, reason] : cases) {
    INFO(pickle.substr(0, 30));
    const auto file = old_file(pickle);
    CHECK(care_test::throws<c10::ValueError>(
        [&] { weights::parse(file); }, reason));
  }
}

TEST_CASE("weights: records that overlap are no way to a large memory") {
  // One record of 1 MB that a thousand entries of the directory name.
  const size_t size = 1 << 20;
  const auto u16 = [](size_t n) {
    return std::string{static_cast<char>(n), static_cast<char>(n >> 8)};
  };
  const auto u32 = [&](size_t n) { return u16(n) + u16(n >> 16); };
  const auto text = [&](const std::string& s) {
    return "X" + u32(s.size()) + s;
  };
  std::string directory;
  const auto add = [&](const std::string& name, size_t offset, size_t length) {
    directory += "PK\1\2" + std::string(16, '\0') + u32(length) + u32(length) +
        u16(name.size()) + std::string(12, '\0') + u32(offset) + name;
  };
  const auto header = "PK\3\4" + std::string(26, '\0');
  auto file = header + std::string(size, 'x');
  std::string pickle("}(");
  for (int i = 0; i < 1000; ++i) {
    const auto key = std::to_string(i);
    pickle += text(key) + "ctorch._utils\n_rebuild_tensor_v2\n((" +
        text("storage") + "ctorch\nByteStorage\n" + text(key) + "NJ" +
        u32(size) + "tQJ" + u32(0) + "J" + u32(size) + "\x85" + "K\1\x85" +
        "\x89}tR";
    add("a/data/" + key, 0, size);
  }
  pickle += "u.";
  add("a/data.pkl", file.size(), pickle.size());
  file += header + pickle;
  const auto start = file.size();
  file += directory + "PK\5\6" + std::string(4, '\0') + u16(1001) + u16(1001) +
      u32(directory.size()) + u32(start) + u16(0);
  CARE_REQUIRE_THROWS_AS(
      weights::parse(file), c10::ValueError, "expected storages apart");
}

TEST_CASE("weights: safetensors that lie are refused") {
  const auto tensor = [](const std::string& dtype,
                         const std::string& shape,
                         const std::string& offsets) {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape +
        R"(,"data_offsets":)" + offsets + "}";
  };
  const auto good = tensor("F32", "[2]", "[0,8]");
  CHECK(weights::parse(safetensors("{\"a\":" + good + "}  ", 8))
            .tensors.at("a")
            .equal(torch::zeros({2})));
  CHECK(weights::parse(safetensors("{}", 0)).tensors.empty());

  struct Case {
    std::string header;
    size_t numbers;
    std::string reason;
  };
  const std::vector<Case> cases{
      {"{\"a\":" + good + "}", 7, "expected the bytes of a shape"},
      {"{\"a\":" + good + "}", 9, "expected 8 bytes of numbers, but got 9"},
      {"{\"a\":" + good + ",\"b\":" + good + "}", 8, "from byte 8 on"},
      {"{\"a\":" + tensor("F32", "[2]", "[4,12]") + "}", 12, "byte 0 on"},
      {"{\"a\":" + tensor("F32", "[2]", "[8,0]") + "}", 8, "bytes of a shape"},
      {"{\"a\":" + tensor("F32", "[3]", "[0,8]") + "}", 8, "bytes of a shape"},
      {"{\"a\":" + tensor("F8_E4M3", "[8]", "[0,8]") + "}", 8, "got F8_E4M3"},
      {"{\"a\":" + tensor("F32", "[-2]", "[0,8]") + "}", 8, "whole numbers"},
      {"{\"a\":" + tensor("F32", "[2.0]", "[0,8]") + "}", 8, "whole numbers"},
      {"{\"a\":" + tensor("F32", "2", "[0,8]") + "}", 8, "a list as the shape"},
      {"{\"a\":" + tensor("F32", "[[2]]", "[0,8]") + "}", 8, "whole numbers"},
      {"{\"a\":" + tensor("F32", "[2]", "[0]") + "}", 8, "expected a header"},
      {"{\"a\":" + tensor("F32", "[2]", "[0,1e3]") + "}", 8, "whole numbers"},
      {"{\"a\":" + tensor("U8", "[4294967296,4294967296,4294967296]", "[0,8]") +
           "}",
       8,
       "bytes of a shape"},
      {"{\"a\":" + tensor("F32", "[18446744073709551615]", "[0,8]") + "}",
       8,
       "bytes of a shape"},
      {"{\"a\":" +
           tensor("F32", "[2]", "[18446744073709551608,18446744073709551615]") +
           "}",
       8,
       "bytes of a shape"},
      {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}",
       8,
       "expected a header"},
      {"{\"a\":3}", 0, "expected a header"},
      {"{\"__metadata__\":{\"a\":3}}", 0, "expected a header"},
      {"{\"a\":" + good, 8, "expected a JSON header"},
      {"{\"a\":" + std::string(100000, '['), 8, "expected a JSON header"},
      {"{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}",
       8,
       "expected a header"}};
  for (const auto& each : cases) {
    INFO(each.header.substr(0, 100));
    CHECK(care_test::throws<c10::ValueError>(
        [&] { weights::parse(safetensors(each.header, each.numbers)); },
        each.reason));
  }
  auto long_header = safetensors("{\"a\":" + good + "}", 8);
  long_header[7] = '\x7f'; // 2^62 bytes and more
  CARE_REQUIRE_THROWS_AS(
      weights::parse(long_header), c10::ValueError, "ends too early");
  for (const auto* other : {"", "{", "<html>no weights here</html>"}) {
    CARE_REQUIRE_THROWS_AS(
        weights::parse(other),
        c10::ValueError,
        "expected a file of torch.save or safetensors");
  }
  CARE_REQUIRE_THROWS(weights::read(data("none.pth")), "cannot read");
  CARE_REQUIRE_THROWS(weights::read(data("")), "cannot read");
}

// ------------------------------------------------------------------ write ---

TEST_CASE("weights: safetensors written are read again, bit for bit") {
  const Weights before{
      weights::read(data("zip.pth")).tensors,
      {{"network", "none"}, {"text", "\"\n\xc3\xa9"}}};
  const care_test::Folder folder;
  const auto path = folder.path / "all.safetensors";
  weights::write_safetensors(path, before);
  weights::write_safetensors(path, before); // over the old one
  const auto after = weights::read(path);
  check_same(after.tensors, expected_tensors());
  CHECK(after.metadata == before.metadata);
  CHECK(!fs::exists(folder.path / "all.safetensors.part"));

  // Aligned: the header ends on 8 bytes, and the larger numbers come first.
  const auto file = bytes_of(before);
  const auto header = weights::detail::number_at<uint64_t>(file, 0);
  CHECK(header % 8 == 0);
  CHECK(file.find("\"double\":{\"data_offsets\":[0,16]") != std::string::npos);
}

TEST_CASE("weights: what safetensors cannot hold is not written") {
  const auto one = torch::ones({1});
  CARE_REQUIRE_THROWS_AS(
      bytes_of({{{"a", one.to(torch::kComplexFloat)}}}),
      c10::ValueError,
      "but got ComplexFloat for a");
  CARE_REQUIRE_THROWS_AS(
      bytes_of({{{"__metadata__", one}}}), c10::ValueError, "for __metadata__");
  CARE_REQUIRE_THROWS_AS(
      bytes_of({{{"\xff", one}}}), c10::ValueError, "expected UTF-8");
  const care_test::Folder folder;
  CARE_REQUIRE_THROWS(
      weights::write_safetensors(folder.path / "no" / "a", {{{"a", one}}}),
      "cannot write");
}

TEST_CASE("weights: a file that cannot be written leaves what was there") {
  const care_test::Folder folder;
  const auto path = folder.path / "a.safetensors";
  const auto one = torch::ones({1});
  weights::write_safetensors(path, {{{"a", one}}});
  const auto before = care_test::read_text(path);
  CARE_REQUIRE_THROWS(
      weights::write_safetensors(path, {{{"a", one.to(torch::kComplexFloat)}}}),
      "but got ComplexFloat");
  const auto meta = one.to(torch::kMeta); // without numbers to be written
  CARE_REQUIRE_THROWS(
      weights::write_safetensors(path, {{{"a", meta}}}), "meta");
  CHECK(care_test::read_text(path) == before);
  fs::create_directories(folder.path / "taken" / "inner");
  CARE_REQUIRE_THROWS(
      weights::write_safetensors(folder.path / "taken", {{{"a", one}}}),
      "cannot write");
  CHECK(!fs::exists(folder.path / "a.safetensors.part"));
  CHECK(!fs::exists(folder.path / "taken.part"));
}

TEST_CASE("weights: a link stays one, and its file is written") {
  const care_test::Folder folder;
  const auto link = folder.path / "last.safetensors";
  fs::create_directories(folder.path / "runs");
  fs::create_symlink("runs/a.safetensors", link);
  for (const double number : {1.0, 2.0}) { // not there yet, and there
    weights::write_safetensors(link, {{{"a", torch::full({1}, number)}}});
    CHECK(fs::is_symlink(link));
    const auto file = weights::read(folder.path / "runs" / "a.safetensors");
    CHECK(file.tensors.at("a").item<double>() == number);
  }
}

// ------------------------------------------------------------------- load ---

TEST_CASE("weights: a network with Python's weights has Python's logits") {
  const auto io = weights::read(data("net_logits.safetensors")).tensors;
  const auto logits_with = [&](const char* name) {
    INFO(name);
    Small net;
    const auto report = weights::load_into(*net, weights::read(data(name)));
    CHECK(report.loaded.size() == 8);
    torch::NoGradGuard no_grad;
    return net(io.at("x"));
  };
  const auto& logits = io.at("logits");
  for (const auto* name : {"net.pth", "net_old.pth", "net.safetensors"}) {
    CHECK(care_test::allclose(logits_with(name), logits, 1e-6, 0));
  }
  const auto half = logits_with("net_half.pth");
  CHECK(care_test::allclose(half, logits, 2e-3, 0));
  CHECK(!torch::equal(half, logits));
  CHECK(care_test::allclose(logits_with("net_bf16.pth"), logits, 2e-2, 0));
}

TEST_CASE("weights: prefixes are taken off where the network has none") {
  Small net;
  CHECK(
      weights::load_into(*net, weights::read(data("checkpoint.pth")))
          .loaded.size() == 8);
  const auto body = weights::read(data("checkpoint_model.pth"));
  const auto report = weights::load_into(*net, body, LoadOptions().head("fc"));
  CHECK(report.loaded.size() == 6);
  CHECK(report.missing == std::vector<std::string>{"fc.bias", "fc.weight"});
  CARE_REQUIRE_THROWS_AS(
      weights::load_into(*net, body, LoadOptions().prefixes({"module."})),
      c10::ValueError,
      "not in the network: backbone.conv1.weight");

  // A network that has the prefix itself.
  nn::Sequential wrapped;
  wrapped->push_back("backbone", Small());
  CHECK(
      weights::load_into(*wrapped, body, LoadOptions().head("backbone.fc"))
          .loaded.size() == 6);
}

TEST_CASE("weights: a head of another size stays as it is") {
  Small net(7);
  const auto before = net->fc->weight.clone();
  const auto file = weights::read(data("net.pth"));
  CARE_REQUIRE_THROWS_AS(
      weights::load_into(*net, file),
      c10::ValueError,
      "differing: fc.weight: [5, 4] in the file, [7, 4] in the network");
  const auto report = weights::load_into(*net, file, LoadOptions().head("fc"));
  CHECK(report.loaded.size() == 6);
  CHECK(
      report.differing.at("fc.bias") == "[5] in the file, [7] in the network");
  CHECK(report.differing.size() == 2);
  CHECK(torch::equal(net->fc->weight, before));
  CHECK(torch::equal(net->conv1->weight, file.tensors.at("conv1.weight")));
}

TEST_CASE("weights: all that does not fit is listed, and nothing loaded") {
  auto file = weights::read(data("net.pth"));
  file.tensors["fc2.weight"] = torch::ones({1});
  file.tensors["bn1.running_mean"] = torch::ones({4}, torch::kLong);
  file.tensors["bn1.bias"] = torch::ones({3});
  file.tensors.erase("conv1.weight");
  file.tensors.erase("bn1.num_batches_tracked"); // older than PyTorch 0.4.1
  Small net;
  const auto before = net->fc->weight.clone();
  for (const auto* part :
       {"not in the file: conv1.weight",
        "not in the network: fc2.weight",
        "differing: bn1.bias: [3] in the file, [4] in the network",
        "differing: bn1.running_mean: long int in the file, float in the"}) {
    CARE_REQUIRE_THROWS_AS(
        weights::load_into(*net, file), c10::ValueError, part);
  }
  CHECK(torch::equal(net->fc->weight, before));

  const auto report =
      weights::load_into(*net, file, LoadOptions().strict(false));
  CHECK(report.loaded.size() == 4);
  CHECK(report.missing.size() == 2);
  CHECK(report.unexpected == std::vector<std::string>{"fc2.weight"});
  CHECK(report.differing.size() == 2);
  std::ostringstream text;
  text << report;
  CHECK(text.str().rfind("4 tensors loaded\n  not in the file: ", 0) == 0);
}

TEST_CASE("weights: a load that takes nothing is an error") {
  Small net;
  CARE_REQUIRE_THROWS_AS(
      weights::load_into(
          *net, {{{"a", torch::ones({1})}}}, LoadOptions().strict(false)),
      c10::ValueError,
      "but got 0 tensors loaded");
  CARE_REQUIRE_THROWS_AS(
      weights::load_into(*net, {{}}, LoadOptions().strict(false)),
      c10::ValueError,
      "but got 0 tensors loaded");
  auto file = weights::read(data("net.pth"));
  file.tensors["module.fc.bias"] = torch::ones({5});
  CARE_REQUIRE_THROWS_AS(
      weights::load_into(*net, file),
      c10::ValueError,
      "expected one tensor for fc.bias, but got two");
}

TEST_CASE("weights: BatchNorm's count may be missing, the old way") {
  auto file = weights::read(data("net.pth"));
  file.tensors.erase("bn1.num_batches_tracked");
  Small net;
  CHECK(weights::load_into(*net, file).loaded.size() == 7);
}

TEST_CASE("weights: the lines of docs/weights.md") {
  const care_test::Folder folder;
  const auto path = folder.path / "net.safetensors";
  trainer::ResNetOptions options;
  options.width = 0.125;
  weights::write_safetensors(
      path,
      {weights::state_dict(*trainer::ResNet(options)),
       {{"network", "resnet18"}, {"classes", "1000"}}});

  options.classes = 7;
  auto net = trainer::ResNet(options);
  auto file = weights::read(path);
  auto report =
      weights::load_into(*net, file, weights::LoadOptions().head("fc"));
  std::ostringstream out;
  out << report;
  CHECK(
      out.str() ==
      "120 tensors loaded\n"
      "  differing: fc.bias: [1000] in the file, [7] in the network\n"
      "  differing: fc.weight: [1000, 64] in the file, [7, 64] in the "
      "network\n");
}

// ------------------------------------------------------------- both ways ---

TEST_CASE("weights: a ResNet goes to Python and comes from it") {
  trainer::ResNetOptions options;
  options.width = 0.25;
  options.classes = 7;
  trainer::ResNet net(options);
  auto x = torch::rand({3, 3, 64, 64});
  for (int i = 0; i < 20; ++i) {
    net(x); // statistics
  }
  net->eval();
  torch::NoGradGuard no_grad;
  const care_test::Folder folder;
  weights::write_safetensors(
      folder.path / "cpp.safetensors",
      {weights::state_dict(*net),
       {{"network", "resnet18"}, {"planes", "16"}, {"classes", "7"}}});
  weights::write_safetensors(
      folder.path / "cpp_logits.safetensors", {{{"x", x}, {"logits", net(x)}}});
  if (!care_test::run_python(
          "make_weights.py", "exchange " + folder.path.string())) {
    return;
  }
  const auto io =
      weights::read(folder.path / "python_logits.safetensors").tensors;
  for (const auto* name :
       {"zip.pth", "old.pth", "python.safetensors", "nested.pth", "half.pth"}) {
    INFO(name);
    trainer::ResNet other(options);
    other->eval();
    const auto file = weights::read(folder.path / name);
    CHECK(weights::load_into(*other, file).missing.empty());
    const bool half = std::string(name) == "half.pth";
    const auto& expected = io.at(half ? "half_logits" : "logits");
    CHECK(care_test::allclose(other(io.at("x")), expected, 1e-5, 0));
  }
}

// ------------------------------------------------------------------- fuzz ---

// CARE_WEIGHTS_FUZZ sets how many; with -fsanitize=address,undefined this is
// the proof that no file crashes the reader.
TEST_CASE("weights: broken files are refused or read, no more", "[fuzz]") {
  const char* given = std::getenv("CARE_WEIGHTS_FUZZ");
  const int64_t count = given == nullptr ? 10000 : std::atoll(given);
  std::map<std::string, std::string> files; // sorted
  for (const auto& entry : fs::directory_iterator(data(""))) {
    files[entry.path().filename().string()] =
        care_test::read_text(entry.path());
  }
  int64_t read = 0, refused = 0;
  for (const auto& [name, whole] : files) {
    const auto each = (count - 1) / static_cast<int64_t>(files.size()) + 1;
    for (int64_t i = 0; i < each; ++i) {
      INFO(name << ", mutation " << i);
      std::mt19937 random(static_cast<uint32_t>(i));
      auto file = whole;
      if (i % 4 == 0) {
        file.resize(random() % file.size());
      } else {
        for (auto flips = 1 + random() % 8; flips > 0; --flips) {
          auto& byte = file[random() % file.size()];
          byte = static_cast<char>(byte ^ (1 << random() % 8));
        }
      }
      try {
        const auto result = weights::parse(file);
        for (const auto& item : result.tensors) {
          item.second.to(torch::kDouble).sum().item<double>();
        }
        ++read;
        bytes_of(result);
        Small net;
        weights::load_into(*net, result, LoadOptions().strict(false));
      } catch (const c10::ValueError&) {
        ++refused; // anything else fails the test
      }
    }
  }
  INFO(read << " read, " << refused << " refused");
  CHECK(read > 0);
  CHECK(refused > 0);
  std::cout << "weights: " << read << " broken files read, " << refused
            << " times refused\n";
}
