// Tests that nothing of care is left: in the network, on disk, in memory.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"

#include <care/guide.hpp>

#include <ATen/record_function.h>
#include <torch/cuda.h>
#include <torch/nn/functional/loss.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/functional.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/pooling.h>
#include <torch/optim/sgd.h>
#include <torch/serialize.h>

#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace nn = torch::nn;
namespace F = torch::nn::functional;

namespace {

nn::Sequential make_net() {
  torch::manual_seed(5);
  return nn::Sequential(
      nn::Conv2d(nn::Conv2dOptions(3, 6, 3).padding(1)),
      nn::BatchNorm2d(6),
      nn::ReLU(nn::ReLUOptions().inplace(true)),
      nn::Conv2d(nn::Conv2dOptions(6, 8, 3).stride(2).padding(1)),
      nn::ReLU(),
      nn::AdaptiveAvgPool2d(1),
      nn::Flatten(),
      nn::Linear(8, 3));
}

struct Batch {
  torch::Tensor images = torch::rand({4, 3, 12, 12});
  torch::Tensor target = torch::tensor({0, 1, 2, 1}, torch::kLong);
  care::Boxes boxes = care::Boxes::from_lists(
      {{{0, 0, 5, 5}}, {}, {{4, 3, 9, 12}}, {}},
      {12, 12});
};

using Kept = std::vector<c10::weak_intrusive_ptr<c10::TensorImpl>>;

/// One step of training; notes in `kept` what must be gone after it.
void guided_step(
    const care::Guide<>& guide,
    nn::Sequential& net,
    torch::optim::Optimizer& optimizer,
    const Batch& batch,
    Kept* kept = nullptr) {
  const auto seen = guide.watch(net, batch.images);
  const auto loss = guide.loss(
      F::cross_entropy(seen.logits, batch.target.to(seen.logits.device())),
      seen,
      batch.target,
      batch.boxes);
  optimizer.zero_grad();
  loss.backward();
  optimizer.step();
  if (kept != nullptr) {
    kept->emplace_back(seen.features.getIntrusivePtr());
    kept->emplace_back(seen.logits.getIntrusivePtr());
    kept->emplace_back(loss.total.getIntrusivePtr());
  }
}

std::string bytes_of(const nn::Sequential& net) {
  std::ostringstream stream;
  torch::save(net, stream);
  return stream.str();
}

/// Resident memory of this process in bytes.
int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

} // namespace

TEST_CASE("no trace: keys, bytes and outputs of a watched network", "[trace]") {
  const Batch batch;
  auto watched = make_net();
  torch::optim::SGD optimizer(watched->parameters(), 0.05);
  const care::Guide guide;
  for (int i = 0; i < 5; ++i) {
    guided_step(guide, watched, optimizer, batch);
  }

  // A network that never met care gets the same weights, by hand.
  auto plain = make_net();
  {
    torch::NoGradGuard no_grad;
    const auto from = watched->named_parameters();
    const auto to = plain->named_parameters();
    REQUIRE(from.keys() == to.keys());
    for (const auto& item : from) {
      to[item.key()].copy_(item.value());
    }
    const auto from_buffers = watched->named_buffers();
    const auto to_buffers = plain->named_buffers();
    REQUIRE(from_buffers.keys() == to_buffers.keys());
    for (const auto& item : from_buffers) {
      to_buffers[item.key()].copy_(item.value());
    }
  }
  CHECK(bytes_of(watched) == bytes_of(plain));
  CHECK(watched->modules().size() == plain->modules().size());
  watched->eval();
  plain->eval();
  torch::NoGradGuard no_grad;
  CHECK(torch::equal(
      watched->forward(batch.images), plain->forward(batch.images)));
  CHECK_FALSE(at::hasThreadLocalCallbacks());
}

TEST_CASE(
    "no trace: with the loss off, training is plain training",
    "[trace]") {
  const Batch batch;
  auto watched = make_net(), plain = make_net();
  torch::optim::SGD first(watched->parameters(), 0.05);
  torch::optim::SGD second(plain->parameters(), 0.05);
  const care::Guide guide(care::GuideOptions().weight(0.0));
  for (int i = 0; i < 5; ++i) {
    guided_step(guide, watched, first, batch);
    second.zero_grad();
    F::cross_entropy(plain->forward(batch.images), batch.target).backward();
    second.step();
  }
  CHECK(bytes_of(watched) == bytes_of(plain));
}

TEST_CASE(
    "no trace: 2,000 guided steps leave the memory flat",
    "[trace][gpu]") {
  torch::Device device = torch::kCPU;
  SECTION("on the host") {}
  SECTION("on a GPU") {
    if (!torch::cuda::is_available()) {
      WARN("skipped: no GPU here");
      return;
    }
    device = torch::kCUDA;
  }
  Batch batch;
  batch.images = batch.images.to(device);
  auto net = make_net();
  net->to(device);
  torch::optim::SGD optimizer(net->parameters(), 1e-4);
  const care::Guide guide;
  int64_t alive = 0;
  const auto run = [&](int steps) {
    for (int i = 0; i < steps; ++i) {
      Kept kept;
      guided_step(guide, net, optimizer, batch, &kept);
      for (const auto& pointer : kept) {
        alive += pointer.expired() ? 0 : 1;
      }
    }
    return resident_bytes();
  };
  const auto before = run(200);
  const auto after = run(2000);
  REQUIRE(before > 0);
  const auto grown = static_cast<double>(after - before) / (1 << 20);
  INFO("resident memory grew by " << grown << " MiB");
  // A kept graph is about 50 kB a step, 100 MB in all. AddressSanitizer keeps
  // that much of what is freed (its quarantine), unless it is told not to.
  if (!kSanitized) {
    CHECK(grown < 4);
  }
  CHECK(alive == 0);
}

TEST_CASE("no trace: a step keeps nothing of its graph alive", "[trace]") {
  const Batch batch;
  auto net = make_net();
  torch::optim::SGD optimizer(net->parameters(), 1e-4);
  const care::Guide guide(
      care::GuideOptions().order(care::GradientOrder::kFull));
  Kept kept;
  {
    const auto seen = guide.watch(net, batch.images);
    const auto loss = guide.loss(
        F::cross_entropy(seen.logits, batch.target),
        seen,
        batch.target,
        batch.boxes);
    kept.emplace_back(seen.features.getIntrusivePtr());
    kept.emplace_back(seen.logits.getIntrusivePtr());
    kept.emplace_back(loss.total.getIntrusivePtr());
    guide.audit(
        F::cross_entropy(seen.logits, batch.target),
        seen,
        batch.target,
        batch.boxes,
        net->parameters());
    loss.backward();
    for (const auto& pointer : kept) {
      CHECK_FALSE(pointer.expired());
    }
  }
  for (const auto& pointer : kept) {
    CHECK(pointer.expired());
  }
}
