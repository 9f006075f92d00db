// Tests of the trained network's file: what it says, and that Python uses it.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/python.hpp"
#include "support/support.hpp"

#include "resnet_trainer/model_file.hpp"
#include "resnet_trainer/resnet.hpp"
#include "resnet_trainer/train.hpp"
#include "weights/weights.hpp"

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace {

trainer::ResNet resnet(double width, int64_t classes) {
  torch::manual_seed(1);
  trainer::ResNetOptions options;
  options.width = width;
  options.classes = classes;
  return trainer::ResNet(options);
}

trainer::ModelCard card() {
  trainer::ModelCard card;
  card.network = {{"network", "resnet18"}, {"width", "1"}};
  card.classes = {"a", "b, \"c\"", "d"};
  card.size = {64, 96};
  card.mean = {0.485, 0.456, 0.406};
  card.deviation = {0.229, 0.224, 0.225};
  return card;
}

} // namespace

TEST_CASE("model file: says what using the network needs", "[model]") {
  const care_test::Folder folder;
  const auto path = folder.path / "network.safetensors";
  const auto net = resnet(0.125, 3);
  trainer::write_model(path, *net, card());
  const auto file = weights::read(path);
  CHECK(
      file.metadata ==
      std::map<std::string, std::string>{
          {"network", "resnet18"},
          {"width", "1"},
          {"classes", R"(["a","b, \"c\"","d"])"},
          {"size", "[64,96]"},
          {"mean", "[0.485,0.456,0.406]"},
          {"deviation", "[0.229,0.224,0.225]"},
          {"criterion", "ce"},
          {"eight_bits", trainer::kEightBits},
          {"care", "0.1.0"}});
  CHECK(file.tensors.size() == 122);

  auto other = resnet(0.125, 3);
  torch::NoGradGuard no_grad;
  other->fc->weight.zero_();
  trainer::ModelCard read;
  const auto report = trainer::load_weights(path.string(), *other, "fc", read);
  CHECK(report == "122 tensors loaded\n");
  CHECK(torch::equal(other->fc->weight, net->fc->weight));
  CHECK(read.mean == card().mean);
  CHECK(read.deviation == card().deviation);
}

TEST_CASE("model file: its card is read again", "[model]") {
  const care_test::Folder folder;
  const auto path = folder.path / "network.safetensors";
  auto written = card();
  written.criterion = "bce";
  trainer::write_model(path, *resnet(0.125, 3), written);
  const auto read = trainer::read_card(path.string());
  CHECK(read.network.at("network") == "resnet18");
  CHECK(read.classes == written.classes);
  CHECK(read.size == written.size);
  CHECK(read.mean == written.mean);
  CHECK(read.deviation == written.deviation);
  CHECK(read.criterion == "bce");

  auto file = weights::read(path);
  const auto error = [&](const char* key, const char* value) {
    auto other = file;
    other.metadata[key] = value;
    weights::write_safetensors(path, other);
    return care_test::error_of([&] { trainer::read_card(path.string()); });
  };
  for (const auto& [key, value] :
       std::vector<std::pair<const char*, const char*>>{
           {"network", ""},
           {"classes", "[]"},
           {"classes", "[1, 2]"},
           {"classes", "a, b"},
           {"size", "[64]"},
           {"size", "[64, 0]"},
           {"size", "\"64x64\""},
           {"criterion", "mse"}}) {
    INFO(key << " " << value);
    CHECK(care_test::contains(
        error(key, value),
        path.string() + ": expected a network that the trainer left"));
  }
  CHECK(care_test::contains(error("mean", "0"), "expected three numbers"));
  file.metadata.erase("criterion"); // as before there was a choice
  weights::write_safetensors(path, file);
  CHECK(trainer::read_card(path.string()).criterion == "ce");
}

TEST_CASE("model file: a head of another size stays as drawn", "[model]") {
  const care_test::Folder folder;
  const auto path = (folder.path / "network.safetensors").string();
  trainer::write_model(path, *resnet(0.125, 3), card());
  auto net = resnet(0.125, 5);
  const auto drawn = net->fc->weight.clone();
  trainer::ModelCard read;
  const auto report = trainer::load_weights(path, *net, "fc", read);
  CHECK(care_test::contains(report, "120 tensors loaded\n"));
  CHECK(
      care_test::contains(report, "differing: fc.weight: [3, 64] in the file"));
  CHECK(torch::equal(net->fc->weight, drawn));
  auto wider = resnet(0.25, 3);
  CARE_REQUIRE_THROWS_AS(
      trainer::load_weights(path, *wider, "fc", read),
      c10::ValueError,
      "differing: conv1.weight");
}

TEST_CASE("model file: a mean or deviation that is none", "[model]") {
  const care_test::Folder folder;
  const auto path = (folder.path / "network.safetensors").string();
  auto net = resnet(0.125, 3);
  const auto error = [&](const char* key, const char* value) {
    weights::write_safetensors(
        std::filesystem::path(path),
        {weights::state_dict(*net), {{key, value}}});
    return care_test::error_of([&] {
      trainer::ModelCard read;
      trainer::load_weights(path, *net, "fc", read);
    });
  };
  for (const char* value :
       {"", "0.5", "[0.5,0.5]", "[0.5,0.5,null]", "[1,1,1,1]", "[1,1,1e9]"}) {
    INFO(value);
    const auto text = error("mean", value);
    CHECK(care_test::contains(text, path + ": expected three numbers as mean"));
  }
  CHECK(care_test::contains(
      error("deviation", "[0.2,0,0.2]"), "deviation, but got [0.2,0,0.2]"));
  CHECK(error("mean", "[0.5,0.5,0]").empty());
}

TEST_CASE("model file: Python loads it and makes ONNX of it", "[model]") {
  const care_test::Folder folder;
  auto net = resnet(1, 3);
  torch::NoGradGuard no_grad;
  for (int i = 0; i < 3; ++i) {
    net(torch::rand({4, 3, 96, 64})); // statistics
  }
  net->eval();
  trainer::write_model(folder.path / "network.safetensors", *net, card());
  trainer::Input input;
  input.mean = card().mean;
  input.deviation = card().deviation;
  const auto pixels = torch::rand({3, 3, 96, 64});
  weights::write_safetensors(
      folder.path / "io.safetensors",
      {{{"pixels", pixels}, {"logits", net(input.normalised(pixels))}}});
  care_test::run_python("check_model.py", folder.path.string());
}
