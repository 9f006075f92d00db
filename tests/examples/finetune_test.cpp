// Tests of the networks by name, of keeping their first layers, and of the
// program that starts from pretrained ones.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/program.hpp"
#include "support/small_set.hpp"
#include "support/support.hpp"

#include "networks/by_name.hpp"
#include "networks/mobilenet.hpp"
#include "networks/vit.hpp"
#include "resnet_trainer/csv.hpp"
#include "resnet_trainer/dataset.hpp"
#include "resnet_trainer/train.hpp"
#include "weights/weights.hpp"

#include <torch/autograd.h>
#include <torch/nn/functional/loss.h>
#include <torch/optim/sgd.h>
#include <care/capture.hpp>
#include <care/guide.hpp>

#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace fs = std::filesystem;
using care_test::contains;
using care_test::read_text;

namespace {

const networks::Family& family(const char* name) {
  return networks::families().at(name);
}

networks::Network make(const std::string& name, int64_t classes) {
  return networks::make(name, {classes});
}

/// A step of training; what it changed, parameters and buffers.
std::set<std::string> changed_by_a_step(networks::Network& net) {
  weights::Tensors before;
  for (const auto& [name, tensor] : weights::state_dict(*net)) {
    before[name] = tensor.detach().clone();
  }
  net->train();
  torch::optim::SGD optimizer(net->parameters(), 0.1);
  net(torch::rand({4, 3, 64, 64})).square().sum().backward();
  optimizer.step();
  std::set<std::string> changed;
  for (const auto& [name, tensor] : weights::state_dict(*net)) {
    if (!torch::equal(tensor, before.at(name))) {
      changed.insert(name);
    }
  }
  return changed;
}

} // namespace

TEST_CASE("networks: by name they keep their names and heads", "[networks]") {
  for (const auto* name : {"resnet18", "mobilenet_v2", "efficientnet_lite0"}) {
    INFO(name);
    auto net = make(name, 7);
    const auto head = weights::state_dict(*net).at(family(name).head + ".bias");
    CHECK(head.numel() == 7);
    CHECK(
        net(torch::rand({2, 3, 64, 64})).sizes() == torch::IntArrayRef({2, 7}));
  }
  const auto plain = weights::state_dict(*networks::MobileNetV2());
  const auto named = weights::state_dict(*make("mobilenet_v2", 1000));
  REQUIRE(plain.size() == named.size());
  for (const auto& item : plain) {
    CHECK(named.count(item.first) == 1);
  }
  for (const auto& item : networks::families()) {
    INFO(item.first); // the large ones too, without running them
    networks::NetworkOptions options;
    options.size = {224, 224};
    const auto names =
        weights::state_dict(*networks::make(item.first, options));
    CHECK(names.count(item.second.head + ".weight") == 1);
  }
}

TEST_CASE("networks: by name with the options that they have", "[networks]") {
  networks::NetworkOptions options;
  options.classes = 2;
  options.width = 0.25;
  options.last_stride = 1;
  auto net = networks::make("resnet34", options);
  const auto seen = care::capture(net, torch::rand({2, 3, 64, 64}));
  CHECK(seen.features.sizes() == torch::IntArrayRef({2, 128, 4, 4}));
  const auto refused = [](const std::string& name, auto... values) {
    return care_test::error_of([&] { networks::make(name, {values...}); });
  };
  CHECK(contains(
      refused("resnet19"),
      "net: expected one of convnext_tiny, densenet121, efficientnet_lite0, "));
  CHECK(contains(refused("resnet19"), "vit_ti_16, but got 'resnet19'"));
  CHECK(contains(
      refused("vgg16", 2, 0.5), "width: expected 1 for vgg16, but got 0.5"));
  CHECK(contains(
      refused("vgg16", 2, 1.0, 1), "last_stride: expected 2 for vgg16, but"));
  CHECK(contains(
      refused("vit_ti_16", 2, 1.0, 2, std::array<int64_t, 2>{224, 64}),
      "size: expected 224 for vit_ti_16, but got 64"));
}

TEST_CASE("networks: BatchNorm's momentum", "[networks]") {
  auto net = make("efficientnet_lite0", 3);
  networks::set_batch_norm_momentum(*net, 1.0);
  const auto x = torch::rand({4, 3, 64, 64});
  net->train();
  torch::manual_seed(0);
  net(x);
  const auto mean = net->named_buffers()["_bn0.running_mean"];
  // With momentum 1 the statistics are the batch's own, not a hundredth of it.
  CHECK(mean.abs().max().item<double>() > 0.1);
  const auto stem = net->named_parameters()["_conv_stem.weight"];
  const auto y = torch::conv2d(
      torch::constant_pad_nd(x, {0, 1, 0, 1}), stem, {}, /*stride=*/2);
  CHECK(care_test::allclose(mean, y.mean({0, 2, 3}), 1e-5, 1e-4));
}

TEST_CASE("networks: what comes before a layer can be kept", "[networks]") {
  auto net = make("resnet18", 3);
  net->freeze_until("layer4");
  const auto changed = changed_by_a_step(net);
  CHECK(changed.count("layer4.0.conv1.weight") == 1);
  CHECK(changed.count("layer4.0.bn1.running_mean") == 1);
  CHECK(changed.count("fc.weight") == 1);
  for (const auto& name : changed) {
    INFO(name);
    CHECK((name.rfind("layer4.", 0) == 0 || name.rfind("fc.", 0) == 0));
  }
  CHECK(changed.size() > 20);

  // A part of a stage; and its dropping of blocks rests with it.
  auto lite = make("efficientnet_lite0", 3);
  lite->freeze_until("_blocks.12");
  const auto later = changed_by_a_step(lite);
  CHECK(later.count("_blocks.12._expand_conv.weight") == 1);
  CHECK(later.count("_blocks.11._bn2.running_mean") == 0);
  CHECK(later.count("_bn0.running_mean") == 0);

  for (const auto* name : {"layer5", "layer", "", "conv1"}) {
    INFO(name);
    auto other = make("resnet18", 3);
    CARE_REQUIRE_THROWS_AS(
        other->freeze_until(name),
        c10::ValueError,
        "one of conv1 bn1 layer1 layer1.0 layer1.1 layer2");
  }
}

TEST_CASE("networks: CARE's map is seen behind kept layers", "[networks]") {
  auto net = make("mobilenet_v2", 3);
  net->freeze_until("features.14");
  net->train();
  const auto seen = care::capture(net, torch::rand({2, 3, 64, 64}));
  CHECK(seen.features.sizes() == torch::IntArrayRef({2, 1280, 2, 2}));
}

namespace {

/// ConvNeXt's forward in two parts: features [N, h, w, C], logits.
std::pair<torch::Tensor, torch::Tensor> convnext_by_hand(
    const torch::nn::Module& net,
    const torch::Tensor& images) {
  auto modules = net.named_modules();
  auto x = images;
  for (const auto& part : modules["features"]->children()) {
    x = part->as<torch::nn::Sequential>()->forward(x);
  }
  auto* head = modules["classifier"]->as<torch::nn::Sequential>();
  return {x, head->forward(x.mean({1, 2}))};
}

/// ViT-Ti's: the cells of the tokens before the last layer, logits.
std::pair<torch::Tensor, torch::Tensor> vit_by_hand(
    const torch::nn::Module& net,
    const torch::Tensor& images) {
  auto modules = net.named_modules();
  auto parameters = net.named_parameters();
  const auto norm = [&](const std::string& name, const torch::Tensor& x) {
    return modules[name]->as<torch::nn::LayerNorm>()->forward(x);
  };
  const auto cells = modules["conv_proj"]
                         ->as<torch::nn::Conv2d>()
                         ->forward(images)
                         .flatten(2)
                         .transpose(1, 2);
  const auto own = parameters["class_token"].expand({images.size(0), -1, -1});
  auto x = torch::cat({own, cells}, 1) + parameters["encoder.pos_embedding"];
  const std::string layer = "encoder.layers.encoder_layer_";
  for (int i = 0; i < 11; ++i) {
    x = modules[layer + std::to_string(i)]->as<networks::VitLayer>()->forward(
        x);
  }
  // In two parts, so that a gradient arrives at the cells alone.
  const auto map = x.slice(1, 1).view({images.size(0), 14, 14, -1});
  x = torch::cat({x.slice(1, 0, 1), map.flatten(1, 2)}, 1);
  const auto read = norm(layer + "11.ln_1", x).transpose(0, 1);
  auto* attention =
      modules[layer + "11.self_attention"]->as<torch::nn::MultiheadAttention>();
  x = x + std::get<0>(attention->forward(read, read, read)).transpose(0, 1);
  x = x +
      modules[layer + "11.mlp"]->as<torch::nn::Sequential>()->forward(
          norm(layer + "11.ln_2", x));
  auto* head = modules["heads"]->as<torch::nn::Sequential>();
  return {map, head->forward(norm("encoder.ln", x).select(1, 0))};
}

} // namespace

TEST_CASE(
    "networks: tokens and NHWC maps are guided and tested",
    "[networks]") {
  struct Case {
    const char* name;
    int64_t size;
    decltype(&vit_by_hand) by_hand;
  };
  for (const auto& each :
       {Case{"convnext_tiny", 64, convnext_by_hand},
        Case{"vit_ti_16", 224, vit_by_hand}}) {
    INFO(each.name);
    torch::manual_seed(3);
    auto net = make(each.name, 2);
    const auto& layer = family(each.name).layer;
    const auto size = each.size;
    std::vector<trainer::Batch> data;
    for (int64_t b = 0; b < 2; ++b) {
      const auto third = static_cast<double>(size / 3);
      data.push_back(
          {torch::randint(256, {2, 3, size, size}, torch::kByte),
           torch::tensor({0, 1}, torch::kLong),
           care::Boxes::from_lists(
               {{}, {{third, third, 2 * third, 2 * third}}}, {size, size}),
           torch::arange(2 * b, 2 * b + 2)});
    }
    const trainer::Input input;
    trainer::PredictOptions how;
    how.attention = how.keep_maps = true;
    how.layer = layer;
    const auto said = trainer::predict(net, data, input, how);
    const auto [features, logits] =
        each.by_hand(*net, input.normalised(input.pixels(data[1])));
    CHECK(care_test::allclose(
        said.probabilities.slice(0, 2),
        logits.softmax(1).to(torch::kDouble),
        1e-5,
        0));
    const auto scores = logits.gather(1, data[1].targets.view({-1, 1}));
    const auto gradient = torch::autograd::grad({scores.sum()}, {features})[0];
    const auto map = (gradient.mean({1, 2}, true) * features).sum(3);
    CHECK(care_test::allclose(
        said.maps.slice(0, 2), map, 1e-4 * map.abs().max().item<double>(), 0));
    CHECK(said.epg.isfinite()[1].item<bool>());

    const auto before = weights::state_dict(*net).begin()->second.clone();
    const care::Guide guide(
        care::GuideOptions().classes({1}).target_layers({layer}));
    torch::optim::SGD optimizer(net->parameters(), 0.01);
    const auto epoch = trainer::train_epoch(
        net,
        [](const torch::Tensor& x, const torch::Tensor& target) {
          return torch::nn::functional::cross_entropy(x, target);
        },
        guide,
        optimizer,
        data,
        input,
        {});
    CHECK(epoch.guided == 2);
    CHECK(std::isfinite(epoch.loss));
    CHECK(epoch.inside > 0);
    CHECK(epoch.inside < 1);
    CHECK_FALSE(
        torch::equal(before, weights::state_dict(*net).begin()->second));
  }
}

TEST_CASE("finetune: a vision transformer, by its tokens", "[finetune]") {
  const care_test::Folder folder;
  const auto data = care_test::write_small_set(folder.path / "set", 12);
  const auto file = folder.path / "vit.safetensors";
  weights::write_safetensors(
      file, {weights::state_dict(*make("vit_ti_16", 2)), {}});
  const auto run = [&](const std::string& size) {
    return care_test::run_program(
        CARE_FINETUNE,
        "--net vit_ti_16 --data " + data.string() + " --weights " +
            file.string() + " --size " + size +
            " --batch 12 --stage1 0 --stage2 2 --val-share 0 --threads 1 "
            "--pictures 1 --out " +
            (folder.path / "run").string());
  };
  const auto refused = run("64");
  CHECK(refused.status == 1);
  CHECK(contains(refused.text, "size: expected 224 for vit_ti_16, but got 64"));
  CHECK(contains(
      run("224 --bn-momentum .5").text,
      "--bn-momentum: expected a network with BatchNorm, but got vit_ti_16"));
  const auto good = run("224");
  CAPTURE(good.text);
  REQUIRE(good.status == 0);
  CHECK(contains(good.text, "attention inside 0."));
  CHECK(fs::exists(folder.path / "run" / "attention.png"));
}

TEST_CASE("finetune: starts from weights, trains, goes on", "[finetune]") {
  const care_test::Folder folder;
  const auto data = care_test::write_small_set(folder.path / "set", 24);
  const auto weights_file = folder.path / "imagenet.safetensors";
  torch::manual_seed(0);
  const auto pretrained = make("mobilenet_v2", 10);
  weights::write_safetensors(
      weights_file, {weights::state_dict(*pretrained), {}});
  const auto run = [&](const std::string& net, const std::string& more) {
    return care_test::run_program(
        CARE_FINETUNE,
        "--data " + data.string() + " --weights " + weights_file.string() +
            " --size 64 --batch 6 --stage1 1 --stage2 1 --threads 1 "
            "--pictures 1 --out " +
            (folder.path / "run").string() + " --net " + net + " " + more);
  };
  const std::string from_17 = "--freeze-until features.17";
  const auto first = run("mobilenet_v2", from_17);
  CAPTURE(first.text);
  REQUIRE(first.status == 0);
  CHECK(contains(first.text, "312 tensors loaded"));
  CHECK(contains(
      first.text,
      "differing: classifier.1.bias: [10] in the file, [2] in the network"));
  const auto file = weights::read(folder.path / "run" / "network.safetensors");
  CHECK(file.metadata.at("network") == "mobilenet_v2");
  CHECK(file.metadata.at("classes") == R"(["common","rare"])");
  CHECK(file.metadata.at("mean") == "[0.485,0.456,0.406]");
  CHECK(file.metadata.at("size") == "[64,64]");
  const auto before = weights::state_dict(*pretrained);
  const auto same = [&](const std::string& name) {
    return torch::equal(file.tensors.at(name), before.at(name));
  };
  CHECK(same("features.0.0.weight"));
  CHECK(same("features.16.conv.0.1.running_mean"));
  CHECK_FALSE(same("features.17.conv.0.0.weight"));
  CHECK_FALSE(same("features.17.conv.0.1.running_mean"));
  CHECK(contains(run("mobilenet_v2", from_17).text, "going on after epoch 2"));

  // predict takes the file, and says what the network says.
  const auto table = folder.path / "table.csv";
  const auto predicted = care_test::run_program(
      CARE_PREDICT,
      (folder.path / "run" / "network.safetensors").string() + " " +
          data.string() + " --threads 1 --out " + table.string());
  CAPTURE(predicted.text);
  REQUIRE(predicted.status == 0);
  auto net = make("mobilenet_v2", 2);
  weights::load_into(*net, file);
  net->eval();
  trainer::PicturesOptions options;
  options.size = {64, 64};
  const auto rows = trainer::read_manifest(data);
  const auto mean = torch::tensor({0.485, 0.456, 0.406}).view({3, 1, 1});
  const auto deviation = torch::tensor({0.229, 0.224, 0.225}).view({3, 1, 1});
  const auto pixels =
      trainer::Pictures(rows, {}, options).get_batch(std::vector<size_t>{0, 1});
  const auto p = net((pixels.images / 255.0 - mean) / deviation).softmax(1);
  const trainer::Csv csv(table);
  REQUIRE(csv.lines().size() == 24);
  for (int64_t i = 0; i < 2; ++i) {
    const auto& line = csv.lines()[static_cast<size_t>(i)];
    CHECK(
        std::stod(csv.field(line, "rare")) ==
        Approx(p[i][1].item<double>()).margin(1e-4));
  }

  struct Case {
    const char *net, *more, *fault;
  };
  for (const auto& each :
       {Case{"mobilenet_v2", "--fresh --freeze-until x", "a layer behind"},
        Case{
            "mobilenet_v2",
            "--fresh --freeze-until classifier.1",
            "expected a layer before classifier, or attention"},
        Case{
            "vgg16",
            "--fresh --freeze-until classifier",
            "expected a layer before classifier, or attention"},
        Case{"resnet18", "--fresh", "expected weights that fit the network"},
        Case{"resnet19", "", "--net"},
        Case{"mobilenet_v2", "--depth 18", "--depth"},
        Case{"mobilenet_v2", "--backbone-rate 2", "--backbone-rate"}}) {
    INFO(each.net << " " << each.more);
    const auto refused = run(each.net, each.more);
    CHECK(refused.is_refusal());
    CHECK(contains(refused.text, each.fault));
  }
}
