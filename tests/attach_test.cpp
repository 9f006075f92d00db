// Tests of capture and guide on whole architectures, none of which knows care:
// each against the split of the same network by hand.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/googlenet.hpp"
#include "support/scripted.hpp"
#include "support/sequential.hpp"
#include "support/support.hpp"

#include "networks/densenet.hpp"
#include "networks/hybrid.hpp"
#include "networks/mobilenet.hpp"
#include "networks/vgg.hpp"
#include "resnet_trainer/resnet.hpp"

#include <care/attention.hpp>
#include <care/capture.hpp>
#include <care/guide.hpp>

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

namespace nn = torch::nn;
using care::GradientOrder;
using care::Seen;
using care::TargetLayer;
using care::TargetLayers;
using care_test::Outcome;
using care_test::Tensors;

namespace {

constexpr int64_t kClasses = 5;
constexpr int64_t kSide = 96;

torch::Tensor pictures() {
  return torch::rand({3, 3, kSide, kSide});
}

/// Equal up to the rounding of the largest element.
Outcome same(const torch::Tensor& actual, const torch::Tensor& expected) {
  const auto scale = expected.detach().abs().max().item<double>();
  return care_test::allclose(actual, expected, 1e-5 * scale, 0);
}

/// While it lives, LibTorch works on one thread: these networks are so small
/// that on a busy machine its threads would mostly wait for each other.
class OneThread {
 public:
  OneThread() {
    torch::set_num_threads(1);
  }
  ~OneThread() {
    torch::set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_ = torch::get_num_threads();
};

// ------------------------------------------ one network, of whatever kind ---

template <class Net>
constexpr bool is_script = std::is_same_v<Net, torch::jit::Module>;

template <class Net>
auto& module_of(Net& net) {
  if constexpr (is_script<Net>) {
    return net;
  } else {
    return *net;
  }
}

template <class Net>
auto run(Net& net, const torch::Tensor& x) {
  if constexpr (is_script<Net>) {
    return net.forward({x});
  } else {
    return net->forward(x);
  }
}

/// The same forward in two halves, split by hand.
template <class Net>
Seen split(Net& net, const torch::Tensor& x) {
  const auto features = net->features(x);
  return {net->classify(features), features};
}

Seen split(nn::Sequential& net, const torch::Tensor& x) {
  auto y = x;
  torch::Tensor features;
  size_t left = net->size();
  for (auto& layer : *net) {
    if (left-- == 4) { // pool, flatten, dropout, linear
      features = y;
    }
    y = layer.forward(y);
  }
  return {y, features};
}

Seen split(torch::jit::Module& net, const torch::Tensor& x) {
  const auto features = net.get_method("features")({x}).toTensor();
  return {net.get_method("classify")({features}).toTensor(), features};
}

template <class Module>
Tensors parameters_of(const Module& module) {
  Tensors result;
  for (const auto& p : module.parameters()) {
    result.push_back(p);
  }
  return result;
}

template <class Module>
Tensors buffers_of(const Module& module) {
  Tensors result;
  for (const auto& b : module.buffers()) {
    result.push_back(b.detach().clone());
  }
  return result;
}

/// Sets the statistics of every BatchNorm to those of `x`, so that eval mode
/// is as lively as a trained network's.
template <class Net>
void settle(Net& net, const torch::Tensor& x) {
  auto& module = module_of(net);
  module.train();
  if constexpr (is_script<Net>) {
    for (int i = 0; i < 50; ++i) {
      run(net, x);
    }
  } else {
    for (const auto& each : module.modules(/*include_self=*/false)) {
      if (auto* norm = each->template as<nn::BatchNorm2d>()) {
        norm->options.momentum(1.0);
      }
    }
    run(net, x);
  }
  module.eval();
}

// ------------------------------------------------------------- the checks ---

const auto kTarget = torch::tensor({0, 4, 2}, torch::kLong);

care::Boxes boxes() {
  return care::Boxes::from_lists(
      {{{8, 8, 40, 48}}, {}, {{4, 50, 30, 90}, {60, 10, 90, 30}}},
      {kSide, kSide});
}

/// Grad-CAM in plain LibTorch.
torch::Tensor cam_by_hand(const Seen& seen) {
  const auto scores = seen.logits.gather(1, kTarget.unsqueeze(1)).sum();
  const auto gradient = torch::autograd::grad(
      {scores}, {seen.features}, {}, /*retain_graph=*/true)[0];
  const auto weight = gradient.mean({2, 3}, /*keepdim=*/true);
  return (weight * seen.features).sum(1);
}

/// The gradients that the attention loss alone gives the parameters.
template <class Module>
Tensors guided_gradients(
    const Module& module,
    const care::Guide<>& guide,
    const Seen& seen) {
  const auto parameters = parameters_of(module);
  for (const auto& p : parameters) {
    p.mutable_grad() = torch::Tensor();
  }
  guide.loss(torch::zeros({}), seen, kTarget, boxes()).backward();
  Tensors result;
  for (const auto& p : parameters) {
    result.push_back(p.grad().defined() ? p.grad() : torch::zeros_like(p));
  }
  return result;
}

/// A forward under watch does what an unwatched one does.
template <class Net>
void check_train(Net& net, const torch::Tensor& x) {
  auto& module = module_of(net);
  module.train();
  const auto before = buffers_of(module);
  torch::manual_seed(1); // dropout
  const auto plain = care::logits_of(run(net, x));
  const auto expected = buffers_of(module);
  bool counted = false;
  {
    torch::NoGradGuard no_grad;
    size_t i = 0;
    for (auto buffer : module.buffers()) {
      counted = counted || !torch::equal(buffer, before[i]);
      buffer.copy_(before[i++]);
    }
  }
  CHECK(counted == !before.empty()); // or the comparison below says nothing
  torch::manual_seed(1);
  const Seen seen = care::capture([&] { return run(net, x); });
  CHECK(care_test::identical(seen.logits, plain));
  const auto after = buffers_of(module);
  for (size_t i = 0; i < after.size(); ++i) {
    CHECK(care_test::identical(after[i], expected[i]));
  }
}

/// What the watch sees is what the split by hand has: features, maps, and the
/// gradients of the parameters, in five steps.
template <class Net>
void check_eval(
    Net& net,
    const torch::Tensor& x,
    const TargetLayers& layers = {TargetLayer()}) {
  settle(net, x);
  const auto& module = module_of(net);
  const Seen expected = split(net, x);
  const auto cam = cam_by_hand(expected);
  // A flat map would be equal whatever is wrong.
  REQUIRE((cam.amax({1, 2}) - cam.amin({1, 2})).min().item<double>() > 0);

  for (int step = 0; step < 5; ++step) {
    INFO("step " << step);
    const auto order =
        step % 2 == 0 ? GradientOrder::kFirst : GradientOrder::kFull;
    const care::Guide<> guide(
        care::GuideOptions().weight(1.0).order(order).target_layers(layers));
    const Seen watched = is_script<Net> || step < 2
        ? Seen(guide.watch(net, x)) // a script has run unwatched by now
        : Seen(guide.watch([&] { return run(net, x); }));
    REQUIRE(same(watched.features, expected.features));
    CHECK(same(watched.logits, expected.logits));
    CHECK(same(
        care::grad_cam(
            watched.features, care::class_scores(watched.logits, kTarget)),
        cam));

    const Tensors wanted = guided_gradients(module, guide, split(net, x));
    const Tensors got = guided_gradients(module, guide, watched);
    int64_t moved = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      CHECK(same(got[i], wanted[i]));
      moved += wanted[i].abs().max().item<double>() > 0 ? 1 : 0;
    }
    CHECK(moved > 0);
  }
}

template <class Net>
void check_attach(Net net) {
  const OneThread one_thread;
  torch::manual_seed(0);
  const auto x = pictures();
  check_train(net, x);
  check_eval(net, x);
}

trainer::ResNet resnet(int64_t depth) {
  torch::manual_seed(3);
  trainer::ResNetOptions options;
  options.depth = depth;
  options.width = 0.25;
  options.classes = kClasses;
  return trainer::ResNet(options);
}

networks::Hybrid hybrid() {
  torch::manual_seed(3);
  networks::HybridOptions options;
  options.image = kSide;
  options.dim = 24;
  options.classes = kClasses;
  return networks::Hybrid(options);
}

/// A transformer's layer on patches of 16 pixels, its attention as most people
/// write it: queries, keys and values are 4-D, and no maps.
class ByHandImpl : public nn::Module {
 public:
  ByHandImpl() {
    register_module("patches", patches);
    register_module("qkv", qkv);
    register_module("head", head);
  }

  torch::Tensor features(const torch::Tensor& x) {
    return patches(x);
  }

  torch::Tensor classify(const torch::Tensor& map) {
    const auto tokens = map.flatten(2).transpose(1, 2);
    const auto n = tokens.size(0), t = tokens.size(1);
    const auto parts = qkv(tokens).chunk(3, 2);
    const auto heads = [&](const torch::Tensor& x) { // [N, heads, T, d / heads]
      return x.view({n, t, 3, 8}).transpose(1, 2);
    };
    const auto q = heads(parts[0]), k = heads(parts[1]), v = heads(parts[2]);
    const auto weight =
        torch::softmax(torch::matmul(q, k.transpose(2, 3)) / std::sqrt(8.), -1);
    const auto y = torch::matmul(weight, v).transpose(1, 2).reshape({n, t, 24});
    return head((tokens + y).relu().mean(1));
  }

  torch::Tensor forward(const torch::Tensor& x) {
    return classify(features(x));
  }

 private:
  nn::Conv2d patches{nn::Conv2dOptions(3, 24, 16).stride(16)};
  nn::Linear qkv{24, 72}, head{24, kClasses};
};
TORCH_MODULE(ByHand);

care_test::GoogLeNet googlenet() {
  torch::manual_seed(3);
  care_test::GoogLeNetOptions options;
  options.width = 0.25;
  options.classes = kClasses;
  return care_test::GoogLeNet(options);
}

/// A TorchScript network as it comes from a file.
torch::jit::Module scripted() {
  torch::manual_seed(3);
  const care_test::Folder folder;
  const auto path = folder.path / "net.pt";
  care_test::ScriptedOptions options;
  options.channels = 8;
  options.classes = kClasses;
  care_test::write_scripted(path.string(), options);
  return torch::jit::load(path.string());
}

template <class Net>
int64_t parameter_count(const Net& net) {
  int64_t count = 0;
  for (const auto& p : net->parameters()) {
    count += p.numel();
  }
  return count;
}

} // namespace

TEST_CASE("attach: ResNet-18", "[attach]") {
  check_attach(resnet(18));
}

TEST_CASE("attach: ResNet-50", "[attach]") {
  check_attach(resnet(50));
}

TEST_CASE("attach: ResNet-152", "[attach]") {
  check_attach(resnet(152));
}

TEST_CASE("attach: VGG-19", "[attach]") {
  networks::VggOptions options;
  options.depth = 19;
  options.width = 0.125;
  options.classes = kClasses;
  check_attach(networks::Vgg(options));
}

TEST_CASE("attach: DenseNet-121", "[attach]") {
  networks::DenseNetOptions options;
  options.growth = 8;
  options.stem = 16;
  options.classes = kClasses;
  check_attach(networks::DenseNet(options));
}

TEST_CASE("attach: MobileNet-V2", "[attach]") {
  networks::MobileNetOptions options;
  options.width = 0.25;
  options.classes = kClasses;
  check_attach(networks::MobileNetV2(options));
}

TEST_CASE("attach: GoogLeNet", "[attach]") {
  check_attach(googlenet());
}

TEST_CASE("attach: a plain Sequential", "[attach]") {
  care_test::SequentialOptions options;
  options.channels = 8;
  options.classes = kClasses;
  check_attach(care_test::sequential(options));
}

TEST_CASE("attach: a transformer behind a stem", "[attach]") {
  check_attach(hybrid());
}

TEST_CASE("attach: a TorchScript file", "[attach]") {
  check_attach(scripted());
}

TEST_CASE("attach: a TorchScript file, as a callable", "[attach]") {
  auto net = scripted();
  net.eval();
  const auto x = pictures();
  auto forward = [&] { return net.forward({x}).toTensor(); };
  const Seen expected = split(net, x);
  for (int step = 0; step < 5; ++step) {
    INFO("step " << step);
    const Seen watched = care::capture(forward);
    REQUIRE(same(watched.features, expected.features));
    CHECK(same(watched.logits, expected.logits));
  }
  // Once it has run unwatched, its operators are fused and hidden.
  for (int step = 0; step < 3; ++step) {
    forward();
  }
  CARE_REQUIRE_THROWS_AS(
      care::capture(forward), c10::ValueError, "capture(net, images)");
  CHECK(same(care::capture(net, x).features, expected.features));
}

TEST_CASE("attach: auxiliary heads beside the logits", "[attach]") {
  auto net = googlenet();
  net->train();
  const auto x = pictures();
  const auto seen = care::capture([&] { return net->forward(x); });
  CHECK(seen.features.sizes() == torch::IntArrayRef({3, 256, 3, 3}));
  CHECK(torch::equal(seen.logits, seen.output.logits));
  CHECK(seen.output.aux1.sizes() == torch::IntArrayRef({3, kClasses}));

  // As a tuple, and with an auxiliary head's logits first.
  torch::manual_seed(0);
  const auto tuple = care::capture([&] {
    auto output = net->forward(x);
    return std::make_tuple(output.aux1, output.logits);
  });
  CHECK(torch::equal(tuple.logits, std::get<0>(tuple.output)));
  CHECK(tuple.features.sizes() == torch::IntArrayRef({3, 32, 4, 4}));
}

TEST_CASE("attach: each stage of a ResNet, by its stride", "[attach]") {
  // The first block of a bottleneck's stage has two maps at the stride before.
  auto net = resnet(GENERATE(18, 50));
  net->eval();
  const auto x = pictures();
  auto y = torch::max_pool2d(net->bn1(net->conv1(x)).relu(), 3, 2, 1);
  Tensors stages;
  for (auto& stage : net->stages) {
    stages.push_back(y = stage->forward(y));
  }
  const auto seen = care::capture(
      net,
      x,
      {TargetLayer().stride(8),
       TargetLayer(),
       TargetLayer().map_size({6, 6}),
       TargetLayer().stride(4)});
  REQUIRE(seen.more.size() == 3);
  CHECK(same(seen.features, stages[1]));
  CHECK(same(seen.more[0], stages[3]));
  CHECK(same(seen.more[1], stages[2]));
  CHECK(same(seen.more[2], stages[0]));
}

TEST_CASE("attach: a block of a ResNet, by operator and count", "[attach]") {
  auto net = resnet(50);
  net->eval();
  const auto x = pictures();
  auto y = torch::max_pool2d(net->bn1(net->conv1(x)).relu(), 3, 2, 1);
  for (size_t i = 0; i < 3; ++i) {
    y = net->stages[i]->forward(y);
  }
  auto block = net->stages[3]->begin();
  y = block->forward(y);
  y = (++block)->forward(y);
  // Three in the last block.
  const auto seen =
      care::capture(net, x, {TargetLayer().operation("aten::relu", -4)});
  CHECK(same(seen.features, y));
}

TEST_CASE("attach: the pooled map of VGG, if asked for", "[attach]") {
  networks::VggOptions options;
  options.depth = 19;
  options.width = 0.125;
  options.classes = kClasses;
  networks::Vgg net(options);
  net->eval();
  const auto x = pictures();
  const auto pooled = torch::max_pool2d(net->features(x), 2);
  CHECK(
      same(care::capture(net, x, {TargetLayer().stride(32)}).features, pooled));
  CHECK(same(
      care::capture(net, x, {TargetLayer().operation("aten::max_pool2d")})
          .features,
      pooled));
}

TEST_CASE(
    "attach: attention by hand is doubtful, a TargetLayer is not",
    "[attach]") {
  const OneThread one_thread;
  torch::manual_seed(3);
  ByHand net;
  const auto x = pictures();
  CARE_REQUIRE_THROWS_AS(
      care::capture(net, x), c10::ValueError, "choose by a TargetLayer");
  CARE_REQUIRE_THROWS_AS(
      care::capture(net, x), c10::ValueError, "aten::conv2d [3, 24, 6, 6]");

  torch::manual_seed(0);
  check_eval(net, x, {TargetLayer().operation("aten::conv2d", -1)});
  check_eval(net, x, {TargetLayer().where([](const care::Candidate& c) {
               return c.result.size(1) == 24 && c.result.size(2) == 6;
             })});
}

TEST_CASE("networks: have the published numbers of parameters", "[networks]") {
  // As torchvision's documentation lists them for its ImageNet weights.
  CHECK(parameter_count(networks::DenseNet()) == 7978856);
  CHECK(parameter_count(networks::MobileNetV2()) == 3504872);
  CHECK(parameter_count(networks::Vgg()) == 138357544);
  CHECK(parameter_count(networks::Hybrid()) == 4567936);
  // torchvision's without heads, the 5x5 filters where it has 3x3, two heads.
  const int64_t larger_filters = 16 *
      (16 * 32 + 32 * 96 + 16 * 48 + 24 * 64 + 24 * 64 + 32 * 64 + 32 * 128 +
       32 * 128 + 48 * 128);
  const auto head = [](int64_t in) {
    return in * 128 + 2 * 128 + (2048 + 1) * 1024 + (1024 + 1) * 1000;
  };
  CHECK(
      parameter_count(care_test::GoogLeNet()) ==
      6624904 + larger_filters + head(512) + head(528));
}

TEST_CASE("networks: have torchvision's layer names", "[networks]") {
  const auto has = [](const nn::Module& net,
                      const std::map<std::string, std::vector<int64_t>>& want) {
    const auto found = net.named_parameters();
    for (const auto& [name, sizes] : want) {
      INFO(name);
      REQUIRE(found.find(name) != nullptr);
      CHECK(found[name].sizes() == torch::IntArrayRef(sizes));
    }
  };
  networks::DenseNetOptions dense;
  has(*networks::DenseNet(dense),
      {{"features.conv0.weight", {64, 3, 7, 7}},
       {"features.norm0.weight", {64}},
       {"features.denseblock1.denselayer1.norm1.weight", {64}},
       {"features.denseblock2.denselayer12.conv2.weight", {32, 128, 3, 3}},
       {"features.transition3.conv.weight", {512, 1024, 1, 1}},
       {"features.norm5.bias", {1024}},
       {"classifier.weight", {1000, 1024}}});
  has(*networks::MobileNetV2(),
      {{"features.0.0.weight", {32, 3, 3, 3}},
       {"features.1.conv.0.0.weight", {32, 1, 3, 3}},
       {"features.1.conv.1.weight", {16, 32, 1, 1}},
       {"features.17.conv.1.0.weight", {960, 1, 3, 3}},
       {"features.17.conv.3.weight", {320}},
       {"features.18.1.weight", {1280}},
       {"classifier.1.bias", {1000}}});
  networks::VggOptions narrow;
  narrow.depth = 19;
  narrow.width = 0.125;
  has(*networks::Vgg(narrow),
      {{"features.0.weight", {8, 3, 3, 3}},
       {"features.34.bias", {64}},
       {"classifier.0.weight", {512, 64 * 7 * 7}},
       {"classifier.6.weight", {1000, 512}}});
  has(*care_test::GoogLeNet(),
      {{"conv1.conv.weight", {64, 3, 7, 7}},
       {"inception3a.branch1.bn.weight", {64}},
       {"inception4e.branch2.1.conv.weight", {320, 160, 3, 3}},
       {"inception5b.branch4.1.conv.weight", {128, 832, 1, 1}},
       {"aux1.fc1.weight", {1024, 2048}},
       {"fc.weight", {1000, 1024}}});
}
