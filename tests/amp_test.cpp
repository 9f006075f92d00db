// Tests of care/amp.hpp: what runs in which precision, and what comes back.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/amp.hpp>

#include <optional>
#include <stdexcept>
#include <thread>

using care::Autocast;

namespace {

/// The dtype in which a matrix product of float tensors comes out here.
torch::Dtype product_dtype() {
  const auto x = torch::rand({2, 2});
  return torch::matmul(x, x).scalar_type();
}

} // namespace

TEST_CASE("Autocast: on while it lives", "[amp]") {
  CHECK(product_dtype() == torch::kFloat);
  {
    const Autocast mixed(torch::kCPU);
    CHECK(product_dtype() == torch::kBFloat16);
  }
  CHECK(product_dtype() == torch::kFloat);
  {
    const Autocast off(torch::kCPU, torch::kBFloat16, /*enabled=*/false);
    CHECK(product_dtype() == torch::kFloat);
  }
  CHECK(product_dtype() == torch::kFloat);
}

TEST_CASE("Autocast: regions inside of each other", "[amp]") {
  const Autocast outer(torch::kCPU);
  {
    const Autocast off(torch::kCPU, torch::kBFloat16, false);
    CHECK(product_dtype() == torch::kFloat);
    {
      const Autocast again(torch::kCPU);
      CHECK(product_dtype() == torch::kBFloat16);
    }
    CHECK(product_dtype() == torch::kFloat);
  }
  CHECK(product_dtype() == torch::kBFloat16);
  {
    const Autocast same(torch::kCPU);
    CHECK(product_dtype() == torch::kBFloat16);
  }
  CHECK(product_dtype() == torch::kBFloat16);
}

TEST_CASE("Autocast: an exception ends it", "[amp]") {
  try {
    const Autocast mixed(torch::kCPU);
    throw std::runtime_error("of the network");
  } catch (const std::runtime_error&) {
  }
  CHECK(product_dtype() == torch::kFloat);
}

TEST_CASE("Autocast: the dtype comes back too", "[amp]") {
  const auto dtype = [] { // 1.13's autocast on the CPU knows but one
    return care::detail::AutocastState::of(torch::kCUDA).dtype;
  };
  const auto before = dtype();
  {
    const Autocast half(torch::kCUDA, torch::kHalf);
    CHECK(dtype() == torch::kHalf);
    {
      const Autocast mixed(torch::kCUDA);
      CHECK(dtype() == torch::kBFloat16);
    }
    CHECK(dtype() == torch::kHalf);
  }
  CHECK(dtype() == before);
}

TEST_CASE("Autocast: a step between two regions is seen", "[amp]") {
  // Autocast keeps its copies of the weights: a stale one would give the old
  // product, also to a region inside of another one.
  const auto weight = torch::ones({2, 2}).requires_grad_();
  const auto x = torch::ones({1, 2});
  const auto product = [&] {
    return torch::matmul(x, weight).sum().item<double>();
  };
  for (const bool inside_another : {false, true}) {
    CAPTURE(inside_another);
    std::optional<Autocast> outer;
    if (inside_another) {
      outer.emplace(torch::kCPU);
    }
    {
      torch::NoGradGuard no_grad;
      weight.fill_(1);
    }
    {
      const Autocast mixed(torch::kCPU);
      CHECK(product() == 4);
    }
    {
      torch::NoGradGuard no_grad;
      weight.mul_(2);
    }
    {
      const Autocast mixed(torch::kCPU);
      CHECK(product() == 8);
    }
  }
}

TEST_CASE("Autocast: a region inside of one that switches it off", "[amp]") {
  const auto weight = torch::ones({2, 2}).requires_grad_();
  const auto x = torch::ones({1, 2});
  const Autocast outer(torch::kCPU);
  CHECK(torch::matmul(x, weight).scalar_type() == torch::kBFloat16);
  std::optional<Autocast> off, half;
  try {
    off.emplace(torch::kCPU, torch::kHalf, false);
    half.emplace(torch::kCPU, torch::kHalf);
  } catch (const c10::Error&) { // 1.13: no half on the CPU
    WARN("skipped: this LibTorch has no autocast to half on the CPU");
    return;
  }
  CHECK(torch::matmul(x, weight).scalar_type() == torch::kHalf);
}

TEST_CASE("Autocast: of its own thread and device", "[amp]") {
  const Autocast mixed(torch::kCPU);
  auto elsewhere = torch::kDouble;
  std::thread([&] { elsewhere = product_dtype(); }).join();
  CHECK(elsewhere == torch::kFloat);
  {
    // Another device's leaves the CPU's as it is.
    const Autocast cuda(torch::Device(torch::kCUDA, 0), torch::kHalf, false);
    CHECK(product_dtype() == torch::kBFloat16);
  }
  CHECK(product_dtype() == torch::kBFloat16);
}

TEST_CASE("Autocast: gradients reach float parameters", "[amp]") {
  torch::nn::Conv2d conv(torch::nn::Conv2dOptions(3, 4, 3));
  const auto images = torch::rand({2, 3, 8, 8});
  const auto gradient = [&](bool enabled) {
    conv->zero_grad();
    const auto y = [&] {
      const Autocast mixed(images.device(), torch::kBFloat16, enabled);
      return conv(images);
    }();
    CHECK(y.scalar_type() == (enabled ? torch::kBFloat16 : torch::kFloat));
    y.to(torch::kFloat).square().mean().backward();
    return conv->weight.grad().clone();
  };
  const auto exact = gradient(false), mixed = gradient(true);
  CHECK(mixed.scalar_type() == torch::kFloat);
  CHECK(care_test::allclose(mixed, exact, 1e-3, 2e-2));
}

TEST_CASE("Autocast: bad dtypes and devices", "[amp]") {
  CARE_REQUIRE_THROWS_AS(
      Autocast(torch::kCPU, torch::kFloat),
      c10::ValueError,
      "care::Autocast: expected bfloat16 or half, but got Float");
  CARE_REQUIRE_THROWS_AS(
      Autocast(torch::kCPU, torch::kLong, false),
      c10::ValueError,
      "but got Long");
  CARE_REQUIRE_THROWS_AS(
      Autocast(torch::kMeta),
      c10::ValueError,
      "care::Autocast: expected a device that this LibTorch has autocast for, "
      "but got meta");
  CHECK(product_dtype() == torch::kFloat); // nothing was switched
}
