// The helpers of the tests can say no.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>

using namespace care_test;

TEST_CASE("allclose: tells shapes, values, NaN and infinity apart") {
  const double nan = std::nan("");
  const double inf = std::numeric_limits<double>::infinity();
  const auto a = torch::tensor({1.0, nan, inf, -inf});
  CHECK(care_test::allclose(a, a.clone()));
  CHECK(care_test::allclose(a.to(torch::kFloat), a));
  CHECK(care_test::allclose(torch::empty({0, 3}), torch::empty({0, 3})));
  CHECK_FALSE(care_test::allclose(a, a.view({2, 2})));
  CHECK_FALSE(care_test::allclose(a, torch::tensor({1.0, 2.0, inf, -inf})));
  CHECK_FALSE(care_test::allclose(a, torch::tensor({1.0, nan, inf, inf})));
  CHECK_FALSE(care_test::allclose(torch::tensor({1.0, 2.0, inf, -inf}), a));
  CHECK_FALSE(care_test::allclose(torch::tensor({nan}), torch::tensor({1.0})));
  CHECK_FALSE(care_test::allclose(torch::Tensor(), torch::tensor({1.0})));

  const auto no = care_test::allclose(
      torch::tensor({{1.0, 2.0}, {3.0, 4.0}}),
      torch::tensor({{1.0, 2.0}, {3.5, 4.1}}));
  CHECK(no.reason().find("2 of 4 values differ") != std::string::npos);
  CHECK(no.reason().find("[1, 0]") != std::string::npos);
}

TEST_CASE("identical: wants every bit and the dtype") {
  const auto a = torch::tensor({0.1, 0.2});
  CHECK(identical(a, a.clone()));
  CHECK_FALSE(identical(a, a + 1e-7));
  CHECK_FALSE(identical(a, a.to(torch::kDouble)));
}

TEST_CASE("gradcheck: takes a right gradient and refuses a wrong one") {
  const auto x = torch::randn({2, 3}, torch::kDouble).set_requires_grad(true);
  const auto y = torch::randn({3}, torch::kDouble).set_requires_grad(true);
  CHECK(gradcheck(
      [](const Tensors& in) { return (in[0] * in[1]).sin().sum(1); }, {x, y}));
  CHECK_FALSE(
      gradcheck([](const Tensors& in) { return in[0] * in[0].detach(); }, {x}));
  CHECK_FALSE(
      gradcheck([](const Tensors& in) { return in[0].detach().sum(); }, {x}));
  CHECK_FALSE(gradcheck(
      [](const Tensors& in) { return in[0].sum() + in[1].detach().sum(); },
      {x, y}));
}

TEST_CASE("gradgradcheck: takes a right gradient and refuses a wrong one") {
  const auto x = torch::randn({4}, torch::kDouble).set_requires_grad(true);
  CHECK(gradgradcheck(
      [](const Tensors& in) { return in[0].pow(3) * in[0].exp(); }, {x}));
  CHECK_FALSE(gradgradcheck(
      [](const Tensors& in) { return in[0].pow(2) * in[0].detach(); }, {x}));
}

TEST_CASE("throws: wants the type and the message") {
  const auto wrong = [] { TORCH_CHECK_VALUE(false, "care: expected 1"); };
  CHECK(throws(wrong, "expected 1"));
  CHECK(throws<c10::ValueError>(wrong, "expected 1"));
  CHECK_FALSE(throws<c10::IndexError>(wrong, "expected 1"));
  CHECK_FALSE(throws(wrong, "expected 2"));
  CHECK_FALSE(throws([] {}, ""));
  CHECK(throws<std::runtime_error>(
      [] { throw std::runtime_error("plain"); }, "plain"));
  CARE_REQUIRE_THROWS(torch::ones({2, 3}).mm(torch::ones({2, 3})), "shapes");
}

TEST_CASE("seeding: each run of a case draws the same, its sections go on") {
  const auto before = torch::rand({3});
  auto after = torch::Tensor();
  SECTION("the first run") {
    after = torch::rand({3});
  }
  SECTION("the second run") {
    after = torch::rand({3});
  }
  torch::manual_seed(0);
  CHECK(identical(torch::rand({3}), before));
  CHECK(identical(torch::rand({3}), after));
}

TEST_CASE("golden: every file opens") {
  for (const auto* name :
       {"clamped_7x7",
        "distance_7x7",
        "distance_offset_14x14",
        "uniform_7x7"}) {
    const auto values = golden(std::string("golden/") + name);
    CAPTURE(name);
    CHECK(values.size() == 16);
    CHECK(values.at("loss").size(0) == values.at("features").size(0));
  }
}
