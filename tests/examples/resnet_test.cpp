// Tests of the example ResNet: torchvision's names and sizes.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"

#include "resnet_trainer/resnet.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <string>

using trainer::ResNet;
using trainer::ResNetOptions;

namespace {

int64_t parameters_of(const ResNet& net) {
  int64_t count = 0;
  for (const auto& p : net->parameters()) {
    count += p.numel();
  }
  return count;
}

} // namespace

TEST_CASE("resnet: has torchvision's numbers of parameters", "[resnet]") {
  // As torchvision's documentation lists them for its ImageNet weights.
  const std::map<int64_t, int64_t> expected = {
      {18, 11689512}, {34, 21797672}, {50, 25557032}};
  for (const auto& [depth, count] : expected) {
    INFO("depth " << depth);
    ResNetOptions options;
    options.depth = depth;
    CHECK(parameters_of(ResNet(options)) == count);
  }
}

TEST_CASE("resnet: has torchvision's layer names", "[resnet]") {
  ResNetOptions options;
  options.width = 0.125;
  const auto net = ResNet(options);
  std::set<std::string> names;
  for (const auto& item : net->named_parameters()) {
    names.insert(item.key());
  }
  for (const auto& item : net->named_buffers()) {
    names.insert(item.key());
  }
  for (const char* name :
       {"conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv1.weight",
        "layer1.1.bn2.bias",
        "layer2.0.downsample.0.weight",
        "layer2.0.downsample.1.running_var",
        "layer4.1.conv2.weight",
        "fc.weight",
        "fc.bias"}) {
    INFO(name);
    CHECK(names.count(name) == 1);
  }
  CHECK(names.count("layer1.0.downsample.0.weight") == 0);
  CHECK(names.size() == 122); // of torchvision's resnet18 state dict
}

TEST_CASE(
    "resnet: the stride of the last stage sets the map's size",
    "[resnet]") {
  ResNetOptions options;
  options.width = 0.125;
  options.classes = 5;
  for (const auto& [stride, cells] :
       std::map<int64_t, int64_t>{{2, 3}, {1, 6}}) {
    options.last_stride = stride;
    ResNet net(options);
    net->eval();
    const auto features = net->features(torch::rand({2, 3, 96, 64}));
    CHECK(features.size(1) == 64);
    CHECK(features.size(2) == cells);
    CHECK(features.size(3) == cells * 2 / 3);
    CHECK(net->forward(torch::rand({1, 3, 96, 64})).size(1) == 5);
  }
}

TEST_CASE("resnet: refuses what there is not", "[resnet]") {
  ResNetOptions options;
  options.depth = 20;
  CARE_REQUIRE_THROWS(ResNet(options), "depth of 18, 34, 50, 101 or 152");
  options.depth = 18;
  options.last_stride = 3;
  CARE_REQUIRE_THROWS(ResNet(options), "last_stride 1 or 2");
}

TEST_CASE("resnet: the head is float under autocast", "[resnet]") {
  ResNetOptions options;
  options.width = 0.125;
  options.classes = 3;
  ResNet net(options);
  net->eval();
  const auto x = torch::rand({2, 3, 64, 64});
  const auto plain = net->forward(x);
  const care::Autocast autocast(torch::kCPU);
  const auto mixed = net->forward(x);
  CHECK(mixed.scalar_type() == torch::kFloat);
  CHECK(net->features(x).scalar_type() == torch::kBFloat16);
  CHECK((mixed - plain).abs().max().item<double>() < 0.05);
}
