// Tests of capture: the features behind the logits of networks nobody changed.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"

#include <care/attention.hpp>
#include <care/capture.hpp>
#include <care/guide.hpp>

#include <torch/nn.h>
#include <torch/script.h>

#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace nn = torch::nn;

namespace {

nn::Conv2d conv(int64_t in, int64_t out) {
  return nn::Conv2d(nn::Conv2dOptions(in, out, 3).padding(1));
}

nn::Sequential small_net() {
  return nn::Sequential(
      conv(3, 4),
      nn::ReLU(nn::ReLUOptions().inplace(true)),
      nn::MaxPool2d(2),
      conv(4, 6),
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
  torch::manual_seed(0);
  auto net = small_net();
  net->eval(); // so that both forwards see the same batch statistics
  const auto x = torch::rand({2, 3, 8, 8});
  const auto seen = care::capture([&] { return net->forward(x); });
  CHECK(seen.features.sizes() == torch::IntArrayRef({2, 6, 4, 4}));
  check_same_maps(seen, by_hand(net, x, 6));
}

TEST_CASE("capture: gradients equal those of the split by hand", "[capture]") {
  torch::manual_seed(0);
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
  torch::manual_seed(0);
  auto first = conv(3, 4), second = conv(4, 5), side = conv(4, 7);
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
  torch::manual_seed(0);
  auto left = conv(3, 4), right = conv(3, 5);
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
  torch::manual_seed(0);
  auto body = conv(3, 4);
  auto head = nn::Linear(4 * 9, 2);
  const auto x = torch::rand({1, 3, 12, 12});
  auto forward = [&] {
    auto y = torch::max_pool2d(body(x).relu(), 2);
    return head(torch::adaptive_avg_pool2d(y, {3, 3}).flatten(1));
  };
  CHECK(care::capture(forward).features.size(2) == 12);
  const auto pooled =
      care::capture(forward, care::CaptureOptions().map_size(care::Size{6, 6}));
  CHECK(pooled.features.size(2) == 6);
  CARE_REQUIRE_THROWS(
      care::capture(forward, care::CaptureOptions().map_size(care::Size{5, 5})),
      "of the wanted size");
}

TEST_CASE("capture: an attention head after a map", "[capture]") {
  torch::manual_seed(0);
  auto body = conv(3, 8);
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
      care::capture([&] { return forward().detach(); }), "detached");
  CARE_REQUIRE_THROWS(
      care::capture([&] { return forward().unsqueeze(0); }), "[N, K]");
  auto head = nn::Linear(3, 2);
  CARE_REQUIRE_THROWS(
      care::capture([&] {
        return head(torch::rand({2, 3}));
      }),
      "none");
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

TEST_CASE("capture: in several threads at once", "[capture]") {
  std::vector<int64_t> channels(4, 0);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < channels.size(); ++i) {
    threads.emplace_back([&, i] {
      const auto width = static_cast<int64_t>(i) + 2;
      auto body = conv(3, width);
      auto head = nn::Linear(width, 2);
      for (int k = 0; k < 20; ++k) {
        const auto seen = care::capture([&] {
          return head(body(torch::rand({1, 3, 6, 6})).relu().mean({2, 3}));
        });
        channels[i] = seen.features.size(1);
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  CHECK(channels == std::vector<int64_t>({2, 3, 4, 5}));
}
