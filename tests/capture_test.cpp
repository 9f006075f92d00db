// Tests of capture: the features behind the logits of networks nobody changed.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"

#include <care/amp.hpp>
#include <care/attention.hpp>
#include <care/capture.hpp>
#include <care/guide.hpp>

#include <ATen/record_function.h>
#include <torch/nn.h>
#include <torch/script.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace nn = torch::nn;

namespace {

nn::Conv2d conv3(int64_t in, int64_t out) {
  return nn::Conv2d(nn::Conv2dOptions(in, out, 3).padding(1));
}

nn::Sequential small_net() {
  return nn::Sequential(
      conv3(3, 4),
      nn::ReLU(nn::ReLUOptions().inplace(true)),
      nn::MaxPool2d(2),
      conv3(4, 6),
      nn::BatchNorm2d(6),
      nn::ReLU(nn::ReLUOptions().inplace(true)),
      nn::AdaptiveAvgPool2d(1),
      nn::Flatten(),
      nn::Linear(6, 3));
}

/// The same forward in two halves, split by hand before layer `cut`.
care::Seen by_hand(nn::Sequential& net, torch::Tensor x, size_t cut) {
  torch::Tensor features;
  size_t i = 0;
  for (auto& module : *net) {
    if (i++ == cut) {
      features = x;
    }
    x = module.forward(x);
  }
  return {x, features};
}

void check_same_maps(const care::Seen& a, const care::Seen& b) {
  const auto target = torch::arange(a.logits.size(0)) % a.logits.size(1);
  const auto first =
      care::grad_cam(a.features, care::class_scores(a.logits, target));
  const auto second =
      care::grad_cam(b.features, care::class_scores(b.logits, target));
  CHECK(torch::equal(a.features, b.features));
  CHECK(care_test::allclose(first, second, 1e-6, 1e-7));
}

torch::jit::Module scripted() {
  torch::jit::Module net("net");
  torch::manual_seed(3);
  net.register_parameter(
      "w1", torch::randn({4, 3, 3, 3}).requires_grad_(), false);
  net.register_parameter(
      "w2", torch::randn({5, 4, 3, 3}).requires_grad_(), false);
  net.register_parameter("fc", torch::randn({2, 5}).requires_grad_(), false);
  net.define(R"(
    def forward(self, x):
      y = torch.relu(torch.conv2d(x, self.w1, None, [1, 1], [1, 1]))
      y = torch.relu(torch.conv2d(y, self.w2, None, [2, 2], [1, 1]))
      y = y * torch.sigmoid(y)
      return torch.matmul(torch.mean(y, [2, 3]), self.fc.t())
  )");
  std::stringstream file; // as it comes from disk
  net.save(file);
  return torch::jit::load(file);
}

} // namespace

TEST_CASE("capture: finds the last map of a Sequential", "[capture]") {
  auto net = small_net();
  net->eval(); // so that both forwards see the same batch statistics
  const auto x = torch::rand({2, 3, 8, 8});
  const auto seen = care::capture([&] { return net->forward(x); });
  CHECK(seen.features.sizes() == torch::IntArrayRef({2, 6, 4, 4}));
  check_same_maps(seen, by_hand(net, x, 6));
}

TEST_CASE("capture: gradients equal those of the split by hand", "[capture]") {
  auto net = small_net();
  net->eval();
  const auto x = torch::rand({2, 3, 8, 8});
  const auto target = torch::tensor({0, 2}, torch::kLong);
  const auto boxes = care::Boxes::from_lists({{{1, 1, 4, 5}}, {}}, {8, 8});
  const care::Guide guide(care::GuideOptions().weight(1.0));
  auto gradients = [&](const care::Seen& seen) {
    net->zero_grad();
    guide.loss(torch::zeros({}), seen, target, boxes).backward();
    std::vector<torch::Tensor> result;
    for (const auto& p : net->parameters()) {
      result.push_back(
          p.grad().defined() ? p.grad().clone() : torch::zeros_like(p));
    }
    return result;
  };
  const auto watched = gradients(guide.watch([&] { return net->forward(x); }));
  const auto split = gradients(by_hand(net, x, 6));
  double moved = 0;
  for (size_t i = 0; i < split.size(); ++i) {
    CHECK(care_test::allclose(watched[i], split[i], 1e-6, 1e-8));
    moved += split[i].abs().sum().item<double>();
  }
  CHECK(moved > 0);
}

TEST_CASE(
    "capture: goes by the graph, not by the order of calls",
    "[capture]") {
  auto first = conv3(3, 4), second = conv3(4, 5), side = conv3(4, 7);
  auto head = nn::Linear(5, 2);
  const auto x = torch::rand({1, 3, 6, 6});
  torch::Tensor aside;
  const auto seen = care::capture([&] {
    const auto y = first(x).relu();
    const auto z = second(y).relu();
    aside = side(y).relu(); // the last 4-D result, not behind the logits
    return head(z.mean({2, 3}));
  });
  CHECK(seen.features.size(1) == 5);
}

TEST_CASE("capture: takes a concatenation, refuses two maps", "[capture]") {
  auto left = conv3(3, 4), right = conv3(3, 5);
  auto head = nn::Linear(9, 2);
  const auto x = torch::rand({1, 3, 6, 6});
  const auto seen = care::capture([&] {
    return head(torch::cat({left(x), right(x)}, 1).mean({2, 3}));
  });
  CHECK(seen.features.size(1) == 9);

  auto apart = [&] {
    return head(torch::cat({left(x).mean({2, 3}), right(x).mean({2, 3})}, 1));
  };
  CARE_REQUIRE_THROWS(care::capture(apart), "but got 2");
  CARE_REQUIRE_THROWS(care::capture(apart), "[1, 5, 6, 6]");
}

TEST_CASE("capture: steps past pooling, as in VGG", "[capture]") {
  auto body = conv3(3, 4);
  auto head = nn::Linear(4 * 9, 2);
  const auto x = torch::rand({1, 3, 12, 12});
  auto forward = [&] {
    auto y = torch::max_pool2d(body(x).relu(), 2);
    return head(torch::adaptive_avg_pool2d(y, {3, 3}).flatten(1));
  };
  CHECK(care::capture(forward).features.size(2) == 12);
  const auto pooled =
      care::capture(forward, {care::TargetLayer().map_size({6, 6})});
  CHECK(pooled.features.size(2) == 6);
  CARE_REQUIRE_THROWS(
      care::capture(forward, {care::TargetLayer().map_size({5, 5})}),
      "that the TargetLayer asks for");
}

TEST_CASE("capture: an attention head after a map", "[capture]") {
  auto body = conv3(3, 8);
  auto query = nn::Linear(8, 8), key = nn::Linear(8, 8);
  auto head = nn::Linear(8, 2);
  const auto x = torch::rand({2, 3, 5, 5});
  const auto seen = care::capture([&] {
    const auto map = body(x).relu();
    const auto tokens = map.flatten(2).transpose(1, 2); // [N, 25, 8]
    const auto weight =
        torch::softmax(query(tokens).matmul(key(tokens).transpose(1, 2)), -1);
    return head(weight.matmul(tokens).mean(1));
  });
  CHECK(seen.features.sizes() == torch::IntArrayRef({2, 8, 5, 5}));
}

TEST_CASE(
    "capture: a TorchScript module, five forwards in a row",
    "[capture]") {
  auto net = scripted();
  const auto x = torch::rand({2, 3, 8, 8});
  torch::Tensor first;
  for (int i = 0; i < 5; ++i) {
    INFO("forward " << i);
    const auto seen =
        care::capture([&] { return net.forward({x}).toTensor(); });
    REQUIRE(seen.features.sizes() == torch::IntArrayRef({2, 5, 4, 4}));
    const auto pooled = seen.features.mean({2, 3});
    CHECK(care_test::allclose(
        torch::matmul(pooled, net.attr("fc").toTensor().t()),
        seen.logits,
        1e-5,
        1e-6));
    if (i > 0) {
      CHECK(torch::equal(seen.features, first));
    }
    first = seen.features.detach().clone();
    care::grad_cam(
        seen.features,
        care::class_scores(seen.logits, torch::zeros({2}, torch::kLong)));
  }
}

TEST_CASE("capture: says why there is nothing to find", "[capture]") {
  auto net = small_net();
  const auto x = torch::rand({2, 3, 8, 8});
  auto forward = [&] { return net->forward(x); };
  {
    torch::NoGradGuard no_grad;
    CARE_REQUIRE_THROWS(care::capture(forward), "torch::NoGradGuard is on");
  }
  CARE_REQUIRE_THROWS(
      care::capture([&] { return forward().detach(); }),
      "they have none: detached, or every parameter is frozen");
  CARE_REQUIRE_THROWS(
      care::capture([&] { return forward().unsqueeze(0); }), "[N, K]");
  auto head = nn::Linear(3, 2);
  CARE_REQUIRE_THROWS(
      care::capture([&] {
        return head(torch::rand({2, 3}));
      }),
      "but there is none. Seen with a gradient history:\n  none");
}

TEST_CASE("capture: leaves no observer and no graph behind", "[capture]") {
  auto net = small_net();
  const auto x = torch::rand({2, 3, 8, 8});
  CHECK_THROWS_AS(
      care::capture([&]() -> torch::Tensor {
        net->forward(x);
        throw std::runtime_error("a forward that fails");
      }),
      std::runtime_error);
  CHECK_FALSE(at::hasThreadLocalCallbacks());

  c10::weak_intrusive_ptr<c10::TensorImpl> kept(
      torch::zeros({1}).getIntrusivePtr());
  {
    const auto seen = care::capture([&] { return net->forward(x); });
    kept = c10::weak_intrusive_ptr<c10::TensorImpl>(
        seen.features.getIntrusivePtr());
    CHECK_FALSE(kept.expired());
  }
  CHECK(kept.expired());
  CHECK_FALSE(at::hasThreadLocalCallbacks());
}

TEST_CASE("capture: statistics and indices are not looked at again") {
  auto body = conv3(3, 4);
  nn::BatchNorm2d bn(4);
  nn::GroupNorm gn(nn::GroupNormOptions(2, 4));
  const auto x = torch::rand({2, 3, 8, 8});
  const auto keep = [](const care::detail::SeenMap&) { return false; };
  care::detail::Observer observer(false, keep);
  // The graph keeps them all.
  const auto y = torch::max_pool2d(gn(bn(body(x))), 2);
  observer.stop();
  CHECK(observer.waiting() == 0);
  CHECK(y.requires_grad());

  // A buffer is, until it has a history.
  care::detail::Observer again(false, keep);
  const auto buffer = torch::zeros({2, 4, 4, 4});
  again.stop();
  CHECK(again.waiting() > 0);
}

TEST_CASE("capture: holds nothing the network let go of", "[capture]") {
  auto bn = nn::BatchNorm2d(4);
  auto first = conv3(3, 4), second = conv3(4, 4);
  using Weak = c10::weak_intrusive_ptr<c10::StorageImpl>;
  std::vector<Weak> storages;
  std::vector<void*> places;
  const auto note = [&](const torch::Tensor& x) {
    storages.push_back(x.storage().getWeakStorageImpl());
    places.push_back(x.data_ptr());
    return x;
  };
  size_t gone = 0;
  const auto forward = [&] {
    storages.clear();
    places.clear();
    auto x = torch::relu(note(bn(first(torch::rand({2, 3, 8, 8})))));
    for (int i = 0; i < 4; ++i) {
      x = torch::relu(note(bn(second(x))));
    }
    gone = 0;
    for (const auto& storage : storages) {
      gone += storage.expired() ? 1U : 0U;
    }
    return x.mean({2, 3});
  };
  forward();
  REQUIRE(gone == 5); // without watching: nobody needs a norm's result
  const auto seen = care::capture(forward);
  CHECK(seen.features.sizes().vec() == std::vector<int64_t>{2, 4, 8, 8});
  CHECK(gone >= 4); // the last one is let go of at the next map

  // Unless it is asked for.
  const auto third = care::capture(
      forward, {care::TargetLayer().operation("aten::batch_norm", 3)});
  CHECK(gone == 0);
  CHECK(third.features.data_ptr() == places[2]); // all live: none is another's
}

TEST_CASE("capture: makes no tensor of a weight's size", "[capture]") {
  auto net = nn::Sequential(
      conv3(3, 4),
      nn::ReLU(),
      nn::Flatten(),
      nn::Linear(256, 50),
      nn::ReLU(),
      nn::Linear(50, 3));
  const auto x = torch::rand({2, 3, 8, 8});
  static int64_t largest = 0;
  using Callback = at::RecordFunctionCallback;
  const auto handle = at::addThreadLocalCallback(
      Callback(
          [](const at::RecordFunction&)
              -> std::unique_ptr<at::ObserverContext> { return nullptr; },
          [](const at::RecordFunction& function, at::ObserverContext*) {
            const std::string name = function.name();
            for (const auto& value : function.outputs()) {
              if (name.find("aten::zeros") == 0 && value.isTensor()) {
                largest = std::max(largest, value.toTensor().numel());
              }
            }
          })
          .needsOutputs(true));
  const auto seen = care::capture(net, x);
  at::removeCallback(handle);
  CHECK(seen.features.sizes().vec() == std::vector<int64_t>{2, 4, 8, 8});
  CHECK(largest < seen.features.numel());
}

TEST_CASE("capture: a map of which the network let go", "[capture]") {
  // The logits come from what no operator saved, and something else, which is
  // not behind the logits, was made from it.
  auto first = conv3(3, 4);
  const auto forward = [&] {
    auto map = first(torch::rand({2, 3, 8, 8})) + 1;
    auto logits = map.sum({2, 3});
    map = torch::relu(map); // lets go of it
    map = torch::relu(map);
    return logits;
  };
  CARE_REQUIRE_THROWS(
      care::capture(forward), "TargetLayer().operation(\"aten::add\", 1)");
  const auto seen =
      care::capture(forward, {care::TargetLayer().operation("aten::add", 1)});
  CHECK(seen.logits.equal(seen.features.sum({2, 3})));
}

TEST_CASE("capture: in several threads at once", "[capture]") {
  std::vector<int64_t> channels(4, 0);
  care_test::in_threads(channels.size(), [&](size_t i) {
    const auto width = static_cast<int64_t>(i) + 2;
    auto body = conv3(3, width);
    auto head = nn::Linear(width, 2);
    for (int k = 0; k < 20; ++k) {
      const auto seen = care::capture([&] {
        return head(body(torch::rand({1, 3, 6, 6})).relu().mean({2, 3}));
      });
      channels[i] = seen.features.size(1);
    }
  });
  CHECK(channels == std::vector<int64_t>({2, 3, 4, 5}));
}

namespace {

/// Three stages at strides 1, 2 and 4.
struct StagesImpl : nn::Module {
  StagesImpl() {
    one = register_module("one", conv3(3, 4));
    two = register_module(
        "two", nn::Conv2d(nn::Conv2dOptions(4, 5, 3).stride(2).padding(1)));
    three = register_module(
        "three", nn::Conv2d(nn::Conv2dOptions(5, 6, 3).stride(2).padding(1)));
    head = register_module("head", nn::Linear(6, 3));
  }
  torch::Tensor forward(const torch::Tensor& x) {
    first = one(x).relu();
    second = two(first).relu();
    third = three(second).relu();
    return head(third.mean({2, 3}));
  }
  nn::Conv2d one{nullptr}, two{nullptr}, three{nullptr};
  nn::Linear head{nullptr};
  torch::Tensor first, second, third; // of the last forward, for the tests
};
TORCH_MODULE(Stages);

} // namespace

TEST_CASE(
    "capture: a layer by size, stride, operator, predicate",
    "[capture]") {
  Stages net;
  const auto x = torch::rand({2, 3, 9, 13}); // odd: 9 -> 5 -> 3, 13 -> 7 -> 4
  const auto taken = [&](const care::TargetLayer& layer) {
    return care::capture(net, x, {layer}).features;
  };
  using care::TargetLayer;
  CHECK(torch::equal(taken(TargetLayer()), net->third));
  CHECK(torch::equal(taken(TargetLayer().map_size({5, 7})), net->second));
  CHECK(torch::equal(taken(TargetLayer().stride(1)), net->first));
  CHECK(torch::equal(taken(TargetLayer().stride(2)), net->second));
  CHECK(torch::equal(taken(TargetLayer().stride(4)), net->third));
  CHECK(torch::equal(
      taken(TargetLayer().operation("aten::relu", 1)), net->first));
  CHECK(torch::equal(
      taken(TargetLayer().operation("aten::relu", -2)), net->second));
  CHECK(torch::equal(taken(TargetLayer().operation("aten::relu")), net->third));
  const auto before = taken(TargetLayer().operation("aten::conv2d", 2));
  CHECK(torch::equal(before.relu(), net->second));
  CHECK_FALSE(torch::equal(before, net->second));
  CHECK(torch::equal(
      taken(TargetLayer().where([](const care::Candidate& c) {
        return c.result.size(1) == 4 && c.operation == "aten::relu";
      })),
      net->first));
  // Criteria narrow each other.
  CHECK(torch::equal(
      taken(TargetLayer().stride(2).operation("aten::relu")), net->second));
  CARE_REQUIRE_THROWS(
      taken(TargetLayer().stride(1).operation("aten::relu", 3)),
      "that the TargetLayer asks for (operation aten::relu, result 3, stride "
      "1)");
  // The tensor itself, not a copy of its values: gradients reach it.
  const auto seen = care::capture(net, x, {TargetLayer().stride(2)});
  const auto scores =
      care::class_scores(seen.logits, torch::zeros({2}, torch::kLong));
  CHECK(
      care::score_gradients(seen.features, scores).abs().sum().item<double>() >
      0);
}

TEST_CASE("capture: several layers at once", "[capture]") {
  Stages net;
  const auto x = torch::rand({2, 3, 8, 8});
  const auto seen = care::capture(
      net,
      x,
      {care::TargetLayer(),
       care::TargetLayer().stride(2),
       care::TargetLayer().stride(1)});
  REQUIRE(seen.more.size() == 2);
  CHECK(torch::equal(seen.features, net->third));
  CHECK(torch::equal(seen.more[0], net->second));
  CHECK(torch::equal(seen.more[1], net->first));
}

TEST_CASE("capture: refuses layers that say nothing", "[capture]") {
  Stages net;
  const auto x = torch::rand({2, 3, 8, 8});
  auto forward = [&] { return net->forward(x); };
  CARE_REQUIRE_THROWS(
      care::capture(forward, {care::TargetLayer().stride(2)}), "input");
  CARE_REQUIRE_THROWS(
      care::capture(net, x, {care::TargetLayer().stride(0)}), "at least 1");
  CARE_REQUIRE_THROWS(
      care::capture(net, x, {care::TargetLayer().stride(8)}),
      "that the TargetLayer asks for");
  CARE_REQUIRE_THROWS(
      care::capture(net, x, {care::TargetLayer().operation("aten::relu", 4)}),
      "has 3 of them");
  CARE_REQUIRE_THROWS(
      care::capture(net, x, {care::TargetLayer().operation("aten::relu", -4)}),
      "has 3 of them");
  CARE_REQUIRE_THROWS(
      care::capture(net, x, {care::TargetLayer().operation("", 1)}), "name");
  CARE_REQUIRE_THROWS(
      care::capture(forward, care::TargetLayers()), "at least one");
  CARE_REQUIRE_THROWS(care::capture(net, x[0]), "[N, C, H, W]");
}

TEST_CASE(
    "capture: a counted result that the logits do not need",
    "[capture]") {
  auto body = conv3(3, 4), side = conv3(3, 4);
  auto head = nn::Linear(4, 2);
  const auto x = torch::rand({1, 3, 6, 6});
  torch::Tensor aside;
  auto forward = [&] {
    const auto y = body(x).relu();
    aside = side(x).sigmoid();
    return head(y.mean({2, 3}));
  };
  CARE_REQUIRE_THROWS(
      care::capture(
          forward, {care::TargetLayer().operation("aten::sigmoid", 1)}),
      "behind the logits");
}

TEST_CASE("capture: networks that return more than logits", "[capture]") {
  auto body = conv3(3, 4);
  auto head = nn::Linear(4, 2), other = nn::Linear(4, 5);
  const auto x = torch::rand({2, 3, 6, 6});
  torch::Tensor map;
  auto run = [&] {
    map = body(x).relu();
    const auto pooled = map.mean({2, 3});
    return std::make_pair(head(pooled), other(pooled));
  };
  SECTION("a pair") {
    const auto seen = care::capture(run);
    CHECK(seen.logits.size(1) == 2);
    CHECK(seen.output.second.size(1) == 5);
    CHECK(torch::equal(seen.features, map));
  }
  SECTION("a tuple") {
    const auto seen = care::capture([&] {
      auto [first, second] = run();
      return std::make_tuple(first, second, int64_t{7});
    });
    CHECK(seen.logits.size(1) == 2);
    CHECK(std::get<2>(seen.output) == 7);
  }
  SECTION("a struct with logits") {
    struct Output {
      torch::Tensor embedding;
      torch::Tensor logits;
      explicit Output(int /*not default constructible*/) {}
    };
    const auto seen = care::capture([&] {
      Output output(0);
      std::tie(output.logits, output.embedding) = run();
      return output;
    });
    CHECK(seen.logits.size(1) == 2);
    CHECK(seen.output.embedding.size(1) == 5);
  }
  SECTION("a vector") {
    const auto seen = care::capture([&] {
      auto [first, second] = run();
      return std::vector<torch::Tensor>{first, second};
    });
    CHECK(seen.logits.size(1) == 2);
    CARE_REQUIRE_THROWS(
        care::logits_of(std::vector<torch::Tensor>()), "at least one");
  }
  SECTION("a TorchScript tuple, or something else") {
    const auto seen = care::capture([&] {
      auto [first, second] = run();
      return c10::IValue(std::make_tuple(first, second));
    });
    CHECK(seen.logits.size(1) == 2);
    CARE_REQUIRE_THROWS(care::logits_of(c10::IValue(3)), "Int");
    c10::Dict<std::string, torch::Tensor> named;
    named.insert("aux", torch::zeros({1}));
    named.insert("logits", torch::ones({2, 3}));
    CHECK(care::logits_of(c10::IValue(named)).size(0) == 2);
  }
}

TEST_CASE("capture: a TorchScript module by itself", "[capture]") {
  auto net = scripted();
  const auto x = torch::rand({2, 3, 8, 8});
  const auto seen = care::capture(net, x);
  CHECK(seen.features.sizes() == torch::IntArrayRef({2, 5, 4, 4}));
  CHECK(torch::equal(seen.output.toTensor(), seen.logits));
  const auto earlier = care::capture(net, x, {care::TargetLayer().stride(1)});
  CHECK(earlier.features.sizes() == torch::IntArrayRef({2, 4, 8, 8}));
}

TEST_CASE(
    "capture: tokens and other layouts are not taken for maps",
    "[capture]") {
  auto body = conv3(3, 8);
  auto head = nn::Linear(8, 2);
  const auto x = torch::rand({2, 3, 5, 5});
  SECTION("attention by hand, [N, heads, T, d]") {
    torch::Tensor map;
    auto forward = [&] {
      map = body(x).relu();
      const auto heads =
          map.flatten(2).transpose(1, 2).view({2, 25, 2, 4}).transpose(1, 2);
      const auto weight =
          torch::softmax(heads.matmul(heads.transpose(2, 3)) / 2.0, -1);
      const auto tokens =
          weight.matmul(heads).transpose(1, 2).reshape({2, 25, 8});
      return head(tokens.mean(1));
    };
    CARE_REQUIRE_THROWS(care::capture(forward), "may be tokens");
    const auto seen =
        care::capture(forward, {care::TargetLayer().operation("aten::relu")});
    CHECK(torch::equal(seen.features, map));
  }
  SECTION("channels last, [N, h, w, C]") {
    auto norm = nn::LayerNorm(nn::LayerNormOptions({8}));
    auto forward = [&] {
      const auto y = norm(body(x).permute({0, 2, 3, 1}));
      return head(y.mean({1, 2}));
    };
    CARE_REQUIRE_THROWS(care::capture(forward), "layer_norm");
    const auto seen =
        care::capture(forward, {care::TargetLayer().operation("aten::conv2d")});
    CHECK(seen.features.size(1) == 8);
  }
  SECTION("a pooled map in channels-last layout is stepped past") {
    auto norm = nn::LayerNorm(nn::LayerNormOptions({8}));
    torch::Tensor map;
    const auto seen = care::capture([&] {
      map = body(x).relu();
      const auto pooled = torch::adaptive_avg_pool2d(map, {1, 1});
      const auto normed = norm(pooled.permute({0, 2, 3, 1})); // [2, 1, 1, 8]
      return head(normed.permute({0, 3, 1, 2}).flatten(1));
    });
    CHECK(torch::equal(seen.features, map));
  }
}

TEST_CASE("capture: maps that are one row high", "[capture]") {
  auto body = nn::Conv2d(nn::Conv2dOptions(3, 4, {1, 3}));
  auto head = nn::Linear(4, 2);
  const auto x = torch::rand({2, 3, 1, 20});
  const auto seen = care::capture([&] {
    return head(body(x).relu().mean({2, 3}));
  });
  CHECK(seen.features.sizes() == torch::IntArrayRef({2, 4, 1, 18}));
}

TEST_CASE(
    "capture: one of the parts an operator splits a map into",
    "[capture]") {
  auto body = conv3(3, 6);
  auto head = nn::Linear(3, 2);
  const auto x = torch::rand({2, 3, 5, 5});
  std::vector<torch::Tensor> parts;
  const auto seen = care::capture([&] {
    parts = body(x).chunk(2, 1);
    return head(parts[1].mean({2, 3}));
  });
  CHECK(torch::equal(seen.features, parts[1]));
  const auto scores =
      care::class_scores(seen.logits, torch::zeros({2}, torch::kLong));
  CHECK(
      care::score_gradients(seen.features, scores).abs().sum().item<double>() >
      0);
}

TEST_CASE("capture: a module used twice, in-place operators", "[capture]") {
  auto shared = conv3(4, 4);
  auto stem = conv3(3, 4);
  auto head = nn::Linear(4, 2);
  const auto x = torch::rand({2, 3, 5, 5});
  torch::Tensor last;
  const auto seen = care::capture([&] {
    auto y = stem(x).relu_();
    y = shared(y).relu_();
    last = shared(y).relu_();
    return head(last.mean({2, 3}));
  });
  CHECK(torch::equal(seen.features, last));
  // The convolution's result was overwritten by relu_: it is the same tensor.
  CHECK((seen.features >= 0).all().item<bool>());
}

TEST_CASE("capture: captures may nest", "[capture]") {
  auto inner = small_net(), outer = small_net();
  const auto x = torch::rand({2, 3, 8, 8});
  care::Seen within;
  const auto seen = care::capture([&] {
    within = care::capture([&] { return inner->forward(x); });
    return outer->forward(x) + within.logits.detach();
  });
  CHECK(within.features.sizes() == seen.features.sizes());
  CHECK_FALSE(torch::equal(within.features, seen.features));
  CHECK_FALSE(at::hasThreadLocalCallbacks());

  // One that fails within another.
  const auto around = care::capture([&] {
    CHECK_THROWS_AS(
        care::capture([&]() -> torch::Tensor {
          inner->forward(x);
          throw std::runtime_error("a forward that fails");
        }),
        std::runtime_error);
    return outer->forward(x);
  });
  CHECK(torch::equal(around.features, seen.features));
  CHECK_FALSE(at::hasThreadLocalCallbacks());
}

TEST_CASE("capture: a table of positions is no map of the images") {
  auto body = conv3(3, 4);
  nn::Linear head(4, 2);
  const auto table = torch::rand({1, 4, 6, 6}).requires_grad_();
  const auto x = torch::rand({2, 3, 6, 6});
  const auto forward = [&] { return head((body(x) + table * 2).mean({2, 3})); };
  CARE_REQUIRE_THROWS_AS(
      care::capture(forward, {care::TargetLayer().operation("aten::mul")}),
      c10::ValueError,
      "expected a map of 2 images, as the logits are, but got aten::mul [1, 4, "
      "6, 6]");
}

TEST_CASE("capture: says that the backbone is frozen", "[capture]") {
  auto net = small_net();
  for (auto& p : net->parameters()) {
    p.set_requires_grad(p.dim() == 2 || p.size(0) == 3); // the head alone
  }
  const auto x = torch::rand({2, 3, 8, 8});
  CARE_REQUIRE_THROWS(
      care::capture([&] { return net->forward(x); }), "backbone frozen");
}

TEST_CASE("capture: says frozen only of what is frozen", "[capture]") {
  const auto x = torch::rand({2, 3, 8, 8});
  auto head = nn::Linear(192, 2);
  const auto message = [](auto forward) -> std::string {
    try {
      care::capture(forward);
    } catch (const c10::Error& error) {
      return error.what_without_backtrace();
    }
    return "";
  };
  const auto flat = message([&] {
    return head((x.permute({0, 2, 3, 1}) / 2).flatten(1));
  });
  CHECK(flat.find("there is none. Seen") != std::string::npos);
  auto volume = nn::Conv3d(nn::Conv3dOptions(3, 4, 3));
  auto small = nn::Linear(4, 2);
  const auto volumes = message([&] {
    return small(volume(torch::rand({2, 3, 5, 6, 7})).mean({2, 3, 4}));
  });
  CHECK(
      volumes.find("maps are 2-D, and this network has volumes, such as "
                   "aten::conv3d [2, 4, 3, 4, 5]") != std::string::npos);
}

namespace {

/// Its forward can be asked for a tensor alone.
struct TemplateNetImpl : torch::nn::Module {
  template <class T>
  auto forward(const T& x) {
    return head(body(x).mean({2, 3}));
  }

  torch::nn::Conv2d body = register_module("body", torch::nn::Conv2d(3, 6, 3));
  torch::nn::Linear head = register_module("head", torch::nn::Linear(6, 2));
};
TORCH_MODULE(TemplateNet);

} // namespace

TEST_CASE("capture: a forward that is a template", "[capture]") {
  TemplateNet net;
  const auto x = torch::rand({2, 3, 8, 8});
  CHECK(
      care::capture(net, x).features.sizes() ==
      torch::IntArrayRef({2, 6, 6, 6}));
  CHECK(care::capture(*net, x).logits.sizes() == torch::IntArrayRef({2, 2}));
}

TEST_CASE("capture: names the guard that is on", "[capture]") {
  auto net = small_net();
  const auto x = torch::rand({2, 3, 8, 8});
  const auto seen_before = care::capture(net, x);
  c10::InferenceMode inference;
  CARE_REQUIRE_THROWS(
      care::Guide().evaluate(
          seen_before,
          torch::zeros({2}, torch::kLong),
          care::Boxes::from_lists({{{1, 1, 5, 5}}, {}}, {8, 8})),
      "c10::InferenceMode is on");
  CARE_REQUIRE_THROWS(care::capture(net, x), "c10::InferenceMode is on");
  const care::Guide guide;
  CARE_REQUIRE_THROWS(
      guide.watch(
          torch::rand({2, 6, 4, 4}),
          [&](const auto& y) {
            return y.mean({2, 3});
          }),
      "c10::InferenceMode is on");
}

TEST_CASE("capture: lists the operators that are there", "[capture]") {
  auto net = small_net(); // its ReLU works in place
  const auto x = torch::rand({2, 3, 8, 8});
  const care::TargetLayer relu =
      care::TargetLayer().operation("aten::relu", -1);
  CARE_REQUIRE_THROWS(care::capture(net, x, {relu}), "has 0 of them");
  CARE_REQUIRE_THROWS(
      care::capture(net, x, {relu}), "aten::relu_ [2, 6, 4, 4]");
  const auto seen =
      care::capture(net, x, {care::TargetLayer().operation("aten::relu_", -1)});
  CHECK(seen.features.size(1) == 6);
}

TEST_CASE("capture: a predicate that runs operators", "[capture]") {
  auto net = small_net();
  const auto x = torch::rand({2, 3, 8, 8});
  int64_t calls = 0;
  const auto seen = care::capture(
      net, x, {care::TargetLayer().where([&](const care::Candidate& map) {
        auto y = map.result;
        for (int i = 0; i < 40; ++i) { // maps, with a history
          y = y * 2;
        }
        ++calls;
        return (y.size(1) == 4) && (y - y.mean()).relu().dim() == 4;
      })});
  CHECK(seen.features.size(1) == 4);
  CHECK(calls > 1);
  // Within another's forward, which sees them.
  const auto outer = care::capture([&] {
    const auto inner = care::capture(
        net, x, {care::TargetLayer().where([&](const care::Candidate& map) {
          return map.result.mul(2).size(1) == 4;
        })});
    return net->forward(x) + inner.logits.detach();
  });
  CHECK(outer.features.size(1) == 6);
}

TEST_CASE("capture: float logits under autocast", "[capture]") {
  Stages net;
  const auto x = torch::rand({2, 3, 16, 16});
  const auto check = [&](const care::Seen& seen) {
    CHECK(seen.logits.scalar_type() == torch::kFloat);
    CHECK(seen.features.scalar_type() == torch::kBFloat16);
    const auto gradient = torch::autograd::grad(
        {seen.logits.sum()}, {seen.features}, {}, true)[0];
    CHECK(gradient.abs().sum().item<double>() > 0);
  };
  const care::Autocast on(torch::kCPU);
  const auto seen = care::capture(net, x);
  check(seen);
  const auto pair = care::capture(
      [&] { return std::make_pair(net->forward(x), int64_t{1}); });
  check(pair);
  CHECK(pair.output.first.scalar_type() == torch::kBFloat16); // as it came
  const care::Guide guide;
  check(guide.watch(net->third, [&](const torch::Tensor& y) {
    return net->head(y.mean({2, 3}));
  }));
  // Others stay as they are.
  auto wide = nn::Linear(4, 2);
  wide->to(torch::kDouble);
  auto body = conv3(3, 4);
  body->to(torch::kDouble);
  const auto exact = care::capture([&] {
    return wide(body(x.to(torch::kDouble)).mean({2, 3}));
  });
  CHECK(exact.logits.scalar_type() == torch::kDouble);
}

TEST_CASE("capture: a frozen backbone while the loss is off", "[capture]") {
  auto net = small_net();
  for (auto& p : net->parameters()) {
    p.set_requires_grad(p.dim() == 2 || p.size(0) == 3); // the head alone
  }
  const auto x = torch::rand({2, 3, 8, 8});
  const auto target = torch::tensor({0, 2}, torch::kLong);
  const auto boxes =
      care::Boxes::from_lists({{{0, 0, 4, 4}}, {{2, 2, 8, 8}}}, {8, 8});
  const auto check = [&](const auto& guide, double factor) {
    for (const bool callable : {false, true}) {
      const auto seen = callable ? guide.watch([&] { return net->forward(x); })
                                 : guide.watch(net, x);
      CHECK_FALSE(seen.features.defined());
      CHECK(seen.more.empty());
      const auto lc = nn::functional::cross_entropy(seen.logits, target);
      const auto loss = guide.loss(lc, seen, target, boxes);
      CHECK(
          loss.total.template item<double>() ==
          Approx(factor * lc.template item<double>()));
      CHECK(loss.attention.guided == 0);
      CHECK(guide.evaluate(seen, target, boxes).guided == 0);
      const auto audit =
          guide.audit(lc, seen, target, boxes, net->parameters());
      CHECK(audit.inert_cause.find("frozen") != std::string::npos);
      net->zero_grad();
      loss.backward();
      CHECK(
          net->parameters().back().grad().abs().sum().template item<double>() >
          0);
    }
  };
  using care::ScheduleOptions;
  check(
      care::Guide(care::GuideOptions().alpha(0.25).schedule(
          ScheduleOptions().start(ScheduleOptions::kManual))),
      0.75);
  check(care::Guide(care::GuideOptions().weight(0.0)), 1.0);
  check(
      care::Guide(care::GuideOptions().weight(0.0).target_layers(
          {care::TargetLayer(), care::TargetLayer().map_size({8, 8})})),
      1.0);
  check(care::Guide(care::GuideOptions().alpha(0.0)), 1.0);
  // With the loss on it is an error, as is a network that has no map at all.
  CARE_REQUIRE_THROWS(care::Guide().watch(net, x), "backbone frozen");
  auto flat = nn::Linear(192, 3);
  const care::Guide off(care::GuideOptions().weight(0.0));
  CARE_REQUIRE_THROWS(
      off.watch([&] { return flat(x.flatten(1)); }), "there is none");
}

TEST_CASE("capture: a layer that is not there, behind a frozen stem") {
  // Said at once and as what it is, also while the loss is off.
  auto net = small_net();
  for (auto& p : net[0]->as<nn::Conv2d>()->parameters()) {
    p.set_requires_grad(false);
  }
  const auto x = torch::rand({2, 3, 8, 8});
  for (const double weight : {0.0, 1.0}) {
    CAPTURE(weight);
    const care::Guide guide(care::GuideOptions().weight(weight).target_layers(
        {care::TargetLayer().map_size({5, 5})}));
    CARE_REQUIRE_THROWS_AS(
        guide.watch(net, x),
        c10::ValueError,
        "that the TargetLayer asks for (size 5x5) behind the logits, but there "
        "is none. Seen with a gradient history:\n  aten::conv2d");
  }
}

TEST_CASE("capture: a frozen backbone that ends in place", "[capture]") {
  // The convolution's own result is gone when the head makes its own.
  const auto x = torch::rand({2, 3, 8, 8});
  for (const bool in_place : {false, true}) {
    auto body = conv3(3, 4);
    for (auto& p : body->parameters()) {
      p.requires_grad_(false);
    }
    auto net = nn::Sequential(
        body,
        nn::ReLU(nn::ReLUOptions().inplace(in_place)),
        nn::AdaptiveAvgPool2d(1),
        nn::Flatten(),
        nn::Linear(4, 4),
        nn::ReLU(),
        nn::Linear(4, 3));
    const care::Guide off(care::GuideOptions().alpha(0));
    for (int i = 0; i < 10; ++i) {
      REQUIRE_FALSE(off.watch(net, x).features.defined());
    }
    CARE_REQUIRE_THROWS(care::Guide().watch(net, x), "backbone frozen");
  }
}

TEST_CASE("capture: a backbone detached from its head", "[capture]") {
  auto body = conv3(3, 4);
  auto head = nn::Linear(4, 3);
  const auto x = torch::rand({2, 3, 8, 8});
  const auto forward = [&] {
    return head(body(x).relu().detach().mean({2, 3}));
  };
  const care::Guide off(care::GuideOptions().alpha(0));
  const auto seen = off.watch(forward);
  CHECK_FALSE(seen.features.defined());
  const auto target = torch::tensor({0, 2}, torch::kLong);
  const auto boxes = care::Boxes::from_lists({{{0, 0, 4, 4}}, {}}, {8, 8});
  const auto lc = nn::functional::cross_entropy(seen.logits, target);
  off.loss(lc, seen, target, boxes).backward();
  CHECK(head->weight.grad().abs().sum().item<double>() > 0);
  CARE_REQUIRE_THROWS(
      care::Guide().watch(forward),
      "has no gradient history: is the backbone detached from it?");
}

TEST_CASE("capture: a map that is detached in place", "[capture]") {
  auto body = conv3(3, 4), second = conv3(4, 4);
  nn::Linear head(4, 2);
  const auto x = torch::rand({2, 3, 8, 8});
  CARE_REQUIRE_THROWS_AS(
      care::capture([&] {
        auto f = body->forward(x);
        f.detach_();
        return head(f.mean({2, 3}));
      }),
      c10::ValueError,
      "no gradient history");
  // A frozen stem before the map that counts.
  const auto seen = care::capture([&] {
    auto f = torch::relu(body->forward(x));
    f.detach_();
    return head(second->forward(f).mean({2, 3}));
  });
  CHECK(seen.features.grad_fn()->name().find("Conv") != std::string::npos);
}

TEST_CASE("capture: operators are counted alike under autocast", "[capture]") {
  auto first = conv3(3, 4), second = conv3(4, 5), third = conv3(5, 6);
  nn::Linear head(6, 2);
  const auto x = torch::rand({1, 3, 8, 8});
  const auto channels = [&](int64_t count, bool mixed) {
    const care::Autocast autocast(torch::kCPU, torch::kBFloat16, mixed);
    return care::capture(
               [&] {
                 return head(third(torch::relu(second(torch::relu(first(x)))))
                                 .mean({2, 3}));
               },
               {care::TargetLayer().operation("aten::conv2d", count)})
        .features.size(1);
  };
  for (const bool mixed : {false, true}) {
    CAPTURE(mixed);
    CHECK(channels(-1, mixed) == 6);
    CHECK(channels(-2, mixed) == 5);
    CHECK(channels(1, mixed) == 4);
    CHECK(channels(3, mixed) == 6);
  }
}

TEST_CASE("capture: a batch without an image", "[capture]") {
  auto net = small_net();
  net->eval();
  const auto none = torch::zeros({0, 3, 8, 8});
  const auto target = torch::zeros({0}, torch::kLong);
  const care::Guide guide;
  const auto seen = guide.watch(net, none);
  CHECK(seen.features.sizes() == torch::IntArrayRef({0, 6, 4, 4}));
  CHECK(seen.logits.sizes() == torch::IntArrayRef({0, 3}));
  const auto loss =
      guide.loss(seen.logits.sum(), seen, target, care::Boxes::none(0, {8, 8}));
  CHECK(loss.attention.guided == 0);
  CHECK(loss.total.item<double>() == 0);
  loss.backward();
}

TEST_CASE("capture: any form of network", "[capture]") {
  struct Plain { // no torch::nn::Module
    nn::Conv2d body = conv3(3, 4);
    nn::Linear head = nn::Linear(4, 2);
    torch::Tensor forward(torch::Tensor& x) {
      return head(body(x).relu().mean({2, 3}));
    }
  };
  const auto x = torch::rand({2, 3, 9, 13});
  const auto check = [&](auto&& net) {
    const auto seen = care::capture(net, x, {care::TargetLayer().stride(1)});
    CHECK(seen.features.size(2) == 9);
    CHECK(care::Guide().watch(net, x).logits.size(0) == 2);
  };
  const Stages holder;
  auto script = scripted();
  check(holder);
  check(Stages(holder));
  check(*holder.ptr());
  check(holder.ptr());
  check(holder.ptr().get());
  check(Plain());
  check(std::make_unique<Plain>());
  check([&](const torch::Tensor& images) { return Stages(holder)(images); });
  check(nn::Sequential(Stages(holder)));
  check(nn::AnyModule(Stages(holder)));
  check(script);
  check(std::as_const(script));
  CARE_REQUIRE_THROWS(
      care::capture(Stages(nullptr), x), "expected a model, but got an empty");

  // As a head, too.
  const auto features = torch::rand({2, 3, 5, 5}).requires_grad_();
  CHECK(
      care::Guide().watch(features, script).logits.sizes().vec() ==
      std::vector<int64_t>{2, 2});
  CHECK(care::Guide().watch(features, Plain()).logits.size(1) == 2);
  CHECK(
      care::Guide().watch(features, std::make_unique<Plain>()).logits.size(1) ==
      2);
  CHECK(
      care::Guide()
          .watch(
              features,
              [](const torch::Tensor& y) {
                return std::make_tuple(y.mean({2, 3}), y);
              })
          .logits.size(1) == 3);
}

TEST_CASE("capture: under autocast", "[capture]") {
  Stages net;
  const auto x = torch::rand({2, 3, 16, 16});
  const auto target = torch::tensor({0, 2}, torch::kLong);
  const auto boxes =
      care::Boxes::from_lists({{{0, 0, 8, 8}}, {{4, 4, 16, 16}}}, {16, 16});
  const care::Guide guide;
  care::Seen seen;
  {
    const care::Autocast on(torch::kCPU);
    seen = guide.watch(net, x);
  }
  CHECK(seen.features.scalar_type() == torch::kBFloat16);
  CHECK(seen.features.sizes() == net->third.sizes());
  CHECK(torch::equal(seen.features, net->third));
  const auto loss = guide.loss(
      torch::nn::functional::cross_entropy(
          seen.logits.to(torch::kFloat), target),
      seen,
      target,
      boxes);
  loss.backward();
  const auto gradient = net->one->weight.grad();
  REQUIRE(gradient.defined());
  CHECK(torch::isfinite(gradient).all().item<bool>());
  CHECK(gradient.abs().sum().item<double>() > 0);
}

TEST_CASE("capture: weights of a map's size are no maps", "[capture]") {
  // Their copies under autocast are [8, 4, 3, 3], as [N, C, h, w] may be.
  auto net = nn::Sequential(
      conv3(3, 4),
      nn::ReLU(),
      nn::Conv2d(nn::Conv2dOptions(4, 8, 3).stride(2).padding(1)),
      nn::ReLU(),
      nn::AdaptiveAvgPool2d(1),
      nn::Flatten(),
      nn::Linear(8, 3));
  const auto x = torch::rand({2, 3, 6, 6});
  const auto of_4_channels = [](const care::Candidate& map) {
    return map.result.size(1) == 4;
  };
  for (const bool mixed : {false, true}) {
    CAPTURE(mixed);
    const auto sizes_at = [&](const care::TargetLayer& layer) {
      const care::Autocast autocast(torch::kCPU, torch::kBFloat16, mixed);
      return care::capture(net, x, {layer}).features.sizes().vec();
    };
    CHECK(
        sizes_at(care::TargetLayer().where(of_4_channels)) ==
        std::vector<int64_t>{2, 4, 6, 6});
    CHECK(
        sizes_at(care::TargetLayer().stride(2)) ==
        std::vector<int64_t>{2, 8, 3, 3});
  }
}

TEST_CASE("capture: a tap in the forward", "[capture]") {
  care::Tap tap;
  auto net = nn::Sequential(
      conv3(3, 4),
      nn::ReLU(),
      tap,
      nn::AdaptiveAvgPool2d(1),
      nn::Flatten(),
      nn::Linear(4, 2));
  const auto x = torch::rand({2, 3, 6, 6});
  const auto seen = care::Seen{net->forward(x), tap->take()};
  const auto watched = care::capture(net, x);
  CHECK(torch::equal(seen.features, watched.features));
  CHECK(tap->parameters().empty());
  CHECK(tap->buffers().empty());
  tap->take(); // of the watched forward
  CARE_REQUIRE_THROWS(tap->take(), "there was none");
  {
    torch::NoGradGuard no_grad;
    net->forward(x);
  }
  CARE_REQUIRE_THROWS(tap->take(), "NoGradGuard");
  CHECK(c10::str(tap) == "care::Tap()");
  const auto copy = std::dynamic_pointer_cast<nn::SequentialImpl>(net->clone());
  REQUIRE(copy);
  copy->forward(x); // through a tap of its own
  CARE_REQUIRE_THROWS(tap->take(), "there was none");
}
