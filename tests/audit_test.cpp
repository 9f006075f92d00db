// Tests of Guide::audit: silent on a healthy run, and one warning for each way
// in which an attention loss can do nothing.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"

#include <care/guide.hpp>

#include <torch/nn/functional/loss.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/pooling.h>

#include <cmath>
#include <string>
#include <vector>

namespace nn = torch::nn;
namespace F = torch::nn::functional;

namespace {

struct AuditedNet {
  nn::Sequential body{
      nn::Conv2d(nn::Conv2dOptions(3, 6, 3).padding(1)),
      nn::ReLU(),
      nn::Conv2d(nn::Conv2dOptions(6, 6, 3).stride(2).padding(1)),
      nn::ReLU()};
  nn::Linear head{6, 3};
  torch::Tensor images = torch::rand({4, 3, 12, 12});
  torch::Tensor target = torch::tensor({0, 1, 2, 1}, torch::kLong);
  care::Boxes boxes = care::Boxes::from_lists(
      {{{0, 0, 5, 5}}, {}, {{4, 3, 9, 12}}, {{6, 6, 12, 12}}},
      {12, 12});

  std::vector<torch::Tensor> parameters() {
    auto all = body->parameters();
    for (const auto& p : head->parameters()) {
      all.push_back(p);
    }
    return all;
  }
  torch::Tensor classify(const torch::Tensor& features) {
    return head(features.mean({2, 3}));
  }
  care::Seen see() {
    const auto features = body->forward(images);
    return {classify(features), features};
  }
  template <class Guide>
  care::Audit audit(const Guide& guide, const care::Seen& seen) {
    return guide.audit(
        F::cross_entropy(seen.logits, target),
        seen,
        target,
        boxes,
        parameters());
  }
};

void check_warning(const care::Audit& audit, const std::string& part) {
  const auto warnings = audit.warnings();
  REQUIRE(warnings.size() == 1);
  INFO(warnings[0]);
  CHECK(warnings[0].find(part) != std::string::npos);
  CHECK(audit.str().find("warning: " + warnings[0]) != std::string::npos);
}

/// The gradients of a loss, as one vector.
torch::Tensor gradients_of(
    const torch::Tensor& loss,
    const std::vector<torch::Tensor>& parameters) {
  const auto all =
      torch::autograd::grad({loss}, parameters, {}, true, false, true);
  std::vector<torch::Tensor> flat;
  for (size_t i = 0; i < all.size(); ++i) {
    flat.push_back(
        all[i].defined() ? all[i].flatten()
                         : torch::zeros({parameters[i].numel()}));
  }
  return torch::cat(flat);
}

} // namespace

TEST_CASE("audit: a healthy run has its figures and no warning", "[audit]") {
  AuditedNet net;
  const care::Guide guide(
      care::GuideOptions().classes({0, 2}).alpha(0.25),
      care::AttentionLossOptions().tau(1));
  const auto seen = net.see();
  const auto audit = net.audit(guide, seen);
  CHECK(audit.warnings().empty());
  CHECK(audit.batches == 1);
  CHECK(audit.unguided_batches == 0);
  CHECK(audit.guided == 2);
  CHECK(audit.saturated == 0);
  CHECK(audit.flat == 0);
  CHECK(audit.batch_coupling == 0);
  for (const auto& p : net.parameters()) {
    CHECK_FALSE(p.grad().defined()); // it changes nothing
  }

  // The same figures from the loss itself.
  const auto lc = F::cross_entropy(seen.logits, net.target);
  const auto total = guide.loss(lc, seen, net.target, net.boxes).total;
  const auto c = gradients_of(0.75 * lc, net.parameters());
  const auto a = gradients_of(total, net.parameters()) - c;
  CHECK(
      audit.classification_norm ==
      Approx(c.norm().item<double>()).epsilon(1e-4));
  CHECK(audit.attention_norm == Approx(a.norm().item<double>()).epsilon(1e-3));
  CHECK(
      audit.cosine ==
      Approx((a.dot(c) / (a.norm() * c.norm())).item<double>()).margin(1e-3));
}

TEST_CASE("audit: detached features", "[audit]") {
  AuditedNet net;
  const care::Guide guide;
  const auto features = net.body->forward(net.images).detach();
  SECTION("without any history") {
    check_warning(
        net.audit(guide, {net.classify(features), features}), "detached");
  }
  SECTION("as a leaf that requires a gradient") {
    features.set_requires_grad(true);
    check_warning(
        net.audit(guide, {net.classify(features), features}),
        "detached from their backbone");
  }
}

TEST_CASE("audit: torch::NoGradGuard", "[audit]") {
  AuditedNet net;
  const care::Guide guide;
  const auto seen = net.see();
  torch::NoGradGuard no_grad;
  check_warning(net.audit(guide, seen), "NoGradGuard");
}

TEST_CASE("audit: saturation is that of the loss's own inner term") {
  AuditedNet net;
  // Of a map that sums to 1 hardly any mean reaches a tau of 0.3; the mean of
  // the min-max map does.
  care::Guide guide(
      care::GuideOptions(),
      care::AttentionLossOptions().tau(0.3).normalisation(
          care::Normalisation::kSum));
  const auto audit = net.audit(guide, net.see());
  CHECK(audit.guided == 3);
  CHECK(audit.saturated == 0);
}

TEST_CASE("audit: a frozen backbone", "[audit]") {
  AuditedNet net;
  const care::Guide guide;
  for (auto& p : net.body->parameters()) {
    p.set_requires_grad(false);
  }
  SECTION("features without a history") {
    check_warning(net.audit(guide, net.see()), "frozen");
  }
  SECTION("images that require a gradient") {
    net.images.set_requires_grad(true);
    check_warning(net.audit(guide, net.see()), "frozen");
  }
  SECTION("everything frozen") {
    net.images.set_requires_grad(true);
    for (auto& p : net.head->parameters()) {
      p.set_requires_grad(false);
    }
    check_warning(
        net.audit(guide, net.see()), "none of the parameters is trained");
  }
}

TEST_CASE("audit: everything saturated", "[audit]") {
  AuditedNet net;
  const care::Guide guide(
      care::GuideOptions(), care::AttentionLossOptions().tau(1e-4));
  const auto audit = net.audit(guide, net.see());
  CHECK(audit.saturated == audit.guided);
  CHECK(audit.attention_norm > 0); // of the outer term
  check_warning(audit, "saturated");
}

TEST_CASE("audit: attention that is all inside asks for nothing", "[audit]") {
  // One cell, at the map's peak: inner is 1, and so is tau.
  torch::manual_seed(0);
  AuditedNet net;
  auto seen = net.see();
  auto inside = torch::zeros({4, seen.features.size(2), seen.features.size(3)});
  const auto map = care::grad_cam(
      seen.features, care::class_scores(seen.logits, net.target));
  const auto peak = map.detach().flatten(1).argmax(1);
  inside.flatten(1).scatter_(1, peak.unsqueeze(1), 1);
  const care::RegionWeights regions{inside, 1 - inside, torch::ones({4})};
  const care::Guide guide;
  const auto lc = F::cross_entropy(seen.logits, net.target);
  const auto audit =
      guide.audit(lc, seen, net.target, regions, net.parameters());
  CHECK(audit.guided == 4);
  CHECK(audit.saturated == 0);
  CHECK(audit.warnings().empty());
}

TEST_CASE("audit: saturated, with nothing outside to lower", "[audit]") {
  AuditedNet net;
  net.boxes = care::Boxes::from_lists(
      {{{0, 0, 12, 12}}, {}, {{0, 0, 12, 12}}, {}}, {12, 12});
  const care::Guide guide(
      care::GuideOptions(), care::AttentionLossOptions().tau(1e-4));
  const auto audit = net.audit(guide, net.see());
  CHECK(audit.attention_norm == 0);
  CHECK(audit.inert_batches == 1);
  CHECK(audit.warnings().size() == 2); // saturated, and so inert
}

TEST_CASE("audit: an attention loss that does not count", "[audit]") {
  AuditedNet net;
  const care::Guide convex(care::GuideOptions().alpha(0));
  check_warning(net.audit(convex, net.see()), "alpha is 0");
  const care::Guide additive(care::GuideOptions().weight(0));
  check_warning(net.audit(additive, net.see()), "weight is 0");
}

TEST_CASE("audit: flat maps", "[audit]") {
  AuditedNet net;
  torch::nn::init::zeros_(net.head->weight);
  const care::Guide guide;
  const auto audit = net.audit(guide, net.see());
  CHECK(audit.flat == audit.guided);
  CHECK(audit.warnings().size() == 2); // flat, and so inert
}

TEST_CASE("audit: a policy that detaches", "[audit]") {
  AuditedNet net;
  struct Detached {
    torch::Tensor operator()(
        const torch::Tensor& maps,
        const care::RegionWeights& /*unused*/) const {
      return maps.detach().sum({1, 2});
    }
  };
  const care::Guide<care::GradCam, Detached> guide;
  check_warning(net.audit(guide, net.see()), "policy detaches");
}

TEST_CASE("audit: a detached classification loss", "[audit]") {
  AuditedNet net;
  const care::Guide guide;
  const auto seen = net.see();
  const auto lc = F::cross_entropy(seen.logits, net.target);
  auto audit =
      guide.audit(lc.detach(), seen, net.target, net.boxes, net.parameters());
  check_warning(
      audit,
      "the classification loss has no gradient history in 1 of 1 batches");
  audit += net.audit(guide, net.see());
  check_warning(audit, "in 1 of 2 batches");
  for (const auto& wrong : {torch::Tensor(), lc.expand({4})}) {
    CARE_REQUIRE_THROWS_AS(
        guide.audit(wrong, seen, net.target, net.boxes, net.parameters()),
        c10::ValueError,
        "care::Guide::audit: expected the classification loss as a scalar");
  }
}

TEST_CASE("audit: no guided image", "[audit]") {
  AuditedNet net;
  net.boxes = care::Boxes::from_lists({{}, {{4, 3, 9, 12}}, {}, {}}, {12, 12});
  const care::Guide guide(
      care::GuideOptions().classes({0}), care::AttentionLossOptions().tau(1));
  auto audit = net.audit(guide, net.see());
  audit += net.audit(guide, net.see());
  CHECK(audit.batches == 2);
  CHECK(audit.unguided_batches == 2);
  check_warning(audit, "no image was guided in 2 batches");
  // One batch with a guided image, and the warning is gone.
  net.boxes = care::Boxes::from_lists({{{4, 3, 9, 12}}, {}, {}, {}}, {12, 12});
  const auto guided = net.audit(guide, net.see());
  audit += guided;
  CHECK(audit.batches == 3);
  CHECK(audit.warnings().empty());
  CHECK(audit.attention_norm == Approx(guided.attention_norm));
}

TEST_CASE("audit: reports that a head couples the images", "[audit]") {
  AuditedNet net;
  auto norm = nn::BatchNorm2d(6);
  auto forward = [&] {
    return net.classify(norm(net.body->forward(net.images)).relu());
  };
  const care::Guide guide(care::GuideOptions().target_layers(
      {care::TargetLayer().operation("aten::relu", 2)}));
  CHECK(net.audit(guide, guide.watch(forward)).batch_coupling > 0.01);
  norm->eval();
  CHECK(net.audit(guide, guide.watch(forward)).batch_coupling == 0);
}

TEST_CASE("audit: tokens before images", "[audit]") {
  const auto stream = torch::rand({8, 8, 4}).requires_grad_(); // [T, N, C]
  nn::Linear head(4, 3);
  const auto logits = head(stream.mean(0));
  const care::Guide<> guide(care::GuideOptions().target_layers(
      {care::TargetLayer().tokens(0, {2, 4})}));
  const auto found = guide.audit(
      logits.square().mean(),
      {logits, stream},
      torch::zeros({8}, torch::kLong),
      care::Boxes::from_lists(
          {{{0, 0, 2, 2}}, {}, {}, {}, {}, {}, {}, {}}, {4, 8}),
      {stream});
  CHECK(found.batch_coupling == Approx(std::sqrt(7.0 / 8)));
  check_warning(
      found, "94 % of the gradient of an image's score lies in other");
}

TEST_CASE("audit: batches are added up by what was measured", "[audit]") {
  care::Audit one, two;
  one.batches = one.measured = 1;
  one.guided = 3;
  one.saturated = one.flat = 1;
  one.attention_norm = 6;
  one.batch_coupling = 0.5;
  one.strength = 0.25;
  two.batches = 3;
  two.measured = 2;
  two.guided = 4;
  two.saturated = 2;
  two.strength = 1;
  two.add_inert("first");
  two.add_inert("second");
  one += two;
  CHECK(one.batches == 4);
  CHECK(one.measured == 3);
  CHECK(one.guided == 7);
  CHECK(one.saturated == 3);
  CHECK(one.flat == 1);
  CHECK(one.attention_norm == Approx(2));
  CHECK(one.batch_coupling == Approx(0.5 / 3));
  CHECK(one.strength == 1); // the last one's
  CHECK(one.inert_batches == 2);
  CHECK(one.inert_cause == "first");
}
