// Tests of care/grad_scaler.hpp: by arithmetic, on the CPU.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/grad_scaler.hpp>

#include <torch/cuda.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/linear.h>
#include <torch/optim/sgd.h>

#include <limits>
#include <sstream>

using care::GradScaler;
using care::GradScalerOptions;
using care_test::Tensors;

namespace {

/// One parameter with the gradient `slope`, and plain gradient descent.
struct Line {
  torch::Tensor x = torch::ones({2}).requires_grad_();
  torch::optim::SGD optimizer{{x}, /*lr=*/0.5};

  bool step(GradScaler& scaler, double slope) {
    optimizer.zero_grad();
    scaler.scale((x * slope).sum()).backward();
    return scaler.step(optimizer);
  }
  double value() const {
    return x[0].item<double>();
  }
};

} // namespace

TEST_CASE("GradScaler: steps are as without it") {
  Line line;
  GradScaler scaler(GradScalerOptions().init_scale(1024));
  CHECK(line.step(scaler, 0.25));
  CHECK(line.value() == 1 - 0.5 * 0.25);
  CHECK(scaler.scale() == 1024);
}

TEST_CASE("GradScaler: a small gradient lives through half precision") {
  Line line;
  // The gradient passes the cast as a half, whose smallest number is 6e-8.
  const auto loss = [&] {
    return (line.x.to(torch::kHalf).to(torch::kFloat) * 1e-8).sum();
  };
  loss().backward();
  CHECK(line.x.grad().abs().max().item<double>() == 0);
  line.optimizer.zero_grad();
  GradScaler scaler;
  scaler.scale(loss()).backward();
  scaler.unscale(line.optimizer);
  CHECK(line.x.grad()[0].item<double>() == Approx(1e-8).epsilon(1e-3));
}

TEST_CASE("GradScaler: a parameter that is listed twice is divided once") {
  // As parameters() lists that of a module with two names.
  torch::nn::Linear shared(torch::nn::LinearOptions(2, 2).bias(false));
  torch::nn::Sequential net(shared, shared);
  REQUIRE(net->parameters().size() == 2);
  torch::optim::SGD optimizer(net->parameters(), 0.1);
  const auto x = torch::rand({3, 2});
  net->forward(x).sum().backward();
  const auto expected = shared->weight.grad().clone();
  optimizer.zero_grad();
  GradScaler scaler(GradScalerOptions().init_scale(1024));
  scaler.scale(net->forward(x).sum()).backward();
  scaler.unscale(optimizer);
  CHECK(care_test::identical(shared->weight.grad(), expected));
}

TEST_CASE("GradScaler: sparse gradients") {
  const auto trained = [](bool scaled) {
    auto table = torch::ones({5, 2}).requires_grad_();
    torch::optim::SGD optimizer({table}, /*lr=*/0.5);
    const auto rows = torch::tensor({3, 1, 3}, torch::kLong); // one twice
    const auto loss = torch::embedding(
                          table,
                          rows,
                          /*padding_idx=*/-1,
                          /*scale_grad_by_freq=*/false,
                          /*sparse=*/true)
                          .square()
                          .sum();
    GradScaler scaler(GradScalerOptions().init_scale(1024));
    (scaled ? scaler.scale(loss) : loss).backward();
    scaled ? static_cast<void>(scaler.step(optimizer))
           : static_cast<void>(optimizer.step());
    return table.detach();
  };
  CHECK(torch::equal(trained(true), trained(false)));
}

TEST_CASE("GradScaler: a step that is not finite is left out") {
  Line line;
  GradScaler scaler(GradScalerOptions().init_scale(8).backoff_factor(0.25));
  for (const double slope :
       {std::numeric_limits<double>::infinity(),
        std::numeric_limits<double>::quiet_NaN()}) {
    const double before = line.value(), scale = scaler.scale();
    CHECK_FALSE(line.step(scaler, slope));
    CHECK(line.value() == before);
    CHECK(scaler.scale() == scale / 4);
  }
}

TEST_CASE("GradScaler: however many steps fail, the scale stays usable") {
  Line line;
  GradScaler scaler;
  for (int i = 0; i < 400; ++i) {
    REQUIRE_FALSE(line.step(scaler, std::numeric_limits<double>::infinity()));
  }
  CHECK(scaler.scale() == std::numeric_limits<float>::min());
  CHECK(line.value() == 1);
  CHECK(line.step(scaler, 1));
  CHECK(line.value() == 0.5);
}

TEST_CASE("GradScaler: grows after good steps in a row") {
  Line line;
  GradScaler scaler(
      GradScalerOptions().init_scale(8).growth_factor(4).growth_interval(2));
  line.step(scaler, 1);
  CHECK(scaler.scale() == 8);
  line.step(scaler, 1);
  CHECK(scaler.scale() == 32);
  line.step(scaler, 1);
  line.step(scaler, std::numeric_limits<double>::infinity());
  CHECK(scaler.scale() == 16);
  line.step(scaler, 1); // the count began anew
  CHECK(scaler.scale() == 16);
  line.step(scaler, 1);
  CHECK(scaler.scale() == 64);
  GradScaler largest(GradScalerOptions().init_scale(3e38).growth_interval(1));
  line.step(largest, 1e-30);
  CHECK(largest.scale() == 3e38); // never beyond float
}

TEST_CASE("GradScaler: unscaled gradients can be clipped") {
  Line line;
  GradScaler scaler(GradScalerOptions().init_scale(1024));
  scaler.scale((line.x * 3).sum()).backward();
  scaler.unscale(line.optimizer);
  CHECK(line.x.grad()[0].item<double>() == 3);
  CARE_REQUIRE_THROWS_AS(
      scaler.unscale(line.optimizer),
      c10::Error,
      "expected `step` after the last `unscale`");
  line.x.mutable_grad().clamp_(-1, 1);
  CHECK(scaler.step(line.optimizer));
  CHECK(line.value() == 0.5);
}

TEST_CASE("GradScaler: a step left out after unscale leaves nothing behind") {
  Line line;
  GradScaler scaler(GradScalerOptions().init_scale(1024));
  scaler.scale((line.x * 1e30).sum()).backward();
  scaler.unscale(line.optimizer); // too large for the caller
  CARE_REQUIRE_THROWS_AS(
      scaler.scale(line.x.sum()),
      c10::Error,
      "care::GradScaler::scale: expected `step` (which leaves out one that is "
      "not finite) or `skip` after the last `unscale`");
  scaler.skip();
  line.optimizer.zero_grad();
  CHECK(scaler.scale() == 1024);
  CHECK(line.step(scaler, 1)); // with gradients that are unscaled again
  CHECK(line.value() == 0.5);
}

TEST_CASE("GradScaler: gradients of any dtype, size and device", "[gpu]") {
  const torch::Device other(
      torch::cuda::is_available() ? torch::kCUDA : torch::kCPU);
  // The one that is not finite is found wherever it stands.
  for (int64_t bad = -1; bad < 4; ++bad) {
    CAPTURE(bad);
    Tensors parameters{
        torch::ones({2}),
        torch::ones({}, torch::kDouble),
        torch::ones({2, 3}, torch::kBFloat16).to(other),
        torch::ones({4}).to(other),
        torch::ones({0})};
    for (auto& parameter : parameters) {
      parameter.requires_grad_();
      parameter.mutable_grad() = torch::full_like(parameter, 8.0);
    }
    torch::optim::SGD optimizer(parameters, 0.5);
    if (bad >= 0) {
      auto gradient = parameters[static_cast<size_t>(bad)].grad();
      gradient.view(-1)[-1] = bad % 2 == 0
          ? std::numeric_limits<double>::quiet_NaN()
          : -std::numeric_limits<double>::infinity();
    }
    GradScaler scaler(GradScalerOptions().init_scale(8));
    scaler.scale(torch::ones({}));
    CHECK(scaler.step(optimizer) == (bad < 0));
    for (const auto& parameter : parameters) {
      CHECK(parameter.eq(bad < 0 ? 0.5 : 1.0).all().item<bool>());
    }
  }
}

TEST_CASE("GradScaler: refuses a second optimizer") {
  Line a, b;
  GradScaler scaler(GradScalerOptions().init_scale(4).growth_interval(1));
  const auto backward = [&] {
    a.optimizer.zero_grad();
    b.optimizer.zero_grad();
    scaler.scale((a.x + b.x).sum()).backward();
  };
  backward();
  scaler.step(a.optimizer); // and the scale grows
  CARE_REQUIRE_THROWS_AS(
      scaler.step(b.optimizer), c10::Error, "one scaler is for one optimizer");
  CHECK(b.value() == 1);
  backward();
  scaler.unscale(a.optimizer);
  CARE_REQUIRE_THROWS_AS(
      scaler.step(b.optimizer),
      c10::Error,
      "expected the optimizer that was unscaled, but got another");
  CARE_REQUIRE_THROWS_AS(
      scaler.unscale(b.optimizer), c10::Error, "a second optimizer");
  CHECK(b.value() == 1);
  scaler.step(a.optimizer);
  backward();
  CHECK(scaler.step(b.optimizer)); // of a later stage
  CHECK(b.value() == 0.5);
}

TEST_CASE("GradScaler: an optimizer without gradients") {
  Line line;
  GradScaler scaler;
  CHECK(scaler.step(line.optimizer));
  CHECK(line.value() == 1);
}

TEST_CASE("GradScaler: saved and loaded it goes on alike") {
  Line line;
  GradScaler first(GradScalerOptions().init_scale(8).growth_interval(3));
  line.step(first, 1);
  line.step(first, 1);
  std::stringstream file;
  torch::save(first, file);
  GradScaler second(GradScalerOptions().init_scale(2).growth_interval(3));
  torch::load(second, file);
  CHECK(second.scale() == 8);
  line.step(second, 1);
  CHECK(second.scale() == 16);
}

TEST_CASE("GradScaler: loaded with a shorter interval it still grows") {
  Line line;
  GradScaler first(GradScalerOptions().init_scale(8).growth_interval(9));
  for (int i = 0; i < 5; ++i) {
    line.step(first, 1);
  }
  std::stringstream file;
  torch::save(first, file);
  GradScaler second(GradScalerOptions().growth_interval(3));
  torch::load(second, file);
  line.step(second, 1);
  CHECK(second.scale() == 16);
}

TEST_CASE("GradScaler: refuses parameters in half precision") {
  auto weight = torch::ones({2}, torch::kHalf).requires_grad_();
  torch::optim::SGD optimizer({weight}, 0.1);
  GradScaler scaler;
  scaler.scale((weight.to(torch::kFloat) * 1e-3).sum()).backward();
  CARE_REQUIRE_THROWS_AS(
      scaler.unscale(optimizer),
      c10::TypeError,
      "care::GradScaler::unscale: expected parameters in float32");
}

TEST_CASE("GradScaler: bad options name themselves") {
  CARE_REQUIRE_THROWS_AS(
      GradScaler(GradScalerOptions().init_scale(0)),
      c10::ValueError,
      "expected an init_scale of at least 1.2e-38, but got 0");
  CARE_REQUIRE_THROWS_AS(
      GradScaler(GradScalerOptions().growth_factor(1)),
      c10::ValueError,
      "expected a growth_factor above 1");
  CARE_REQUIRE_THROWS_AS(
      GradScaler(GradScalerOptions().backoff_factor(1)),
      c10::ValueError,
      "expected a backoff_factor in (0, 1)");
  CARE_REQUIRE_THROWS_AS(
      GradScaler(GradScalerOptions().growth_interval(0)),
      c10::ValueError,
      "a growth_interval of at least 1");
}
