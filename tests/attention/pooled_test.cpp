// Tests of the short way through a spatial mean: the same as the long way.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/amp.hpp>
#include <care/attention.hpp>
#include <care/loss.hpp>
#include <care/rasterize.hpp>

#include <functional>

namespace F = torch::nn::functional;
using care::GradientOrder;
using Head = std::function<torch::Tensor(const torch::Tensor&)>;

namespace {

/// Whether gradients of one value for all places were taken without spreading
/// it: the short way.
bool is_short(const torch::Tensor& gradients) {
  return gradients.stride(2) == 0 && gradients.stride(3) == 0;
}

struct PooledHead {
  PooledHead() {
    torch::manual_seed(11);
    features = torch::randn({3, 6, 4, 5}, torch::kDouble).requires_grad_();
    first = torch::randn({6, 8}, torch::kDouble).requires_grad_();
    last = torch::randn({8, 3}, torch::kDouble).requires_grad_();
    regions = care::rasterize(
        care::Boxes::from_lists(
            {{{2, 3, 9, 8}}, {{0, 0, 6, 12}}, {{4, 4, 16, 9}}}, {16, 20})
            .to(torch::kDouble),
        {4, 5});
  }
  torch::Tensor logits(const torch::Tensor& pooled) const {
    return torch::matmul(torch::matmul(pooled.flatten(1), first).tanh(), last);
  }

  torch::Tensor features, first, last;
  torch::Tensor target = torch::tensor({0, 2, 1}, torch::kLong);
  care::RegionWeights regions;
};

/// The mean, in a way that is not known as one.
torch::Tensor long_mean(const torch::Tensor& x) {
  return x.sum({2, 3}) / static_cast<double>(x.size(2) * x.size(3));
}

/// A network's gradient of one map's loss: to the features, and to the head.
template <class Map>
std::vector<torch::Tensor> loss_and_gradients(
    const PooledHead& s,
    const Head& pool,
    const Map& map,
    GradientOrder order) {
  auto scores = care::class_scores(s.logits(pool(s.features)), s.target);
  auto maps = care::class_attention_map(s.features, scores, map, order);
  auto loss = care::attention_loss(maps, s.regions);
  auto all = torch::autograd::grad(
      {loss}, {s.features, s.first, s.last}, {}, true, false, true);
  all.push_back(loss);
  all.push_back(maps);
  return all;
}

template <class Map>
void check_both_ways(const Map& map) {
  const PooledHead s;
  const std::vector<Head> pools = {
      [](const auto& x) {
        return x.mean({2, 3});
      },
      [](const auto& x) {
        return x.mean({2, 3}, /*keepdim=*/true);
      },
      [](const auto& x) {
        return F::adaptive_avg_pool2d(
            x, F::AdaptiveAvgPool2dFuncOptions({1, 1}));
      }};
  for (const auto order : {GradientOrder::kFirst, GradientOrder::kFull}) {
    const auto expected = loss_and_gradients(s, long_mean, map, order);
    for (size_t p = 0; p < pools.size(); ++p) {
      CAPTURE(static_cast<int>(order), p);
      const auto got = loss_and_gradients(s, pools[p], map, order);
      for (size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        REQUIRE(got[i].defined() == expected[i].defined());
        if (got[i].defined()) {
          CHECK(care_test::allclose(got[i], expected[i], 1e-14, 1e-9));
        }
      }
    }
  }
}

} // namespace

TEST_CASE("pooled heads: every map by the short way", "[attention]") {
  check_both_ways(care::GradCam{});
  check_both_ways(care::GradCamPlusPlus{});
  check_both_ways(care::HiResCam{});
  check_both_ways(care::XGradCam{});
  check_both_ways(care::LayerCam{});
  check_both_ways(care::ElementWiseCam{});
}

TEST_CASE("pooled heads: second derivatives by the short way", "[attention]") {
  const PooledHead s;
  for (const auto order : {GradientOrder::kFirst, GradientOrder::kFull}) {
    CAPTURE(static_cast<int>(order));
    const auto loss_of = [&](const Head& pool, const torch::Tensor& x) {
      auto scores = care::class_scores(s.logits(pool(x)), s.target);
      auto maps = care::class_attention_map(x, scores, care::GradCam{}, order);
      return (maps * maps).sum({1, 2});
    };
    const auto second = [&](const Head& pool) {
      auto first = torch::autograd::grad(
          {loss_of(pool, s.features).sum()}, {s.features}, {}, true, true)[0];
      return torch::autograd::grad({first.pow(2).sum()}, {s.features})[0];
    };
    const Head mean = [](const auto& x) { return x.mean({2, 3}); };
    CHECK(care_test::allclose(second(mean), second(long_mean), 1e-13, 1e-8));
    if (order == GradientOrder::kFull) { // else the weights are held constant
      CHECK(care_test::gradcheck(
          [&](const auto& in) { return loss_of(mean, in[0]); }, {s.features}));
    }
  }
}

TEST_CASE("pooled heads: only a spatial mean is taken for one", "[attention]") {
  const PooledHead s;
  const auto gradients = [&](const torch::Tensor& x, const Head& logits) {
    return care::score_gradients(x, care::class_scores(logits(x), s.target));
  };
  const auto expected = [&](const torch::Tensor& x, const Head& logits) {
    return torch::autograd::grad(
        {care::class_scores(logits(x), s.target).sum()}, {x})[0];
  };
  double tolerance = 1e-10;
  const auto check = [&](const torch::Tensor& x, const Head& logits) {
    const auto got = gradients(x, logits);
    CHECK(care_test::allclose(got, expected(x, logits), 1e-14, tolerance));
    return is_short(got);
  };
  const auto& f = s.features;
  CHECK(check(f, [&](const auto& x) { return s.logits(x.mean({2, 3})); }));
  // Behind a layer, not a leaf; and with a part that bypasses the features.
  auto behind = f.relu();
  CHECK(check(behind, [&](const auto& x) {
    return s.logits(x.mean({2, 3}) + f.amax({2, 3}));
  }));
  // A copy in another dtype stands for them, but for nothing else.
  tolerance = 1e-5;
  CHECK(check(behind, [&](const auto& x) {
    return s.logits(x.to(torch::kFloat).mean({2, 3}).to(torch::kDouble));
  }));
  CHECK_FALSE(check(behind, [&](const auto& x) {
    return s.logits(x.to(torch::kFloat).tanh().mean({2, 3}).to(torch::kDouble));
  }));
  CHECK_FALSE(check(behind, [&](const auto& x) {
    return s.logits(
        x.to(torch::kFloat).mean({2, 3}).to(torch::kDouble) + x.mean({2, 3}));
  }));
  CHECK_FALSE(check(behind, [&](const auto& x) {
    const auto copy = x.to(torch::kFloat);
    return s.logits((copy.mean({2, 3}) + copy.amax({2, 3})).to(torch::kDouble));
  }));
  tolerance = 1e-10;
  // Used twice, or not by a mean at all.
  CHECK_FALSE(check(f, [&](const auto& x) {
    return s.logits(x.mean({2, 3}) + x.amax({2, 3}));
  }));
  CHECK_FALSE(check(f, [&](const auto& x) {
    return s.logits(x.mean({2, 3}) + x.mean({2, 3}));
  }));
  CHECK_FALSE(check(f, [&](const auto& x) {
    return s.logits(x.tanh().mean({2, 3}));
  }));
  CHECK_FALSE(check(f, [&](const auto& x) {
    return s.logits(x.amax({2, 3}));
  }));
  // Another mean, of the same shape as the spatial one.
  auto square = torch::randn({3, 6, 4, 6}, torch::kDouble).requires_grad_();
  CHECK_FALSE(check(square, [&](const auto& x) {
    return s.logits(x.mean({1, 2}));
  }));
  CHECK_FALSE(check(square, [&](const auto& x) {
    return s.logits(x.mean({2, 3}));
  }));
  // One axis after the other.
  CHECK_FALSE(
      check(f, [&](const auto& x) { return s.logits(x.mean(3).mean(2)); }));
}

TEST_CASE("weighted channels: autocast leaves the sums alone", "[attention]") {
  auto features = torch::randn({2, 64, 3, 4}).requires_grad_();
  auto weights = torch::randn({2, 64}).requires_grad_();
  const auto run = [&] {
    auto map = care::detail::weighted_channels(features, weights);
    auto result =
        torch::autograd::grad({map.pow(2).sum()}, {features, weights});
    result.push_back(map);
    return result;
  };
  const auto expected = run();
  const care::Autocast autocast(torch::kCPU);
  const auto got = run();
  for (size_t i = 0; i < got.size(); ++i) {
    CHECK(care_test::identical(got[i], expected[i]));
  }
}
